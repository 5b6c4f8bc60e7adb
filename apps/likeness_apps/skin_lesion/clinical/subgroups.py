"""The figures of the binary tasks by sex, age, site of the body and skin type.

Legend: N items, A items of a task, S items of a level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from likeness.evaluation import resampling
from likeness.evaluation.operating import Rate, at_threshold
from likeness.evaluation.resampling import DEFAULT, Bootstrap
from likeness.evaluation.roc import auc, rates
from likeness.evaluation.subgroups import bands, subgroup_table
from likeness.evaluation.values import MetricValue
from likeness_apps.skin_lesion.clinical.tasks import TaskItems

# What a subgroup is called -> the columns that may say it, the first that is there counts.
COLUMNS = {
    "sex": ("sex",),
    "age": ("age", "age_approx"),
    "site": ("localization", "site", "anatom_site_general"),
    "skin_type": ("skin_type", "fitzpatrick_skin_type", "fitzpatrick"),
}
AGE_EDGES = (30, 50, 70)  # years
MINIMUM, MINIMUM_OF_CLASS = 30, 10
FIXED, AIM = "sensitivity", 0.9  # the recorded threshold that levels are judged at


def subgroups(
    items: Mapping[str, TaskItems],
    points: Mapping[str, Sequence[Mapping[str, Any]]],
    rows: pd.DataFrame,
    bootstrap: Bootstrap = DEFAULT,
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """The tables, and how they were made.

    Args:
        items: of every task.
        points: the recorded thresholds of every task, maybe none.
        rows: one per item of the split, in its order, with any of the columns of `COLUMNS`.
        bootstrap: of the intervals by groups.

    Returns:
        Column -> a row for each task and level: task, level ("unknown" too), items, groups, counts,
        values (roc_auc; sensitivity and specificity where a threshold was recorded), and reason if
        the level is too small to be measured. Then the minimum counts, columns that nothing says,
        edges and threshold.
    """
    levels = _levels(rows)
    tables = {
        column: [
            {"task": task, **row}
            for task, of_task in items.items()
            for row in _table(of_task, levels_N[of_task.rows_A], points[task], bootstrap)
        ]
        for column, levels_N in levels.items()
    }
    facts = {
        "minimum": MINIMUM,
        "minimum_of_class": MINIMUM_OF_CLASS,
        "age_edges": list(AGE_EDGES),
        "not_given": [column for column in COLUMNS if column not in levels],
        "threshold": f"recorded for a {FIXED} of {AIM:g} on validation images",
    }
    return tables, facts


def _levels(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """The level of every item, of the columns that are there."""
    found = {}
    for column, names in COLUMNS.items():
        given = [name for name in names if name in rows.columns]
        if given:
            cells = rows[given[0]].tolist()
            levels = bands(cells, AGE_EDGES) if column == "age" else cells
            found[column] = np.array(levels, dtype=object)
    return found


def _table(
    items: TaskItems,
    levels_A: np.ndarray,
    points: Sequence[Mapping[str, Any]],
    bootstrap: Bootstrap,
) -> list[dict[str, Any]]:
    chosen = [point for point in points if (point["fixed"], point["aim"]) == (FIXED, AIM)]
    threshold = float(chosen[0]["threshold"]) if chosen else None

    def measure(rows_S: np.ndarray) -> dict[str, MetricValue]:
        truth_S, scores_S = items.truth_A[rows_S], items.scores_A[rows_S]
        groups_S = items.groups_A[rows_S]
        values = {"roc_auc": _area(truth_S, scores_S, groups_S, bootstrap)}
        if threshold is None:
            return values
        point = at_threshold(truth_S, scores_S, threshold, groups_S, bootstrap=bootstrap)
        return values | {
            "sensitivity": _as_value(point.sensitivity),
            "specificity": _as_value(point.specificity),
        }

    classes = {"positive": items.truth_A, "negative": ~items.truth_A}
    found = subgroup_table(
        levels_A,
        items.groups_A,
        classes,
        measure,
        minimum=MINIMUM,
        minimum_of_class=MINIMUM_OF_CLASS,
    )
    return sorted([subgroup.as_dict() for subgroup in found], key=_by_age)


def _by_age(row: Mapping[str, Any]) -> int:
    """Bands of age rise; all else stays in its order."""
    rising = bands([AGE_EDGES[0] - 1, *AGE_EDGES], AGE_EDGES)
    return rising.index(row["level"]) if row["level"] in rising else len(rising)


def _area(
    truth_S: np.ndarray, scores_S: np.ndarray, groups_S: np.ndarray, bootstrap: Bootstrap
) -> MetricValue:
    """ROC-AUC with its interval by groups."""
    members = resampling.cell_sums(np.arange(len(truth_S)), groups_S, len(truth_S))
    found = resampling.interval(
        members, lambda weights_RS: auc(*rates(truth_S, scores_S, weights_RS)), bootstrap
    )
    return found.on(MetricValue(found.value, len(truth_S)))


def _as_value(rate: Rate) -> MetricValue:
    """Positives (or negatives) called rightly, with the interval by groups."""
    return MetricValue(rate.value, rate.total, low=rate.group_low, high=rate.group_high)
