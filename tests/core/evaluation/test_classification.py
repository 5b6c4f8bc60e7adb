"""Classification metrics against scikit-learn and against hand-worked tables."""

import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from likeness.errors import UserError
from likeness.evaluation.classification import (
    NO_DISAGREEMENT_POSSIBLE,
    NO_TRUTH,
    NOWHERE,
    average_accuracy,
    classification,
    cohens_kappa,
    confusion_matrix,
    from_counts,
    macro_f1,
    overall_accuracy,
)
from likeness.evaluation.values import MetricValue, mean_value, plain

UNHOOKED = pytest.mark.skipif(os.environ.get("LIKENESS_PLAIN") != "1", reason="hook is on")


def labelled(seed=0, count=500, classes=7, right=0.7):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, count)
    predicted = np.where(rng.random(count) < right, truth, rng.integers(0, classes, count))
    return truth, predicted


def test_equals_scikit_learn():
    truth, predicted = labelled()
    result = classification(truth, predicted, 7)
    np.testing.assert_array_equal(result.counts_CC, sk.confusion_matrix(truth, predicted))
    values = result.values
    assert values["overall_accuracy"].value == pytest.approx(sk.accuracy_score(truth, predicted))
    assert values["average_accuracy"].value == pytest.approx(
        sk.balanced_accuracy_score(truth, predicted)
    )
    assert values["kappa"].value == pytest.approx(sk.cohen_kappa_score(truth, predicted))
    assert values["macro_f1"].value == pytest.approx(sk.f1_score(truth, predicted, average="macro"))
    precision, recall, f1, support = sk.precision_recall_fscore_support(truth, predicted)
    np.testing.assert_allclose(result.table.precision_C, precision)
    np.testing.assert_allclose(result.table.recall_C, recall)
    np.testing.assert_allclose(result.table.f1_C, f1)
    np.testing.assert_array_equal(result.table.support_C, support)
    assert [value.count for value in values.values()] == [500, 7, 500, 7]
    assert all(value.skipped == {} for value in values.values())


@settings(max_examples=60)
@given(pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_equals_loops_with_classes_missing(pairs):
    truth, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    result = classification(truth, predicted, 5)
    recalls, f1s = [], []
    for c in range(5):
        both = sum(t == c and p == c for t, p in pairs)
        true, said = sum(t == c for t, _ in pairs), sum(p == c for _, p in pairs)
        recall = both / true if true else math.nan
        precision = both / said if said else math.nan
        f1 = 2 * both / (true + said) if true + said else math.nan
        assert result.table.recall_C[c] == pytest.approx(recall, nan_ok=True)
        assert result.table.precision_C[c] == pytest.approx(precision, nan_ok=True)
        assert result.table.f1_C[c] == pytest.approx(f1, nan_ok=True)
        recalls += [recall] if true else []
        f1s += [f1] if true + said else []
    average, f1 = result.values["average_accuracy"], result.values["macro_f1"]
    assert average.value == pytest.approx(np.mean(recalls))
    assert (average.count, sum(average.skipped.values())) == (len(recalls), 5 - len(recalls))
    assert f1.value == pytest.approx(np.mean(f1s))
    assert (f1.count, sum(f1.skipped.values())) == (len(f1s), 5 - len(f1s))
    chance = sum(sum(t == c for t, _ in pairs) * sum(p == c for _, p in pairs) for c in range(5))
    chance /= len(pairs) ** 2
    observed = sum(t == p for t, p in pairs) / len(pairs)
    kappa = (observed - chance) / (1 - chance) if chance < 1 else math.nan
    assert result.values["kappa"].value == pytest.approx(kappa, nan_ok=True, abs=1e-12)


def test_producers_is_recall_and_users_is_precision():
    # A map with 8 water pixels of which 6 are water, on a ground with 10 water pixels.
    truth = np.array([0] * 10 + [1] * 10)
    predicted = np.array([0] * 6 + [1] * 4 + [0] * 2 + [1] * 8)
    rows = classification(truth, predicted, 2).table.rows(["water", "land"])
    assert rows[0]["producers"] == rows[0]["recall"] == pytest.approx(6 / 10)
    assert rows[0]["users"] == rows[0]["precision"] == pytest.approx(6 / 8)
    assert (rows[0]["class"], rows[0]["support"], rows[0]["predicted"]) == ("water", 10, 8)
    with pytest.raises(UserError, match=r"^classes must be one name per class, 2, got 1"):
        classification(truth, predicted, 2).table.rows(["water"])


def test_undefined_ratios_are_nan_and_counted_not_zero():
    # Class 2 never occurs, class 1 occurs but is never predicted.
    result = classification(np.array([0, 0, 1]), np.array([0, 0, 0]), 3)
    assert math.isnan(result.table.precision_C[1])
    assert result.table.recall_C[1] == 0
    assert math.isnan(result.table.recall_C[2])
    assert result.values["average_accuracy"] == MetricValue(0.5, 2, {NO_TRUTH: 1})
    assert result.values["macro_f1"].skipped == {NOWHERE: 1}
    assert result.values["macro_f1"].value == pytest.approx((0.8 + 0) / 2)


def test_kappa_of_one_class_is_undefined_and_of_chance_is_zero():
    same = classification(np.zeros(5, int), np.zeros(5, int), 3)
    assert math.isnan(same.values["kappa"].value)
    assert same.values["kappa"].count == 0
    assert same.values["kappa"].skipped == {NO_DISAGREEMENT_POSSIBLE: 5}
    assert same.values["overall_accuracy"].value == 1
    assert cohens_kappa(np.array([[4, 4], [6, 6]])) == pytest.approx(0)
    assert cohens_kappa(np.array([[0, 5], [5, 0]])) == pytest.approx(-1)
    # Table of Cohen's kind, worked by hand: observed 0.7, chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    assert cohens_kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(0.4)


def test_statistics_take_many_matrices_at_once():
    stack = np.random.default_rng(0).integers(0, 9, size=(4, 3, 5, 5))
    stack[0, 0] = 0  # a replicate without items
    for statistic in (overall_accuracy, average_accuracy, cohens_kappa, macro_f1):
        values = statistic(stack)
        assert values.shape == (4, 3)
        for place in np.ndindex(4, 3):
            assert values[place] == pytest.approx(float(statistic(stack[place])), nan_ok=True)
        assert math.isnan(values[0, 0])


def test_permuting_items_or_renaming_classes_changes_nothing():
    truth, predicted = labelled(1)
    order = np.random.default_rng(1).permutation(500)
    name = np.random.default_rng(2).permutation(7)
    values = classification(truth, predicted, 7).values
    for other in (
        classification(truth[order], predicted[order], 7).values,
        classification(name[truth], name[predicted], 7).values,
    ):
        for key, value in values.items():
            assert other[key].value == pytest.approx(value.value, abs=1e-15)


@pytest.mark.parametrize("wrong", [-1, 7])
def test_labels_out_of_range_are_refused(wrong):
    truth, predicted = labelled()
    predicted[3] = wrong
    with pytest.raises(UserError, match=rf"^predicted must be between 0 and 6, got {wrong}"):
        confusion_matrix(truth, predicted, 7)
    with pytest.raises(UserError, match=rf"^truth must be between 0 and 6, got {wrong}"):
        confusion_matrix(predicted, truth, 7)


def test_other_mistakes_are_refused():
    truth, predicted = labelled()
    with pytest.raises(UserError, match=r"^predicted must be integers, got 'float64'"):
        confusion_matrix(truth, predicted + 0.0, 7)
    with pytest.raises(UserError, match=r"^num_classes must be >= 1, got 0"):
        confusion_matrix(truth, predicted, 0)
    with pytest.raises(UserError, match=r"^truth must be one class number per item, at least one"):
        confusion_matrix(truth[:0], predicted[:0], 7)
    with pytest.raises(UserError, match=r"^counts must be a matrix with items"):
        from_counts(np.zeros((3, 3), int))


@pytest.mark.plain
@UNHOOKED
def test_another_number_of_predictions_is_refused():
    truth, predicted = labelled()
    with pytest.raises(UserError, match=r"^predicted must be 500 numbers, got \(499,\)"):
        confusion_matrix(truth, predicted[1:], 7)


def test_values_as_plain_data():
    value = MetricValue(0.5, 10, {"lone query": 2}, 0.4, 0.6)
    assert plain({"x": value}) == {
        "x": {"value": 0.5, "count": 10, "skipped": {"lone query": 2}, "low": 0.4, "high": 0.6}
    }
    empty = mean_value(np.array([np.nan, np.nan]), np.array([False, False]), "lone query")
    assert math.isnan(empty.value)
    assert (empty.count, empty.skipped) == (0, {"lone query": 2})
