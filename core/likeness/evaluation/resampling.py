"""Intervals by resampling groups: how far could the number have fallen with other test items?

Legend: N items, G groups, F summed features, R replicates, S runs (seeds or folds), H hypotheses.

Items of one group (patient, scene, identity, subject) are alike, so groups are drawn, not items.
Every statistic here is a function of *sums over items*: a mean is sum / count, kappa is a function
of the confusion matrix. A replicate is then one weighted sum of the groups' sums, and all
replicates are one matrix product.

An interval from a single trained model tells the noise of the test set only ("evaluation noise
only"); how much another seed would change the number needs several runs and `two_level_interval`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy import sparse

from likeness.errors import require
from likeness.evaluation.values import MetricValue

EVALUATION_NOISE = "evaluation noise only"
RUNS_AND_GROUPS = "runs, then groups"
TOO_FEW_GROUPS = "an interval needs at least 2 groups"
TOO_FEW_RUNS = "an interval over runs needs at least 2 runs"
UNDEFINED = "the statistic is undefined"

Statistic = Callable[[np.ndarray], np.ndarray]
Sums = Any  # (G, F) numpy array or scipy sparse array
_WEIGHTS = 1 << 22  # weights, and weighted sums, held at a time: 32 MiB each


@dataclass(frozen=True)
class Interval:
    """A value and how far resampling moves it.

    Attributes:
        value: the statistic of the data.
        low: lower percentile; nan without an interval.
        high: upper percentile; nan without an interval.
        p_value: two-sided, of "the value is 0"; None where that is no question.
        groups: groups drawn from.
        replicates: replicates whose statistic was defined.
        level: coverage aimed at.
        label: what the interval covers, to be printed beside it.
        reason: why there is no interval; "" if there is one.
    """

    value: float
    low: float
    high: float
    groups: int
    replicates: int
    level: float
    label: str = EVALUATION_NOISE
    reason: str = ""
    p_value: float | None = None

    def on(self, metric: MetricValue) -> MetricValue:
        """The metric with this interval's ends."""
        return replace(metric, low=self.low, high=self.high)


@dataclass(frozen=True)
class Bootstrap:
    """How to resample.

    Attributes:
        replicates: how often.
        seed: of the draws; equal seeds draw equal groups.
        level: coverage aimed at, in (0, 1).
    """

    replicates: int = 2000
    seed: int = 0
    level: float = 0.95

    def __post_init__(self) -> None:
        require(self.replicates >= 1, "replicates", ">= 1", self.replicates)
        require(0 < self.level < 1, "level", "between 0 and 1", self.level)


DEFAULT = Bootstrap()


def group_sums(
    features_NF: Float[np.ndarray, "N F"], groups_N: Shaped[np.ndarray, " N"]
) -> Float[np.ndarray, "G F"]:
    """Sum of the features of each group's items; groups in sorted order."""
    codes_N, count = _codes(groups_N, len(features_NF))
    return np.stack(
        [np.bincount(codes_N, column, minlength=count) for column in features_NF.T], axis=1
    )


def mean_sums(
    values_N: Float[np.ndarray, " N"], groups_N: Shaped[np.ndarray, " N"]
) -> Float[np.ndarray, "G 2"]:
    """(sum, count) of each group, for `mean_of_sums`; an item with nan does not count."""
    counted_N = ~np.isnan(values_N)
    table_N2 = np.stack([np.where(counted_N, values_N, 0.0), counted_N.astype(np.float64)], axis=1)
    return group_sums(table_N2, groups_N)


def mean_of_sums(sums_R2: Float[np.ndarray, "R 2"]) -> Float[np.ndarray, " R"]:
    """Sum / count, nan where the count is 0."""
    undefined_R = np.full(len(sums_R2), np.nan)
    count_R = sums_R2[:, 1]
    return np.asarray(np.divide(sums_R2[:, 0], count_R, out=undefined_R, where=count_R != 0))


def cell_sums(
    cells_N: Int[np.ndarray, " N"], groups_N: Shaped[np.ndarray, " N"], cells: int
) -> Sums:
    """How often each group holds each cell (of a confusion matrix, say): sparse (G, cells)."""
    codes_N, count = _codes(groups_N, len(cells_N))
    ones_N = np.ones(len(cells_N))
    return sparse.coo_array((ones_N, (codes_N, cells_N)), shape=(count, cells)).tocsr()


def interval(
    sums_GF: Sums, statistic: Statistic, bootstrap: Bootstrap = DEFAULT, *, test_zero: bool = False
) -> Interval:
    """Percentile group-bootstrap interval of one statistic of sums; see `intervals`."""
    return intervals(sums_GF, {"": statistic}, bootstrap, test_zero=test_zero)[""]


def intervals(
    sums_GF: Sums,
    statistics: Mapping[str, Statistic],
    bootstrap: Bootstrap = DEFAULT,
    *,
    test_zero: bool = False,
) -> dict[str, Interval]:
    """Percentile group-bootstrap intervals of several statistics on the same draws.

    Groups are drawn with replacement, as many as there are (Efron and Tibshirani 1993, ch. 13).

    Args:
        sums_GF: per-group sums, see `mean_sums` and `cell_sums`.
        statistics: name -> function of (R, F) sums giving (R,) numbers, nan where undefined.
        bootstrap: replicates, seed, level.
        test_zero: also report p-values of "the statistic is 0" (for differences): twice the
            smaller share of replicates on one side of 0 (the percentile interval inverted),
            replicates at 0 counted on both sides, one added to each count so that it is never 0.

    Returns:
        The intervals; with fewer than 2 groups, low and high are nan and `reason` says so.
    """
    groups = sums_GF.shape[0]
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    if groups >= 2:
        generator = np.random.default_rng(bootstrap.seed)
        for weights in _weights(generator, groups, bootstrap.replicates, sums_GF.shape[1]):
            sums_RF = _weighted(weights, sums_GF)
            for name, statistic in statistics.items():
                drawn[name].append(statistic(sums_RF))
    found = {}
    about = _About(groups, bootstrap, EVALUATION_NOISE, test_zero)
    for name, statistic in statistics.items():
        value = float(statistic(_total(sums_GF))[0])
        reason = "" if groups >= 2 else TOO_FEW_GROUPS
        found[name] = _percentiles(value, drawn[name], about, reason)
    return found


def mean_interval(
    values_N: Float[np.ndarray, " N"],
    groups_N: Shaped[np.ndarray, " N"],
    bootstrap: Bootstrap = DEFAULT,
) -> Interval:
    """Group-bootstrap interval of the mean of per-item values; items with nan do not count."""
    return interval(mean_sums(values_N, groups_N), mean_of_sums, bootstrap)


def mean_intervals(
    values: Mapping[str, Float[np.ndarray, " N"]],
    groups_N: Shaped[np.ndarray, " N"],
    bootstrap: Bootstrap = DEFAULT,
    *,
    test_zero: bool = False,
) -> dict[str, Interval]:
    """`mean_interval` of several columns of per-item values, on the same draws."""
    if not values:
        return {}
    sums = np.hstack([mean_sums(values_N, groups_N) for values_N in values.values()])
    statistics = {name: mean_of_columns(2 * index) for index, name in enumerate(values)}
    return intervals(sums, statistics, bootstrap, test_zero=test_zero)


def paired_difference(
    sums_a_GF: Sums, sums_b_GF: Sums, statistic: Statistic, bootstrap: Bootstrap = DEFAULT
) -> Interval:
    """Statistic of a minus statistic of b, with interval and p-value; see `paired_differences`."""
    return paired_differences(sums_a_GF, sums_b_GF, {"": statistic}, bootstrap)[""]


def paired_differences(
    sums_a_GF: Sums,
    sums_b_GF: Sums,
    statistics: Mapping[str, Statistic],
    bootstrap: Bootstrap = DEFAULT,
) -> dict[str, Interval]:
    """Statistics of a minus those of b: every replicate draws the same groups for both.

    Args:
        sums_a_GF: per-group sums of a.
        sums_b_GF: per-group sums of b: the same groups in the same order.
        statistics: as in `intervals`.
        bootstrap: replicates, seed, level.

    Raises:
        UserError: if the two tables differ in shape.
    """
    stacked = _side_by_side(sums_a_GF, sums_b_GF)
    differences = {name: _difference(statistic) for name, statistic in statistics.items()}
    return intervals(stacked, differences, bootstrap, test_zero=True)


def paired_mean_difference(
    values_a_N: Float[np.ndarray, " N"],
    values_b_N: Float[np.ndarray, " N"],
    groups_N: Shaped[np.ndarray, " N"],
    bootstrap: Bootstrap = DEFAULT,
) -> Interval:
    """Mean of a - b over the items where both are defined, with interval and p-value."""
    sums_G2 = mean_sums(values_a_N - values_b_N, groups_N)
    return interval(sums_G2, mean_of_sums, bootstrap, test_zero=True)


def two_level_interval(
    runs: Sequence[Sums],
    statistic: Statistic,
    bootstrap: Bootstrap = DEFAULT,
    *,
    shared_groups: bool,
    test_zero: bool = False,
) -> Interval:
    """Interval of the mean statistic over runs: draw runs, then groups.

    With few runs a percentile interval over them is too narrow, by about sqrt((S - 1) / S) for S
    runs; report S beside it.

    Args:
        runs: per-group sums of every run.
        statistic: as in `interval`.
        bootstrap: replicates, seed, level.
        shared_groups: True for seeds: all runs met the same test groups (in the same order), so one
            draw of groups serves all runs of a replicate. False for folds: every run has groups of
            its own, drawn for each time that the run is drawn.
        test_zero: also report a p-value of "the statistic is 0" (for differences).

    Returns:
        The interval; with fewer than 2 runs or 2 groups in a run, nan ends and a reason.

    Raises:
        UserError: if shared groups differ in number between runs.
    """
    sizes = [run.shape[0] for run in runs]
    rule = "the same groups in every run"
    require(not shared_groups or len(set(sizes)) <= 1, "runs", rule, sizes)
    require(len(runs) > 0, "runs", "at least one run", 0)
    value = float(np.mean([statistic(_total(run))[0] for run in runs]))
    groups = sizes[0] if shared_groups else sum(sizes)
    reason = TOO_FEW_RUNS if len(runs) < 2 else TOO_FEW_GROUPS if min(sizes) < 2 else ""
    draw = _draw_shared if shared_groups else _draw_nested
    drawn = [] if reason else [draw(runs, statistic, bootstrap)]
    return _percentiles(value, drawn, _About(groups, bootstrap, RUNS_AND_GROUPS, test_zero), reason)


def two_level_difference(
    runs_a: Sequence[Sums],
    runs_b: Sequence[Sums],
    statistic: Statistic,
    bootstrap: Bootstrap = DEFAULT,
    *,
    shared_groups: bool,
) -> Interval:
    """Mean over runs of statistic(a) - statistic(b), run i of a paired with run i of b.

    Raises:
        UserError: if a and b differ in their number of runs or in a run's shape.
    """
    require(len(runs_a) == len(runs_b), "runs_b", f"{len(runs_a)} runs", len(runs_b))
    require(len(runs_a) > 0, "runs_a", "at least one run", 0)
    stacked = [_side_by_side(a, b) for a, b in zip(runs_a, runs_b, strict=True)]
    return two_level_interval(
        stacked, _difference(statistic), bootstrap, shared_groups=shared_groups, test_zero=True
    )


def holm(p_values: Sequence[float]) -> Float[np.ndarray, " H"]:
    """Holm's adjusted p-values, in the given order (Holm 1979): valid under any dependence.

    Sorted rising, the i-th of H is multiplied by H - i + 1; each is at least its predecessor and at
    most 1.

    Raises:
        UserError: if a p-value is not in [0, 1].
    """
    p_H = np.asarray(p_values, dtype=np.float64)
    require(((p_H >= 0) & (p_H <= 1)).all(), "p_values", "in [0, 1]", list(p_values))
    order = np.argsort(p_H, kind="stable")
    stepped = np.maximum.accumulate(p_H[order] * np.arange(len(p_H), 0, -1))
    adjusted_H = np.empty(len(p_H))
    adjusted_H[order] = np.minimum(stepped, 1.0)
    return adjusted_H


def _side_by_side(a: Sums, b: Sums) -> Sums:
    require(a.shape == b.shape, "sums_b", f"shaped like sums_a, {a.shape}", b.shape)
    both_sparse = sparse.issparse(a) and sparse.issparse(b)
    return sparse.hstack([a, b]).tocsr() if both_sparse else np.hstack([a, b])


def _difference(statistic: Statistic) -> Statistic:
    def of_both(sums: np.ndarray) -> np.ndarray:
        width = sums.shape[1] // 2
        return statistic(sums[:, :width]) - statistic(sums[:, width:])

    return of_both


def mean_of_columns(first: int) -> Statistic:
    """`mean_of_sums` of the columns `first` and `first + 1`."""
    return lambda sums: mean_of_sums(sums[:, first : first + 2])


def _codes(groups_N: np.ndarray, count: int) -> tuple[np.ndarray, int]:
    require(len(groups_N) == count, "groups", f"{count} groups, one per item", len(groups_N))
    distinct, codes_N = np.unique(groups_N, return_inverse=True)
    return codes_N, len(distinct)


def _total(sums_GF: Sums) -> np.ndarray:
    return np.asarray(sums_GF.sum(axis=0), dtype=np.float64).reshape(1, -1)


def _weighted(weights_RG: np.ndarray, sums_GF: Sums) -> np.ndarray:
    # A sparse matrix multiplies from the left only.
    return np.asarray((sums_GF.T @ weights_RG.T).T)


def _weights(
    generator: np.random.Generator, groups: int, replicates: int, width: int = 1
) -> Iterator[np.ndarray]:
    """How often each group is drawn, (replicates, groups), in chunks that suit `width` sums."""
    step = max(1, _WEIGHTS // max(groups, width))
    for start in range(0, replicates, step):
        rows = min(step, replicates - start)
        drawn = generator.integers(groups, size=(rows, groups))
        drawn += np.arange(rows)[:, None] * groups
        counts = np.bincount(drawn.ravel(), minlength=rows * groups)
        yield counts.reshape(rows, groups).astype(np.float64)


def _draw_shared(runs: Sequence[Sums], statistic: Statistic, bootstrap: Bootstrap) -> np.ndarray:
    """Mean over drawn runs, one draw of groups for all runs of a replicate."""
    generator = np.random.default_rng(bootstrap.seed)
    groups, width = runs[0].shape
    share_RS = np.concatenate(list(_weights(generator, len(runs), bootstrap.replicates)))
    value_RS = np.concatenate(
        [
            np.stack([statistic(_weighted(weights, run)) for run in runs], axis=1)
            for weights in _weights(generator, groups, bootstrap.replicates, width)
        ]
    )
    return np.asarray((value_RS * share_RS / len(runs)).sum(axis=1))


def _draw_nested(runs: Sequence[Sums], statistic: Statistic, bootstrap: Bootstrap) -> np.ndarray:
    """Mean over drawn runs, groups drawn anew each time that a run is drawn."""
    generator = np.random.default_rng(bootstrap.seed)
    picked_RS = generator.integers(len(runs), size=(bootstrap.replicates, len(runs)))
    value_RS = np.empty(picked_RS.shape)
    for index, run in enumerate(runs):
        row, place = np.nonzero(picked_RS == index)
        drawn = [
            statistic(_weighted(weights, run))
            for weights in _weights(generator, run.shape[0], len(row), run.shape[1])
        ]
        value_RS[row, place] = np.concatenate([np.empty(0), *drawn])
    return np.asarray(value_RS.mean(axis=1))


@dataclass(frozen=True)
class _About:
    groups: int
    bootstrap: Bootstrap
    label: str
    test_zero: bool


def _percentiles(value: float, drawn: list[np.ndarray], about: _About, reason: str) -> Interval:
    """The interval of the drawn values, or none for a reason."""
    drawn_R = np.concatenate([np.empty(0), *drawn])
    defined = drawn_R[~np.isnan(drawn_R)]
    if np.isnan(value) or (not reason and len(defined) == 0):
        reason = UNDEFINED
    low = high = float("nan")
    p_value = None
    level = about.bootstrap.level
    if not reason:
        tail = (1 - level) / 2
        low, high = (float(end) for end in np.quantile(defined, [tail, 1 - tail]))
        if about.test_zero:
            side = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
            p_value = min(1.0, 2 * (1 + side) / (1 + len(defined)))
    return Interval(
        value=value,
        low=low,
        high=high,
        groups=about.groups,
        replicates=0 if reason else len(defined),
        level=level,
        label=about.label,
        reason=reason,
        p_value=p_value,
    )
