"""Metrics of several labels per item against scikit-learn and loops from the definitions."""

import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from likeness.errors import UserError
from likeness.evaluation.multilabel import (
    ITEM_METRICS,
    NO_LABELS,
    NO_TRUTH,
    NOTHING_PREDICTED,
    NOWHERE,
    average_precisions,
    decide,
    multilabel,
)
from likeness.evaluation.multilabel_intervals import compare_multilabel, multilabel_intervals
from likeness.evaluation.resampling import Bootstrap

UNHOOKED = pytest.mark.skipif(os.environ.get("LIKENESS_PLAIN") != "1", reason="hook is on")


def tables(seed=0, items=60, labels=5, decimals=1):
    """Truth, scores with ties, predictions; every item has a label, label 3 is rare."""
    rng = np.random.default_rng(seed)
    truth = rng.random((items, labels)) < [0.5, 0.4, 0.3, 0.05, 0.6][:labels]
    truth[~truth.any(axis=1), 0] = True
    scores = np.round(np.clip(0.1 * truth + 0.9 * rng.random(truth.shape), 0, 1), decimals)
    return truth, scores, decide(scores, 0.75)


def test_values_are_scikit_learns():
    truth, scores, predicted = tables()
    assert not predicted.any(axis=1).all()  # some items without predicted labels
    found = {
        name: value.value for name, value in multilabel(truth, predicted, scores).values.items()
    }
    samples = {"average": "samples", "zero_division": 0}
    expected = {
        "example_accuracy": sk.jaccard_score(truth, predicted, **samples),
        "example_precision": sk.precision_score(truth, predicted, **samples),
        "example_recall": sk.recall_score(truth, predicted, **samples),
        "example_f1": sk.f1_score(truth, predicted, **samples),
        "subset_accuracy": sk.accuracy_score(truth, predicted),
        "hamming_loss": sk.hamming_loss(truth, predicted),
        "micro_precision": sk.precision_score(truth, predicted, average="micro"),
        "micro_recall": sk.recall_score(truth, predicted, average="micro"),
        "micro_f1": sk.f1_score(truth, predicted, average="micro"),
        "macro_f1": sk.f1_score(truth, predicted, average="macro"),
        "macro_ap": sk.average_precision_score(truth, scores, average="macro"),
    }
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_table_is_scikit_learns():
    truth, scores, predicted = tables(1)
    table = multilabel(truth, predicted, scores).table
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        truth, predicted, zero_division=np.nan
    )
    np.testing.assert_allclose(table.precision_L, precision)
    np.testing.assert_allclose(table.recall_L, recall)
    np.testing.assert_allclose(table.f1_L, f1)
    np.testing.assert_array_equal(table.support_L, support)
    np.testing.assert_array_equal(table.predicted_L, predicted.sum(axis=0))
    each = sk.average_precision_score(truth, scores, average=None)
    np.testing.assert_allclose(table.average_precision_L, each)
    rows = table.rows(list("abcde"))
    assert [row["label"] for row in rows] == list("abcde")
    assert rows[3]["support"] == support[3]
    assert rows[2]["average_precision"] == pytest.approx(each[2])
    with pytest.raises(UserError, match=r"^labels must be one name per label, 5, got 2"):
        table.rows(["a", "b"])


def test_items_by_definition():
    truth, _, predicted = tables(2)
    truth[:4] = False  # without true labels
    predicted[:2] = False
    result = multilabel(truth, predicted)
    assert tuple(result.per_item) == ITEM_METRICS
    for item, (t, p) in enumerate(zip(truth, predicted, strict=True)):
        true, found = set(np.flatnonzero(t)), set(np.flatnonzero(p))
        both, either = true & found, true | found
        expected = {
            "example_accuracy": len(both) / len(either) if true else math.nan,
            "example_precision": (len(both) / len(found) if found else 0.0) if true else math.nan,
            "example_recall": len(both) / len(true) if true else math.nan,
            "example_f1": 2 * len(both) / (len(true) + len(found)) if true else math.nan,
            "subset_accuracy": float(true == found),
            "hamming_loss": len(either - both) / 5,
        }
        got = {name: values[item] for name, values in result.per_item.items()}
        assert got == pytest.approx(expected, nan_ok=True)
    accuracy = result.values["example_accuracy"]
    assert (accuracy.count, accuracy.skipped) == (56, {NO_LABELS: 4})
    assert accuracy.value == pytest.approx(np.nanmean(result.per_item["example_accuracy"]))
    assert result.values["hamming_loss"].count == 60


def test_saying_nothing_does_not_pay():
    truth = np.eye(3, dtype=bool)
    values = multilabel(truth, np.zeros((3, 3), bool)).values
    assert values["example_precision"].value == 0
    assert values["example_precision"].count == 3
    assert math.isnan(values["micro_precision"].value)
    assert values["micro_precision"].skipped == {NOTHING_PREDICTED: 3}
    assert values["micro_f1"].value == values["macro_f1"].value == 0
    assert "macro_ap" not in values


def test_labels_that_occur_nowhere_are_left_out_and_counted():
    truth, scores, _ = tables(3)
    truth[:, 1] = truth[:, 2] = False
    scores[:, 2] = 0
    predicted = decide(scores)
    result = multilabel(truth, predicted, scores)
    assert result.values["macro_f1"].count == 4  # label 1 is predicted, wrongly
    assert result.values["macro_f1"].skipped == {NOWHERE: 1}
    assert result.values["macro_ap"].count == 3
    assert result.values["macro_ap"].skipped == {NO_TRUTH: 2}
    assert np.isnan(result.table.average_precision_L[[1, 2]]).all()
    assert result.table.f1_L[1] == 0
    assert np.isnan(result.table.f1_L[2])


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 5), st.integers(0, 1))
def test_weights_are_repeated_items(seed, items, labels, decimals):
    rng = np.random.default_rng(seed)
    truth, scores, _ = tables(seed, items, labels, decimals)
    weights = rng.integers(0, 4, (3, items)).astype(float)
    found = average_precisions(truth, scores, weights)
    for row, counts in zip(found, weights.astype(int), strict=True):
        repeated = np.repeat(np.arange(items), counts)
        for label in range(labels):
            y, s = truth[repeated, label], scores[repeated, label]
            expected = sk.average_precision_score(y, s) if y.any() else math.nan
            assert row[label] == pytest.approx(expected, nan_ok=True)


def test_booleans_numbers_and_order_of_items_do_not_matter():
    truth, scores, predicted = tables(4)
    plain = multilabel(truth, predicted, scores)
    order = np.random.default_rng(0).permutation(len(truth))
    same = multilabel(truth[order].astype(np.uint8), predicted[order].astype(float), scores[order])
    assert {n: v.value for n, v in same.values.items()} == pytest.approx(
        {n: v.value for n, v in plain.values.items()}
    )


def test_thresholds_may_differ_by_label():
    scores = np.array([[0.5, 0.2], [0.4, 0.9]])
    np.testing.assert_array_equal(decide(scores), [[True, False], [False, True]])
    own = decide(scores, np.array([0.45, 0.1]))
    np.testing.assert_array_equal(own, [[True, True], [False, True]])


def test_intervals_are_those_of_drawing_groups_anew():
    """Every metric of a resampled table, one by one, from the same draws of groups."""
    truth, scores, predicted = tables(5, items=40)
    truth[0] = False
    groups = np.repeat(np.arange(10), 4)
    bootstrap = Bootstrap(replicates=60, seed=3)
    found = multilabel_intervals(truth, predicted, groups, scores, bootstrap)
    drawn = np.random.default_rng(3).integers(10, size=(60, 10))
    replicates = {name: [] for name in found}
    for groups_drawn in drawn:
        rows = np.concatenate([np.flatnonzero(groups == group) for group in groups_drawn])
        values = multilabel(truth[rows], predicted[rows], scores[rows]).values
        for name, value in values.items():
            replicates[name].append(value.value)
    plain = multilabel(truth, predicted, scores).values
    assert list(found) == list(plain)
    for name, value in found.items():
        assert value.value == plain[name].value
        assert value.skipped == plain[name].skipped
        ends = np.percentile(replicates[name], [2.5, 97.5])
        assert (value.low, value.high) == pytest.approx(tuple(ends), abs=1e-9), name
        assert value.low < value.high


def test_comparison_of_two_tables():
    truth, scores, predicted = tables(6, items=80)
    groups = np.arange(80) // 2
    bootstrap = Bootstrap(replicates=200)
    same = compare_multilabel(truth, predicted, predicted, groups, scores, scores, bootstrap)
    assert all(difference.value == 0 for difference in same.values())
    noise = np.random.default_rng(1).random(truth.shape)
    better = compare_multilabel(truth, truth, decide(noise), groups, truth * 1.0, noise, bootstrap)
    for name, difference in better.items():
        sign = -1 if name == "hamming_loss" else 1
        assert sign * difference.value > 0
        assert difference.p_value < 0.05
    a, b = (
        multilabel(truth, truth, truth * 1.0).values,
        multilabel(truth, decide(noise), noise).values,
    )
    assert {n: d.value for n, d in better.items()} == pytest.approx(
        {n: a[n].value - b[n].value for n in better}
    )
    assert "macro_ap" not in compare_multilabel(truth, truth, predicted, groups)


def test_bad_tables_are_refused():
    truth, _, predicted = tables()
    with pytest.raises(UserError, match=r"^truth must be 0 or 1 everywhere, got 2"):
        multilabel(truth * 2, predicted)
    with pytest.raises(UserError, match=r"^predicted must be 0 or 1 everywhere, got nan"):
        multilabel(truth, np.full(truth.shape, np.nan))
    with pytest.raises(UserError, match=r"^truth must be a table .* got \(0, 5\)"):
        multilabel(truth[:0], predicted[:0])
    with pytest.raises(UserError, match=r"^scores must be finite"):
        multilabel(truth, predicted, np.full(truth.shape, np.inf))


@pytest.mark.plain
@UNHOOKED
def test_tables_of_other_shapes_are_refused():
    truth, scores, predicted = tables()
    with pytest.raises(UserError, match=r"^predicted must be of shape \(60, 5\), got \(60, 4\)"):
        multilabel(truth, predicted[:, :4])
    with pytest.raises(UserError, match=r"^scores must be of shape \(60, 5\), got \(59, 5\)"):
        multilabel(truth, predicted, scores[1:])
