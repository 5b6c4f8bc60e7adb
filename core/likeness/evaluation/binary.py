"""How well scores separate two classes, with group-bootstrap intervals, and two scores compared.

Legend: N items, G groups, R replicates.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped

from likeness.evaluation import resampling
from likeness.evaluation.multilabel import average_precisions
from likeness.evaluation.resampling import DEFAULT, Bootstrap, Interval, Statistic, Sums
from likeness.evaluation.roc import Area, checked_binary, named_areas, rates
from likeness.evaluation.values import MetricValue

NO_POSITIVE = "no positive items"
NO_NEGATIVE = "no negative items"


def discrimination(
    truth_N: Shaped[np.ndarray, " N"],
    scores_N: Shaped[np.ndarray, " N"],
    groups_N: Shaped[np.ndarray, " N"] | None = None,
    *,
    floor: float = 0.8,
    bootstrap: Bootstrap = DEFAULT,
) -> dict[str, MetricValue]:
    """Areas under the ROC curve, average precision, and the prevalence that it rests on.

    roc_auc; auc_sens_<floor> (see `roc.auc_sens_floor`); pauc_above_tpr_<floor> (see
    `roc.pauc_above_tpr`), the floor in percent; average_precision; prevalence. With groups each
    has a percentile interval over draws of groups; draws without one of the classes are left out.
    Every replicate ranks anew: O(R N).

    Args:
        truth_N: booleans, or 0 and 1.
        scores_N: finite, higher = more likely positive.
        groups_N: patient, lesion, ...; None = no intervals.
        floor: TPR floor of the two partial areas, in (0, 1).
        bootstrap: replicates, seed, level.

    Returns:
        The values; those that need a class without items are nan, and `skipped` says why.

    Raises:
        UserError: as `roc.roc_curve`, or if the floor or the groups are out of range.
    """
    truth, scores = checked_binary(truth_N, scores_N)
    statistics = _statistics(truth, scores, floor)
    everything = np.ones((1, len(truth)))
    values = {
        name: _value(name, float(statistic(everything)[0]), truth)
        for name, statistic in statistics.items()
    }
    if groups_N is None:
        return values
    found = resampling.intervals(_members(groups_N, len(truth)), statistics, bootstrap)
    return {name: found[name].on(value) for name, value in values.items()}


def compare_discrimination(
    truth_N: Shaped[np.ndarray, " N"],
    scores_a_N: Shaped[np.ndarray, " N"],
    scores_b_N: Shaped[np.ndarray, " N"],
    groups_N: Shaped[np.ndarray, " N"],
    *,
    floor: float = 0.8,
    bootstrap: Bootstrap = DEFAULT,
) -> dict[str, Interval]:
    """Differences a - b of the figures of `discrimination` on the same items, with p-values.

    Every replicate draws the same groups for both.

    Raises:
        UserError: as `discrimination`.
    """
    truth, scores_a = checked_binary(truth_N, scores_a_N)
    truth, scores_b = checked_binary(truth_N, scores_b_N)
    of_a, of_b = (_statistics(truth, scores, floor) for scores in (scores_a, scores_b))
    del of_a["prevalence"]
    differences = {name: _difference(of_a[name], of_b[name]) for name in of_a}
    members = _members(groups_N, len(truth))
    return resampling.intervals(members, differences, bootstrap, test_zero=True)


def _statistics(truth_N: np.ndarray, scores_N: np.ndarray, floor: float) -> dict[str, Statistic]:
    """Each figure as a function of how often each item was drawn, (R, N)."""

    def of_rates(area: Area) -> Statistic:
        return lambda weights_RN: area(*rates(truth_N, scores_N, weights_RN))

    def precision(weights_RN: Float[np.ndarray, "R N"]) -> np.ndarray:
        return average_precisions(truth_N[:, None], scores_N[:, None], weights_RN)[:, 0]

    def prevalence(weights_RN: Float[np.ndarray, "R N"]) -> np.ndarray:
        return np.asarray(weights_RN @ truth_N / weights_RN.sum(axis=1))

    areas = {name: of_rates(area) for name, area in named_areas(floor).items()}
    return areas | {"average_precision": precision, "prevalence": prevalence}


def _difference(a: Statistic, b: Statistic) -> Statistic:
    return lambda weights_RN: a(weights_RN) - b(weights_RN)


def _value(name: str, value: float, truth_N: np.ndarray) -> MetricValue:
    items = len(truth_N)
    if not np.isnan(value):
        return MetricValue(value, items)
    return MetricValue(value, 0, {NO_NEGATIVE if truth_N.any() else NO_POSITIVE: items})


def _members(groups_N: np.ndarray, items: int) -> Sums:
    """Which items each group holds, sparse (G, N): its weighted sums are the items' weights."""
    return resampling.cell_sums(np.arange(items), groups_N, items)
