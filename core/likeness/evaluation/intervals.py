"""The metrics of a report with their intervals, and two reports compared.

Legend: N items, Q queries.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int, Shaped

from likeness.evaluation import resampling
from likeness.evaluation.classification import STATISTICS, classification, confusion_cells
from likeness.evaluation.resampling import DEFAULT, Bootstrap, Interval, Statistic, Sums
from likeness.evaluation.retrieval import RetrievalResult
from likeness.evaluation.values import MetricValue


def classification_intervals(
    truth_N: Int[np.ndarray, " N"],
    predicted_N: Int[np.ndarray, " N"],
    num_classes: int,
    groups_N: Shaped[np.ndarray, " N"],
    bootstrap: Bootstrap = DEFAULT,
) -> dict[str, MetricValue]:
    """The values of `classification`, each with a group-bootstrap interval.

    Raises:
        UserError: as `classification`, or if groups do not count one per item.
    """
    sums = confusion_sums(truth_N, predicted_N, num_classes, groups_N)
    found = resampling.intervals(sums, cell_statistics(num_classes), bootstrap)
    values = classification(truth_N, predicted_N, num_classes).values
    return {name: found[name].on(value) for name, value in values.items()}


def retrieval_intervals(
    result: RetrievalResult, groups_Q: Shaped[np.ndarray, " Q"], bootstrap: Bootstrap = DEFAULT
) -> dict[str, MetricValue]:
    """The values of a retrieval result, each with a group-bootstrap interval over its queries.

    The gallery stays as it is: the interval covers the choice of queries.
    """
    return mean_intervals(result.values(), result.per_query, groups_Q, bootstrap)


def mean_intervals(
    values: Mapping[str, MetricValue],
    per_item: Mapping[str, Float[np.ndarray, " N"]],
    groups_N: Shaped[np.ndarray, " N"],
    bootstrap: Bootstrap = DEFAULT,
) -> dict[str, MetricValue]:
    """`values` with intervals where `per_item` has the items that they are means of."""
    found = resampling.mean_intervals(per_item, groups_N, bootstrap)
    return {
        name: found[name].on(value) if name in found else value for name, value in values.items()
    }


def compare_classification(
    truth_N: Int[np.ndarray, " N"],
    predicted_a_N: Int[np.ndarray, " N"],
    predicted_b_N: Int[np.ndarray, " N"],
    num_classes: int,
    groups_N: Shaped[np.ndarray, " N"],
    bootstrap: Bootstrap = DEFAULT,
) -> dict[str, Interval]:
    """Differences a - b of every classification metric on the same items, with p-values.

    Raises:
        UserError: as `classification`, or if groups do not count one per item.
    """
    sums_a = confusion_sums(truth_N, predicted_a_N, num_classes, groups_N)
    sums_b = confusion_sums(truth_N, predicted_b_N, num_classes, groups_N)
    return resampling.paired_differences(sums_a, sums_b, cell_statistics(num_classes), bootstrap)


def compare_retrieval(
    a: RetrievalResult,
    b: RetrievalResult,
    groups_Q: Shaped[np.ndarray, " Q"],
    bootstrap: Bootstrap = DEFAULT,
) -> dict[str, Interval]:
    """Differences a - b of every metric that both have, on the queries that both could answer."""
    shared = [name for name in a.per_query if name in b.per_query]
    differences = {name: a.per_query[name] - b.per_query[name] for name in shared}
    return resampling.mean_intervals(differences, groups_Q, bootstrap, test_zero=True)


def confusion_sums(
    truth_N: Int[np.ndarray, " N"],
    predicted_N: Int[np.ndarray, " N"],
    num_classes: int,
    groups_N: Shaped[np.ndarray, " N"],
) -> Sums:
    """One confusion matrix per group, flat and sparse, for `resampling` with `cell_statistics`.

    Raises:
        UserError: as `classification`, or if groups do not count one per item.
    """
    cells_N = confusion_cells(truth_N, predicted_N, num_classes)
    return resampling.cell_sums(cells_N, groups_N, num_classes**2)


def cell_statistics(num_classes: int) -> dict[str, Statistic]:
    """The statistics of confusion matrices as functions of `confusion_sums`."""

    def of_cells(statistic: Statistic) -> Statistic:
        return lambda sums: statistic(sums.reshape(-1, num_classes, num_classes))

    return {name: of_cells(statistic) for name, statistic in STATISTICS.items()}
