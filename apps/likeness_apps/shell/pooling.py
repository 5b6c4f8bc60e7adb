"""What several results have in common: spread over runs, intervals, and all items at once.

Three kinds of results can be joined. `folds` share no item (cross-fitting); `seeds` are of the very
same items; `repeats` are random splits of one set, which share some.

Shapes: N = items, C = classes, S = runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from likeness.evaluation.intervals import cell_statistics, confusion_sums, mean_intervals
from likeness.evaluation.resampling import (
    Bootstrap,
    Statistic,
    Sums,
    mean_of_sums,
    mean_sums,
    two_level_interval,
)
from likeness.evaluation.values import mean_value, plain
from likeness_apps.shell.measure import Answers, interval_facts
from likeness_apps.shell.measure_multilabel import TASK
from likeness_apps.shell.tasks import Task, task_of

Kind = Literal["folds", "seeds", "repeats"]
FAMILIES = ("retrieval", "clustering", "calibration")  # of metrics.json, beside the read-outs
PER_ITEM = ("classification", "retrieval")  # families whose values may stand beside each item
SKIPPED = "without a value in its own result"


@dataclass(frozen=True, eq=False)
class Result:
    """What `evaluate` or `score` left in a directory.

    Attributes:
        folder: the directory.
        metrics: metrics.json.
        table: all rows of predictions.csv, as text.
    """

    folder: Path
    metrics: dict[str, Any]
    table: pd.DataFrame

    @property
    def measured(self) -> pd.DataFrame:
        """The rows with an answer."""
        return self.table[self.table["status"] == "ok"]

    @property
    def classes(self) -> list[str]:
        """Class names; none if nothing was classified."""
        named = [row["class"] for row in self.metrics.get("per_class", [])]
        return list(self.metrics.get("classes") or named)

    @property
    def task(self) -> Task:
        """What the items are labelled with."""
        return task_of(self.classes, multilabel=self.metrics.get("task") == TASK)


def kind_of(results: Sequence[Result]) -> Kind:
    """How the items of the results lie to each other."""
    items = [set(result.measured["path"]) for result in results]
    if all(other == items[0] for other in items[1:]):
        return "seeds"
    disjoint = len(set().union(*items)) == sum(map(len, items))
    return "folds" if disjoint else "repeats"


def over_runs(results: Sequence[Result], kind: Kind, bootstrap: Bootstrap) -> dict[str, Any]:
    """Mean and standard deviation of every figure that all results have.

    Args:
        results: S >= 2 of them.
        kind: of `kind_of`.
        bootstrap: of the intervals.

    Returns:
        Read-out or family -> measure -> mean, std (of a sample: S - 1 below), values (one per run,
        None where undefined), count (of defined ones) and, for figures that can be counted again
        from predictions.csv, low and high of the two-level interval (runs, then groups).
    """
    families = [_families(result.metrics) for result in results]
    found: dict[str, Any] = {}
    for family in families[0]:
        if all(family in other for other in families):
            names = [
                name
                for name in families[0][family]
                if all(name in other[family] for other in families)
            ]
            found[family] = {
                name: _spread([other[family][name]["value"] for other in families])
                for name in names
            }
    headline = results[0].metrics.get("classification_readout", "")
    for name, (runs, statistic) in _statistics(results).items():
        for family in (headline, *FAMILIES):
            if name in found.get(family, {}):
                end = two_level_interval(runs, statistic, bootstrap, shared_groups=kind == "seeds")
                found[family][name] |= {"low": end.low, "high": end.high, "reason": end.reason}
    return found


def all_items(results: Sequence[Result], bootstrap: Bootstrap) -> dict[str, Any]:
    """The figures over the items of all folds at once, as `evaluate` writes them.

    Every item counts once, answered by the model that was not trained on it; a query asks the items
    of its own result only.

    Returns:
        interval, classification, per_class, confusion, calibration and retrieval, as far as
        predictions.csv tells them.
    """
    joined = _all_measured(results)
    groups_N = joined["group"].to_numpy()
    found = interval_facts(groups_N, bootstrap)
    if "label" in joined.columns and results[0].classes:
        found |= results[0].task.figures.measure(joined_answers(results), bootstrap).metrics
    per_item = {name: _numbers(joined[name]) for name in _per_item(results, "retrieval")}
    values = {
        name: mean_value(values_N, ~np.isnan(values_N), SKIPPED)
        for name, values_N in per_item.items()
    }
    if values:
        found["retrieval"] = plain(mean_intervals(values, per_item, groups_N, bootstrap))
    return found


def _all_measured(results: Sequence[Result]) -> pd.DataFrame:
    return pd.concat([result.measured for result in results], ignore_index=True)


def _families(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every family of figures by name; read-outs stand for classification."""
    found = {name: metrics[name] for name in FAMILIES if name in metrics}
    return {**metrics.get("readouts", {}), **found}


def _spread(values: list[float | None]) -> dict[str, Any]:
    defined = [value for value in values if value is not None]
    return {
        "mean": float(np.mean(defined)) if defined else math.nan,
        "std": float(np.std(defined, ddof=1)) if len(defined) > 1 else math.nan,
        "count": len(defined),
        "values": values,
    }


def _statistics(results: Sequence[Result]) -> dict[str, tuple[list[Sums], Statistic]]:
    """Figures as functions of sums over groups, with these sums for every run."""
    found: dict[str, tuple[list[Sums], Statistic]] = {}
    if all("confusion" in result.metrics for result in results):
        task, count = results[0].task, len(results[0].classes)
        runs = [
            confusion_sums(
                task.targets(result.measured["truth"].tolist()),
                task.targets(result.measured["label"].tolist()),
                count,
                result.measured["group"].to_numpy(),
            )
            for result in results
        ]
        found = {name: (runs, of_cells) for name, of_cells in cell_statistics(count).items()}
    for family in PER_ITEM:
        for name in _per_item(results, family):
            runs = [
                mean_sums(_numbers(result.measured[name]), result.measured["group"].to_numpy())
                for result in results
            ]
            found[name] = (runs, mean_of_sums)
    return found


def _per_item(results: Sequence[Result], family: str) -> list[str]:
    """The figures of a family that are means of a column of predictions.csv, in every result."""
    return [
        name
        for name in results[0].metrics.get(family, {})
        if all(name in result.table.columns for result in results)
    ]


def _numbers(cells: pd.Series) -> np.ndarray:
    """A column of values per item; empty is nan."""
    numbers = pd.to_numeric(cells.replace("", "nan"), errors="coerce")
    return np.asarray(numbers, dtype=np.float64)


def joined_answers(results: Sequence[Result]) -> Answers:
    """What classifying results said of all their items, one result after the other."""
    joined, task, first = _all_measured(results), results[0].task, results[0]
    columns = [f"p_{name}" for name in task.classes]
    given = all(name in joined.columns for name in columns)
    wide = joined[columns].apply(pd.to_numeric, errors="coerce") if given else None
    known = wide is not None and not wide.isna().to_numpy().any()
    return Answers(
        truth_N=task.targets(joined["truth"].tolist()),
        classes=task.classes,
        groups_N=joined["group"].to_numpy(),
        readouts={first.metrics["classification_readout"]: task.targets(joined["label"].tolist())},
        probabilities_NC=wide.to_numpy(np.float64) if wide is not None and known else None,
    )
