"""Two models on the same images: differences of clinical figures with intervals.

Legend: N items, C classes, A items of a task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from likeness.evaluation.binary import compare_discrimination, discrimination
from likeness.evaluation.delong import delong_test
from likeness.evaluation.intervals import cell_statistics, confusion_sums
from likeness.evaluation.reliability import binary_calibration
from likeness.evaluation.resampling import (
    DEFAULT,
    Bootstrap,
    Interval,
    paired_difference,
    paired_mean_difference,
)
from likeness_apps.skin_lesion.clinical.tasks import TaskItems, binary_tasks, task_items

BALANCED = "average_accuracy"  # the core's name of balanced accuracy


def clinical_differences(
    truth_N: Int[np.ndarray, " N"],
    classes: Sequence[str],
    probabilities_a_NC: Float[np.ndarray, "N C"],
    probabilities_b_NC: Float[np.ndarray, "N C"],
    groups_N: Shaped[np.ndarray, " N"],
    *,
    bootstrap: Bootstrap = DEFAULT,
) -> dict[str, dict[str, Any]]:
    """A minus B: for every binary task the figures of `discrimination` and the Brier score.

    A higher Brier score is worse. p-values are of single figures: whoever shows several corrects
    them (`resampling.holm`), as `compare` does with its whole table.

    Args:
        truth_N: class numbers.
        classes: C names.
        probabilities_a_NC: of model A.
        probabilities_b_NC: of model B, for the same items.
        groups_N: patient, lesion, ...; every replicate draws the same groups for both.
        bootstrap: replicates, seed, level.

    Returns:
        `balanced_accuracy` (mean recall of the most probable class), then `<task> <figure>` -> the
        fields of `Interval`, with `a` and `b`, the figures of either. `<task> roc_auc` also has
        `delong`, the paired test that takes items as independent.

    Raises:
        UserError: as the metrics do.
    """
    found = {
        "balanced_accuracy": _balanced(
            truth_N, len(classes), (probabilities_a_NC, probabilities_b_NC), groups_N, bootstrap
        )
    }
    for name, task in binary_tasks(classes).items():
        a, b = (
            task_items(task, truth_N, probabilities_NC, groups_N)
            for probabilities_NC in (probabilities_a_NC, probabilities_b_NC)
        )
        if len(a.rows_A):
            rows = _task_differences(a, b, bootstrap)
            found |= {f"{name} {figure}": row for figure, row in rows.items()}
    return found


def _task_differences(a: TaskItems, b: TaskItems, bootstrap: Bootstrap) -> dict[str, Any]:
    truth_A, groups_A = a.truth_A, a.groups_A
    of_a, of_b = (discrimination(truth_A, side.scores_A) for side in (a, b))
    compared = compare_discrimination(
        truth_A, a.scores_A, b.scores_A, groups_A, bootstrap=bootstrap
    )
    rows = {
        name: _row(difference, of_a[name].value, of_b[name].value)
        for name, difference in compared.items()
    }
    test = delong_test(truth_A, a.scores_A, b.scores_A, level=bootstrap.level)
    rows["roc_auc"]["delong"] = asdict(test)
    brier_a, brier_b = (
        binary_calibration(side.scores_A, truth_A).per_item["brier"] for side in (a, b)
    )
    difference = paired_mean_difference(brier_a, brier_b, groups_A, bootstrap)
    rows["brier"] = _row(difference, float(brier_a.mean()), float(brier_b.mean()))
    return rows


def _balanced(
    truth_N: np.ndarray,
    count: int,
    probabilities: Sequence[np.ndarray],
    groups_N: np.ndarray,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    statistic = cell_statistics(count)[BALANCED]
    of_a, of_b = (
        confusion_sums(truth_N, table_NC.argmax(axis=1), count, groups_N)
        for table_NC in probabilities
    )
    a, b = (
        float(statistic(np.asarray(sums.sum(axis=0)).reshape(1, -1))[0]) for sums in (of_a, of_b)
    )
    return _row(paired_difference(of_a, of_b, statistic, bootstrap), a, b)


def _row(difference: Interval, a: float, b: float) -> dict[str, Any]:
    """Undefined values of either are None, as `compare` shows them."""
    defined = {"a": None if np.isnan(a) else a, "b": None if np.isnan(b) else b}
    return asdict(difference) | defined
