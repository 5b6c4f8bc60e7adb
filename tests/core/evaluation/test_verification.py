"""Verification by folds: a loop over thresholds, scikit-learn, ties, and what cannot be said."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp
from sklearn.metrics import accuracy_score, roc_auc_score, roc_curve

from likeness.errors import UserError
from likeness.evaluation.resampling import Bootstrap
from likeness.evaluation.verification import best_threshold, fold_accuracy, verification_figures
from likeness.files import finite

FEW = Bootstrap(replicates=50, seed=1)


def pairs_of(seed: int, count: int = 200, folds: int = 5, levels: int | None = None) -> tuple:
    rng = np.random.default_rng(seed)
    same = rng.random(count) < 0.5
    scores = rng.normal(same * 1.5, 1)
    scores = scores if levels is None else np.round(scores * levels) / levels
    return same, scores, rng.integers(0, folds, count), rng.integers(0, 30, count)


def right_calls(same: np.ndarray, scores: np.ndarray, threshold: float) -> int:
    return sum((score >= threshold) == bool(kind) for kind, score in zip(same, scores, strict=True))


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, None]))
def test_no_threshold_is_better_and_no_higher_one_as_good(seed: int, levels: int | None) -> None:
    same, scores, _, _ = pairs_of(seed, 25, levels=levels)
    found = best_threshold(same, scores)
    distinct = sorted(set(scores))
    between = [(a + b) / 2 for a, b in pairwise(distinct)]
    values = {t: right_calls(same, scores, t) for t in [-np.inf, *between, np.inf]}
    best = max(values.values())
    assert values[found] == best
    assert found == max(t for t, value in values.items() if value == best)


@pytest.mark.parametrize("levels", [None, 2])
def test_every_fold_is_judged_by_the_others(levels: int | None) -> None:
    same, scores, folds, _ = pairs_of(3, levels=levels)
    found = fold_accuracy(same, scores, folds)
    assert found.folds_F.tolist() == [0, 1, 2, 3, 4]
    for place in range(5):
        rest, held = folds != place, folds == place
        fpr, tpr, _ = roc_curve(same[rest], scores[rest], drop_intermediate=False)
        genuine = same[rest].sum()
        best = ((1 - fpr) * (~same[rest]).sum() + tpr * genuine).max()
        assert right_calls(same[rest], scores[rest], found.threshold_F[place]) == round(best)
        called = scores[held] >= found.threshold_F[place]
        assert found.accuracy_F[place] == accuracy_score(same[held], called)
        assert np.array_equal(found.accepted_N[held], called)
    assert found.value.value == pytest.approx(found.accuracy_F.mean())
    assert found.value.count == 200


def test_the_interval_is_students_over_folds() -> None:
    same, scores, folds, _ = pairs_of(4)
    found = fold_accuracy(same, scores, folds)
    interval = ttest_1samp(found.accuracy_F, 0.5).confidence_interval(0.95)
    assert (found.value.low, found.value.high) == pytest.approx(tuple(interval))
    assert found.standard_error == pytest.approx(np.std(found.accuracy_F, ddof=1) / 5**0.5)


def test_a_fold_has_no_say_in_its_own_threshold() -> None:
    """Its scores are shifted: with a threshold of its own it would be perfect."""
    same = np.tile([True, False], 20)
    scores = np.where(same, 1.0, 0.0)
    folds = np.repeat([1, 2], 20)
    scores[folds == 2] += 5
    found = fold_accuracy(same, scores, folds)
    assert found.threshold_F.tolist() == [5.5, 0.5]
    assert found.accuracy_F.tolist() == [0.5, 0.5]


def test_neither_order_nor_names_of_folds_matter() -> None:
    same, scores, folds, _ = pairs_of(5)
    order = np.random.default_rng(0).permutation(len(same))
    first = fold_accuracy(same, scores, folds)
    other = fold_accuracy(same[order], scores[order], np.array(list("vwxyz"))[folds[order]])
    assert np.array_equal(first.accuracy_F, other.accuracy_F)
    assert np.array_equal(first.accepted_N[order], other.accepted_N)


@pytest.mark.parametrize(
    ("same", "expected"), [([1, 1, 1], -np.inf), ([0, 0, 0], np.inf), ([0, 1, 1], 1.5)]
)
def test_one_kind_alone_is_all_accepted_or_all_refused(same: list[int], expected: float) -> None:
    assert best_threshold(np.array(same), np.array([1.0, 2.0, 3.0])) == expected


def test_constant_scores() -> None:
    same = np.array([1, 1, 0])
    assert best_threshold(same, np.zeros(3)) == -np.inf
    assert best_threshold(~same.astype(bool), np.zeros(3)) == np.inf


def test_the_figures_agree_with_another_library() -> None:
    same, scores, folds, groups = pairs_of(6, 3000)
    found = verification_figures(same, scores, folds, groups, aims=(0.01, 0.1), bootstrap=FEW)
    assert found["pairs"] == {
        "genuine": int(same.sum()),
        "impostor": int((~same).sum()),
        "folds": 5,
        "groups": 30,
    }
    auc = found["verification"]["roc_auc"]
    assert auc["value"] == pytest.approx(roc_auc_score(same, scores))
    assert auc["low"] < auc["value"] < auc["high"]
    fpr, tpr, _ = roc_curve(same, scores, drop_intermediate=False)
    for point in found["verification"]["tar_at_far"]:
        true_rate = point["true_rate"]
        assert true_rate["value"] == pytest.approx(tpr[fpr <= point["aim"]].max())
        assert true_rate["low"] <= true_rate["value"] <= true_rate["high"]
    assert json.dumps(finite(found))


def test_what_cannot_be_said_has_a_reason() -> None:
    same, scores, _, groups = pairs_of(7, 300)
    one = np.ones(300, int)
    found = verification_figures(same, scores, one, groups, bootstrap=FEW)
    assert found["accuracy"] == {
        "reason": "a threshold for each fold needs other folds to choose it on"
    }
    few = found["verification"]["tar_at_far"][0]
    assert few["reason"].startswith("a rate of 0.0001 needs at least 30000 impostor pairs")
    with pytest.raises(UserError, match="folds must be at least two, got 1"):
        fold_accuracy(same, scores, one)


@pytest.mark.plain
def test_folds_count_one_per_pair() -> None:
    same, scores, folds, _ = pairs_of(8)
    with pytest.raises(UserError, match="folds must be 200, one per pair"):
        fold_accuracy(same, scores, folds[:5])
