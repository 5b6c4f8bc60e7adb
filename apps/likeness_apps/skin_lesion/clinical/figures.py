"""The figures of one binary task, as plain data.

Legend: A items of the task, B bins, T points of a curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from likeness.evaluation import resampling
from likeness.evaluation.binary import discrimination
from likeness.evaluation.decision import decision_curve
from likeness.evaluation.delong import delong
from likeness.evaluation.operating import at_threshold
from likeness.evaluation.reliability import ReliabilityBand, binary_calibration, reliability_band
from likeness.evaluation.resampling import DEFAULT, Bootstrap
from likeness.evaluation.roc import roc_curve
from likeness.evaluation.values import plain
from likeness_apps.skin_lesion.clinical.tasks import TaskItems
from likeness_apps.skin_lesion.clinical.thresholds import USUAL, operating

POINTS = 200  # of a curve, in JSON


def task_figures(
    items: TaskItems, points: Sequence[dict[str, Any]], bootstrap: Bootstrap = DEFAULT
) -> dict[str, Any]:
    """What a clinic asks of a yes-or-no answer.

    Args:
        items: at least one.
        points: thresholds that were fixed on other items, see `thresholds.points_of`.
        bootstrap: of the intervals by groups.

    Returns:
        prevalence, positives, negatives;
        discrimination: roc_auc, auc_sens_80, pauc_above_tpr_80, average_precision, prevalence;
        auc_delong: the AUC with DeLong's interval, which takes items as independent;
        operating: what the recorded thresholds do; default_operating: what 0.5 does;
        calibration: brier, nll and ece (its interval may lie above it, see `ReliabilityBand`);
        reliability: 15 bins with an interval each (low_band, high_band), as columns;
        decision: net benefit over threshold probabilities;
        roc: at most 200 points of the curve, none if a class is missing.
    """
    truth_A, scores_A, groups_A = items.truth_A, items.scores_A, items.groups_A
    positives = int(truth_A.sum())
    band = reliability_band(scores_A, truth_A, groups_A, bootstrap=bootstrap)
    usual = at_threshold(truth_A, scores_A, USUAL, groups_A, bootstrap=bootstrap)
    return {
        "prevalence": positives / len(truth_A),
        "positives": positives,
        "negatives": len(truth_A) - positives,
        "discrimination": plain(discrimination(truth_A, scores_A, groups_A, bootstrap=bootstrap)),
        "auc_delong": asdict(delong(truth_A, scores_A, level=bootstrap.level)),
        "operating": operating(items, points, bootstrap),
        "default_operating": usual.as_dict(),
        "calibration": _calibration(items, band, bootstrap),
        "reliability": _reliability(band),
        "decision": _decision(items),
        "roc": _roc(items),
    }


def evenly(count: int) -> np.ndarray:
    """At most `POINTS` places of a list of `count`, its ends among them."""
    return np.unique(np.linspace(0, count - 1, POINTS).round().astype(np.int64))


def _calibration(items: TaskItems, band: ReliabilityBand, bootstrap: Bootstrap) -> dict[str, Any]:
    found = binary_calibration(items.scores_A, items.truth_A)
    drawn = resampling.mean_intervals(found.per_item, items.groups_A, bootstrap) | {"ece": band.ece}
    return plain({name: drawn[name].on(value) for name, value in found.values.items()})


def _reliability(band: ReliabilityBand) -> dict[str, list[Any]]:
    """One list per column, B long; nan where a bin is empty."""
    table = band.table
    return {
        "low": table.low_B.tolist(),
        "high": table.high_B.tolist(),
        "count": table.count_B.tolist(),
        "mean_probability": table.confidence_B.tolist(),
        "observed": table.accuracy_B.tolist(),
        "low_band": band.low_B.tolist(),
        "high_band": band.high_B.tolist(),
    }


def _decision(items: TaskItems) -> dict[str, Any]:
    """Net benefit at the threshold probabilities 1 to 99 %; treating nobody has 0."""
    curve = decision_curve(items.truth_A, items.scores_A)
    return {
        "threshold": curve.threshold_T.tolist(),
        "model": curve.model_T.tolist(),
        "treat_all": curve.treat_all_T.tolist(),
        "standardised": curve.standardised_T.tolist(),
        "prevalence": curve.prevalence,
    }


def _roc(items: TaskItems) -> dict[str, list[float]]:
    """Points that lie about evenly along the curve."""
    if items.truth_A.all() or not items.truth_A.any():
        return {"fpr": [], "tpr": []}
    curve = roc_curve(items.truth_A, items.scores_A)
    along_T = curve.fpr_T + curve.tpr_T  # rises from 0 to 2
    kept = np.unique(np.searchsorted(along_T, np.linspace(0, along_T[-1], POINTS)))
    return {"fpr": curve.fpr_T[kept].tolist(), "tpr": curve.tpr_T[kept].tolist()}
