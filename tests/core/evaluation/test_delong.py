"""DeLong's variance against the kernel definition, simulation and closed forms."""

import numpy as np
import pytest
from scipy.stats import norm

from likeness.errors import UserError
from likeness.evaluation.delong import (
    NO_VARIANCE,
    ONE_CLASS,
    SAME_ORDER,
    TOO_FEW,
    delong,
    delong_test,
)
from likeness.evaluation.roc import roc_auc


def tied(seed, count=50):
    rng = np.random.default_rng(seed)
    truth = rng.random(count) < 0.4
    truth[:4] = True, True, False, False
    a, b = (np.round(rng.normal(size=count) + truth, 1) for _ in range(2))
    return truth, a, b


def kernel_placements(truth, scores):
    """The O(N^2) definition: kernel 1, 1/2 or 0 of every pair, averaged over the other class."""
    positive, negative = scores[truth], scores[~truth]
    kernel = np.array(
        [[1.0 if p > n else 0.5 if p == n else 0.0 for n in negative] for p in positive]
    )
    return kernel.mean(axis=1), kernel.mean(axis=0)


def kernel_covariance(truth, *several):
    """DeLong's covariance matrix of the areas (their equations 4 to 6)."""
    of_positive, of_negative = zip(*(kernel_placements(truth, s) for s in several), strict=True)
    total = np.zeros((len(several), len(several)))
    for values in (of_positive, of_negative):
        count = len(values[0])
        for i, first in enumerate(values):
            for j, second in enumerate(values):
                gaps = [
                    (x - first.mean()) * (y - second.mean())
                    for x, y in zip(first, second, strict=True)
                ]
                total[i, j] += sum(gaps) / (count - 1) / count
    return total


@pytest.mark.parametrize("seed", range(4))
def test_area_and_error_equal_the_kernel_definition(seed):
    truth, scores, _ = tied(seed)
    found = delong(truth, scores)
    assert found.auc == pytest.approx(roc_auc(truth, scores))
    assert found.error == pytest.approx(np.sqrt(kernel_covariance(truth, scores)[0, 0]))
    assert (found.positives, found.negatives) == (truth.sum(), (~truth).sum())


@pytest.mark.parametrize("seed", range(4))
def test_the_paired_test_equals_the_kernel_definition(seed):
    truth, a, b = tied(seed)
    covariance = kernel_covariance(truth, a, b)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    found = delong_test(truth, a, b)
    assert found.difference == pytest.approx(roc_auc(truth, a) - roc_auc(truth, b))
    assert found.error == pytest.approx(error)
    assert found.p_value == pytest.approx(2 * (1 - norm.cdf(abs(found.difference) / error)))
    assert found.high - found.low == pytest.approx(2 * 1.959964 * error)
    turned = delong_test(truth, b, a)
    assert (turned.difference, turned.p_value) == pytest.approx((-found.difference, found.p_value))


def test_the_two_scales():
    truth, scores, _ = tied(1)
    linear, logit = delong(truth, scores, scale="linear"), delong(truth, scores, scale="logit")
    assert (linear.low + linear.high) / 2 == pytest.approx(linear.auc)
    assert linear.high - linear.auc == pytest.approx(1.959964 * linear.error)

    def odds(p):
        return np.log(p / (1 - p))

    assert (odds(logit.low) + odds(logit.high)) / 2 == pytest.approx(odds(logit.auc))
    half = 1.959964 * logit.error / (logit.auc * (1 - logit.auc))
    assert odds(logit.high) - odds(logit.auc) == pytest.approx(half)
    narrow = delong(truth, scores, level=0.5)
    assert logit.low < narrow.low < narrow.auc < narrow.high < logit.high


def test_logit_interval_stays_inside_where_the_linear_one_is_cut():
    truth = np.array([1] * 5 + [0] * 5)
    scores = np.array([9.0, 8, 7, 6, 4.5, 5, 4, 3, 2, 1])
    assert delong(truth, scores, scale="linear").high == 1.0
    assert delong(truth, scores, scale="logit").high < 1.0


def test_intervals_cover_and_the_test_keeps_its_level():
    """400 simulated sets of 60: coverage near 95 %, false alarms near 5 % (3 standard errors)."""
    rng = np.random.default_rng(0)
    true_auc = norm.cdf(1 / np.sqrt(2))
    covered, alarms, errors, areas = 0, 0, [], []
    for _ in range(400):
        truth = np.arange(60) < 24
        shared = rng.normal(size=60) * 0.5 + truth
        a, b = (shared + rng.normal(size=60) * np.sqrt(0.75) for _ in range(2))
        found = delong(truth, a)
        covered += found.low <= true_auc <= found.high
        alarms += delong_test(truth, a, b).p_value < 0.05
        errors.append(found.error)
        areas.append(found.auc)
    assert 0.915 <= covered / 400 <= 0.985
    assert 0.017 <= alarms / 400 <= 0.085
    assert np.mean(errors) == pytest.approx(np.std(areas), rel=0.1)


def test_order_of_items_and_rising_maps_do_not_matter():
    truth, a, b = tied(5)
    order = np.random.default_rng(1).permutation(len(truth))
    assert delong(truth[order], a[order]).error == pytest.approx(delong(truth, a).error)
    assert delong(truth, np.exp(a)).low == pytest.approx(delong(truth, a).low)
    assert delong_test(truth, a[:], b).z == pytest.approx(delong_test(truth, 3 * a + 1, b).z)


def test_undefined_cases_say_why():
    scores = np.array([0.1, 0.2, 0.3, 0.4])
    one_class = delong(np.zeros(4, int), scores)
    assert np.isnan(one_class.auc)
    assert one_class.reason == ONE_CLASS
    assert delong_test(np.ones(4, int), scores, scores).reason == ONE_CLASS
    single = delong(np.array([0, 0, 0, 1]), scores)
    assert (single.auc, single.reason) == (1.0, TOO_FEW)
    assert delong_test(np.array([0, 0, 0, 1]), scores, -scores).reason == TOO_FEW
    for separated, area in ((scores, 1.0), (-scores, 0.0), (np.zeros(4), 0.5)):
        found = delong(np.array([0, 0, 1, 1]), separated)
        assert (found.auc, found.error, found.reason) == (area, 0.0, NO_VARIANCE)
        assert np.isnan([found.low, found.high]).all()


def test_scores_that_order_alike_do_not_differ():
    truth, a, _ = tied(2)
    found = delong_test(truth, a, 2 * a - 5)
    assert (found.difference, found.error, found.p_value) == (0.0, 0.0, 1.0)
    assert found.reason == SAME_ORDER
    opposite = delong_test(np.array([0, 0, 1, 1]), np.arange(4.0), -np.arange(4.0))
    assert (opposite.difference, opposite.reason) == (1.0, SAME_ORDER)
    assert np.isnan(opposite.p_value)


def test_mistakes_are_named():
    truth, scores, _ = tied(0)
    with pytest.raises(UserError, match=r"^level must be between 0 and 1, got 95"):
        delong(truth, scores, level=95.0)
    with pytest.raises(UserError, match=r"^truth must be 0 or 1 everywhere, got 3"):
        delong_test(truth.astype(int) * 3, scores, scores)
