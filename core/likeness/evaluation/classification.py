"""Classification metrics, all read from one confusion matrix.

Legend: N items, C classes; `...` any leading shape (replicates of a bootstrap, say).
Rows of a matrix are the truth, columns the prediction.

Remote sensing calls recall the *producer's* accuracy (what share of the class on the ground was
found) and precision the *user's* accuracy (what share of the map's class is right).
A ratio with an empty denominator is nan, not 0 or 1: the class is left out of the average and
counted in `skipped`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from likeness.errors import require
from likeness.evaluation.values import MetricValue

NO_TRUTH = "class without true items"
NOWHERE = "class neither true nor predicted"
NO_DISAGREEMENT_POSSIBLE = "agreement by chance is certain (one class only)"


@dataclass(frozen=True)
class ClassTable:
    """Per-class results; nan where undefined.

    Attributes:
        support_C: true items.
        predicted_C: predicted items.
        recall_C: right / true (producer's accuracy).
        precision_C: right / predicted (user's accuracy).
        f1_C: 2 right / (true + predicted).
    """

    support_C: Int[np.ndarray, " C"]
    predicted_C: Int[np.ndarray, " C"]
    recall_C: Float[np.ndarray, " C"]
    precision_C: Float[np.ndarray, " C"]
    f1_C: Float[np.ndarray, " C"]

    def rows(self, classes: Sequence[str]) -> list[dict[str, Any]]:
        """One plain record per class, under both fields' names.

        Raises:
            UserError: if `classes` does not name every class.
        """
        rule = f"one name per class, {len(self.support_C)}"
        require(len(classes) == len(self.support_C), "classes", rule, len(classes))
        return [
            {
                "class": name,
                "support": int(self.support_C[index]),
                "predicted": int(self.predicted_C[index]),
                "producers": float(self.recall_C[index]),
                "users": float(self.precision_C[index]),
                "precision": float(self.precision_C[index]),
                "recall": float(self.recall_C[index]),
                "f1": float(self.f1_C[index]),
            }
            for index, name in enumerate(classes)
        ]


@dataclass(frozen=True)
class Classification:
    """Everything that one confusion matrix tells.

    Attributes:
        counts_CC: items by truth (rows) and prediction (columns).
        values: overall_accuracy, average_accuracy, kappa, macro_f1.
        table: per-class results.
    """

    counts_CC: Int[np.ndarray, "C C"]
    values: dict[str, MetricValue]
    table: ClassTable


def confusion_matrix(
    truth_N: Shaped[np.ndarray, " N"], predicted_N: Shaped[np.ndarray, " N"], num_classes: int
) -> Int[np.ndarray, "C C"]:
    """Count items by truth (rows) and prediction (columns).

    Args:
        truth_N: class numbers, 0 <= n < num_classes.
        predicted_N: class numbers, in the same order of items.
        num_classes: C, classes without items included.

    Raises:
        UserError: if the arrays are empty, differ in length, or hold anything but class numbers.
    """
    cells_N = confusion_cells(truth_N, predicted_N, num_classes)
    counts = np.bincount(cells_N, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def confusion_cells(
    truth_N: Shaped[np.ndarray, " N"], predicted_N: Shaped[np.ndarray, " N"], num_classes: int
) -> Int[np.ndarray, " N"]:
    """Cell `truth * C + prediction` of every item; arguments and errors as `confusion_matrix`."""
    require(num_classes >= 1, "num_classes", ">= 1", num_classes)
    require(len(truth_N) > 0, "truth", "one class number per item, at least one item", len(truth_N))
    for name, labels_N in (("truth", truth_N), ("predicted", predicted_N)):
        require(labels_N.shape == (len(truth_N),), name, f"{len(truth_N)} numbers", labels_N.shape)
        require(np.issubdtype(labels_N.dtype, np.integer), name, "integers", str(labels_N.dtype))
        outside_N = (labels_N < 0) | (labels_N >= num_classes)
        found = int(labels_N[outside_N][0]) if outside_N.any() else None
        require(found is None, name, f"between 0 and {num_classes - 1}", found)
    return truth_N.astype(np.int64) * num_classes + predicted_N.astype(np.int64)


def overall_accuracy(counts: Shaped[np.ndarray, "... C C"]) -> Float[np.ndarray, " ..."]:
    """Share of items on the diagonal; nan without items."""
    return ratio(np.einsum("...ii->...", counts), counts.sum(axis=(-2, -1)))


def average_accuracy(counts: Shaped[np.ndarray, "... C C"]) -> Float[np.ndarray, " ..."]:
    """Mean recall over the classes that have true items (balanced accuracy)."""
    return mean_defined(ratio(_diagonal(counts), counts.sum(axis=-1)))


def cohens_kappa(counts: Shaped[np.ndarray, "... C C"]) -> Float[np.ndarray, " ..."]:
    """(observed - chance) / (1 - chance), chance = sum of row x column shares (Cohen 1960).

    nan where chance agreement is certain: one class takes all truth and all predictions.
    """
    total = counts.sum(axis=(-2, -1)).astype(np.float64)
    right = np.einsum("...ii->...", counts).astype(np.float64)
    chance = (counts.sum(axis=-1).astype(np.float64) * counts.sum(axis=-2)).sum(axis=-1)
    # Multiplied by total^2: whole numbers, so that "certain" is an exact comparison.
    return ratio(right * total - chance, total * total - chance)


def macro_f1(counts: Shaped[np.ndarray, "... C C"]) -> Float[np.ndarray, " ..."]:
    """Mean F1 over the classes that occur in the truth or in the predictions."""
    return mean_defined(_f1(counts))


STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "overall_accuracy": overall_accuracy,
    "average_accuracy": average_accuracy,
    "kappa": cohens_kappa,
    "macro_f1": macro_f1,
}


def classification(
    truth_N: Shaped[np.ndarray, " N"], predicted_N: Shaped[np.ndarray, " N"], num_classes: int
) -> Classification:
    """All classification metrics; arguments and errors as `confusion_matrix`."""
    return from_counts(confusion_matrix(truth_N, predicted_N, num_classes))


def from_counts(counts_CC: Int[np.ndarray, "C C"]) -> Classification:
    """All classification metrics of a confusion matrix with at least one item."""
    support_C, predicted_C = counts_CC.sum(axis=1), counts_CC.sum(axis=0)
    require(support_C.sum() > 0, "counts", "a matrix with items", 0)
    table = ClassTable(
        support_C=support_C,
        predicted_C=predicted_C,
        recall_C=ratio(_diagonal(counts_CC), support_C),
        precision_C=ratio(_diagonal(counts_CC), predicted_C),
        f1_C=_f1(counts_CC),
    )
    total = int(support_C.sum())
    kappa = float(cohens_kappa(counts_CC))
    undefined = {NO_DISAGREEMENT_POSSIBLE: total} if np.isnan(kappa) else {}
    values = {
        "overall_accuracy": MetricValue(float(overall_accuracy(counts_CC)), total),
        "average_accuracy": _class_mean(table.recall_C, NO_TRUTH),
        "kappa": MetricValue(kappa, 0 if undefined else total, undefined),
        "macro_f1": _class_mean(table.f1_C, NOWHERE),
    }
    return Classification(counts_CC, values, table)


def _class_mean(values_C: np.ndarray, reason: str) -> MetricValue:
    count = int(np.isfinite(values_C).sum())
    missing = len(values_C) - count
    return MetricValue(float(mean_defined(values_C)), count, {reason: missing} if missing else {})


def _diagonal(counts: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("...ii->...i", counts))


def _f1(counts: np.ndarray) -> np.ndarray:
    return ratio(2 * _diagonal(counts), counts.sum(axis=-1) + counts.sum(axis=-2))


def ratio(top: np.ndarray | np.generic, bottom: np.ndarray | np.generic) -> np.ndarray:
    """`top / bottom`, nan where `bottom` is 0."""
    top, bottom = np.asarray(top, np.float64), np.asarray(bottom, np.float64)
    undefined = np.full(top.shape, np.nan)
    return np.asarray(np.divide(top, bottom, out=undefined, where=bottom != 0))


def mean_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not nan; nan if nothing is."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))
