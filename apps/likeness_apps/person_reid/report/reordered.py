"""The section of figures after re-ranking, each beside the plain one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from likeness_apps.person_reid.report.figures import ranked_figures, section
from likeness_apps.person_reid.report.result import Result
from likeness_apps.shell.report.sections import Body
from likeness_apps.shell.report.tables import number_of

SETTINGS = {"k1": "k1", "k2": "k2", "original_weight": "weight of the plain distance (lambda)"}
NO_REORDERING = "`evaluate` and `score` measure them with --re-rank."


def reordered(result: Result) -> Body:
    """Figures, settings and differences of every kind of re-ranking that was asked for."""
    found = result.metrics.get("reordered")
    if not found:
        return NO_REORDERING
    plain = ranked_figures(result.metrics)
    kinds = []
    for name, again in found.items():
        after = {item.key: item for item in ranked_figures(again)}
        rows = [
            (item, after[item.key], _gain(again["gain"][item.key]))
            for item in plain
            if item.key in after
        ]
        kinds.append((name, again, rows))
    return section("reordered", kinds=kinds, words=SETTINGS)


def _gain(entry: Mapping[str, Any]) -> tuple[str, str]:
    """A difference in points with its sign, and its interval."""
    value, low, high = (number_of(entry.get(name)) for name in ("value", "low", "high"))
    if value is None:
        return "undefined", ""
    known = low is not None and high is not None
    return _signed(value), f"{_signed(low)} to {_signed(high)}" if known else ""


def _signed(value: float | None) -> str:
    """In points; nothing has no sign."""
    text = "" if value is None else f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text
