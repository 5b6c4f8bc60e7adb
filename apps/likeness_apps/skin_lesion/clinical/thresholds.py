"""Thresholds of the binary tasks: fixed on validation or out-of-fold items, applied to others.

An item is called positive where its score reaches the threshold.

Legend: N items, A items of a task, F folds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from likeness.errors import require
from likeness.evaluation.operating import (
    AIMS,
    FIXED,
    NONE_OF,
    Counts,
    Fixed,
    OperatingPoint,
    at_threshold,
    count,
    threshold_at,
)
from likeness.evaluation.resampling import DEFAULT, Bootstrap
from likeness_apps.skin_lesion.clinical.tasks import TaskItems

USUAL = 0.5
NOT_RECORDED = (
    "The model's record holds no thresholds of this task, and none may be chosen on the items "
    "that they would be judged on."
)
OTHER_CLASSES = "The recorded thresholds are of other positive classes."
_ABOVE_ALL = float(np.nextafter(1.0, 2.0))


def recorded_thresholds(items: TaskItems, positive: Sequence[str]) -> dict[str, Any]:
    """What the bundle keeps of a task: the thresholds that hold 80, 90 and 95 % on validation.

    Args:
        items: of the validation split.
        positive: names of the positive classes.

    Returns:
        positive, items, positives, negatives; `points`, each with fixed, aim, threshold and counts
        (of the validation items); `reason`, a sentence where there are no points, else "".
    """
    truth_A, scores_A = items.truth_A, items.scores_A
    positives, negatives = int(truth_A.sum()), int((~truth_A).sum())
    facts: dict[str, Any] = {
        "positive": list(positive),
        "items": len(truth_A),
        "positives": positives,
        "negatives": negatives,
    }
    missing = [name for name in ("positives", "negatives") if not facts[name]]
    if missing:
        reason = f"The validation split holds no {' and no '.join(missing)} to fix thresholds on."
        return facts | {"points": [], "reason": reason}
    points = []
    for fixed, aim in product(FIXED, AIMS):
        threshold = _threshold(truth_A, scores_A, fixed, aim)
        counts = asdict(count(truth_A, scores_A, threshold))
        points.append({"fixed": fixed, "aim": aim, "threshold": threshold, "counts": counts})
    return facts | {"points": points, "reason": ""}


def points_of(
    recorded: Mapping[str, Any], name: str, positive: Sequence[str]
) -> tuple[list[dict[str, Any]], str]:
    """The recorded points of a task, or none and the reason.

    A class that has the task's own name is the sum of its classes (`shell.coarser`): the recorded
    thresholds of the sum are its own.

    Args:
        recorded: task -> what `recorded_thresholds` gave; maybe empty.
        name: the task.
        positive: its positive classes here.
    """
    found = recorded.get(name)
    if found is None:
        return [], NOT_RECORDED
    if sorted(found["positive"]) != sorted(positive) and list(positive) != [name]:
        return [], OTHER_CLASSES
    return found["points"], found["reason"]


def operating(
    items: TaskItems, points: Sequence[Mapping[str, Any]], bootstrap: Bootstrap = DEFAULT
) -> list[dict[str, Any]]:
    """What recorded thresholds do on other items; see `OperatingPoint`.

    Args:
        items: at least one.
        points: as `points_of` gives them.
        bootstrap: of the intervals by groups.
    """
    found = []
    for point in points:
        done = at_threshold(
            items.truth_A, items.scores_A, point["threshold"], items.groups_A, bootstrap=bootstrap
        )
        validation = Counts(**point["counts"])
        told = replace(done, fixed=point["fixed"], aim=point["aim"], validation=validation)
        found.append(told.as_dict())
    return found


def out_of_fold_operating(
    truth_N: Shaped[np.ndarray, " N"],
    scores_N: Float[np.ndarray, " N"],
    folds_N: Shaped[np.ndarray, " N"],
    groups_N: Shaped[np.ndarray, " N"],
    *,
    bootstrap: Bootstrap = DEFAULT,
) -> list[dict[str, Any]]:
    """Operating points of a cross-validation: each fold is judged at thresholds of the others.

    Every score comes from the model that was not trained on the item, so a fold's threshold has
    seen neither its items nor its model. The counts are then summed over the folds. The models of
    the folds need not share a scale, which costs here what it would cost in use.

    Args:
        truth_N: booleans, or 0 and 1.
        scores_N: in [0, 1], higher = more likely positive.
        folds_N: which fold (model) an item was tested in; two at least.
        groups_N: patient, lesion, ...
        bootstrap: of the intervals by groups.

    Returns:
        For every aim the point at fixed sensitivity, then at fixed specificity: fixed, aim,
        `thresholds` (one per fold, by name), `threshold` (from all items, for new ones), counts,
        sensitivity, specificity, balanced_accuracy, f1, and `reason` where a fold has no threshold.

    Raises:
        UserError: if there is one fold only, or arrays differ in length or are out of range.
    """
    truth = truth_N.astype(bool)
    folds_N = np.array([str(fold) for fold in folds_N])
    require(len(folds_N) == len(truth), "folds", f"{len(truth)} folds", len(folds_N))
    require(len(set(folds_N)) > 1, "folds", "two at least", len(set(folds_N)))
    found = []
    for fixed, aim in product(FIXED, AIMS):
        thresholds = _of_other_folds(truth, scores_N, folds_N, fixed, aim)
        point = _joined_point(truth, scores_N, folds_N, groups_N, thresholds, bootstrap)
        missing = [fold for fold, threshold in thresholds.items() if np.isnan(threshold)]
        reason = f"{NONE_OF[fixed]} outside fold {', '.join(missing)}" if missing else ""
        from_all = _threshold(truth, scores_N, fixed, aim)
        told = replace(point, fixed=fixed, aim=aim, threshold=from_all, reason=reason).as_dict()
        del told["validation"]
        found.append(told | {"thresholds": thresholds})
    return found


def _threshold(truth_N: np.ndarray, scores_N: np.ndarray, fixed: Fixed, aim: float) -> float:
    """`threshold_at`, where +inf, which JSON does not hold, is a number above all probabilities."""
    threshold = threshold_at(truth_N, scores_N, fixed, aim)
    return _ABOVE_ALL if threshold == np.inf else threshold


def _of_other_folds(
    truth_N: Bool[np.ndarray, " N"],
    scores_N: np.ndarray,
    folds_N: np.ndarray,
    fixed: Fixed,
    aim: float,
) -> dict[str, float]:
    """For each fold the threshold that the items of the others fix; nan if they cannot."""
    found = {}
    for fold in sorted(set(folds_N)):
        others_N = folds_N != fold
        found[str(fold)] = _threshold(truth_N[others_N], scores_N[others_N], fixed, aim)
    return found


def _joined_point(
    truth_N: Bool[np.ndarray, " N"],
    scores_N: np.ndarray,
    folds_N: np.ndarray,
    groups_N: np.ndarray,
    thresholds: Mapping[str, float],
    bootstrap: Bootstrap,
) -> OperatingPoint:
    """All items, each called by the threshold of its fold."""
    if np.isnan(list(thresholds.values())).any():
        return at_threshold(truth_N, scores_N, float("nan"), groups_N)
    own_N = np.array([thresholds[fold] for fold in folds_N])
    called_N = (scores_N >= own_N).astype(np.float64)
    return at_threshold(truth_N, called_N, USUAL, groups_N, bootstrap=bootstrap)
