"""TPR@FPR and DIR@FAR against loops, closed forms and a literal bootstrap."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_curve

from likeness.errors import UserError
from likeness.evaluation.open_set import (
    enough_trials,
    enrolled_rows,
    identification,
    identification_curve,
    verification,
    verification_curve,
)
from likeness.evaluation.pair_scores import count_scores, score_grid
from likeness.evaluation.resampling import Bootstrap
from likeness.files import finite

FEW = Bootstrap(replicates=60, seed=3)


def best_rate(false_scores, true_scores, total, aim):
    """(largest share of true ones, its threshold) over all thresholds that keep the aim."""
    best = (0.0, np.inf)
    for threshold in {*false_scores, *true_scores}:
        wrong = sum(score >= threshold for score in false_scores)
        if wrong <= aim * len(false_scores) + 1e-9:
            rate = sum(score >= threshold for score in true_scores) / total
            best = max(best, (rate, threshold), key=lambda pair: (pair[0], -pair[1]))
    return best


def pairs_of(seed, genuine=60, impostor=400, levels=None):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(1.5, 1, genuine), rng.normal(0, 1, impostor)])
    same = np.arange(genuine + impostor) < genuine
    scores = scores if levels is None else np.round(scores * levels)
    return same, scores, rng.integers(0, 12, len(scores))


@settings(max_examples=40)
@given(
    st.integers(0, 10_000), st.sampled_from([0.05, 0.1, 0.3, 0.5]), st.sampled_from([1, 3, None])
)
def test_tpr_at_fpr_is_the_best_of_all_thresholds(seed, aim, levels):
    same, scores, _ = pairs_of(seed, 20, 60, levels)
    (point,) = verification(count_scores(same, scores), [aim])
    rate, _ = best_rate(scores[~same].tolist(), scores[same].tolist(), 20, aim)
    assert point.true_rate.value == pytest.approx(rate)
    assert point.true_rate.count == 20
    assert point.false_rate.value == (scores[~same] >= point.threshold).mean() <= aim + 1e-12
    assert (scores[same] >= point.threshold).mean() == point.true_rate.value
    assert point.true_rate.low is None  # one group: no interval


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("aim", [0.001, 0.01, 0.1])
def test_gaussian_scores(shift, aim):
    """Unit Gaussians `shift` apart: TPR = Phi(shift - z(1 - FPR))."""
    quantiles = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    same = np.repeat([True, False], 20_000)
    pairs = count_scores(same, np.concatenate([quantiles + shift, quantiles]))
    (point,) = verification(pairs, [aim])
    # At this size the next impostor is 1 / 20,000 away.
    low, high = (norm.cdf(shift - norm.ppf(1 - rate)) for rate in (aim, aim + 1 / 20_000))
    assert low - 1e-4 <= point.true_rate.value <= high + 1e-4
    on_a_grid = count_scores(same, np.append(quantiles + shift, quantiles), None, GRID)
    (coarse,) = verification(on_a_grid, [aim])
    assert coarse.false_rate.value <= aim  # a threshold of the grid, on the safe side
    assert point.true_rate.value - 2e-3 <= coarse.true_rate.value <= point.true_rate.value


GRID = np.linspace(-6, 8, 4097)


def test_a_share_that_is_a_whole_number_of_pairs_is_used_up():
    """0.07 x 100 is 7 pairs, though it is not 7.0 in floats."""
    scores = np.append(np.arange(100.0), 93.0)
    (point,) = verification(count_scores(np.arange(101) == 100, scores), [0.07])
    assert point.false_rate.value == 0.07
    assert point.true_rate.value == 1.0


def test_too_few_impostors_say_so():
    same, scores, groups = pairs_of(0, 60, 300)
    (point,) = verification(count_scores(same, scores, groups), [0.001])
    assert point.reason == (
        "a rate of 0.001 needs at least 3000 impostor pairs (rule of three), got 300"
    )
    assert np.isnan(point.true_rate.value)
    assert np.isnan(point.threshold)
    assert point.true_rate.skipped == {point.reason: 60}
    assert verification(count_scores(same, scores), [0.01])[0].reason == ""
    assert verification(count_scores(same, scores), [0.0099])[0].reason != ""


def test_one_kind_alone():
    (point,) = verification(count_scores(np.zeros(500), np.arange(500.0)), [0.1])
    assert point.reason == "there are no genuine pairs"
    (point,) = verification(count_scores(np.ones(500), np.arange(500.0)), [0.1])
    assert point.reason.endswith("got 0")


def test_constant_scores_accept_nobody():
    same = np.arange(1000) < 100
    (point,) = verification(count_scores(same, np.zeros(1000)), [0.1])
    assert point.threshold == np.inf
    assert point.true_rate.value == 0.0
    assert json.dumps(finite(point.as_dict()))


def test_the_curve_is_that_of_another_library():
    same, scores, groups = pairs_of(5, levels=2)
    curve = verification_curve(count_scores(same, scores, groups))
    fpr, tpr, thresholds = roc_curve(same, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.fpr_T, fpr)
    np.testing.assert_allclose(curve.tpr_T, tpr)
    np.testing.assert_allclose(curve.threshold_T, thresholds)


def literal_interval(groups, of_items, bootstrap):
    """Percentiles of a statistic over drawn groups, one replicate after the other."""
    rng = np.random.default_rng(bootstrap.seed)
    names = np.unique(groups)
    values = []
    for picked in rng.integers(len(names), size=(bootstrap.replicates, len(names))):
        items = np.concatenate([np.flatnonzero(groups == names[index]) for index in picked])
        values.append(of_items(items))
    return np.nanquantile(np.array(values, float), [0.025, 0.975])


def test_intervals_are_those_of_drawn_identities():
    same, scores, groups = pairs_of(6, 30, 90)

    def rate(items):
        chosen, kind = scores[items], same[items]
        return best_rate(chosen[~kind].tolist(), chosen[kind].tolist(), kind.sum(), 0.1)[0]

    (point,) = verification(count_scores(same, scores, groups), [0.1], FEW)
    expected = literal_interval(groups, rate, FEW)
    np.testing.assert_allclose([point.true_rate.low, point.true_rate.high], expected)


def test_neither_order_nor_names_of_identities_matter():
    same, scores, groups = pairs_of(7)
    order = np.random.default_rng(0).permutation(len(same))
    renamed = np.array([f"id {group:03d}" for group in groups])
    expected = verification(count_scores(same, scores, groups), [0.1], FEW)
    assert verification(count_scores(same[order], scores[order], renamed[order]), [0.1], FEW) == (
        expected
    )
    # What they are called decides which is drawn when, no more.
    other = (groups * 5) % 12
    (point,) = verification(count_scores(same, scores, other), [0.1], Bootstrap(2000))
    (wanted,) = verification(count_scores(same, scores, groups), [0.1], Bootstrap(2000))
    assert point.true_rate.low == pytest.approx(wanted.true_rate.low, abs=0.05)
    assert point.true_rate.high == pytest.approx(wanted.true_rate.high, abs=0.05)


def probes_of(seed, count=90):
    rng = np.random.default_rng(seed)
    enrolled = rng.random(count) < 0.5
    right = enrolled & (rng.random(count) < 0.8)
    scores = np.round(rng.normal(right * 1.5, 1), 1)
    return scores, right, enrolled, rng.integers(0, 15, count)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.25, 0.5]))
def test_dir_at_far_against_a_loop(seed, aim):
    scores, right, enrolled, _ = probes_of(seed)
    (point,) = identification(scores, right, enrolled, aims=[aim])
    strangers = scores[~enrolled].tolist()
    rate, _ = best_rate(strangers, scores[right].tolist(), enrolled.sum(), aim)
    assert point.true_rate.value == pytest.approx(rate)
    assert point.true_rate.count == enrolled.sum()
    assert point.false_rate.count == len(strangers)
    found = right & (scores >= point.threshold)
    assert found.sum() / enrolled.sum() == pytest.approx(point.true_rate.value)


def test_dir_intervals_and_curve():
    scores, right, enrolled, groups = probes_of(3)

    def rate(items):
        known = enrolled[items]
        strangers = scores[items][~known].tolist()
        if not known.any() or not strangers:
            return np.nan
        found = scores[items][right[items]].tolist()
        return best_rate(strangers, found, known.sum(), 0.2)[0]

    (point,) = identification(scores, right, enrolled, groups, aims=[0.2], bootstrap=FEW)
    expected = literal_interval(groups, rate, FEW)
    np.testing.assert_allclose([point.true_rate.low, point.true_rate.high], expected)
    curve = identification_curve(scores, right, enrolled)
    for threshold, far, rate_found in zip(curve.threshold_T, curve.fpr_T, curve.tpr_T, strict=True):
        assert far == pytest.approx((scores[~enrolled] >= threshold).mean())
        assert rate_found == pytest.approx((scores[right] >= threshold).sum() / enrolled.sum())
    assert curve.tpr_T[-1] == pytest.approx(right.sum() / enrolled.sum())  # rank-1, not 1


def test_strangers_too_few_to_state_a_rate():
    scores, right, enrolled, _ = probes_of(4)
    (point,) = identification(scores, right, enrolled, aims=[0.01])
    assert point.reason.startswith("a rate of 0.01 needs at least 300 probes that are not enrolled")


def test_who_leaves_the_gallery():
    probes = np.array(["a", "b", "c", "d", "a"])
    gallery = np.array(["a", "b", "c", "d", "distractor", "b"])
    for seed in range(5):
        stays = enrolled_rows(probes, gallery, 0.5, seed)
        labels = set(gallery[stays]) - {"distractor"}
        assert len(labels) == 2
        assert stays[4]
        np.testing.assert_array_equal(stays[:4], np.isin(gallery[:4], list(labels)))
    assert enrolled_rows(probes, gallery, 1.0).all()
    assert enrolled_rows(probes, gallery, 0.0).tolist() == [False] * 4 + [True, False]


def test_rule_of_three():
    assert enough_trials(0.001, 3000, "pairs") == ""
    assert enough_trials(0.001, 2999, "pairs") != ""
    # Three expected errors, none seen: less likely than 5 %.
    assert (1 - 0.001) ** 3000 < 0.05


@pytest.mark.plain
def test_refusals():
    same, scores, _ = pairs_of(0)
    with pytest.raises(UserError, match=r"^aims must be between 0 and 1, got 0"):
        verification(count_scores(same, scores), [0.0])
    with pytest.raises(UserError, match=r"^right must be False for probes that are not enrolled"):
        identification(np.ones(2), np.array([1, 0]), np.array([0, 1]))
    with pytest.raises(UserError, match=r"^share must be between 0 and 1, got 2"):
        enrolled_rows(np.ones(2), np.ones(2), 2.0)
    with pytest.raises(UserError, match=r"^steps must be >= 1"):
        score_grid(1.0, 0)
