"""Calibration of one class's probability: binary scores, class-wise error, a band for the diagram.

`calibration.calibration` asks whether the *top* class is right as often as it says. A clinic asks
whether 20 of 100 lesions called 20 % melanoma are melanomas; that is what is measured here, with
the probability of the positive class as the "confidence" and its observed share as the "accuracy".

Legend: N items, C classes, B bins of probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy import sparse

from likeness.errors import require
from likeness.evaluation import resampling
from likeness.evaluation.calibration import (
    Calibration,
    ReliabilityTable,
    bin_numbers,
    check_truth,
    checked_probabilities,
    expected_error,
    reliability,
)
from likeness.evaluation.classification import ratio
from likeness.evaluation.resampling import DEFAULT, Bootstrap, Interval, Statistic, Sums
from likeness.evaluation.roc import checked_binary
from likeness.evaluation.values import MetricValue

_SMALLEST = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, eq=False)
class ReliabilityBand:
    """A reliability diagram with percentile intervals, bin by bin.

    Attributes:
        table: the bins; `accuracy_B` is the observed share of positives.
        low_B: lower end of the observed share; nan in an empty bin or with fewer than 2 groups.
        high_B: upper end.
        ece: expected calibration error with its interval. Resampling makes bins noisier and so
            pushes the error up: the interval may lie above the value.
    """

    table: ReliabilityTable
    low_B: Float[np.ndarray, " B"]
    high_B: Float[np.ndarray, " B"]
    ece: Interval


def binary_calibration(
    probabilities_N: Shaped[np.ndarray, " N"], truth_N: Shaped[np.ndarray, " N"], *, bins: int = 15
) -> Calibration:
    """Calibration error, Brier score and log-likelihood of the positive class's probability.

    ece: sum over bins of share x |observed share of positives - mean probability|.
    brier: mean of (p - truth)^2, in [0, 1]; half of `calibration`'s two-class score.
    nll: mean of -log of the probability of what is true; a probability of 0 counts as 2.2e-308.

    Args:
        probabilities_N: of the positive class, in [0, 1].
        truth_N: booleans, or 0 and 1.
        bins: bins of probability.

    Raises:
        UserError: if the arrays are empty, differ in length or are out of range.
    """
    truth, chances = _checked(truth_N, probabilities_N, bins)
    table = reliability(chances, truth, bins=bins)
    right_N = np.where(truth, chances, 1 - chances)
    per_item = {
        "brier": np.square(chances - truth),
        "nll": -np.log(np.maximum(right_N, _SMALLEST)),
    }
    values = {"ece": MetricValue(expected_error(table), len(truth))}
    for name, values_N in per_item.items():
        values[name] = MetricValue(float(values_N.mean()), len(truth))
    return Calibration(values, per_item, table)


def classwise_ece(
    probabilities_NC: Shaped[np.ndarray, "N C"], truth_N: Int[np.ndarray, " N"], *, bins: int = 15
) -> Float[np.ndarray, " C"]:
    """`ece` of every class's probability against all others; their mean is the class-wise ECE.

    Kull et al. 2019, "Beyond temperature scaling". A class without true items counts: what it is
    given is all error.

    Raises:
        UserError: as `calibration.calibration`.
    """
    rows_NC = checked_probabilities(probabilities_NC)
    check_truth(truth_N, *rows_NC.shape)
    require(bins >= 1, "bins", ">= 1", bins)
    tables = (
        reliability(column_N, truth_N == number, bins=bins)
        for number, column_N in enumerate(rows_NC.T)
    )
    return np.array([expected_error(table) for table in tables])


def reliability_band(
    probabilities_N: Shaped[np.ndarray, " N"],
    truth_N: Shaped[np.ndarray, " N"],
    groups_N: Shaped[np.ndarray, " N"],
    *,
    bins: int = 15,
    bootstrap: Bootstrap = DEFAULT,
) -> ReliabilityBand:
    """The reliability diagram with a group-bootstrap interval of each bin's observed share.

    The band holds bin by bin, not for all bins at once.

    Args:
        probabilities_N: of the positive class, in [0, 1].
        truth_N: booleans, or 0 and 1.
        groups_N: patient, lesion, ...
        bins: bins of probability.
        bootstrap: replicates, seed, level.

    Raises:
        UserError: as `binary_calibration`, or if groups do not count one per item.
    """
    truth, chances = _checked(truth_N, probabilities_N, bins)
    require(len(groups_N) == len(truth), "groups", f"{len(truth)} groups", len(groups_N))
    statistics: dict[str, Statistic] = {"ece": _ece}
    statistics |= {str(number): _observed(number, bins) for number in range(bins)}
    sums = _bin_sums(chances, truth, groups_N, bins)
    found = resampling.intervals(sums, statistics, bootstrap)
    return ReliabilityBand(
        table=reliability(chances, truth, bins=bins),
        low_B=np.array([found[str(number)].low for number in range(bins)]),
        high_B=np.array([found[str(number)].high for number in range(bins)]),
        ece=found["ece"],
    )


def _checked(
    truth_N: np.ndarray, probabilities_N: np.ndarray, bins: int
) -> tuple[np.ndarray, np.ndarray]:
    truth, chances = checked_binary(truth_N, probabilities_N)
    outside = chances[(chances < 0) | (chances > 1)]
    found = float(outside[0]) if len(outside) else None
    require(found is None, "probabilities", "in [0, 1]", found)
    require(bins >= 1, "bins", ">= 1", bins)
    return truth, chances


def _bin_sums(chances_N: np.ndarray, truth_N: np.ndarray, groups_N: np.ndarray, bins: int) -> Sums:
    """By group: items, sum of probabilities and positives of every bin; sparse (G, 3 B)."""
    distinct, codes_N = np.unique(groups_N, return_inverse=True)
    bin_N = bin_numbers(chances_N, bins)
    values = np.concatenate([np.ones(len(bin_N)), chances_N, truth_N])
    columns = np.concatenate([bin_N, bin_N + bins, bin_N + 2 * bins])
    shape = (len(distinct), 3 * bins)
    return sparse.coo_array((values, (np.tile(codes_N, 3), columns)), shape=shape).tocsr()


def _ece(sums: np.ndarray) -> np.ndarray:
    items, chances, positives = np.split(sums, 3, axis=1)
    return np.asarray(np.abs(positives - chances).sum(axis=1) / items.sum(axis=1))


def _observed(number: int, bins: int) -> Statistic:
    return lambda sums: ratio(sums[:, number + 2 * bins], sums[:, number])
