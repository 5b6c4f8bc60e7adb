"""The clinical figures of metrics.json as rows that a template can print; texts are ready."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from likeness_apps.shell.report.figures import interval_bar
from likeness_apps.shell.report.tables import Figure, number_of, skipped_text, title_of
from likeness_apps.shell.report.tables import figure as shared_figure

Record = Mapping[str, Any]
NONE = "–"
BALANCED = "average_accuracy"  # what the shared figures call balanced accuracy


def decimal(value: Any) -> str:
    """A figure of 0 to 1 with three digits."""
    found = number_of(value)
    return "undefined" if found is None else f"{found:.3f}".replace("-", "−")


def percent(value: Any) -> str:
    """A share in percent."""
    found = number_of(value)
    return "undefined" if found is None else f"{100 * found:.1f} %"


def span(record: Record, form: Callable[[Any], str] = decimal, prefix: str = "") -> str:
    """The interval of a record: "0.801 to 0.852"; a dash where it has none."""
    low, high = (number_of(record.get(prefix + end)) for end in ("low", "high"))
    return NONE if low is None or high is None else f"{form(low)} to {form(high)}"


def headlines(clinical: Record) -> list[Figure]:
    """For the top of the page: the ROC-AUC of each task, then balanced accuracy over classes."""
    areas = {
        name: task["discrimination"]["roc_auc"]
        for name, task in (clinical.get("tasks") or {}).items()
        if "discrimination" in task
    }
    found = []
    for name, record in areas.items():
        shown = shared_figure("roc_auc", record)
        low, high = (decimal(record[end]) if shown.low else "" for end in ("low", "high"))
        title, value = f"{spoken(name).capitalize()}: ROC-AUC", decimal(record["value"])
        found.append(replace(shown, name=title, value=value, low=low, high=high))
    balanced = clinical.get("balanced_accuracy_classes")
    if balanced is not None:  # the count is of classes, where the page speaks of items
        shown = shared_figure(BALANCED, balanced)
        found.append(replace(shown, name="Balanced accuracy", count=""))
    return found


@dataclass(frozen=True)
class AreaRow:
    """A figure of discrimination, and what scores without skill and perfect ones would have."""

    name: str
    note: str
    value: str
    interval: str
    bar: Markup
    chance: str
    perfect: str
    count: str


def area_rows(task: Record) -> list[AreaRow]:
    """The figures of a task; DeLong's interval of the AUC below the one by groups."""
    share = number_of(task.get("prevalence"))
    rows = []
    for key, record in task["discrimination"].items():
        name, note, chance, perfect = _area(key, share)
        counted = skipped_text(record.get("skipped")) or f"{record['count']:,}"
        shown = (decimal(record["value"]), span(record), bar_of(record))
        rows.append(AreaRow(name, note, *shown, chance, perfect, counted))
        if key == "roc_auc" and task.get("auc_delong"):
            rows.append(_delong(task["auc_delong"]))
    return rows


def _area(key: str, prevalence: float | None) -> tuple[str, str, str, str]:
    """Name, note, and the values of no skill and of perfect scores."""
    base, _, end = key.rpartition("_")
    floor = int(end) / 100 if end.isdigit() else 0.0
    if key == "roc_auc":
        return "ROC-AUC", "interval by drawing groups", "0.500", "1.000"
    if base == "auc_sens":
        note = f"right of {100 * floor:.0f} % sensitivity, as in ISIC 2018 and 2019: {key}"
        return "Partial area to the axis", note, decimal((1 - floor**2) / 2), "1.000"
    if base == "pauc_above_tpr":
        note = f"above the line of {100 * floor:.0f} % sensitivity only, as in ISIC 2024: {key}"
        chance, perfect = decimal((1 - floor) ** 2 / 2), decimal(1 - floor)
        return "Partial area above a line", note, chance, perfect
    if key == "average_precision":
        return "Average precision", "its floor is the prevalence", decimal(prevalence), "1.000"
    if key == "prevalence":
        return "Prevalence", "share of positives among these images", NONE, NONE
    return title_of(key), "", NONE, NONE


def _delong(record: Record) -> AreaRow:
    note = record.get("reason") or "DeLong: takes images as independent, so it may be too narrow"
    counted = f"{record['positives'] + record['negatives']:,}"
    shown = (decimal(record["auc"]), span(record), bar_of(record, "auc"))
    return AreaRow("ROC-AUC", note, *shown, "0.500", "1.000", counted)


@dataclass(frozen=True)
class FigureCell:
    """A figure with its interval; texts and bar are empty where there is none."""

    value: str
    interval: str
    bar: Markup


def figure_cell(record: Record | None, form: Callable[[Any], str] = decimal) -> FigureCell:
    """A record of value, low and high as a cell; a dash for none."""
    if record is None:
        return FigureCell(NONE, "", Markup())
    return FigureCell(form(record["value"]), span(record, form), bar_of(record))


def bar_of(record: Record, key: str = "value") -> Markup:
    """The value and its interval, drawn; nothing if it is undefined."""
    value, low, high = (number_of(record.get(part)) for part in (key, "low", "high"))
    return Markup() if value is None else interval_bar(value, low, high)


@dataclass(frozen=True)
class NamedCell:
    """A figure with its name, what is to be known of it, and how many counted."""

    name: str
    note: str
    cell: FigureCell
    count: str


def calibration_rows(task: Record) -> list[NamedCell]:
    """Brier score, expected calibration error and log-likelihood of a task."""
    share = task["prevalence"]
    notes = {
        "brier": ("Brier score", f"always saying the prevalence: {decimal(share * (1 - share))}"),
        "ece": (
            "Expected calibration error",
            "bins of equal width, as drawn; resampling makes bins noisier, so that the interval "
            "may lie above the value",
        ),
        "nll": ("Negative log-likelihood", "0 is best; no upper end"),
    }
    return [
        _named(*notes.get(key, (title_of(key), "")), record)
        for key, record in sorted(task["calibration"].items())
    ]


def similar_rows(similar: Record) -> list[NamedCell]:
    """How far the nearest training lesions agree; see `SimilarCases.summary`."""
    k, far = similar["k"], number_of(similar.get("far_percentile")) or 0.0
    names = {
        "same_as_truth": (f"Cases with the image's true diagnosis, of {k}", "mean share"),
        "same_as_predicted": (f"Cases with the model's answer, of {k}", "mean share"),
        "majority_is_truth": ("Most frequent diagnosis is the true one", "share of images"),
        "majority_is_predicted": ("Most frequent diagnosis is the answer", "share of images"),
        "unanimous": (f"All {k} cases agree", "share of images, whatever the diagnosis"),
        "far": (
            "Nearest case is far",
            f"share of images beyond the {far:.0f}th percentile of distances between training "
            f"lesions; {100 - far:.0f} % of images like those",
        ),
    }
    rows = []
    for key, record in similar["agreement"].items():
        base = key.partition("@")[0]
        rows.append(_named(*names.get(base, (title_of(key), "")), record))
    for task, record in similar["knn_auc"].items():
        name = f"ROC-AUC of {spoken(task)} by the share of positive cases"
        rows.append(_named(name, "no network head, no threshold", record))
    return rows


def _named(name: str, note: str, record: Record) -> NamedCell:
    counted = f"{record['count']:,}"
    skipped = skipped_text(record.get("skipped"))
    return NamedCell(
        name, note, figure_cell(record), f"{counted} ({skipped})" if skipped else counted
    )


def abstention_facts(record: Record) -> list[tuple[str, str]]:
    """The scalars of a risk-coverage curve, by name."""
    area, best = (number_of(record.get(name)) for name in ("area", "best_area"))
    return [
        ("Errors if all are answered", percent(record["risk"][-1])),
        ("Area below the curve", f"{decimal(area)} (0 is best)"),
        ("Area if errors were handed over first", decimal(best)),
        ("Answers of", spoken(record.get("readout") or "not stated")),
    ]


@dataclass(frozen=True)
class LevelRow:
    """A level of a column: its counts, and a cell per figure or the reason why there are none."""

    task: str
    level: str
    items: str
    groups: str
    counts: list[str]
    cells: list[FigureCell]
    reason: str


@dataclass(frozen=True)
class LevelTable:
    """The levels of one column of the data, task by task."""

    title: str
    counted: list[str]
    figures: list[str]
    rows: list[LevelRow]


def level_table(column: str, levels: Sequence[Record]) -> LevelTable:
    """The subgroups of a column; counts and figures in the order in which they first come."""
    counted = list(dict.fromkeys(name for level in levels for name in level["counts"]))
    keys = list(dict.fromkeys(key for level in levels for key in level["values"]))
    rows = [
        LevelRow(
            task=spoken(level["task"]),
            level=spoken(level["level"]),
            items=f"{level['items']:,}",
            groups=f"{level['groups']:,}",
            counts=[f"{level['counts'].get(name, 0):,}" for name in counted],
            cells=[_level_cell(level["values"], key) for key in keys],
            reason=str(level.get("reason") or ""),
        )
        for level in levels
    ]
    return LevelTable(spoken(column), counted, [_area(key, None)[0] for key in keys], rows)


def _level_cell(values: Record, key: str) -> FigureCell:
    """Areas have digits, shares of images are percentages."""
    form = percent if key in ("sensitivity", "specificity") else decimal
    return figure_cell(values.get(key), form)


def spoken(key: object) -> str:
    """A key as words: `seborrheic_keratosis` is "seborrheic keratosis"."""
    return str(key).replace("_", " ")


def thinned(columns: Sequence[Sequence[float]], most: int = 24) -> list[list[str]]:
    """At most so many rows of equally long columns, evenly chosen, first and last among them."""
    count = len(columns[0])
    places = sorted({round(i * (count - 1) / (most - 1)) for i in range(most)}) if count else []
    return [[_cell(column[place]) for column in columns] for place in places]


def _cell(value: float) -> str:
    return f"{value:.3f}".replace("-", "−") if math.isfinite(value) else NONE
