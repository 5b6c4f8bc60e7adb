"""Operating points as rows, and one of them in whole images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from likeness_apps.shell.report.figures import number
from likeness_apps.shell.report.tables import number_of
from likeness_apps.skin_lesion.clinical.report.tables import NONE, Record, decimal, percent, span


@dataclass(frozen=True)
class RateCell:
    """Sensitivity or specificity: value, "54 of 60", and its two intervals."""

    value: str
    counts: str
    wilson: str
    groups: str


@dataclass(frozen=True)
class PointRow:
    """An operating point; counts are TP, FP, TN, FN."""

    number: int
    aim: str
    threshold: str
    validation: list[str]
    counts: list[str]
    sensitivity: RateCell
    specificity: RateCell
    balanced_accuracy: str
    f1: str
    reason: str


def point_rows(points: Sequence[Record]) -> list[PointRow]:
    """The operating points of a task, numbered from 1."""
    return [
        PointRow(
            number=place,
            aim=_aim(point),
            threshold=_threshold(point),
            validation=_counts(point.get("validation")),
            counts=_counts(point.get("counts")),
            sensitivity=_rate(point["sensitivity"]),
            specificity=_rate(point["specificity"]),
            balanced_accuracy=percent(point.get("balanced_accuracy")),
            f1=decimal(point.get("f1")),
            reason=str(point.get("reason") or ""),
        )
        for place, point in enumerate(points, start=1)
    ]


def _aim(point: Record) -> str:
    aim = number_of(point.get("aim"))
    if aim is None:
        return "the usual one, not fixed on validation"
    return f"{point['fixed']} at least {100 * aim:.0f} %"


def _threshold(point: Record) -> str:
    value = number_of(point.get("threshold"))
    if value is None:
        return NONE
    return "above 1: nothing is called" if value > 1 else number(value)


def _counts(record: Record | None) -> list[str]:
    names = ("tp", "fp", "tn", "fn")
    return [NONE] * 4 if record is None else [f"{int(record[name]):,}" for name in names]


def _rate(record: Record) -> RateCell:
    counts = f"{record['hits']:,} of {record['total']:,}" if record["total"] else ""
    groups = span(record, percent, prefix="group_")
    said = str(record.get("reason") or counts)
    return RateCell(percent(record["value"]), said, span(record, percent), groups)


@dataclass(frozen=True)
class Told:
    """An operating point in whole images, for a sentence."""

    aim: str
    found: int
    positives: int
    missed: int
    called: int
    others: int


def told(points: Sequence[Record], fixed: str = "sensitivity", aim: float = 0.9) -> Told | None:
    """The point of that aim in whole images; None if no threshold was fixed for it."""
    for point in points:
        counts = point.get("counts")
        if point["fixed"] == fixed and number_of(point["aim"]) == aim and counts is not None:
            tp, fp, tn, fn = (int(counts[name]) for name in ("tp", "fp", "tn", "fn"))
            return Told(f"{100 * aim:.0f} %", tp, tp + fn, fn, fp, fp + tn)
    return None
