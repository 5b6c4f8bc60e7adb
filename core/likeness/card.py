"""The model card: what a model is for, what it was measured to do, and where it stops.

Source of the sections: Mitchell et al. 2019, "Model cards for model reporting".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from likeness.errors import UserError

SECTIONS = (
    "Intended use",
    "Out of scope",
    "Data",
    "Results",
    "Limits",
    "Operating point",
)
_INTERVAL = ("method", "level", "label")
_UNSET = "not stated"


@dataclass(frozen=True)
class Card:
    """What the sections say, in Markdown; an empty text counts as unset and says so.

    Attributes:
        title: the first line.
        intended_use: who may use it for what.
        out_of_scope: what it must not be used for.
        data: what it was trained and tested on, with counts.
        data_licence: the licence of the training data; None where it is not known.
        data_terms: what the licence asks of those who use the model (research only,
            non-commercial, attribution); empty where nothing is asked.
        consent: what is known of the consent of the people pictured, or why it does not apply.
        limits: known failures, populations and sensors that were not tested.
        operating_point: threshold or decision rule and where it came from.
    """

    title: str
    intended_use: str
    out_of_scope: str
    data: str
    data_licence: str | None
    data_terms: str
    consent: str
    limits: str
    operating_point: str


def render_card(card: Card, metrics: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        card: the words.
        metrics: what `metrics.json` holds: `protocol`, `split`, families of metrics (name ->
            value, count, skipped, low, high), and `per_class` rows as the subgroups.

    Returns:
        Markdown with every section of `SECTIONS`.
    """
    data = "\n".join(
        [
            card.data or _UNSET,
            "",
            f"- Licence: {card.data_licence or _UNSET + '; `export` needs one'}",
            f"- Terms for users of the model: {card.data_terms or 'none known'}",
            f"- Consent: {card.consent or _UNSET}",
        ]
    )
    bodies = (
        card.intended_use or _UNSET,
        card.out_of_scope or _UNSET,
        data,
        _results(metrics),
        card.limits or _UNSET,
        card.operating_point or _UNSET,
    )
    parts = [f"# {card.title}"]
    for heading, body in zip(SECTIONS, bodies, strict=True):
        parts.append(f"## {heading}\n\n{body.strip()}")
    return "\n\n".join(parts) + "\n"


def section_of(text: str, heading: str) -> str:
    """What a card says under a heading of `SECTIONS`; "" if nothing."""
    lines = text.splitlines()
    there = [number for number, line in enumerate(lines) if line.strip() == f"## {heading}"]
    if not there:
        return ""
    start = there[0] + 1
    ends = (number for number in range(start, len(lines)) if lines[number].startswith("## "))
    return "\n".join(lines[start : next(ends, len(lines))]).strip()


def with_sections(text: str, bodies: Mapping[str, str]) -> str:
    """A card that says something else under some headings.

    Args:
        text: a whole card, as `render_card` gives it.
        bodies: heading -> what it says instead, Markdown.
    """
    title = text.splitlines()[0] if text else ""
    parts = [title]
    for heading in SECTIONS:
        body = bodies.get(heading, section_of(text, heading))
        parts.append(f"## {heading}\n\n{body.strip()}")
    return "\n\n".join(parts) + "\n"


def check_card(text: str) -> None:
    """Refuse a card without all required sections.

    Raises:
        UserError: naming the first section that is missing or empty.
    """
    for heading in SECTIONS:
        if not section_of(text, heading):
            raise UserError(f"card must say something under '## {heading}', got nothing")


def _results(metrics: Mapping[str, Any]) -> str:
    families = {
        name: rows
        for name, rows in metrics.items()
        if isinstance(rows, Mapping) and any(_is_metric(row) for row in rows.values())
    }
    if not families:
        return "Not evaluated yet."
    said = [f"{key}: {metrics[key]}" for key in ("protocol", "split") if metrics.get(key)]
    interval = metrics.get("interval")
    if isinstance(interval, Mapping):
        said += [
            f"{key}: {interval[key]}" for key in ("method", "level", "label") if key in interval
        ]
    blocks = ["; ".join(said)] if said else []
    for name, rows in families.items():
        body = [
            [str(key), _number(row["value"]), _interval(row), str(row.get("count", ""))]
            for key, row in rows.items()
            if _is_metric(row)
        ]
        blocks.append(f"### {name}\n\n" + _table(("metric", "value", "interval", "items"), body))
    groups = metrics.get("per_class")
    if isinstance(groups, Sequence) and groups and isinstance(groups[0], Mapping):
        header = list(groups[0])
        body = [[_number(row.get(key)) for key in header] for row in groups]
        blocks.append("### Subgroups: classes\n\n" + _table(header, body))
    return "\n\n".join(blocks)


def _is_metric(row: object) -> bool:
    return isinstance(row, Mapping) and "value" in row


def _interval(row: Mapping[str, Any]) -> str:
    if row.get("low") is None or row.get("high") is None:
        return "none"
    return f"{_number(row['low'])} to {_number(row['high'])}"


def _number(value: object) -> str:
    """Four decimals for a float; the undefined is a dash."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        flat = [" ".join(cell.split()).replace("|", "\\|") for cell in cells]
        return f"| {' | '.join(flat)} |"

    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)])
