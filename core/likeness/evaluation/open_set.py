"""Open-set figures: how much is found while few strangers are taken for somebody.

Verification asks of a pair "the same?": TPR@FPR, the share of genuine pairs that are accepted where
at most a given share of impostor pairs is. Open-set identification asks of a probe "who, if
anybody?": DIR@FAR (Phillips, Grother and Micheals, in: Handbook of Face Recognition), the share of
enrolled probes whose nearest gallery row is of their identity and reaches the threshold, where at
most a given share of the probes that are not enrolled reaches it with anything.

A false rate f is only stated where 3 / f impostors were counted (the rule of three: with no error
among n independent trials the rate is below 3 / n with 95 % confidence). Pairs that share an item
are not independent, so even that is the least one can ask for.

Legend: Q probes, G gallery rows, U groups, T thresholds, B bins between them, P = T + 1 points of a
curve, R replicates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped
from scipy import sparse

from likeness.errors import require
from likeness.evaluation import resampling
from likeness.evaluation.classification import ratio
from likeness.evaluation.pair_scores import PairCounts, count_scores
from likeness.evaluation.resampling import DEFAULT, Bootstrap, Statistic, Sums
from likeness.evaluation.roc import RocCurve, checked_binary
from likeness.evaluation.values import MetricValue

FALSE_RATES = (0.0001, 0.001, 0.01)


@dataclass(frozen=True)
class RatePoint:
    """What is found at a false rate.

    Attributes:
        aim: the largest false rate (FPR or FAR) allowed.
        threshold: the lowest threshold that keeps it; +inf accepts nothing; nan if undefined. It
            was chosen on these very items: use one from `verdict.calibrate` to decide.
        true_rate: TPR or DIR there, with its interval over groups if there are groups; every
            replicate chooses its threshold anew.
        false_rate: the share that really is accepted falsely.
        reason: why the figure is undefined, one sentence; "" if it is defined.
    """

    aim: float
    threshold: float
    true_rate: MetricValue
    false_rate: MetricValue
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def verification(
    pairs: PairCounts, aims: Sequence[float] = FALSE_RATES, bootstrap: Bootstrap = DEFAULT
) -> list[RatePoint]:
    """TPR@FPR at every aim, from counted genuine and impostor pairs.

    Args:
        pairs: see `pair_scores`. Thresholds are those that were counted at.
        aims: false positive rates, in (0, 1).
        bootstrap: of the intervals over the groups of the pairs; none with a single group.

    Raises:
        UserError: if an aim is out of range.
    """
    total_U1 = pairs.genuine_UB.sum(axis=1)[:, None]
    counts = _Counts(pairs.threshold_T, pairs.impostor_UB, pairs.genuine_UB, total_U1)
    return [_point(counts, aim, ("genuine pairs", "impostor pairs"), bootstrap) for aim in aims]


def verification_curve(pairs: PairCounts) -> RocCurve:
    """TPR against FPR at every counted threshold; nan where there are no such pairs."""
    total_U1 = pairs.genuine_UB.sum(axis=1)[:, None]
    return _curve(_Counts(pairs.threshold_T, pairs.impostor_UB, pairs.genuine_UB, total_U1))


def identification(
    scores_Q: Shaped[np.ndarray, " Q"],
    right_Q: Shaped[np.ndarray, " Q"],
    enrolled_Q: Shaped[np.ndarray, " Q"],
    groups_Q: Shaped[np.ndarray, " Q"] | None = None,
    *,
    aims: Sequence[float] = FALSE_RATES,
    bootstrap: Bootstrap = DEFAULT,
) -> list[RatePoint]:
    """DIR@FAR at rank 1 at every aim.

    Args:
        scores_Q: of every probe's nearest gallery row, finite, higher = more alike.
        right_Q: whether that row is of the probe's identity; never so if it is not enrolled.
        enrolled_Q: whether the gallery has a row of the probe's identity that it may meet.
        groups_Q: the probe's identity; None = no intervals.
        aims: false accept rates, in (0, 1).
        bootstrap: replicates, seed, level.

    Raises:
        UserError: if the arrays differ in length, an aim is out of range, or a probe that is not
            enrolled is called right.
    """
    counts = _identified(scores_Q, right_Q, enrolled_Q, groups_Q)
    names = ("enrolled probes", "probes that are not enrolled")
    return [_point(counts, aim, names, bootstrap) for aim in aims]


def identification_curve(
    scores_Q: Shaped[np.ndarray, " Q"],
    right_Q: Shaped[np.ndarray, " Q"],
    enrolled_Q: Shaped[np.ndarray, " Q"],
) -> RocCurve:
    """DIR (as `tpr_T`) against FAR (as `fpr_T`) at every distinct score; see `identification`."""
    return _curve(_identified(scores_Q, right_Q, enrolled_Q, None))


def enrolled_rows(
    query_labels_Q: Shaped[np.ndarray, " Q"],
    gallery_labels_G: Shaped[np.ndarray, " G"],
    share: float = 0.5,
    seed: int = 0,
) -> Bool[np.ndarray, " G"]:
    """Which gallery rows stay if some of the probes' identities are not to be enrolled.

    Of the labels that probes have, `share` (rounded) are drawn to stay; rows of the others leave.
    Rows of labels that no probe has (distractors) stay.

    Raises:
        UserError: unless the share is in [0, 1].
    """
    require(0 <= share <= 1, "share", "between 0 and 1", share)
    labels = np.unique(query_labels_Q)
    leaving = np.random.default_rng(seed).permutation(len(labels))[round(share * len(labels)) :]
    return ~np.isin(gallery_labels_G, labels[leaving])


def enough_trials(rate: float, trials: int, name: str) -> str:
    """One sentence if `trials` are too few to state an error rate (rule of three), or ""."""
    require(0 < rate < 1, "rate", "between 0 and 1", rate)
    least = math.ceil(round(3 / rate, 6))
    if trials >= least:
        return ""
    return f"a rate of {rate:g} needs at least {least} {name} (rule of three), got {trials}"


def accepted(counts_RB: np.ndarray) -> np.ndarray:
    """How many of counts in bins (R, B) reach +inf, the last threshold, ..., the first; (R, P)."""
    rising_RB = np.cumsum(counts_RB[:, :0:-1], axis=1)
    return np.concatenate([np.zeros((len(counts_RB), 1)), rising_RB], axis=1)


@dataclass(frozen=True)
class _Counts:
    """What is accepted falsely and truly, by group and bin, and of how many it could be."""

    threshold_T: np.ndarray
    false_UB: Any
    true_UB: Any
    total_U1: np.ndarray

    def sums(self) -> Sums:
        """All in one table (U, 2 B + 1), for `resampling` and `_rates`."""
        return sparse.hstack([self.false_UB, self.true_UB, self.total_U1]).tocsr()


def _identified(
    scores_Q: np.ndarray, right_Q: np.ndarray, enrolled_Q: np.ndarray, groups_Q: np.ndarray | None
) -> _Counts:
    enrolled, scores = checked_binary(enrolled_Q, scores_Q)
    right, _ = checked_binary(right_Q, scores_Q)
    impossible = int((right & ~enrolled).sum())
    require(impossible == 0, "right", "False for probes that are not enrolled", impossible)
    counted = count_scores(enrolled, scores, groups_Q)
    # An enrolled probe with the wrong neighbour counts as one that is never found.
    found = count_scores(right, scores, groups_Q, counted.threshold_T)
    total_U1 = counted.genuine_UB.sum(axis=1)[:, None]
    return _Counts(counted.threshold_T, counted.impostor_UB, found.genuine_UB, total_U1)


def _rates(sums_RF: np.ndarray) -> tuple[np.ndarray, ...]:
    """(accepted falsely (R, P), all false (R,), accepted truly (R, P), all true (R,))."""
    bins = sums_RF.shape[1] // 2
    false_RB, true_RB = sums_RF[:, :bins], sums_RF[:, bins : 2 * bins]
    return accepted(false_RB), false_RB.sum(axis=1), accepted(true_RB), sums_RF[:, -1]


def _cut(false_RP: np.ndarray, total_R: np.ndarray, aim: float) -> np.ndarray:
    """The last point of every curve that accepts at most the share `aim` falsely."""
    # Whole numbers make the aim exact: 0.07 of 100 is 7, whatever its last bit says.
    allowed_R = np.floor(np.round(aim * total_R, 9))
    return np.asarray((false_RP <= allowed_R[:, None]).sum(axis=1) - 1)


def _true_rate(aim: float) -> Statistic:
    def of(sums_RF: np.ndarray) -> np.ndarray:
        false_RP, false_R, true_RP, true_R = _rates(sums_RF)
        cut_R = _cut(false_RP, false_R, aim)
        rate_R = ratio(true_RP[np.arange(len(cut_R)), cut_R], true_R)
        return np.where(false_R > 0, rate_R, np.nan)

    return of


def _point(counts: _Counts, aim: float, names: tuple[str, str], bootstrap: Bootstrap) -> RatePoint:
    require(0 < aim < 1, "aims", "between 0 and 1", aim)
    sums = counts.sums()
    total_1F = np.asarray(sums.sum(axis=0), dtype=np.float64).reshape(1, -1)
    false_1P, false_1, true_1P, true_1 = _rates(total_1F)
    trues, falses = int(true_1[0]), int(false_1[0])
    reason = f"there are no {names[0]}" if trues == 0 else enough_trials(aim, falses, names[1])
    if reason:
        nan = float("nan")
        of_true = MetricValue(nan, 0, {reason: trues})
        return RatePoint(aim, nan, of_true, MetricValue(nan, 0, {reason: falses}), reason)
    cut = int(_cut(false_1P, false_1, aim)[0])
    true_rate = MetricValue(float(true_1P[0, cut]) / trues, trues)
    if sums.shape[0] > 1:
        true_rate = resampling.interval(sums, _true_rate(aim), bootstrap).on(true_rate)
    return RatePoint(
        aim=aim,
        threshold=float(np.append(np.inf, counts.threshold_T[::-1])[cut]),
        true_rate=true_rate,
        false_rate=MetricValue(float(false_1P[0, cut]) / falses, falses),
    )


def _curve(counts: _Counts) -> RocCurve:
    total_1F = np.asarray(counts.sums().sum(axis=0), dtype=np.float64).reshape(1, -1)
    false_1P, false_1, true_1P, true_1 = _rates(total_1F)
    fpr_P, tpr_P = (
        ratio(found[0], np.broadcast_to(total, found[0].shape))
        for found, total in ((false_1P, false_1), (true_1P, true_1))
    )
    return RocCurve(np.append(np.inf, counts.threshold_T[::-1]), fpr_P, tpr_P)
