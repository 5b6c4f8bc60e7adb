"""The figures that a clinic asks for first, in the terminal; the report has them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from likeness_apps.shell.console import figure, say, show_table


def show_tasks(clinical: Mapping[str, Any], *, quiet: bool = False) -> None:
    """Areas and operating points of the binary tasks, and that no figure supports a diagnosis.

    Args:
        clinical: the entry `clinical` of metrics.json.
        quiet: show nothing.
    """
    measured = {name: task for name, task in clinical["tasks"].items() if "discrimination" in task}
    areas = [(name, *_areas(task)) for name, task in measured.items()]
    if areas:
        titles = ("task", "ROC-AUC [95 % interval]", "average precision", "positive", "negative")
        show_table("Clinical figures", titles, areas, numeric=titles[3:], quiet=quiet)
    points = [
        (
            name,
            f"{point['aim']:.0%} {point['fixed']}",
            _rate(point, "sensitivity"),
            _rate(point, "specificity"),
        )
        for name, task in measured.items()
        for point in task["operating"]
    ]
    if points:
        heads = ("task", "threshold for", "sensitivity", "specificity")
        show_table("Thresholds fixed on the validation split", heads, points, quiet=quiet)
    say(str(clinical["disclaimer"]), quiet=quiet)


def _areas(task: Mapping[str, Any]) -> tuple[str, str, int, int]:
    found = task["discrimination"]
    area, precision = figure(found["roc_auc"]), figure(found["average_precision"])
    return area, precision, task["positives"], task["negatives"]


def _rate(point: Mapping[str, Any], name: str) -> str:
    """`0.887 (552 of 622)`."""
    rate = point[name]
    return f"{figure({'value': rate['value']})} ({rate['hits']} of {rate['total']})"
