"""Calibration against loops, torchmetrics and closed forms."""

import math
import os

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from likeness.errors import UserError
from likeness.evaluation.calibration import (
    apply_temperature,
    calibration,
    fit_temperature,
    fit_thresholds,
    reliability,
)

UNHOOKED = pytest.mark.skipif(os.environ.get("LIKENESS_PLAIN") != "1", reason="hook is on")


def logits_and_truth(seed=0, count=2000, classes=5, scale=1.0):
    """Labels drawn from the softmax of the logits: calibrated by construction at scale 1."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, classes)) * 2
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([rng.choice(classes, p=row) for row in chances])
    return logits * scale, truth


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def test_ece_equals_torchmetrics_and_a_loop():
    logits, truth = logits_and_truth(scale=2.0)
    chances = softmax(logits)
    result = calibration(chances, truth)
    theirs = multiclass_calibration_error(
        torch.from_numpy(chances), torch.from_numpy(truth), num_classes=5, n_bins=15, norm="l1"
    )
    assert result.values["ece"].value == pytest.approx(float(theirs), abs=1e-6)
    total = 0.0
    for b in range(15):
        inside = [i for i, row in enumerate(chances) if b / 15 < max(row) <= (b + 1) / 15]
        if inside:
            right = sum(chances[i].argmax() == truth[i] for i in inside) / len(inside)
            sure = sum(max(chances[i]) for i in inside) / len(inside)
            total += len(inside) / len(chances) * abs(right - sure)
            assert result.table.count_B[b] == len(inside)
            assert result.table.accuracy_B[b] == pytest.approx(right)
            assert result.table.confidence_B[b] == pytest.approx(sure)
        else:
            assert result.table.count_B[b] == 0
            assert math.isnan(result.table.accuracy_B[b])
    assert result.values["ece"].value == pytest.approx(total)


def test_brier_and_nll_equal_loops():
    logits, truth = logits_and_truth(1, 60)
    chances = softmax(logits)
    result = calibration(chances, truth)
    brier = [
        sum((row[c] - (c == t)) ** 2 for c in range(5))
        for row, t in zip(chances, truth, strict=True)
    ]
    nll = [-math.log(row[t]) for row, t in zip(chances, truth, strict=True)]
    np.testing.assert_allclose(result.per_item["brier"], brier)
    np.testing.assert_allclose(result.per_item["nll"], nll)
    assert result.values["brier"].value == pytest.approx(np.mean(brier))
    assert result.values["nll"].value == pytest.approx(np.mean(nll))
    assert result.values["nll"].count == 60


def test_closed_forms():
    sure_and_right = calibration(np.eye(4), np.arange(4)).values
    assert [sure_and_right[name].value for name in ("ece", "brier", "nll")] == [0, 0, 0]
    sure_and_wrong = calibration(np.eye(4), np.array([1, 2, 3, 0])).values
    assert sure_and_wrong["ece"].value == pytest.approx(1)
    assert sure_and_wrong["brier"].value == pytest.approx(2)
    assert sure_and_wrong["nll"].value == pytest.approx(-math.log(2.2250738585072014e-308))
    flat = calibration(np.full((8, 4), 0.25), np.array([0, 1, 2, 3] * 2)).values
    assert flat["ece"].value == pytest.approx(0)  # one item in four is right, as stated
    assert flat["brier"].value == pytest.approx(0.75)
    assert flat["nll"].value == pytest.approx(math.log(4))


def test_an_edge_belongs_to_the_bin_below():
    table = reliability(np.array([0.0, 0.5, 0.5000001, 1.0]), np.ones(4, bool), bins=2)
    assert table.count_B.tolist() == [2, 2]
    np.testing.assert_array_equal(table.low_B, [0, 0.5])
    np.testing.assert_array_equal(table.high_B, [0.5, 1])


@pytest.mark.parametrize("scale", [0.25, 1.0, 4.0])
def test_temperature_undoes_a_scale(scale):
    logits, truth = logits_and_truth(2, 6000, scale=scale)
    found = fit_temperature(logits, truth)
    assert found.value == pytest.approx(scale, rel=0.06)
    assert not found.at_bound
    assert found.nll_after <= found.nll_before
    # The derivative vanishes: E[logit of the truth] = E[expected logit].
    chances = apply_temperature(logits, found.value)
    slope = (logits[np.arange(6000), truth] - (chances * logits).sum(1)).mean()
    assert slope == pytest.approx(0, abs=1e-4 * scale)
    nll = calibration(chances, truth).values["nll"].value
    assert nll == pytest.approx(found.nll_after)


def test_temperature_is_scale_equivariant_and_ignores_shifts():
    logits, truth = logits_and_truth(3, 500)
    found = fit_temperature(logits, truth).value
    assert fit_temperature(logits * 7, truth).value == pytest.approx(7 * found, rel=1e-5)
    shifted = logits + np.random.default_rng(0).normal(size=(500, 1)) * 100
    assert fit_temperature(shifted, truth).value == pytest.approx(found, rel=1e-5)


def test_temperature_at_its_bounds_says_so():
    separable = np.eye(3)[[0, 1, 2]] * 5
    cold = fit_temperature(separable, np.array([0, 1, 2]))
    assert cold.at_bound
    assert cold.value < 0.01
    hot = fit_temperature(separable, np.array([1, 2, 0]))
    assert hot.at_bound
    assert hot.value > 100
    flat = fit_temperature(np.ones((5, 3)), np.zeros(5, int))
    assert (flat.value, flat.at_bound) == (1.0, False)


def test_mistakes_are_refused():
    chances = np.full((4, 2), 0.5)
    with pytest.raises(UserError, match=r"^truth must be between 0 and 1, got 2"):
        calibration(chances, np.array([0, 1, 2, 0]))
    for wrong in (np.nan, -0.1, 0.7):
        broken = chances.copy()
        broken[2, 0] = wrong
        with pytest.raises(UserError, match=r"^probabilities must be in \[0, 1\] .*got 'row 2'"):
            calibration(broken, np.zeros(4, int))
    with pytest.raises(UserError, match=r"^bins must be >= 1, got 0"):
        calibration(chances, np.zeros(4, int), bins=0)
    with pytest.raises(UserError, match=r"^logits must be finite"):
        fit_temperature(chances * np.inf, np.zeros(4, int))
    with pytest.raises(UserError, match=r"^temperature must be > 0, got nan"):
        apply_temperature(chances, math.nan)


@pytest.mark.plain
@UNHOOKED
def test_shapes_are_refused_in_words():
    with pytest.raises(UserError, match=r"^truth must be 4 class numbers, got \(3,\)"):
        calibration(np.full((4, 2), 0.5), np.zeros(3, int))
    with pytest.raises(UserError, match=r"^probabilities must be a 2-D array"):
        calibration(np.full(4, 0.5), np.zeros(4, int))


def f1_of(scores, truth, threshold):
    predicted = scores >= threshold
    right = int((predicted & (truth > 0)).sum())
    return 2 * right / (int(predicted.sum()) + int(truth.sum()))


@pytest.mark.parametrize("decimals", [1, 9])
def test_thresholds_have_the_largest_f1_of_all(decimals):
    rng = np.random.default_rng(0)
    truth = (rng.random((60, 6)) < [0.5, 0.3, 0.1, 0.02, 0.9, 0.5]).astype(int)
    truth[0] = 1
    scores = np.round(0.3 * truth + 0.7 * rng.random(truth.shape), decimals)
    found = fit_thresholds(scores, truth)
    for label, threshold in enumerate(found):
        column, wanted = scores[:, label], truth[:, label]
        every = np.concatenate([np.unique(column), np.linspace(0, 1, 101)])
        best = max(f1_of(column, wanted, t) for t in every)
        assert f1_of(column, wanted, threshold) == pytest.approx(best)
        assert threshold not in column  # half-way between two scores


def test_thresholds_by_hand():
    scores = np.array([[0.9, 0.9, 0.2, 0.3], [0.8, 0.1, 0.2, 0.4], [0.3, 0.1, 0.2, 0.0]])
    truth = np.array([[1, 0, 1, 1], [1, 0, 0, 1], [0, 0, 0, 1]], bool)
    assert fit_thresholds(scores, truth).tolist() == pytest.approx(
        [
            (0.8 + 0.3) / 2,  # parts them
            0.5,  # no true item
            0.1,  # one score: half-way to 0
            0.0,  # all are true, the lowest score is 0
        ]
    )


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.7, 0.5, 0.3, 0.2, 0.1], 0.6),  # or 0.15
        ([0.95, 0.9, 0.8, 0.5, 0.3], 0.4),  # or 0.925
        ([0.9, 0.6, 0.55, 0.4, 0.1], 0.75),  # or 0.25, as near: the higher
    ],
)
def test_of_equally_good_thresholds_the_nearest_to_a_half_is_taken(scores, expected):
    """The first item alone and the first four together both have F1 2/3."""
    truth = np.array([[1], [0], [0], [1], [0]])
    assert fit_thresholds(np.array(scores)[:, None], truth).tolist() == pytest.approx([expected])


def test_neighbouring_numbers_have_no_middle():
    low = np.float64(0.5)
    high = np.nextafter(low, 1)
    found = fit_thresholds(np.array([[high], [low]]), np.array([[1], [0]]))
    assert found.tolist() == [high]


def test_bad_scores_have_no_thresholds():
    truth = np.ones((2, 2), bool)
    with pytest.raises(UserError, match=r"^scores must be in \[0, 1\]"):
        fit_thresholds(np.full((2, 2), np.nan), truth)
    with pytest.raises(UserError, match=r"^truth must be 0 or 1 everywhere"):
        fit_thresholds(np.ones((2, 2)), truth * 3)
    with pytest.raises(UserError, match=r"^scores must be a table"):
        fit_thresholds(np.ones((0, 2)), truth[:0])
