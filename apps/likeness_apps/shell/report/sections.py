"""The sections of the report: each is a function of the data that gives HTML, or says why not.

Shape legend: N items that could be read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from likeness_apps.shell.report import figures as charts
from likeness_apps.shell.report import tables
from likeness_apps.shell.report.cells import error_cards, sheet_groups
from likeness_apps.shell.report.data import DISTANCE_TEXT, ReportData
from likeness_apps.shell.report.labels import label_rows, together
from likeness_apps.shell.report.markdown import render_markdown
from likeness_apps.shell.report.page import section
from likeness_apps.shell.report.pictures import Pictures
from likeness_apps.shell.report.projection import project, scatter
from likeness_apps.shell.report.wall import Wall

_MAX_FINDINGS = 200
_MAX_EPOCHS = 300
_MATRIX_SIZES = ((8, "few"), (16, "some"), (32, "many"))

Body = Markup | str  # a plain str is the reason why there is none


@dataclass(frozen=True)
class Build:
    """What the section builders share."""

    data: ReportData
    figures: list[tables.Figure]
    matrix: tables.Confusion | None
    pictures: Pictures
    wall: Wall | None
    seed: int

    @property
    def space_text(self) -> str:
        """What a distance is, in words."""
        return DISTANCE_TEXT[self.data.space]


def _measured(build: Build) -> Body:
    data = build.data
    return section(
        "measured",
        counts=tables.counts(data.predictions, data.items, build.figures),
        protocol=str(data.metrics.get("protocol") or ""),
        split=str(data.metrics.get("split") or ""),
        model_id=str(data.metrics.get("model_id") or ""),
        classes=len(data.items.classes),
        figures=build.figures,
        space_text=build.space_text,
        answered=tables.answered(data.metrics),
    )


def _readouts(build: Build) -> Body:
    names, rows = tables.readouts(build.data.metrics)
    if not rows:
        return "metrics.json holds no read-outs."
    return section("readouts", names=names, rows=rows)


def _wall(build: Build) -> Body:
    wall = build.wall
    if wall is None:
        return "it needs the embeddings of at least two images."
    return section(
        "wall",
        wall=wall,
        total=len(build.data.items),
        space_text=build.space_text,
        classes=build.data.items.classes,
        pictured=any(tile.uri for tile in wall.tiles),
        left_out=build.pictures.left_out,
        words=build.data.words,
    )


def _confusion(build: Build) -> Body:
    if build.matrix is None:
        return "metrics.json holds no confusion matrix."
    return section("confusion", matrix=build.matrix, size=_size(len(build.matrix.classes)))


def _size(count: int) -> str:
    """How large the cells of a table of so many rows and columns are."""
    return next((name for most, name in _MATRIX_SIZES if count <= most), "crowd")


def _classes(build: Build) -> Body:
    rows = tables.class_rows(build.data.metrics, build.data.items, build.matrix)
    return section("classes", rows=rows) if rows else "metrics.json holds no figures per class."


def _together(build: Build) -> Body:
    table = together(build.data.items)
    if table is None:
        return "no image has a known label."
    return section("together", table=table, size=_size(len(table.names)))


def _labels(build: Build) -> Body:
    rows = label_rows(build.data.metrics, build.data.items)
    return section("labels", rows=rows) if rows else "metrics.json holds no figures per label."


def _sheets(build: Build) -> Body:
    groups, k = sheet_groups(build.data, build.pictures, build.seed)
    if not groups:
        return "examples of retrieval need embeddings and known classes."
    return section(
        "sheets", groups=groups, k=k, space_text=build.space_text, words=build.data.words
    )


def _errors(build: Build) -> Body:
    wrong = build.data.items.wrong
    if not any(build.data.items.truths):
        return "no image has a known class."
    if not wrong:
        return "no image was called anything but its class."
    found = error_cards(build.data, build.pictures)
    return section(
        "errors", cards=found.cards, total=len(wrong), order=found.order, source=found.source
    )


def _map(build: Build) -> Body:
    data = build.data
    if data.embeddings_ND is None:
        return "no embeddings were given."
    plane = project(data.embeddings_ND, data.items, data.space, build.seed)
    if plane is None:
        return "fewer than three images could be read."
    shown = [data.items.class_of[row] for row in plane.rows]
    legend = [
        (index, name, shown.count(index))
        for index, name in enumerate(data.items.classes)
        if index in shown
    ]
    trust = f"{plane.trust:.2f}" if math.isfinite(plane.trust) else ""
    return section(
        "map",
        chart=scatter(plane, data.items),
        legend=legend,
        method=plane.method,
        trust=trust,
        marks=list(charts.MARKS.values()),
        words=data.words,
    )


def _calibration(build: Build) -> Body:
    items = build.data.items
    pairs = zip(items.right, items.confidence_N, strict=True)
    known = [r is not None and math.isfinite(c) for r, c in pairs]
    if not any(known):
        return "it needs probabilities and known classes."
    confidence = np.clip(items.confidence_N[known], 0.0, 1.0)
    right = np.array([bool(r) for r, use in zip(items.right, known, strict=True) if use])
    question = "When the model says 80 %, is it right 80 % of the time?"
    return _calibrated(confidence, right, question, "items")


def _label_calibration(build: Build) -> Body:
    items = build.data.items
    known = [row for row, names in enumerate(items.truth_sets) if names]
    if items.probabilities_NC is None or not known:
        return "it needs probabilities and known labels."
    values_NL = items.probabilities_NC[known]
    has_NL = np.array([[name in items.truth_sets[row] for name in items.classes] for row in known])
    said_NL = np.isfinite(values_NL)
    question = "Of the labels that the model gives 80 %, are 80 % there? All labels are pooled."
    confidence = np.clip(values_NL[said_NL], 0.0, 1.0)
    return _calibrated(confidence, has_NL[said_NL], question, "label decisions")


def _calibrated(
    confidence_M: NDArray[np.float64], right_M: NDArray[np.bool_], question: str, unit: str
) -> Markup:
    bins = charts.calibration_bins(confidence_M, right_M)
    ece = sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / len(right_M)
    chart = charts.calibration_chart(bins)
    return section(
        "calibration",
        chart=chart,
        ece=ece,
        bins=bins,
        count=len(right_M),
        question=question,
        unit=unit,
    )


ACTIVE = "Pairs, triplets or anchors of a step whose loss is not yet zero."
CURVES = (  # title, column, begin the axis at zero, note
    ("Training loss", "train_loss", True, ""),
    ("Active terms", "active", True, ACTIVE),
    ("Learning rate", "lr", True, ""),
)


def _curves(build: Build) -> Body:
    epochs = build.data.epochs
    if epochs is None:
        return "no epochs.csv was given (the model may have been trained elsewhere)."
    if not len(epochs) or "epoch" not in epochs.columns:
        return "epochs.csv has no finished epoch."
    drawn = [chart for chart in (_curve(epochs, *curve) for curve in CURVES) if chart]
    drawn[1:1] = _validation(epochs)
    if not drawn:
        return "epochs.csv has no column that is drawn."
    shown = epochs.tail(_MAX_EPOCHS)
    rows = [[_cell(value) for value in row] for row in shown.itertuples(index=False)]
    return section(
        "curves",
        charts=drawn,
        columns=[str(name) for name in epochs.columns],
        rows=rows,
        shown=len(shown),
        total=len(epochs),
    )


def _curve(
    epochs: pd.DataFrame, title: str, column: str, from_zero: bool, note: str
) -> dict[str, Any] | None:
    lines = charts.read_series(epochs, {column: title.lower()})
    if not lines:
        return None
    svg = charts.line_chart(title, lines, x_label="epoch", from_zero=from_zero)
    return {"title": title, "names": [title], "svg": svg, "note": note}


def _validation(epochs: pd.DataFrame) -> list[dict[str, Any]]:
    """One chart of all validation scores, with the best epoch of each; none without scores."""
    lines = charts.read_series(epochs, tables.validation_columns(epochs))
    if not lines:
        return []
    svg = charts.line_chart("Validation", lines, x_label="epoch", from_zero=False)
    best = [(*_best(line), line.name) for line in lines]
    said = [f"{name} {charts.number(y)} at epoch {charts.number(x)}" for y, x, name in best]
    names = [line.name for line in lines]
    return [{"title": "Validation", "names": names, "svg": svg, "note": f"Best: {', '.join(said)}"}]


def _best(line: charts.Series) -> tuple[float, float]:
    """The greatest value of a line, and the first place that has it."""
    points = zip(line.xs, line.ys, strict=True)
    y, x = max((y, -x) for x, y in points if math.isfinite(y))
    return y, -x


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return charts.number(float(value)) if math.isfinite(value) else "–"
    return str(value)


def _findings(build: Build) -> Body:
    findings = build.data.findings
    if findings is None:
        return "no findings.csv was given."
    rows = tables.finding_rows(findings, len(findings))
    errors = sum(1 for row in rows if row["level"] == "error")
    shown = rows[:_MAX_FINDINGS]
    return section(
        "findings", rows=shown, errors=errors, warnings=len(rows) - errors, shown=len(shown)
    )


def _card(build: Build) -> Body:
    if not build.data.card.strip():
        return "the model has no card."
    return section("card", body=render_markdown(build.data.card))


def _provenance(build: Build) -> Body:
    rows = tables.flatten(build.data.provenance or build.data.metrics.get("provenance") or {})
    return section("provenance", rows=rows) if rows else "none was recorded."


def _method(build: Build) -> Body:
    interval = dict(build.data.metrics.get("interval") or {})
    if not interval:
        return "metrics.json does not say how intervals were made; none are shown."
    level = interval.get("level")
    said = f"{level:.0%}" if isinstance(level, float) else "part stated"
    view = {name: interval.get(name) for name in ("method", "level", "replicates")}
    label = interval_label(build.data)
    return section("method", interval=view, label=label, level=said)


def interval_label(data: ReportData) -> str:
    """What the intervals hold, as metrics.json words it; "" if it does not."""
    return str((data.metrics.get("interval") or {}).get("label") or "")


SECTIONS: tuple[tuple[str, str, Callable[[Build], Body]], ...] = (
    ("measured", "What was measured", _measured),
    ("readouts", "Read-outs side by side", _readouts),
    ("wall", "The wall", _wall),
    ("confusion", "Confusion matrix", _confusion),
    ("classes", "Class by class", _classes),
    ("sheets", "Retrieval", _sheets),
    ("errors", "Hardest errors", _errors),
    ("map", "Embedding map", _map),
    ("calibration", "Calibration", _calibration),
    ("curves", "Learning curves", _curves),
    ("findings", "Data findings", _findings),
    ("card", "Model card", _card),
    ("provenance", "Provenance", _provenance),
    ("method", "How the intervals were made", _method),
)
_OF_LABELS = {  # what stands in for a section where images have several labels
    "confusion": ("together", "Labels that occur together", _together),
    "classes": ("labels", "Label by label", _labels),
    "calibration": ("calibration", "Calibration", _label_calibration),
}


def sections_of(data: ReportData) -> list[tuple[str, str, Callable[[Build], Body]]]:
    """The sections that fit the labels of a report, in order."""
    first, *rest = SECTIONS
    shared = [_OF_LABELS.get(item[0], item) if data.multilabel else item for item in rest]
    return [first, *data.own_sections, *shared]
