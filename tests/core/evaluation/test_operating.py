"""Operating points against exhaustive search, published intervals and a literal bootstrap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import UserError
from likeness.evaluation.operating import (
    NO_THRESHOLD,
    Counts,
    at_threshold,
    count,
    operating_points,
    proportion_interval,
    threshold_at,
)
from likeness.evaluation.resampling import Bootstrap

SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
TRUTH = np.array([0, 0, 0, 1, 0, 1, 1, 1])


def test_thresholds_lie_half_way():
    assert threshold_at(TRUTH, SCORES, "sensitivity", 0.75) == pytest.approx(0.55)
    assert threshold_at(TRUTH, SCORES, "sensitivity", 0.76) == pytest.approx(0.35)
    assert threshold_at(TRUTH, SCORES, "specificity", 0.75) == pytest.approx(0.35)
    assert threshold_at(TRUTH, SCORES, "specificity", 0.76) == pytest.approx(0.55)


def test_the_ends():
    """Everything must be positive; nothing may be."""
    assert threshold_at(1 - TRUTH, SCORES, "sensitivity", 1.0) == SCORES[0]
    assert threshold_at(1 - TRUTH, SCORES, "specificity", 1.0) == np.inf
    assert threshold_at(TRUTH, np.full(8, 0.5), "sensitivity", 0.8) == 0.5
    assert threshold_at(TRUTH, np.full(8, 0.5), "specificity", 0.8) == np.inf


def test_neighbouring_floats_leave_no_middle():
    above = np.nextafter(0.5, 1)
    assert threshold_at(np.array([0, 1]), np.array([0.5, above]), "sensitivity", 1.0) == above


def test_an_aim_that_is_a_whole_number_of_items_is_met_exactly():
    """0.95 x 20 is 19 items, though 0.95 * 20 need not be 19.0 in floats."""
    truth, scores = np.ones(20, int), np.arange(20.0)
    for aim, called in ((0.95, 19), (0.7, 14), (0.55, 11), (0.15, 3)):
        threshold = threshold_at(truth, scores, "sensitivity", aim)
        assert (scores >= threshold).sum() == called


@settings(max_examples=80)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=25),
    st.sampled_from([0.5, 0.8, 0.9, 0.95, 1.0]),
    st.sampled_from(["sensitivity", "specificity"]),
)
def test_no_other_threshold_is_better(items, aim, fixed):
    truth = np.array([item[0] for item in items])
    scores = np.array([float(item[1]) for item in items])
    counted = truth if fixed == "sensitivity" else ~truth
    threshold = threshold_at(truth, scores, fixed, aim)
    if not counted.any():
        assert np.isnan(threshold)
        return

    def pair(threshold):
        called = scores >= threshold
        right = called if fixed == "sensitivity" else ~called
        other = (called == truth)[~counted].sum()
        return right[counted].sum() / counted.sum() >= aim - 1e-9, other, called.sum()

    good, other, called = pair(threshold)
    assert good
    for candidate in [*np.unique(scores), np.inf]:
        reaches, rival, more = pair(candidate)
        assert not reaches or rival <= other
        if reaches:  # the fewest calls that reach a sensitivity, the most that keep a specificity
            assert more >= called if fixed == "sensitivity" else more <= called


def test_thresholds_come_from_validation_and_counts_from_test():
    validation = TRUTH, SCORES
    truth, scores = np.array([1, 1, 0, 0, 0]), np.array([0.54, 0.56, 0.55, 0.2, 0.9])
    points = operating_points(*validation, truth, scores, aims=(0.75,))
    held = {point.fixed: point for point in points}
    sensitivity = held["sensitivity"]
    assert sensitivity.threshold == pytest.approx(0.55)
    assert sensitivity.validation == Counts(tp=3, fp=0, tn=4, fn=1)
    assert sensitivity.counts == Counts(tp=1, fp=2, tn=1, fn=1)
    assert (sensitivity.sensitivity.value, sensitivity.sensitivity.hits) == (0.5, 1)
    assert sensitivity.specificity.value == pytest.approx(1 / 3)
    assert sensitivity.balanced_accuracy == pytest.approx((0.5 + 1 / 3) / 2)
    assert sensitivity.f1 == pytest.approx(2 / (2 + 2 + 1))
    assert sensitivity.sensitivity.group_low is None
    assert held["specificity"].validation == Counts(tp=4, fp=1, tn=3, fn=0)
    assert held["specificity"].counts == Counts(tp=2, fp=2, tn=1, fn=0)


def test_all_aims_in_both_directions():
    points = operating_points(TRUTH, SCORES, TRUTH, SCORES)
    assert [(point.fixed, point.aim) for point in points] == [
        (fixed, aim) for fixed in ("sensitivity", "specificity") for aim in (0.8, 0.9, 0.95)
    ]
    assert points[0].as_dict()["counts"] == {"tp": 4, "fp": 1, "tn": 3, "fn": 0}


def test_intervals_equal_published_ones():
    """81 of 263: the worked example of Newcombe 1998, table I."""
    assert proportion_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    exact = proportion_interval(81, 263, method="exact")
    assert exact == pytest.approx((0.2527, 0.3676), abs=5e-5)
    assert proportion_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert proportion_interval(0, 20, method="exact") == pytest.approx((0.0, 0.1684), abs=5e-5)
    assert np.isnan(proportion_interval(0, 0)).all()


def test_group_interval_is_a_literal_bootstrap():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(30), 2)
    truth, scores = rng.random(60) < 0.5, rng.random(60)
    found = at_threshold(truth, scores, 0.4, patient, bootstrap=Bootstrap(300, seed=5))
    drawn = np.random.default_rng(5).integers(30, size=(300, 30))
    shares = []
    for draw in drawn:
        rows = np.concatenate([[2 * p, 2 * p + 1] for p in draw])
        positive = rows[truth[rows]]
        shares.append((scores[positive] >= 0.4).mean())
    ends = tuple(np.quantile(shares, [0.025, 0.975]))
    assert (found.sensitivity.group_low, found.sensitivity.group_high) == pytest.approx(ends)
    wilson = proportion_interval(found.sensitivity.hits, found.sensitivity.total)
    assert (found.sensitivity.low, found.sensitivity.high) == wilson


def test_undefined_cases_say_why():
    scores = np.array([0.2, 0.8])
    points = operating_points(np.zeros(2, int), scores, np.array([0, 1]), scores, aims=(0.9,))
    held, kept = points
    assert held.reason == "no positive items among the validation items"
    assert np.isnan([held.threshold, held.sensitivity.value, held.balanced_accuracy, held.f1]).all()
    assert (held.counts, held.validation) == (None, None)
    assert held.sensitivity.reason == NO_THRESHOLD
    assert (kept.threshold, kept.counts) == (np.inf, Counts(tp=0, fp=0, tn=1, fn=1))
    healthy = at_threshold(np.zeros(2, int), scores, 0.5, np.arange(2))
    assert np.isnan([healthy.sensitivity.value, healthy.sensitivity.low]).all()
    assert np.isnan([healthy.sensitivity.group_low, healthy.balanced_accuracy]).all()
    assert healthy.sensitivity.reason == "no positive items"
    assert (healthy.specificity.value, healthy.specificity.reason) == (0.5, "")
    silent = at_threshold(np.zeros(2, int), scores, np.inf)
    assert np.isnan(silent.f1)


def test_order_and_repetition():
    order = np.array([5, 0, 3, 7, 1, 2, 6, 4])
    for fixed in ("sensitivity", "specificity"):
        first = threshold_at(TRUTH, SCORES, fixed, 0.8)
        assert threshold_at(TRUTH[order], SCORES[order], fixed, 0.8) == first
        assert threshold_at(np.tile(TRUTH, 3), np.tile(SCORES, 3), fixed, 0.8) == first
    once, thrice = count(TRUTH, SCORES, 0.5), count(np.tile(TRUTH, 3), np.tile(SCORES, 3), 0.5)
    assert Counts(3 * once.tp, 3 * once.fp, 3 * once.tn, 3 * once.fn) == thrice


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"^aim must be above 0 and at most 1, got 90"):
        threshold_at(TRUTH, SCORES, "sensitivity", 90.0)
    with pytest.raises(UserError, match=r"^aim must be"):
        threshold_at(TRUTH, SCORES, "specificity", 0.0)
