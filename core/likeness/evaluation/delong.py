"""DeLong's interval and test for areas under the ROC curve.

DeLong, DeLong and Clarke-Pearson 1988 ("Comparing the areas under two or more correlated receiver
operating characteristic curves", Biometrics 44), computed with midranks in O(N log N) (Sun and Xu
2014, "Fast implementation of DeLong's algorithm", IEEE Signal Processing Letters 21).

It takes the items as independent. Where several items belong to one patient or lesion it is too
narrow: report `binary.discrimination` with groups, and this beside it.

Legend: N items, P positive items, M negative items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

from likeness.errors import require
from likeness.evaluation.roc import checked_binary

Scale = Literal["logit", "linear"]
ONE_CLASS = "needs positive and negative items"
TOO_FEW = "DeLong's variance needs at least 2 positive and 2 negative items"
NO_VARIANCE = "DeLong's variance is 0: the scores separate the classes, or are constant"
SAME_ORDER = "the difference has no variance"


@dataclass(frozen=True)
class AucEstimate:
    """An area with its interval.

    Attributes:
        auc: the area; nan if one class is missing.
        error: its standard error; nan where undefined.
        low: lower end; nan without an interval.
        high: upper end; nan without an interval.
        level: coverage aimed at.
        scale: where the interval is symmetric: "logit" (it stays inside (0, 1)) or "linear".
        positives: P.
        negatives: M.
        reason: why there is no interval; "" if there is one.
    """

    auc: float
    error: float
    low: float
    high: float
    level: float
    scale: Scale
    positives: int
    negatives: int
    reason: str = ""


@dataclass(frozen=True)
class AucDifference:
    """The difference of two areas on the same items.

    Attributes:
        difference: AUC of a minus AUC of b.
        error: its standard error.
        low: lower end of the interval (linear scale).
        high: upper end.
        level: coverage aimed at.
        z: difference / error; nan where undefined.
        p_value: two-sided, of "the areas are equal"; 1 if the scores order the items alike.
        positives: P.
        negatives: M.
        reason: why there is no test; "" if there is one.
    """

    difference: float
    error: float
    low: float
    high: float
    level: float
    z: float
    p_value: float
    positives: int
    negatives: int
    reason: str = ""


def delong(
    truth_N: Shaped[np.ndarray, " N"],
    scores_N: Shaped[np.ndarray, " N"],
    *,
    level: float = 0.95,
    scale: Scale = "logit",
) -> AucEstimate:
    """AUC, its standard error and interval.

    On the logit scale the error is error / (AUC (1 - AUC)) by the delta method, and the ends are
    mapped back; on the linear scale they are AUC +- z error, cut to [0, 1].

    Args:
        truth_N: booleans, or 0 and 1.
        scores_N: finite, higher = more likely positive.
        level: coverage, in (0, 1).
        scale: "logit" or "linear".

    Raises:
        UserError: as `roc.roc_curve`, or if `level` or `scale` is out of range.
    """
    require(0 < level < 1, "level", "between 0 and 1", level)
    require(scale in ("logit", "linear"), "scale", "logit or linear", scale)
    truth, scores = checked_binary(truth_N, scores_N)
    positive_P, negative_M = placements(truth, scores)
    counts = len(positive_P), len(negative_M)
    nan = float("nan")
    if min(counts) == 0:
        return AucEstimate(nan, nan, nan, nan, level, scale, *counts, ONE_CLASS)
    auc = float(positive_P.mean())
    if min(counts) < 2:
        return AucEstimate(auc, nan, nan, nan, level, scale, *counts, TOO_FEW)
    error = _error(positive_P, negative_M)
    if error == 0:
        return AucEstimate(auc, 0.0, nan, nan, level, scale, *counts, NO_VARIANCE)
    half = float(norm.isf((1 - level) / 2)) * error
    if scale == "linear":
        low, high = max(auc - half, 0.0), min(auc + half, 1.0)
    else:
        half /= auc * (1 - auc)
        low, high = float(expit(logit(auc) - half)), float(expit(logit(auc) + half))
    return AucEstimate(auc, error, low, high, level, scale, *counts)


def delong_test(
    truth_N: Shaped[np.ndarray, " N"],
    scores_a_N: Shaped[np.ndarray, " N"],
    scores_b_N: Shaped[np.ndarray, " N"],
    *,
    level: float = 0.95,
) -> AucDifference:
    """Paired test of two scores of the same items; arguments and errors as `delong`."""
    require(0 < level < 1, "level", "between 0 and 1", level)
    truth, scores_a = checked_binary(truth_N, scores_a_N)
    truth, scores_b = checked_binary(truth_N, scores_b_N)
    (positive_a, negative_a), (positive_b, negative_b) = (
        placements(truth, scores) for scores in (scores_a, scores_b)
    )
    counts = len(positive_a), len(negative_a)
    nan = float("nan")
    if min(counts) == 0:
        return AucDifference(nan, nan, nan, nan, level, nan, nan, *counts, ONE_CLASS)
    difference = float(positive_a.mean() - positive_b.mean())
    if min(counts) < 2:
        return AucDifference(difference, nan, nan, nan, level, nan, nan, *counts, TOO_FEW)
    # The variance of the differences of placements: what the covariance matrix gives, and exactly 0
    # for equal orders.
    error = _error(positive_a - positive_b, negative_a - negative_b)
    if error == 0:
        p_value = 1.0 if difference == 0 else nan
        return AucDifference(difference, 0.0, nan, nan, level, nan, p_value, *counts, SAME_ORDER)
    half, z = float(norm.isf((1 - level) / 2)) * error, difference / error
    low, high, p_value = difference - half, difference + half, float(2 * norm.sf(abs(z)))
    return AucDifference(difference, error, low, high, level, z, p_value, *counts)


def placements(
    truth_N: np.ndarray, scores_N: np.ndarray
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " M"]]:
    """How well each item is placed; ties count half, and the mean of either array is the AUC.

    Returns:
        For each positive the share of negatives below it, for each negative the share of positives
        above it; nan if one class is missing.
    """
    rank_N = rankdata(scores_N)
    within_P, within_M = rankdata(scores_N[truth_N]), rankdata(scores_N[~truth_N])
    positives, negatives = len(within_P), len(within_M)
    if min(positives, negatives) == 0:
        return np.full(positives, np.nan), np.full(negatives, np.nan)
    positive_P = (rank_N[truth_N] - within_P) / negatives
    negative_M = 1 - (rank_N[~truth_N] - within_M) / positives
    return positive_P, negative_M


def _error(positive_P: np.ndarray, negative_M: np.ndarray) -> float:
    variance = positive_P.var(ddof=1) / len(positive_P) + negative_M.var(ddof=1) / len(negative_M)
    return float(np.sqrt(variance))
