"""The numbers of a report as rows that a template can print: nothing is computed twice here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from likeness_apps.shell.report.data import Items, texts
from likeness_apps.shell.report.figures import interval_bar, number

FAMILIES = ("classification", "retrieval", "clustering", "calibration")
NAMES = {
    "accuracy": "Overall accuracy",
    "overall_accuracy": "Overall accuracy",
    "average_accuracy": "Average accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "kappa": "Cohen's kappa",
    "macro_f1": "Macro F1",
    "map@r": "MAP@R",
    "map": "Mean average precision",
    "anmrr": "ANMRR (0 is best)",
    "r_precision": "R-precision",
    "nmi": "Normalised mutual information",
    "ami": "Adjusted mutual information",
    "ari": "Adjusted Rand index",
    "ece": "Expected calibration error",
    "nll": "Negative log-likelihood",
    "brier": "Brier score",
    "auc": "Area under the ROC curve",
    "example_accuracy": "Example-based accuracy",
    "example_precision": "Example-based precision",
    "example_recall": "Example-based recall",
    "example_f1": "Example-based F1",
    "subset_accuracy": "All labels right",
    "hamming_loss": "Hamming loss (0 is best)",
    "macro_ap": "Mean AP over labels",
    "ap": "mAP",
    "wap": "WMAP",
    "wmap": "WMAP",
    "acg": "ACG",
    "ndcg": "nDCG",
    "exact_recall": "Equal-label recall",
    "sigmoid": "Independent sigmoids",
    "softmax": "Softmax",
    "gaussian": "Gaussian posterior",
    "nearest_centre": "Nearest centre",
    "nearest_subclass": "Nearest sub-class",
    "knn": "k-NN",
}
HEADLINES = (
    "example_f1",
    "macro_ap",
    "wap@10",
    "accuracy",
    "overall_accuracy",
    "balanced_accuracy",
    "average_accuracy",
    "macro_f1",
    "map@r",
    "map",
    "recall@1",
    "precision@1",
    "nmi",
)
MOST_HEADLINES = 4
_PLAIN = ("kappa", "nmi", "ami", "ari", "ece", "nll", "brier", "mcc", "auc", "loss", "anmrr")
_SUMS = ("acg", "wap")  # of shared labels: no shares of 1
_WORDS = {"f1": "F1", "map": "mAP", "roc": "ROC", "auc": "AUC", "knn": "k-NN", "tpr": "TPR"}


@dataclass(frozen=True)
class Figure:
    """One number with all that belongs to it, ready to print; texts are "" where unknown."""

    key: str
    family: str
    name: str
    raw: float | None
    value: str
    low: str
    high: str
    count: str
    skipped: str
    bar: Markup


def title_of(key: str) -> str:
    """A metric's key as a title: `recall@1` is "Recall@1"."""
    key = key.replace("_at_", "@")
    if key in NAMES:
        return NAMES[key]
    base, at, depth = key.partition("@")
    if at and base in NAMES:
        return f"{NAMES[base]}@{depth}"
    words = key.replace("_", " ").split(" ")
    shown = [_WORDS.get(word, word) for word in words]
    return (shown[0][:1].upper() + shown[0][1:] + " " + " ".join(shown[1:])).strip()


def figure(
    key: str, entry: Any, family: str = "", scale: tuple[float, float] | None = None
) -> Figure:
    """Read an entry of metrics.json: a number, or a mapping of value, count, skipped, low, high."""
    record = entry if isinstance(entry, Mapping) else {"value": entry}
    value, low, high = (number_of(record.get(name)) for name in ("value", "low", "high"))
    share = value is not None and 0 <= value <= 1 and str(key).partition("@")[0] not in _SUMS
    percent = share and not any(word in str(key).lower().split("_") for word in _PLAIN)

    def text(item: float | None) -> str:
        if item is None:
            return ""
        return f"{100 * item:.1f}" if percent else number(round(item, 3))

    bar = Markup()
    if value is not None and (scale is not None or share):
        bar = interval_bar(value, low, high, scale or (0.0, 1.0))
    count = record.get("count")
    return Figure(
        str(key),
        family,
        title_of(str(key)),
        value,
        (text(value) + (" %" if percent else "")) if value is not None else "undefined",
        text(low) if high is not None else "",
        text(high) if low is not None else "",
        f"{int(count):,}" if count is not None else "",
        skipped_text(record.get("skipped")),
        bar,
    )


def skipped_text(skipped: Any) -> str:
    """How many were skipped and why: "3 no true match, 1 unreadable"; "" if none."""
    if not isinstance(skipped, Mapping):
        return ""
    said = [f"{int(n):,} {str(why).replace('_', ' ')}" for why, n in skipped.items() if n]
    return ", ".join(said)


def all_figures(metrics: Mapping[str, Any]) -> list[Figure]:
    """Every number of the families, in their order."""
    return [
        figure(key, entry, family)
        for family in FAMILIES
        for key, entry in _entries(metrics.get(family))
    ]


def headlines(figures: Iterable[Figure], most: int = MOST_HEADLINES) -> list[Figure]:
    """The numbers that stand on top: known ones by importance, else the first ones."""
    known = [item for item in figures if item.raw is not None]
    ranked = sorted(
        known, key=lambda item: HEADLINES.index(item.key) if item.key in HEADLINES else 99
    )
    chosen: list[Figure] = []
    for item in ranked:
        same = any(item.name == other.name for other in chosen)
        if not same and (item.key in HEADLINES or len(chosen) < 2):
            chosen.append(item)
    return chosen[:most]


@dataclass(frozen=True)
class ReadoutRow:
    """One metric, read out in several ways."""

    name: str
    cells: list[Figure | None]


def readouts(metrics: Mapping[str, Any]) -> tuple[list[str], list[ReadoutRow]]:
    """Read-outs side by side; the bars of a row share one scale.

    Returns:
        Their titles, and a row per metric that any of them has.
    """
    sides = {name: dict(_entries(value)) for name, value in (metrics.get("readouts") or {}).items()}
    sides = {name: side for name, side in sides.items() if side}
    keys = list(dict.fromkeys(key for side in sides.values() for key in side))
    rows = []
    for key in keys:
        plain = [figure(key, side[key]) for side in sides.values() if key in side]
        if all(item.raw is None for item in plain):
            continue
        scale = _scale([side[key] for side in sides.values() if key in side])
        cells = [figure(key, s[key], scale=scale) if key in s else None for s in sides.values()]
        rows.append(ReadoutRow(title_of(key), cells))
    return [title_of(name) for name in sides], rows


def _scale(entries: Iterable[Any]) -> tuple[float, float]:
    values = []
    for entry in entries:
        record = entry if isinstance(entry, Mapping) else {"value": entry}
        values += [number_of(record.get(name)) for name in ("value", "low", "high")]
    known = [value for value in values if value is not None]
    pad = 0.08 * (max(known) - min(known)) or 0.05
    return min(known) - pad, max(known) + pad


def _entries(value: Any) -> list[tuple[str, Any]]:
    """The (name, entry) pairs that are numbers."""
    if not isinstance(value, Mapping):
        return []
    return [
        (str(key), entry)
        for key, entry in value.items()
        if (isinstance(entry, Mapping) and "value" in entry)
        or (isinstance(entry, int | float) and not isinstance(entry, bool))
    ]


def number_of(value: Any) -> float | None:
    """An entry of metrics.json as a finite number, or None."""
    if value is None or isinstance(value, bool | str):
        return None
    return float(value) if math.isfinite(float(value)) else None


@dataclass(frozen=True)
class Confusion:
    """Counts of truth (rows) against label (columns), and what stands out.

    Attributes:
        classes: C names.
        counts: C x C.
        shares: C x C, of each row's sum; 0 for an empty row.
        levels: C x C shade of each cell, 0 to 10; errors on a root scale, so that few show.
        totals: row sums.
        worst: (truth, label, count, total, share) of the most frequent confusions.
    """

    classes: list[str]
    counts: list[list[int]]
    shares: list[list[float]]
    levels: list[list[int]]
    totals: list[int]
    worst: list[tuple[int, int, int, int, float]]


def confusion(metrics: Mapping[str, Any]) -> Confusion | None:
    """The confusion matrix of metrics.json, or None."""
    record = metrics.get("confusion") or {}
    classes = [str(name) for name in record.get("classes", [])]
    counts = np.asarray(record.get("counts", []), dtype=np.int64)
    if not classes or counts.shape != (len(classes), len(classes)):
        return None
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
    diagonal = np.eye(len(classes), dtype=bool)
    levels = np.ceil(10 * np.where(diagonal, shares, np.sqrt(shares))).astype(int)
    off = [(i, j) for i, j in np.argwhere((counts > 0) & ~diagonal).tolist()]
    off.sort(key=lambda at: (-shares[at], -counts[at], at))
    worst = [(i, j, int(counts[i, j]), int(totals[i]), float(shares[i, j])) for i, j in off[:10]]
    return Confusion(
        classes, counts.tolist(), shares.tolist(), levels.tolist(), totals.tolist(), worst
    )


@dataclass(frozen=True)
class ClassRow:
    """One class; numbers are None where undefined. `mistaken` is its most frequent confusion."""

    index: int
    name: str
    support: int | None
    recall: float | None
    precision: float | None
    f1: float | None
    recall_bar: Markup
    precision_bar: Markup
    f1_bar: Markup
    mistaken: str


def class_rows(
    metrics: Mapping[str, Any], items: Items, matrix: Confusion | None
) -> list[ClassRow]:
    """The per-class table of metrics.json. Producer's accuracy is recall, user's is precision."""
    index = {name: i for i, name in enumerate(items.classes)}
    rows = []
    for record in metrics.get("per_class") or []:
        name = str(record.get("class", ""))
        recall = _first(record, "recall", "producers")
        precision = _first(record, "precision", "users")
        f1 = _first(record, "f1")
        support = number_of(record.get("support"))
        rows.append(
            ClassRow(
                index=index.get(name, -1),
                name=name,
                support=None if support is None else int(support),
                recall=recall,
                precision=precision,
                f1=f1,
                recall_bar=share_bar(recall),
                precision_bar=share_bar(precision),
                f1_bar=share_bar(f1),
                mistaken=_mistaken(name, matrix),
            )
        )
    return rows


def _first(record: Mapping[str, Any], *keys: str) -> float | None:
    """The first of some entries that is a number."""
    values = (number_of(record.get(key)) for key in keys)
    return next((value for value in values if value is not None), None)


def share_bar(value: float | None) -> Markup:
    """A share of 1 as a bar; nothing for None."""
    if value is None:
        return Markup()
    width = round(100 * min(1.0, max(0.0, value)), 1)
    return Markup(
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="rest" width="100" height="6"/><rect width="{width}" height="6"/></svg>'
    )


def _mistaken(name: str, matrix: Confusion | None) -> str:
    if matrix is None or name not in matrix.classes:
        return ""
    row = matrix.classes.index(name)
    counts = [(-n, j) for j, n in enumerate(matrix.counts[row]) if n and j != row]
    if not counts:
        return ""
    worst, column = min(counts)
    return f"{matrix.classes[column]} ({-worst})"


@dataclass(frozen=True)
class Counts:
    """What was given, what could be read, and why the rest could not."""

    rows: int
    read: int
    labelled: int
    reasons: list[tuple[str, str, int]]
    skipped: list[tuple[str, str, str]]


def counts(predictions: pd.DataFrame, items: Items, figures: Iterable[Figure]) -> Counts:
    """Count the rows by status and reason, and list what single figures skipped."""
    statuses = texts(predictions, "status")
    whys = texts(predictions, "reason") if "reason" in predictions.columns else [""] * len(statuses)
    pairs = zip(statuses, whys, strict=True)
    reasons = Counter((status, why) for status, why in pairs if status != "ok")
    listed = [(status or "not ok", why, n) for (status, why), n in sorted(reasons.items())]
    skipped = [(item.name, item.count, item.skipped) for item in figures if item.skipped]
    labelled = sum(1 for truth in items.truths if truth)
    return Counts(len(statuses), len(items), labelled, listed, skipped)


def answered(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and text of what was unusual in the answers: several models, several views, refusals."""
    rows = []
    ensemble, tta, scope = (metrics.get(name) for name in ("ensemble", "tta", "scope"))
    if ensemble:
        rows.append(("Ensemble", f"{len(ensemble['members'])} models, mean of their probabilities"))
    if tta and tta != "one":
        rows.append(("Views of each image", str(tta)))
    if scope and "refused" in scope:  # a run records its thresholds under this name, too
        share = f"{scope['refused']:,} images ({100 * scope['share']:.1f} %)"
        rows.append(("Predict would refuse", f"{share}; they are measured all the same"))
    return rows


def flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested provenance as (dotted name, text) rows, in the order given."""
    if isinstance(value, Mapping):
        return [
            row
            for key, item in value.items()
            for row in flatten(item, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(value, list | tuple):
        value = ", ".join(str(item) for item in value)
    return [(prefix, "" if value is None else str(value))]


def validation_columns(epochs: pd.DataFrame) -> dict[str, str]:
    """The first four columns of epochs.csv that hold validation scores, with their titles."""
    found = [str(name) for name in epochs.columns if str(name).startswith("val_")][:4]
    return {name: title_of(name.removeprefix("val_")) for name in found}


def finding_rows(findings: pd.DataFrame, most: int) -> list[dict[str, str]]:
    """Findings as rows, errors first; at most `most`."""
    columns = ("level", "code", "path", "message", "advice")
    read = {c: texts(findings, c) if c in findings else [""] * len(findings) for c in columns}
    rows = [dict(zip(columns, line, strict=True)) for line in zip(*read.values(), strict=True)]
    rows.sort(key=lambda row: row["level"] != "error")
    return rows[:most]
