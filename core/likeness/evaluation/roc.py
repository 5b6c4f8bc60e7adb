"""The ROC curve of a binary task and the areas under it.

Legend: N items, R weightings (replicates of a bootstrap, say), T points of a curve.

An item is called positive where score >= threshold. Items of equal score come in together, so that
ties are straight (slanted) pieces of the curve and their order cannot matter. Without a positive or
without a negative item there is no curve: its rates and areas are nan, never 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

from likeness.errors import require
from likeness.evaluation.classification import ratio
from likeness.evaluation.multilabel import average_precisions

Area = Callable[[np.ndarray, np.ndarray], np.ndarray]  # from (R, T) rates, false then true, to (R,)


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Rates by falling threshold; nan where a class has no items.

    Attributes:
        threshold_T: +inf first (nothing is called positive), then every distinct score.
        fpr_T: false positive rate, 1 - specificity.
        tpr_T: true positive rate, sensitivity.
    """

    threshold_T: Float[np.ndarray, " T"]
    fpr_T: Float[np.ndarray, " T"]
    tpr_T: Float[np.ndarray, " T"]


def roc_curve(
    truth_N: Shaped[np.ndarray, " N"],
    scores_N: Shaped[np.ndarray, " N"],
    weights_N: Float[np.ndarray, " N"] | None = None,
) -> RocCurve:
    """The ROC curve.

    Args:
        truth_N: booleans, or 0 and 1.
        scores_N: any finite scores, higher = more likely positive.
        weights_N: >= 0; None = 1 each. A whole number counts as so many copies of the item.

    Raises:
        UserError: if the arrays are empty, differ in length or hold anything else.
    """
    truth, scores, weights_1N = _checked(truth_N, scores_N, weights_N)
    fpr_1T, tpr_1T = rates(truth, scores, weights_1N)
    threshold_T = np.append(np.inf, np.unique(scores)[::-1])
    return RocCurve(threshold_T, fpr_1T[0], tpr_1T[0])


def roc_auc(
    truth_N: Shaped[np.ndarray, " N"],
    scores_N: Shaped[np.ndarray, " N"],
    weights_N: Float[np.ndarray, " N"] | None = None,
) -> float:
    """Area under the curve: the chance that a positive outscores a negative, ties counting half.

    Arguments and errors as `roc_curve`; nan where a class has no items.
    """
    return float(auc(*rates(*_checked(truth_N, scores_N, weights_N)))[0])


def auc_sens_floor(
    truth_N: Shaped[np.ndarray, " N"],
    scores_N: Shaped[np.ndarray, " N"],
    floor: float,
    weights_N: Float[np.ndarray, " N"] | None = None,
) -> float:
    """Area under the curve, down to the axis, from where TPR first reaches `floor` to FPR = 1.

    The "AUC at 80 % sensitivity" of the ISIC challenges 2018 and 2019. Not to be mixed up with
    `pauc_above_tpr`: at a floor of 0.8 perfect scores have 1 here and constant ones 0.18.

    Args:
        truth_N: booleans, or 0 and 1.
        scores_N: finite.
        floor: in (0, 1).
        weights_N: as `roc_curve`.

    Raises:
        UserError: as `roc_curve`, or if the floor is out of range.
    """
    curves = rates(*_checked(truth_N, scores_N, weights_N))
    return float(area_from_floor(*curves, floor)[0])


def pauc_above_tpr(
    truth_N: Shaped[np.ndarray, " N"],
    scores_N: Shaped[np.ndarray, " N"],
    floor: float,
    weights_N: Float[np.ndarray, " N"] | None = None,
) -> float:
    """Area between the curve and the line TPR = `floor`, where the curve lies above it.

    The "pAUC" of the ISIC challenge 2024: perfect scores have 1 - floor, constant ones half its
    square (0.20 and 0.02 at a floor of 0.8). Arguments and errors as `auc_sens_floor`.
    """
    curves = rates(*_checked(truth_N, scores_N, weights_N))
    return float(area_above_floor(*curves, floor)[0])


def average_precision(
    truth_N: Shaped[np.ndarray, " N"],
    scores_N: Shaped[np.ndarray, " N"],
    weights_N: Float[np.ndarray, " N"] | None = None,
) -> float:
    """Step-wise average precision, see `multilabel.average_precisions`; nan without positives.

    It depends on the prevalence (which is what constant scores have): print that beside it.
    Arguments and errors as `roc_curve`.
    """
    truth, scores, weights_1N = _checked(truth_N, scores_N, weights_N)
    return float(average_precisions(truth[:, None], scores[:, None], weights_1N)[0, 0])


def prevalence(
    truth_N: Shaped[np.ndarray, " N"], weights_N: Float[np.ndarray, " N"] | None = None
) -> float:
    """Share of positive items; nan if all weights are 0."""
    weights = np.ones(len(truth_N)) if weights_N is None else weights_N
    return float(ratio((weights * truth_N).sum(), weights.sum()))


def rates(
    truth_N: Bool[np.ndarray, " N"],
    scores_N: Float[np.ndarray, " N"],
    weights_RN: Float[np.ndarray, "R N"],
) -> tuple[Float[np.ndarray, "R T"], Float[np.ndarray, "R T"]]:
    """False and true positive rate of every weighting, by falling threshold, from (0, 0) to (1, 1).

    O(N log N + R N). All weightings share the points of all distinct scores.
    """
    order_N = np.argsort(-scores_N, kind="stable")
    ranked_N, truth = scores_N[order_N], truth_N[order_N]
    ends = np.flatnonzero(np.append(ranked_N[1:] != ranked_N[:-1], True))
    # One row per item: the weightings of an item lie side by side, as `resampling` makes them.
    weights_NR = np.ascontiguousarray(weights_RN.T)[order_N]
    found = []
    for of_class_N in (~truth, truth):
        seen = np.cumsum(weights_NR[of_class_N], axis=0)
        seen = np.concatenate([np.zeros((1, len(weights_RN))), seen])
        called_TR = seen[np.append(0, np.cumsum(of_class_N)[ends])]
        found.append(ratio(called_TR, np.broadcast_to(called_TR[-1], called_TR.shape)).T)
    return found[0], found[1]


def auc(fpr_RT: Float[np.ndarray, "R T"], tpr_RT: Float[np.ndarray, "R T"]) -> np.ndarray:
    """Area under each curve by trapezoids, (R,)."""
    return _integral(np.diff(fpr_RT), tpr_RT[:, :-1] + tpr_RT[:, 1:])


def area_from_floor(
    fpr_RT: Float[np.ndarray, "R T"], tpr_RT: Float[np.ndarray, "R T"], floor: float
) -> Float[np.ndarray, " R"]:
    """`auc_sens_floor` of each curve."""
    width, low, high = _at_or_above(fpr_RT, tpr_RT, floor)
    return _integral(width, low + high)


def area_above_floor(
    fpr_RT: Float[np.ndarray, "R T"], tpr_RT: Float[np.ndarray, "R T"], floor: float
) -> Float[np.ndarray, " R"]:
    """`pauc_above_tpr` of each curve."""
    width, low, high = _at_or_above(fpr_RT, tpr_RT, floor)
    return _integral(width, (low - floor) + (high - floor))


def named_areas(floor: float) -> dict[str, Area]:
    """The three areas as functions of rates, the partial ones named with their floor in percent."""
    percent = f"{100 * floor:g}"
    return {
        "roc_auc": auc,
        f"auc_sens_{percent}": lambda fpr, tpr: area_from_floor(fpr, tpr, floor),
        f"pauc_above_tpr_{percent}": lambda fpr, tpr: area_above_floor(fpr, tpr, floor),
    }


def checked_binary(
    truth_N: Shaped[np.ndarray, " N"], scores_N: Shaped[np.ndarray, " N"]
) -> tuple[Bool[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Truth as booleans, scores as float64.

    Raises:
        UserError: if the arrays are empty, differ in length, truth holds anything but 0 and 1, or
            scores anything but finite numbers.
    """
    rule = "one value per item, at least one item"
    require(truth_N.ndim == 1 and len(truth_N) > 0, "truth", rule, truth_N.shape)
    require(scores_N.shape == truth_N.shape, "scores", f"{len(truth_N)} numbers", scores_N.shape)
    outside = truth_N[(truth_N != 0) & (truth_N != 1)]
    found = outside[0].item() if len(outside) else None
    require(found is None, "truth", "0 or 1 everywhere", found)
    scores = scores_N.astype(np.float64)
    require(np.isfinite(scores).all(), "scores", "finite", "nan or infinity")
    return truth_N.astype(bool), scores


def _checked(
    truth_N: np.ndarray, scores_N: np.ndarray, weights_N: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth, scores = checked_binary(truth_N, scores_N)
    weights = np.ones(len(truth)) if weights_N is None else weights_N
    require(weights.shape == truth.shape, "weights", f"{len(truth)} numbers", weights.shape)
    require(bool((np.isfinite(weights) & (weights >= 0)).all()), "weights", ">= 0", "others")
    return truth, scores, weights[None, :].astype(np.float64)


def _at_or_above(
    fpr_RT: np.ndarray, tpr_RT: np.ndarray, floor: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each piece of a curve the part where TPR >= floor: its width and its two heights."""
    require(0 < floor < 1, "floor", "between 0 and 1", floor)
    start, high = tpr_RT[:, :-1], tpr_RT[:, 1:]
    low = np.maximum(start, floor)
    rise = high - start
    # A level piece lies above wholly or not at all.
    level = np.where(rise == 0, (high >= floor).astype(np.float64), 0.0)
    share = np.where(rise > 0, np.maximum(high - low, 0.0) / np.where(rise > 0, rise, 1.0), level)
    return np.diff(fpr_RT) * share, low, high


def _integral(width: np.ndarray, heights: np.ndarray) -> np.ndarray:
    return np.asarray((width * heights).sum(axis=1) / 2)
