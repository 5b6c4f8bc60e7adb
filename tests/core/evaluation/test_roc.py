"""ROC curve, areas and average precision against scikit-learn, loops and closed forms."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from likeness.errors import UserError
from likeness.evaluation.roc import (
    auc_sens_floor,
    average_precision,
    pauc_above_tpr,
    prevalence,
    roc_auc,
    roc_curve,
)


def tied(seed, count=60):
    """Truth with both classes and scores of few levels, hence many ties."""
    rng = np.random.default_rng(seed)
    truth = rng.random(count) < 0.4
    truth[:2] = True, False
    return truth, np.round(rng.random(count) + 0.3 * truth, 1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weighted", [False, True])
def test_curve_and_areas_equal_scikit_learn(seed, weighted):
    truth, scores = tied(seed)
    weights = np.random.default_rng(seed).random(len(truth)) * 3 if weighted else None
    theirs = metrics.roc_curve(truth, scores, sample_weight=weights, drop_intermediate=False)
    curve = roc_curve(truth, scores, weights)
    for ours, other in zip((curve.fpr_T, curve.tpr_T, curve.threshold_T), theirs, strict=True):
        np.testing.assert_allclose(ours, other, atol=1e-12)
    assert roc_auc(truth, scores, weights) == pytest.approx(
        metrics.roc_auc_score(truth, scores, sample_weight=weights)
    )
    assert average_precision(truth, scores, weights) == pytest.approx(
        metrics.average_precision_score(truth, scores, sample_weight=weights)
    )


def test_auc_is_the_chance_that_a_positive_outscores_a_negative():
    truth, scores = tied(9)
    pairs = list(itertools.product(scores[truth], scores[~truth]))
    chance = sum((p > n) + 0.5 * (p == n) for p, n in pairs) / len(pairs)
    assert roc_auc(truth, scores) == pytest.approx(chance)


def height(curve, at):
    """TPR of the curve at an FPR that is no point of it."""
    last = int(np.flatnonzero(curve.fpr_T < at)[-1])
    share = (at - curve.fpr_T[last]) / (curve.fpr_T[last + 1] - curve.fpr_T[last])
    return curve.tpr_T[last] + share * (curve.tpr_T[last + 1] - curve.tpr_T[last])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("floor", [0.37, 0.8, 0.88])
def test_partial_areas_equal_a_fine_sum(seed, floor):
    """Both definitions as sums over 20,000 thin strips of the FPR axis."""
    truth, scores = tied(seed, 40)
    curve = roc_curve(truth, scores)
    middles = (np.arange(20_000) + 0.5) / 20_000
    heights = np.array([height(curve, at) for at in middles])
    above = heights >= floor
    assert pauc_above_tpr(truth, scores, floor) == pytest.approx(
        (heights - floor)[above].sum() / 20_000, abs=1e-4
    )
    assert auc_sens_floor(truth, scores, floor) == pytest.approx(
        heights[above].sum() / 20_000, abs=1e-4
    )


@pytest.mark.parametrize("seed", range(4))
def test_pauc_above_tpr_is_scikit_learns_area_of_the_turned_curve(seed):
    """Swap classes and signs: TPR >= floor becomes FPR <= 1 - floor."""
    truth, scores = tied(seed)
    fpr, tpr, _ = metrics.roc_curve(~truth, -scores, drop_intermediate=False)
    stop = 1 - 0.8
    keep = fpr <= stop
    x = np.append(fpr[keep], stop)
    after = int(keep.sum())
    y = np.append(
        tpr[keep], np.interp(stop, fpr[after - 1 : after + 1], tpr[after - 1 : after + 1])
    )
    assert pauc_above_tpr(truth, scores, 0.8) == pytest.approx(metrics.auc(x, y))


def test_the_two_partial_areas_are_different_numbers():
    """Golden: perfect and constant scores at the floors of 80 and 88 %."""
    truth = np.array([0, 0, 1, 1])
    perfect, constant = np.array([0.2, 0.4, 0.6, 0.8]), np.full(4, 0.5)
    assert auc_sens_floor(truth, perfect, 0.8) == pytest.approx(1.0)
    assert auc_sens_floor(truth, constant, 0.8) == pytest.approx(0.18)
    assert pauc_above_tpr(truth, perfect, 0.8) == pytest.approx(0.20)
    assert pauc_above_tpr(truth, constant, 0.8) == pytest.approx(0.02)
    assert pauc_above_tpr(truth, perfect, 0.88) == pytest.approx(0.12)
    wrong = 1 - perfect
    assert auc_sens_floor(truth, wrong, 0.8) == 0
    assert pauc_above_tpr(truth, wrong, 0.8) == 0


def test_a_level_piece_at_the_floor_counts_for_one_area_only():
    """4 of 5 positives first, then a negative, then the rest: TPR stays at exactly 0.8 a while."""
    truth = np.array([1, 1, 1, 1, 0, 1, 0])
    scores = np.arange(7, 0, -1.0)
    assert auc_sens_floor(truth, scores, 0.8) == pytest.approx(0.5 * 0.8 + 0.5 * 1)
    assert pauc_above_tpr(truth, scores, 0.8) == pytest.approx(0.5 * 0.2)


@pytest.mark.parametrize("truth", [[0, 0, 0], [1, 1, 1]])
def test_one_class_has_no_curve(truth):
    truth, scores = np.array(truth), np.array([0.1, 0.5, 0.5])
    assert np.isnan(roc_auc(truth, scores))
    assert np.isnan(auc_sens_floor(truth, scores, 0.8))
    assert np.isnan(pauc_above_tpr(truth, scores, 0.8))
    curve = roc_curve(truth, scores)
    rates = {1: (curve.fpr_T, curve.tpr_T), 0: (curve.tpr_T, curve.fpr_T)}[int(truth[0])]
    assert np.isnan(rates[0]).all()
    assert rates[1].tolist() == pytest.approx([0, 2 / 3, 1])
    precision = average_precision(truth, scores)
    assert precision == 1 if truth.all() else np.isnan(precision)


def test_constant_scores_are_chance():
    truth = np.array([1, 0, 0, 1, 0])
    assert roc_auc(truth, np.full(5, 3.0)) == 0.5
    assert average_precision(truth, np.full(5, 3.0)) == pytest.approx(prevalence(truth))
    assert prevalence(truth) == pytest.approx(0.4)
    assert prevalence(truth, np.array([2.0, 1, 1, 0, 0])) == pytest.approx(0.5)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 3)), min_size=1))
def test_weights_repeat_items_and_order_does_not_matter(items):
    truth = np.array([item[0] for item in items])
    scores = np.array([float(item[1]) for item in items])
    weights = np.array([float(item[2]) for item in items])
    again = np.repeat(np.arange(len(items)), weights.astype(int))
    shuffled = np.random.default_rng(0).permutation(again)

    def all_of(truth, scores, weights=None):
        areas = [roc_auc(truth, scores, weights), average_precision(truth, scores, weights)]
        partial = (auc_sens_floor, pauc_above_tpr)
        return areas + [area(truth, scores, 0.6, weights) for area in partial]

    weighted = all_of(truth, scores, weights)
    if len(again) == 0:
        assert np.isnan(weighted).all()
        return
    np.testing.assert_allclose(weighted, all_of(truth[again], scores[again]), atol=1e-12)
    np.testing.assert_allclose(weighted, all_of(truth[shuffled], scores[shuffled]), atol=1e-12)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2), st.floats(0.05, 0.95))
def test_bounds_and_the_bridge_between_the_partial_areas(items, floor):
    truth = np.array([item[0] for item in items])
    scores = np.array([float(item[1]) for item in items])
    if truth.all() or not truth.any():
        return
    above, from_floor = pauc_above_tpr(truth, scores, floor), auc_sens_floor(truth, scores, floor)
    assert 0 <= above <= 1 - floor + 1e-12
    assert above - 1e-12 <= from_floor <= roc_auc(truth, scores) + 1e-12
    # They differ by the rectangle under the floor: where does the curve reach it?
    curve = roc_curve(truth, scores)
    first = int(np.flatnonzero(curve.tpr_T >= floor)[0])
    start = np.interp(floor, curve.tpr_T[first - 1 : first + 1], curve.fpr_T[first - 1 : first + 1])
    assert from_floor - above == pytest.approx(floor * (1 - start))
    assert roc_auc(truth, -scores) == pytest.approx(1 - roc_auc(truth, scores))


def test_mistakes_are_named():
    truth, scores = np.array([0, 1]), np.array([0.1, 0.2])
    with pytest.raises(UserError, match=r"^truth must be 0 or 1 everywhere, got 2"):
        roc_auc(np.array([0, 2]), scores)
    with pytest.raises(UserError, match=r"^scores must be finite"):
        roc_auc(truth, np.array([0.1, np.nan]))
    with pytest.raises(UserError, match=r"^floor must be between 0 and 1, got 80"):
        auc_sens_floor(truth, scores, 80.0)
    with pytest.raises(UserError, match=r"^weights must be >= 0"):
        roc_auc(truth, scores, np.array([1.0, -1.0]))
    with pytest.raises(UserError, match=r"^truth must be one value per item"):
        roc_auc(np.array([]), np.array([]))
