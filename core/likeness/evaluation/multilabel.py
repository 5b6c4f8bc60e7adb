"""Metrics of several labels per item.

Legend: N items, L labels; `...` any leading shape (replicates of a bootstrap, say).

A ratio with an empty denominator is nan, not 0 or 1: the item or label is left out of the average
and counted in `skipped`. One ratio has a value by convention: the precision of an item without
predicted labels is 0, or saying nothing would pay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from likeness.errors import require
from likeness.evaluation.classification import mean_defined, ratio
from likeness.evaluation.values import MetricValue, mean_value

NO_LABELS = "item without true labels"
NO_TRUTH = "label without true items"
NOWHERE = "label neither true nor predicted"
NOTHING_PREDICTED = "nothing is predicted"
NOTHING_TRUE = "nothing is true"
NOTHING_AT_ALL = "nothing is true or predicted"
ITEM_METRICS = (
    "example_accuracy",
    "example_precision",
    "example_recall",
    "example_f1",
    "subset_accuracy",
    "hamming_loss",
)


@dataclass(frozen=True)
class LabelTable:
    """Results of each label; nan where undefined.

    Attributes:
        support_L: items that have the label.
        predicted_L: items it is predicted for.
        precision_L: right / predicted.
        recall_L: right / true.
        f1_L: 2 right / (true + predicted).
        average_precision_L: of the ranking of all items by the label's score; nan without scores.
    """

    support_L: Int[np.ndarray, " L"]
    predicted_L: Int[np.ndarray, " L"]
    precision_L: Float[np.ndarray, " L"]
    recall_L: Float[np.ndarray, " L"]
    f1_L: Float[np.ndarray, " L"]
    average_precision_L: Float[np.ndarray, " L"]

    def rows(self, labels: Sequence[str]) -> list[dict[str, Any]]:
        """One plain record per label.

        Raises:
            UserError: if `labels` does not name every label.
        """
        rule = f"one name per label, {len(self.support_L)}"
        require(len(labels) == len(self.support_L), "labels", rule, len(labels))
        return [
            {
                "label": name,
                "support": int(self.support_L[index]),
                "predicted": int(self.predicted_L[index]),
                "precision": float(self.precision_L[index]),
                "recall": float(self.recall_L[index]),
                "f1": float(self.f1_L[index]),
                "average_precision": float(self.average_precision_L[index]),
            }
            for index, name in enumerate(labels)
        ]


@dataclass(frozen=True)
class MultiLabel:
    """All metrics of one table of predictions.

    Attributes:
        values: example_accuracy, example_precision, example_recall, example_f1 (also called
            sample F1), subset_accuracy, hamming_loss; micro_precision, micro_recall, micro_f1,
            macro_f1; with scores macro_ap (mAP over labels).
        per_item: the first six for every item, nan where it does not count, for resampling.
        table: results of each label.
    """

    values: dict[str, MetricValue]
    per_item: dict[str, Float[np.ndarray, " N"]]
    table: LabelTable


def decide(
    scores_NL: Float[np.ndarray, "N L"], thresholds: float | Float[np.ndarray, " L"] = 0.5
) -> Bool[np.ndarray, "N L"]:
    """The predicted labels: those with score >= threshold, one for all or one for each label."""
    return np.asarray(scores_NL >= thresholds)


def multilabel(
    truth_NL: Shaped[np.ndarray, "N L"],
    predicted_NL: Shaped[np.ndarray, "N L"],
    scores_NL: Float[np.ndarray, "N L"] | None = None,
) -> MultiLabel:
    """All metrics of several labels per item.

    With T the true and P the predicted labels of an item (Godbole and Sarawagi 2004; Zhang and
    Zhou 2014), the means over items of

        example_accuracy |T & P| / |T | P|     example_precision |T & P| / |P|
        example_recall   |T & P| / |T|         example_f1        2 |T & P| / (|T| + |P|)
        subset_accuracy  1 if T = P            hamming_loss      (|T | P| - |T & P|) / L

    the example-based ones over items that have labels. micro: right, true and predicted counts
    are summed over labels first. macro_f1: mean over labels that are true or predicted anywhere.
    macro_ap: mean over labels with true items of the step-wise average precision, equal scores at
    once, as scikit-learn's.

    Args:
        truth_NL: booleans, or 0 and 1.
        predicted_NL: likewise, see `decide`.
        scores_NL: any finite scores, higher = more likely, for the average precision.

    Raises:
        UserError: if the tables are empty, differ in shape or hold anything else.
    """
    truth_NL, predicted_NL = checked(truth_NL, predicted_NL)
    precision_L = np.full(truth_NL.shape[1], np.nan)
    if scores_NL is not None:
        check_scores(scores_NL, truth_NL.shape)
        precision_L = average_precisions(truth_NL, scores_NL, np.ones((1, len(truth_NL))))[0]
    per_item = item_values(truth_NL, predicted_NL)
    values = {
        name: mean_value(values_N, ~np.isnan(values_N), NO_LABELS)
        for name, values_N in per_item.items()
    }
    counts_3L = label_counts(truth_NL, predicted_NL).sum(axis=0)
    right_L, true_L, found_L = counts_3L
    table = LabelTable(
        support_L=true_L,
        predicted_L=found_L,
        precision_L=ratio(right_L, found_L),
        recall_L=ratio(right_L, true_L),
        f1_L=ratio(2 * right_L, true_L + found_L),
        average_precision_L=precision_L,
    )
    for name, reason in (("micro_precision", NOTHING_PREDICTED), ("micro_recall", NOTHING_TRUE)):
        values[name] = _whole(float(STATISTICS[name](counts_3L)), len(truth_NL), reason)
    values["micro_f1"] = _whole(float(micro_f1(counts_3L)), len(truth_NL), NOTHING_AT_ALL)
    values["macro_f1"] = mean_value(table.f1_L, ~np.isnan(table.f1_L), NOWHERE)
    if scores_NL is not None:
        values["macro_ap"] = mean_value(precision_L, ~np.isnan(precision_L), NO_TRUTH)
    return MultiLabel(values, per_item, table)


def item_values(
    truth_NL: Bool[np.ndarray, "N L"], predicted_NL: Bool[np.ndarray, "N L"]
) -> dict[str, Float[np.ndarray, " N"]]:
    """`ITEM_METRICS`, which are means over items, item by item; see `multilabel`."""
    shared_N = (truth_NL & predicted_NL).sum(axis=1)
    either_N = (truth_NL | predicted_NL).sum(axis=1)
    true_N, found_N = truth_NL.sum(axis=1), predicted_NL.sum(axis=1)
    precision_N = ratio(shared_N, np.maximum(found_N, 1))
    return {
        "example_accuracy": np.where(true_N > 0, ratio(shared_N, either_N), np.nan),
        "example_precision": np.where(true_N > 0, precision_N, np.nan),
        "example_recall": ratio(shared_N, true_N),
        "example_f1": np.where(true_N > 0, ratio(2 * shared_N, true_N + found_N), np.nan),
        "subset_accuracy": (shared_N == either_N).astype(np.float64),
        "hamming_loss": (either_N - shared_N) / truth_NL.shape[1],
    }


def label_counts(
    truth_NL: Bool[np.ndarray, "N L"], predicted_NL: Bool[np.ndarray, "N L"]
) -> Bool[np.ndarray, "N 3 L"]:
    """Right, true and predicted of every item and label; sums of it are what `STATISTICS` read."""
    return np.stack([truth_NL & predicted_NL, truth_NL, predicted_NL], axis=1)


def micro_precision(counts: Shaped[np.ndarray, "... 3 L"]) -> Float[np.ndarray, " ..."]:
    """Right / predicted, both summed over labels."""
    right, _, found = np.moveaxis(counts.sum(axis=-1), -1, 0)
    return ratio(right, found)


def micro_recall(counts: Shaped[np.ndarray, "... 3 L"]) -> Float[np.ndarray, " ..."]:
    """Right / true, both summed over labels."""
    right, true, _ = np.moveaxis(counts.sum(axis=-1), -1, 0)
    return ratio(right, true)


def micro_f1(counts: Shaped[np.ndarray, "... 3 L"]) -> Float[np.ndarray, " ..."]:
    """2 right / (true + predicted), each summed over labels."""
    right, true, found = np.moveaxis(counts.sum(axis=-1), -1, 0)
    return ratio(2 * right, true + found)


def macro_f1(counts: Shaped[np.ndarray, "... 3 L"]) -> Float[np.ndarray, " ..."]:
    """Mean F1 over the labels that occur in the truth or in the predictions."""
    right, true, found = np.moveaxis(counts, -2, 0)
    return mean_defined(ratio(2 * right, true + found))


STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "micro_precision": micro_precision,
    "micro_recall": micro_recall,
    "micro_f1": micro_f1,
    "macro_f1": macro_f1,
}


def average_precisions(
    truth_NL: Bool[np.ndarray, "N L"],
    scores_NL: Float[np.ndarray, "N L"],
    weights_RN: Float[np.ndarray, "R N"],
) -> Float[np.ndarray, "R L"]:
    """Step-wise average precision of every label, for every weighting of the items.

    The sum over distinct scores of (gain in recall) x (precision down to that score): items of
    equal score come in together. nan for a label without (weighted) true items.
    """
    found = np.empty((len(weights_RN), truth_NL.shape[1]))
    for label in range(truth_NL.shape[1]):
        order_N = np.argsort(-scores_NL[:, label], kind="stable")
        ranked_N = scores_NL[order_N, label]
        ends = np.flatnonzero(np.append(ranked_N[1:] != ranked_N[:-1], True))
        weights = weights_RN[:, order_N]
        hits = np.cumsum(weights * truth_NL[order_N, label], axis=1)[:, ends]
        seen = np.cumsum(weights, axis=1)[:, ends]
        # Nothing seen yet means nothing gained either.
        precision = hits / np.maximum(seen, np.finfo(np.float64).tiny)
        gained = np.diff(hits, axis=1, prepend=0.0)
        found[:, label] = ratio((gained * precision).sum(axis=1), hits[:, -1])
    return found


def checked(
    truth_NL: Shaped[np.ndarray, "N L"], predicted_NL: Shaped[np.ndarray, "N L"]
) -> tuple[Bool[np.ndarray, "N L"], Bool[np.ndarray, "N L"]]:
    """Both tables as booleans.

    Raises:
        UserError: see `multilabel`.
    """
    for name, table in (("truth", truth_NL), ("predicted", predicted_NL)):
        filled = table.ndim == 2 and table.size > 0
        require(filled, name, "a table of items and labels with rows", table.shape)
        outside = table[(table != 0) & (table != 1)]
        found = outside[0].item() if len(outside) else None
        require(found is None, name, "0 or 1 everywhere", found)
    require(
        predicted_NL.shape == truth_NL.shape,
        "predicted",
        f"of shape {truth_NL.shape}",
        predicted_NL.shape,
    )
    return truth_NL.astype(bool), predicted_NL.astype(bool)


def check_scores(scores_NL: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise UserError unless the scores are finite and of that shape."""
    require(scores_NL.shape == shape, "scores", f"of shape {shape}", scores_NL.shape)
    require(np.isfinite(scores_NL).all(), "scores", "finite", "nan or infinity")


def _whole(value: float, items: int, reason: str) -> MetricValue:
    undefined = {reason: items} if np.isnan(value) else {}
    return MetricValue(value, 0 if undefined else items, undefined)
