"""The official ISIC figures as rows, each beside its corrected ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from likeness_apps.shell.report.tables import number_of
from likeness_apps.skin_lesion.clinical.report.tables import decimal

Record = Mapping[str, Any]
DEFINED, ARGMAX = "_or_nan", "_argmax"
NAMES = {
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "dice": "Dice (F1)",
    "ppv": "Positive predictive value",
    "npv": "Negative predictive value",
    "auc": "ROC-AUC",
    "auc_sens_80": "Area from 80 % sensitivity to the axis",
    "ap": "Average precision",
    "pauc_above_tpr_80": "Area above the line of 80 % sensitivity",
    "prevalence": "Prevalence",
    "positives": "Positive images",
}
OVERALL = {
    "balanced_accuracy": "Balanced accuracy, official",
    "validation": "The same with the validation weights, official",
    "balanced_accuracy_ties_shared": "Balanced accuracy, ties shared",
    "balanced_accuracy_with_rest": "Balanced accuracy, images without a class as a class",
}


@dataclass(frozen=True)
class OfficialRow:
    """A figure by the official rule (p > 0.5, undefined ratios 1), and without their surprises.

    `defined`: undefined stays undefined; `argmax`: of the most probable class. "" where the figure
    does not exist in that form.
    """

    name: str
    official: str
    defined: str
    argmax: str


@dataclass(frozen=True)
class OfficialTable:
    """The figures of one class, or their means over classes."""

    title: str
    rows: list[OfficialRow]


def official_tables(isic: Record) -> list[OfficialTable]:
    """The means over classes, then every class; see `isic.scoring.IsicScore`."""
    means = official_rows(isic["macro_average"], isic["corrected_macro_average"])
    per_class, corrected = isic["per_class"], isic["corrected_per_class"]
    single = [
        OfficialTable(name, official_rows(per_class[name], corrected[name])) for name in per_class
    ]
    return [OfficialTable("Mean over classes", means), *single]


def official_rows(official: Record, corrected: Record) -> list[OfficialRow]:
    """Every figure of both records, once."""
    bases = [name.removesuffix(DEFINED).removesuffix(ARGMAX) for name in corrected]
    rows = []
    for base in dict.fromkeys([*official, *bases]):
        defined = base if base in corrected else base + DEFINED
        cells = (_cell(official, base), _cell(corrected, defined), _cell(corrected, base + ARGMAX))
        rows.append(OfficialRow(NAMES.get(base, base), *cells))
    return rows


def overall_rows(isic: Record) -> list[tuple[str, str]]:
    """Name and value of the multi-class figures, the official ones first."""
    figures = {name: isic[name] for name in ("balanced_accuracy", "validation")}
    figures |= isic["corrected"]
    return [(OVERALL.get(name, name), decimal(value)) for name, value in figures.items()]


def _cell(record: Record, name: str) -> str:
    if name not in record:
        return ""
    value = number_of(record[name])
    return (
        f"{value:,.1f}".removesuffix(".0")
        if name == "positives" and value is not None
        else decimal(value)
    )
