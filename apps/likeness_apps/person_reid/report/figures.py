"""How figures of people are written on the page, and how a section is made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from likeness_apps.person_reid.report.charts import percent, short_percent
from likeness_apps.shell.report.page import section as shared_section
from likeness_apps.shell.report.tables import Figure, figure, number_of

PACKAGE = "likeness_apps.person_reid.report"
NAMES = {"map": "mAP", "minp": "mINP"}
FAMILY = "retrieval"


def section(name: str, **values: Any) -> Markup:
    """The HTML of one section of this application."""
    return shared_section(name, package=PACKAGE, template="person_reid.html.j2", **values)


def ranked_figures(metrics: Mapping[str, Any]) -> list[Figure]:
    """The figures of the ranking with their intervals, Rank-K first."""
    found = metrics["retrieval"]
    hits = sorted((name for name in found if name not in NAMES), key=lambda name: int(name[4:]))
    names = {name: f"Rank-{name[4:]}" for name in hits} | NAMES
    listed = [name for name in (*hits, *NAMES) if name in found]
    return [
        replace(figure(name, found[name], FAMILY), name=names[name], skipped=_total(found[name]))
        for name in listed
    ]


def _total(entry: Mapping[str, Any]) -> str:
    """How many queries were skipped; the reasons have their own section."""
    skipped = sum((entry.get("skipped") or {}).values())
    return f"{skipped:,}" if skipped else ""


def rate_cell(entry: Mapping[str, Any]) -> tuple[str, str]:
    """A share as text, and its interval."""
    value, low, high = (number_of(entry.get(name)) for name in ("value", "low", "high"))
    ends = math.nan if low is None else low, math.nan if high is None else high
    return "undefined" if value is None else percent(value), interval_text(*ends)


def score_text(value: float | None) -> str:
    """With three decimals; "" for none."""
    return "" if value is None else f"{value:.3f}".replace("-", "−")


def interval_text(low: float, high: float) -> str:
    """Both ends in percent; "" where there is none."""
    known = math.isfinite(low) and math.isfinite(high)
    return f"{100 * low:.1f} to {100 * high:.1f}" if known else ""


def rate_row(point: Mapping[str, Any]) -> dict[str, Any]:
    """A row of TPR@FPR or DIR@FAR."""
    threshold, false = number_of(point["threshold"]), number_of(point["false_rate"]["value"])
    return {
        "aim": short_percent(point["aim"]),
        "true": rate_cell(point["true_rate"]),
        "false": "" if false is None else percent(false),
        "threshold": "above all scores" if threshold is None else score_text(threshold),
        "reason": point["reason"],
    }
