"""Operating points: what a threshold that was chosen elsewhere does on the test items.

A threshold is chosen on validation or out-of-fold scores, never on the test items, and then stays
fixed: intervals here tell the noise of the test items only. An item is called positive where
score >= threshold.

Legend: N test items, V validation items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped
from scipy.stats import binomtest

from likeness.errors import require
from likeness.evaluation import resampling
from likeness.evaluation.binary import NO_NEGATIVE, NO_POSITIVE
from likeness.evaluation.resampling import DEFAULT, Bootstrap
from likeness.evaluation.roc import checked_binary

Fixed = Literal["sensitivity", "specificity"]
Method = Literal["wilson", "exact"]
AIMS = (0.8, 0.9, 0.95)
NONE_OF = {"sensitivity": NO_POSITIVE, "specificity": NO_NEGATIVE}
NO_THRESHOLD = "no threshold"
FIXED: tuple[Fixed, ...] = ("sensitivity", "specificity")


@dataclass(frozen=True)
class Counts:
    """Items by what they are and what they are called."""

    tp: int
    fp: int
    tn: int
    fn: int


@dataclass(frozen=True)
class Rate:
    """A share of items.

    Attributes:
        value: hits / total; nan if there are none.
        hits: items called rightly.
        total: items of the class.
        low: lower end of the interval that takes items as independent; nan without items.
        high: its upper end.
        group_low: lower end by drawing groups; None without groups, nan if it cannot be had.
        group_high: its upper end.
        reason: why the value is undefined; "" if it is defined.
    """

    value: float
    hits: int
    total: int
    low: float
    high: float
    group_low: float | None = None
    group_high: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what it does.

    Attributes:
        fixed: the rate that the threshold holds at `aim` on the validation items, or "given".
        aim: the least value asked of that rate; nan if the threshold was given.
        threshold: positive where score >= threshold; +inf calls nothing positive; nan if undefined.
        validation: counts on the validation items; None if the threshold was given.
        counts: counts on the test items; None without a threshold.
        sensitivity: tp / (tp + fn) on the test items.
        specificity: tn / (tn + fp) on the test items.
        balanced_accuracy: their mean; nan if either is undefined.
        f1: 2 tp / (2 tp + fp + fn); nan if nothing is or is called positive.
        reason: why there is no threshold; "" if there is one.
    """

    fixed: Fixed | Literal["given"]
    aim: float
    threshold: float
    validation: Counts | None
    counts: Counts | None
    sensitivity: Rate
    specificity: Rate
    balanced_accuracy: float
    f1: float
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def operating_points(
    validation_truth_V: Shaped[np.ndarray, " V"],
    validation_scores_V: Shaped[np.ndarray, " V"],
    truth_N: Shaped[np.ndarray, " N"],
    scores_N: Shaped[np.ndarray, " N"],
    groups_N: Shaped[np.ndarray, " N"] | None = None,
    *,
    aims: Sequence[float] = AIMS,
    method: Method = "wilson",
    bootstrap: Bootstrap = DEFAULT,
) -> list[OperatingPoint]:
    """For every aim the point at fixed sensitivity, then for every aim that at fixed specificity.

    Arguments and errors as `threshold_at` for the validation items and `at_threshold` for the
    test items. A point whose threshold is undefined says why.
    """
    found = []
    for fixed, aim in product(FIXED, aims):
        threshold = threshold_at(validation_truth_V, validation_scores_V, fixed, aim)
        point = at_threshold(
            truth_N, scores_N, threshold, groups_N, method=method, bootstrap=bootstrap
        )
        if np.isnan(threshold):
            reason = f"{NONE_OF[fixed]} among the validation items"
            found.append(replace(point, fixed=fixed, aim=aim, reason=reason))
        else:
            validation = count(validation_truth_V, validation_scores_V, threshold)
            found.append(replace(point, fixed=fixed, aim=aim, validation=validation))
    return found


def threshold_at(
    truth_V: Shaped[np.ndarray, " V"],
    scores_V: Shaped[np.ndarray, " V"],
    fixed: Fixed,
    aim: float,
) -> float:
    """The threshold that holds one rate at `aim` or more and makes the other as large as possible.

    It lies half-way between the neighbouring scores; where all items must be called positive, at
    the lowest score; where none may be, at +inf.

    Args:
        truth_V: booleans, or 0 and 1.
        scores_V: finite, higher = more likely positive.
        fixed: "sensitivity" or "specificity".
        aim: in (0, 1].

    Returns:
        The threshold; nan if the class that the fixed rate counts has no items.

    Raises:
        UserError: as `roc.roc_curve`, or if `fixed` or `aim` is out of range.
    """
    require(fixed in FIXED, "fixed", "sensitivity or specificity", fixed)
    require(0 < aim <= 1, "aim", "above 0 and at most 1", aim)
    truth, scores = checked_binary(truth_V, scores_V)
    distinct, codes = np.unique(-scores, return_inverse=True)
    called = np.cumsum(np.bincount(codes, truth == (fixed == "sensitivity"), len(distinct)))
    total = int(called[-1])
    if total == 0:
        return float("nan")
    # Cut k calls the k highest distinct scores positive; whole numbers make the aim exact.
    called = np.append(0, called)
    least = np.ceil(np.round(aim * total, 9))  # 0.95 * 20 is 19, whatever its last bit says
    if fixed == "sensitivity":
        cut = int(np.argmax(called >= least))
    else:
        cut = int(np.flatnonzero(total - called >= least)[-1])
    return _between(-distinct, cut)


def at_threshold(
    truth_N: Shaped[np.ndarray, " N"],
    scores_N: Shaped[np.ndarray, " N"],
    threshold: float,
    groups_N: Shaped[np.ndarray, " N"] | None = None,
    *,
    method: Method = "wilson",
    bootstrap: Bootstrap = DEFAULT,
) -> OperatingPoint:
    """What a given threshold does on the test items.

    Args:
        truth_N: booleans, or 0 and 1.
        scores_N: finite, higher = more likely positive.
        threshold: of the score; nan = none, everything is then undefined.
        groups_N: patient, lesion, ...; None = no intervals by groups.
        method: of the interval with independent items: "wilson" (Wilson 1927) or "exact" (Clopper
            and Pearson 1934), at the bootstrap's level.
        bootstrap: replicates, seed, level.

    Raises:
        UserError: as `roc.roc_curve`, or if groups do not count one per item.
    """
    truth, scores = checked_binary(truth_N, scores_N)
    require(method in ("wilson", "exact"), "method", "wilson or exact", method)
    if np.isnan(threshold):
        nan = float("nan")
        none = Rate(nan, 0, 0, nan, nan, reason=NO_THRESHOLD)
        return OperatingPoint("given", nan, nan, None, None, none, none, nan, nan, NO_THRESHOLD)
    counts = count(truth, scores, threshold)
    right_N = (scores >= threshold) == truth
    found: dict[Fixed, Rate] = {
        name: _rate(name, right_N, truth == (name == "sensitivity"), groups_N, method, bootstrap)
        for name in FIXED
    }
    return OperatingPoint(
        fixed="given",
        aim=float("nan"),
        threshold=threshold,
        validation=None,
        counts=counts,
        sensitivity=found["sensitivity"],
        specificity=found["specificity"],
        balanced_accuracy=(found["sensitivity"].value + found["specificity"].value) / 2,
        f1=_share(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn),
    )


def count(
    truth_N: Shaped[np.ndarray, " N"], scores_N: Shaped[np.ndarray, " N"], threshold: float
) -> Counts:
    """Counts of the items with score >= threshold and of the others."""
    truth, called_N = truth_N.astype(bool), scores_N >= threshold
    return Counts(
        tp=int((truth & called_N).sum()),
        fp=int((~truth & called_N).sum()),
        tn=int((~truth & ~called_N).sum()),
        fn=int((truth & ~called_N).sum()),
    )


def proportion_interval(
    hits: int, total: int, *, level: float = 0.95, method: Method = "wilson"
) -> tuple[float, float]:
    """Interval of a share of independent items; (nan, nan) without items."""
    if total == 0:
        return float("nan"), float("nan")
    found = binomtest(hits, total).proportion_ci(confidence_level=level, method=method)
    return float(found.low), float(found.high)


def _rate(
    name: Fixed,
    right_N: np.ndarray,
    counted_N: np.ndarray,
    groups_N: np.ndarray | None,
    method: Method,
    bootstrap: Bootstrap,
) -> Rate:
    """Share of right items among the counted ones."""
    hits, total = int((right_N & counted_N).sum()), int(counted_N.sum())
    low, high = proportion_interval(hits, total, level=bootstrap.level, method=method)
    group_low = group_high = None
    if groups_N is not None:
        values_N = np.where(counted_N, right_N.astype(np.float64), np.nan)
        drawn = resampling.mean_interval(values_N, groups_N, bootstrap)
        group_low, group_high = drawn.low, drawn.high
    reason = "" if total else NONE_OF[name]
    return Rate(_share(hits, total), hits, total, low, high, group_low, group_high, reason)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _between(falling: np.ndarray, cut: int) -> float:
    """A threshold that the first `cut` of the falling distinct scores reach, and no other."""
    if cut == 0:
        return float("inf")
    above = falling[cut - 1]
    if cut == len(falling):
        return float(above)
    middle = (above + falling[cut]) / 2
    return float(middle if falling[cut] < middle <= above else above)
