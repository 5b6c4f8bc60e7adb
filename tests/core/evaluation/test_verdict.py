"""Same, different, unknown: thresholds against exhaustive search, probabilities against Bayes."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from likeness.errors import UserError
from likeness.evaluation.pair_scores import count_scores
from likeness.evaluation.resampling import Bootstrap
from likeness.evaluation.verdict import (
    calibrate,
    thresholds_at,
    verdict_rates,
    verdicts_from,
)

FEW = Bootstrap(replicates=60, seed=3)


def drawn(seed, genuine=300, impostor=2000, shift=2.0, digits=2):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(shift, 1, genuine), rng.normal(0, 1, impostor)])
    same = np.arange(genuine + impostor) < genuine
    return same, np.round(scores, digits), rng.integers(0, 20, len(scores))


def calibrated(same, scores, groups=None, far=0.01, frr=0.05, prior=0.5, **options):
    pairs = count_scores(same, scores, groups)
    return calibrate(
        pairs, false_accept_rate=far, false_reject_rate=frr, prior=prior, bootstrap=FEW, **options
    )


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.1, 0.4]), st.sampled_from([0.05, 0.2]))
def test_no_other_thresholds_decide_more(seed, far, frr):
    same, scores, _ = drawn(seed, 60, 60, shift=1.0, digits=1)
    found = calibrated(same, scores, far=far, frr=frr)
    levels = [-np.inf, *np.unique(scores), np.inf]
    accepting = [t for t in levels if (scores[~same] >= t).sum() <= far * 60 + 1e-9]
    rejecting = [t for t in levels if (scores[same] < t).sum() <= frr * 60 + 1e-9]
    assert found.same_from == max(min(accepting), max(rejecting))
    below = min(min(accepting), max(rejecting))
    assert ((scores < found.different_below) == (scores < below)).all()
    verdicts = found.decide(scores)
    assert (verdicts[~same] == "same").mean() <= far + 1e-9
    assert (verdicts[same] == "different").mean() <= frr + 1e-9


def test_unknown_is_the_default():
    same, scores, _ = drawn(0)
    found = calibrated(same, scores)
    assert found.different_below < found.same_from
    middle = (found.different_below + found.same_from) / 2
    asked = np.array([np.nan, np.inf, -np.inf, middle, found.same_from, found.different_below])
    verdicts = found.decide(asked).tolist()
    assert verdicts == ["unknown"] * 4 + ["same", "unknown"]
    assert found.decide(np.array([found.different_below - 0.01])).tolist() == ["different"]


def test_what_lies_between_kinds_far_apart_is_unknown():
    scores = np.concatenate([np.linspace(10, 11, 200), np.linspace(0, 1, 2000)])
    found = calibrated(np.arange(2200) < 200, scores)
    assert found.decide(np.array([0.5, 0.999, 5.0, 10.0, 10.5, 10.9])).tolist() == (
        ["different", "unknown", "unknown", "unknown", "same", "same"]
    )


def test_constant_scores_tell_nothing_apart():
    found = calibrated(np.arange(1000) < 300, np.ones(1000))
    assert found.same_from == np.inf
    # Below all that was seen no genuine pair lies; at it or above nothing tells the kinds apart.
    asked = np.array([0.0, 1.0, 2.0])
    assert found.decide(asked).tolist() == ["different", "unknown", "unknown"]
    assert found.validation["impostor_same"]["value"] == 0.0
    np.testing.assert_allclose(found.probability(np.array([1.0])), 0.5, atol=0.01)


def test_probabilities_of_gaussian_scores():
    """Unit Gaussians 2 apart: the log-likelihood ratio is 2 s - 2."""
    quantiles = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    same = np.repeat([True, False], 20_000)
    found = calibrated(same, np.append(quantiles + 2, quantiles))
    asked = np.linspace(-1, 3, 30)
    for prior in (0.5, 0.01):
        odds = prior / (1 - prior) * np.exp(2 * asked - 2)
        expected = odds / (1 + odds)
        answer = found.probability(asked, prior)
        np.testing.assert_allclose(np.log(answer / (1 - answer)), np.log(odds), atol=0.25)
        np.testing.assert_allclose(answer, expected, atol=0.03)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(-3, 3))
def test_probabilities_rise_with_the_score_and_are_never_certain(seed, shift):
    same, scores, _ = drawn(seed, 60, 300, shift, digits=1)
    found = calibrated(same, scores, far=0.05)
    answer = found.probability(np.linspace(-20, 20, 500))
    assert (np.diff(answer) >= -1e-12).all()
    # One pair in 61 against the 300 of the other kind is the strongest evidence there can be.
    assert answer[0] >= 1 / (1 + 61) - 1e-9
    assert answer[-1] <= 1 - 1 / (1 + 301) + 1e-9
    assert np.isnan(found.probability(np.array([np.nan])))[0]


def test_the_share_of_genuine_pairs_in_validation_is_not_the_prior():
    """Ten times the impostors, the same likelihoods: the same probability at the same prior."""
    quantiles = norm.ppf((np.arange(2000) + 0.5) / 2000)
    few = calibrated(np.repeat([True, False], 2000), np.append(quantiles + 1, quantiles))
    many = np.concatenate([quantiles + 1, np.repeat(quantiles, 10)])
    more = calibrated(np.arange(len(many)) < 2000, many)
    asked = np.linspace(-1, 2, 20)
    np.testing.assert_allclose(few.probability(asked), more.probability(asked), atol=0.02)
    assert few.probability(asked, 0.001).max() < 0.05
    np.testing.assert_allclose(few.probability(asked), few.probability(asked, few.prior))


def test_rates_of_other_pairs_by_a_loop_over_identities():
    same, scores, groups = drawn(1)
    found = calibrated(same, scores, groups)
    thresholds = np.unique([*np.linspace(-5, 5, 20), found.same_from, found.different_below])
    new_same, new_scores, new_groups = drawn(2, 100, 400)
    pairs = count_scores(new_same, new_scores, new_groups, thresholds)
    rates = verdict_rates(pairs, found, FEW)
    verdicts = found.decide(new_scores)
    names, rng = np.unique(new_groups), np.random.default_rng(FEW.seed)
    drawn_groups = rng.integers(len(names), size=(FEW.replicates, len(names)))
    assert len(rates) == 6
    for name, value in rates.items():
        kind, verdict = name.split("_")
        counted = new_same if kind == "genuine" else ~new_same
        hit = verdicts == verdict
        assert value.count == counted.sum()
        assert value.value == pytest.approx(hit[counted].mean())
        shares = []
        for picked in drawn_groups:
            items = np.concatenate([np.flatnonzero(new_groups == names[g]) for g in picked])
            shares.append(hit[items][counted[items]].mean())
        expected = np.quantile(shares, [0.025, 0.975])
        np.testing.assert_allclose([value.low, value.high], expected)


def test_validation_rates_and_counts_are_kept():
    same, scores, groups = drawn(3)
    found = calibrated(same, scores, groups)
    assert (found.genuine_pairs, found.impostor_pairs, found.groups) == (300, 2000, 20)
    assert found.validation["impostor_same"]["value"] <= 0.01
    assert found.validation["genuine_different"]["value"] <= 0.05
    assert found.validation["impostor_same"]["low"] is not None
    verdicts = found.decide(scores)
    assert found.validation["genuine_unknown"]["value"] == (verdicts[same] == "unknown").mean()
    alone = calibrated(same, scores)
    assert alone.validation["impostor_same"]["low"] is None
    assert (alone.same_from, alone.evidence) == (found.same_from, found.evidence)


def test_through_json_and_back():
    same, scores, groups = drawn(4)
    for found in (
        calibrated(same, scores, groups),
        calibrated(np.arange(1000) < 300, np.ones(1000)),
        dataclasses.replace(calibrated(same, scores), different_below=-np.inf, validation={}),
    ):
        text = json.dumps(found.as_dict(), allow_nan=False)
        again = verdicts_from(json.loads(text))
        assert again == found
        np.testing.assert_array_equal(again.decide(scores), found.decide(scores))


@pytest.mark.plain
def test_refusals():
    same, scores, _ = drawn(5, 40, 300)
    rule = r"^false_accept_rate must be at least 0\.01: with 300 impostor pairs no smaller rate can"
    with pytest.raises(UserError, match=rule):
        calibrated(same, scores, far=0.001, frr=0.1)
    rule = r"^false_reject_rate must be at least 0\.075: with 40 genuine pairs"
    with pytest.raises(UserError, match=rule):
        calibrated(same, scores, far=0.01, frr=0.05)
    with pytest.raises(
        UserError, match=r"^false_accept_rate must be left until there are impostor"
    ):
        calibrated(np.ones(50), np.arange(50.0))
    with pytest.raises(UserError, match=r"^prior must be between 0 and 1, got 0"):
        calibrated(same, scores, far=0.01, frr=0.1, prior=0.0)
    found = calibrated(same, scores, far=0.01, frr=0.1)
    with pytest.raises(UserError, match=r"^prior must be between 0 and 1, got 1"):
        found.probability(scores, 1.0)
    other = count_scores(same, scores, None, np.array([-9.0, 9.0]))
    with pytest.raises(UserError, match=r"^pairs must be counted at the threshold .* as well"):
        verdict_rates(other, found)
    with pytest.raises(UserError, match=r"^verdicts must be a table with exactly"):
        verdicts_from({"same_from": 1.0})


def test_points_are_those_of_a_calibration_at_each_rate():
    same, scores, groups = drawn(4)
    pairs = count_scores(same, scores, groups)
    rates = (0.5, 0.1, 0.01, 0.0015, 0.001)
    points = thresholds_at(pairs, rates, false_reject_rate=0.05)
    assert [point["false_accept_rate"] for point in points] == [0.5, 0.1, 0.01, 0.0015]  # 3 / rate
    default = calibrated(same, scores, groups)
    assert json.loads(json.dumps(points)) == points
    for point in points:
        expected = calibrated(same, scores, groups, far=point["false_accept_rate"])
        asked = default.at(point)
        assert asked == dataclasses.replace(expected, validation={})
        assert (asked.decide(scores)[~same] == "same").mean() <= point["false_accept_rate"]


def test_a_point_that_is_never_reached_is_none_and_stays_unknown():
    pairs = count_scores(np.arange(1000) < 300, np.ones(1000))
    (point,) = thresholds_at(pairs, [0.1], false_reject_rate=0.05)
    assert point == {"false_accept_rate": 0.1, "same_from": None, "different_below": 1.0}
    default = calibrated(np.arange(1000) < 300, np.ones(1000))
    assert default.at(point).decide(np.array([1.0, 5.0])).tolist() == ["unknown"] * 2
