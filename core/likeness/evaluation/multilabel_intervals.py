"""Intervals of the metrics of several labels per item, and two tables of predictions compared.

Legend: N items, L labels, G groups, R replicates, F summed features.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Shaped

from likeness.evaluation import resampling
from likeness.evaluation.classification import mean_defined
from likeness.evaluation.multilabel import (
    ITEM_METRICS,
    STATISTICS,
    average_precisions,
    check_scores,
    checked,
    item_values,
    label_counts,
    multilabel,
)
from likeness.evaluation.resampling import DEFAULT, Bootstrap, Interval, Statistic, Sums
from likeness.evaluation.values import MetricValue


def multilabel_intervals(
    truth_NL: Shaped[np.ndarray, "N L"],
    predicted_NL: Shaped[np.ndarray, "N L"],
    groups_N: Shaped[np.ndarray, " N"],
    scores_NL: Float[np.ndarray, "N L"] | None = None,
    bootstrap: Bootstrap = DEFAULT,
) -> dict[str, MetricValue]:
    """The values of `multilabel`, each with a group-bootstrap interval.

    For `macro_ap` every replicate ranks the items anew, O(R N L); the others are sums.

    Raises:
        UserError: as `multilabel`, or if groups do not count one per item.
    """
    values = multilabel(truth_NL, predicted_NL, scores_NL).values
    truth, predicted = checked(truth_NL, predicted_NL)
    sums = item_sums(truth, predicted, groups_N)
    found = resampling.intervals(sums, statistics(truth.shape[1]), bootstrap)
    if scores_NL is not None:
        statistic = _macro_ap(truth, scores_NL)
        found["macro_ap"] = resampling.interval(_members(groups_N), statistic, bootstrap)
    return {name: found[name].on(value) for name, value in values.items()}


def compare_multilabel(
    truth_NL: Shaped[np.ndarray, "N L"],
    predicted_a_NL: Shaped[np.ndarray, "N L"],
    predicted_b_NL: Shaped[np.ndarray, "N L"],
    groups_N: Shaped[np.ndarray, " N"],
    scores_a_NL: Float[np.ndarray, "N L"] | None = None,
    scores_b_NL: Float[np.ndarray, "N L"] | None = None,
    bootstrap: Bootstrap = DEFAULT,
) -> dict[str, Interval]:
    """Differences a - b of every metric on the same items, with p-values.

    Average precision is compared if both have scores.

    Raises:
        UserError: as `multilabel`, or if groups do not count one per item.
    """
    truth, a_NL = checked(truth_NL, predicted_a_NL)
    _, b_NL = checked(truth_NL, predicted_b_NL)
    a_sums, b_sums = item_sums(truth, a_NL, groups_N), item_sums(truth, b_NL, groups_N)
    found = resampling.paired_differences(a_sums, b_sums, statistics(truth.shape[1]), bootstrap)
    if scores_a_NL is not None and scores_b_NL is not None:
        check_scores(scores_a_NL, truth.shape)
        check_scores(scores_b_NL, truth.shape)
        a, b = _macro_ap(truth, scores_a_NL), _macro_ap(truth, scores_b_NL)
        found["macro_ap"] = resampling.interval(
            _members(groups_N), lambda weights: a(weights) - b(weights), bootstrap, test_zero=True
        )
    return found


def item_sums(
    truth_NL: Bool[np.ndarray, "N L"],
    predicted_NL: Bool[np.ndarray, "N L"],
    groups_N: Shaped[np.ndarray, " N"],
) -> Float[np.ndarray, "G F"]:
    """What `statistics` read, by group: (sum, count) of each item value, then the label counts."""
    counts_N3L = label_counts(truth_NL, predicted_NL)
    columns = item_values(truth_NL, predicted_NL).values()
    means = [resampling.mean_sums(values_N, groups_N) for values_N in columns]
    counts = resampling.group_sums(counts_N3L.reshape(len(truth_NL), -1).astype(float), groups_N)
    return np.hstack([*means, counts])


def statistics(labels: int) -> dict[str, Statistic]:
    """Every metric but `macro_ap` as a function of `item_sums`."""
    first = 2 * len(ITEM_METRICS)

    def of_counts(statistic: Statistic) -> Statistic:
        return lambda sums: statistic(sums[:, first:].reshape(-1, 3, labels))

    means = {name: resampling.mean_of_columns(2 * index) for index, name in enumerate(ITEM_METRICS)}
    return means | {name: of_counts(statistic) for name, statistic in STATISTICS.items()}


def _macro_ap(truth_NL: np.ndarray, scores_NL: np.ndarray) -> Statistic:
    """`macro_ap` as a function of how often each item was drawn, (R, N)."""
    return lambda weights_RN: mean_defined(average_precisions(truth_NL, scores_NL, weights_RN))


def _members(groups_N: np.ndarray) -> Sums:
    """Which items each group holds, sparse (G, N): its weighted sums are the items' weights."""
    return resampling.cell_sums(np.arange(len(groups_N)), groups_N, len(groups_N))
