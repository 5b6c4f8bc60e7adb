"""Accuracy of a class map and areas of its classes, from a reference sample.

Stratified estimator of Olofsson et al. 2014, "Good practices for estimating area and assessing
accuracy of land change" (Remote Sensing of Environment 148), equations 1 to 11. It assumes that the
reference units are a *stratified random sample whose strata are the map's classes*: within a class
every unit of the map was equally likely to be chosen, and units were chosen independently.

Legend: C classes; `...` any leading shape (replicates of a bootstrap, say). Rows of a matrix are
the *map's* classes and columns the *reference's*, as in the paper: the transpose of
`classification.confusion_matrix`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

from likeness.errors import require

Z = 1.96  # of a 95 % interval, as the paper rounds it


@dataclass(frozen=True, eq=False)
class Estimates:
    """One or several numbers with standard errors; nan where undefined.

    Attributes:
        values: the estimates.
        errors: their standard errors; nan where a stratum has a single unit.
        limit: the largest value that is possible; the least is 0.
    """

    values: Float[np.ndarray, "*shape"]
    errors: Float[np.ndarray, "*shape"]
    limit: float

    @property
    def low(self) -> Float[np.ndarray, "*shape"]:
        """Lower end of the 95 % interval (normal approximation), not below 0."""
        return np.asarray(np.maximum(self.values - Z * self.errors, 0.0))

    @property
    def high(self) -> Float[np.ndarray, "*shape"]:
        """Upper end of the 95 % interval, not above `limit`."""
        return np.asarray(np.minimum(self.values + Z * self.errors, self.limit))


@dataclass(frozen=True, eq=False)
class AreaAccuracy:
    """What an error matrix and the mapped areas tell.

    Everything holds for the part of the map whose classes were sampled.

    Attributes:
        proportions_CC: estimated share of the area in each cell; sums to 1.
        overall: share of the area that is mapped right.
        users: per map class, the share of its area that is right.
        producers: per reference class, the share of its area that the map found.
        areas: per reference class, its area in the unit of the mapped areas ("error-adjusted").
        sampled_C: map classes with reference units.
        covered: share of the whole map's area that lies in sampled classes.
    """

    proportions_CC: Float[np.ndarray, "C C"]
    overall: Estimates
    users: Estimates
    producers: Estimates
    areas: Estimates
    sampled_C: Bool[np.ndarray, " C"]
    covered: float


def area_accuracy(
    counts_CC: Shaped[np.ndarray, "C C"], areas_C: Shaped[np.ndarray, " C"]
) -> AreaAccuracy:
    """Area-weighted accuracy and error-adjusted areas with their standard errors.

    A map class that has area but no reference unit tells nothing: it is left out, `sampled_C` and
    `covered` say so, and no number speaks for it.

    Args:
        counts_CC: reference units by map class (rows) and reference class (columns), >= 0.
        areas_C: mapped area of each class, in any unit (pixels, hectares), >= 0.

    Raises:
        UserError: if the shapes do not agree, a number is negative or not finite, there is no
            unit, or a class has units but no mapped area.
    """
    counts = np.asarray(counts_CC, dtype=np.float64)
    areas = np.asarray(areas_C, dtype=np.float64)
    shape = (len(areas), len(areas))
    require(counts.shape == shape, "counts", f"of shape {shape}, one row per area", counts.shape)
    for name, array in (("counts", counts), ("areas", areas)):
        require(np.isfinite(array).all() and (array >= 0).all(), name, "finite and >= 0", array)
    units_C = counts.sum(axis=1)
    require(units_C.any(), "counts", "a matrix with at least one reference unit", 0)
    rule = "> 0 for every map class with reference units"
    require((areas[units_C > 0] > 0).all(), "areas", rule, areas)
    weights_C = stratum_weights(counts, areas)
    proportions_CC = area_proportions(counts, weights_C)
    variance_CC = np.square(weights_C)[:, None] * _cell_variances(counts)
    variance_CC[weights_C == 0] = 0.0
    total = float(areas[units_C > 0].sum())
    shares_C = area_shares(proportions_CC)
    return AreaAccuracy(
        proportions_CC=proportions_CC,
        overall=Estimates(  # equations 1 and 5
            overall_accuracy(proportions_CC), np.asarray(np.sqrt(np.trace(variance_CC))), 1.0
        ),
        users=Estimates(  # equations 2 and 6
            users_accuracy(proportions_CC), np.sqrt(np.diagonal(_cell_variances(counts))), 1.0
        ),
        producers=_producers(proportions_CC, variance_CC),
        areas=Estimates(  # equations 9, 10 and 11
            total * shares_C, total * np.sqrt(variance_CC.sum(axis=0)), total
        ),
        sampled_C=units_C > 0,
        covered=total / float(areas.sum()),
    )


def stratum_weights(
    counts_CC: Shaped[np.ndarray, "C C"], areas_C: Shaped[np.ndarray, " C"]
) -> Float[np.ndarray, " C"]:
    """W_i: each sampled class's share of the area of all sampled classes; 0 for the others."""
    sampled_C = counts_CC.sum(axis=1) > 0
    held_C = np.where(sampled_C, areas_C, 0.0)
    return np.asarray(held_C / held_C.sum())


def area_proportions(
    counts: Shaped[np.ndarray, "... C C"], weights_C: Float[np.ndarray, " C"]
) -> Float[np.ndarray, "... C C"]:
    """p_ij = W_i n_ij / n_i (equation 4); nan where a class with weight has no unit."""
    shares = _ratio(counts, counts.sum(axis=-1, keepdims=True))
    weights_C1 = weights_C[:, None]
    return np.where(weights_C1 > 0, weights_C1 * shares, 0.0)


def overall_accuracy(proportions: Float[np.ndarray, "... C C"]) -> Float[np.ndarray, " ..."]:
    """Share of the area on the diagonal (equation 1)."""
    return np.asarray(np.einsum("...ii->...", proportions))


def users_accuracy(proportions: Float[np.ndarray, "... C C"]) -> Float[np.ndarray, "... C"]:
    """p_ii / p_i. (equation 2); nan for a class without units."""
    return _ratio(_diagonal(proportions), proportions.sum(axis=-1))


def producers_accuracy(proportions: Float[np.ndarray, "... C C"]) -> Float[np.ndarray, "... C"]:
    """p_jj / p_.j (equation 3); nan for a class that the reference does not have."""
    return _ratio(_diagonal(proportions), proportions.sum(axis=-2))


def area_shares(proportions: Float[np.ndarray, "... C C"]) -> Float[np.ndarray, "... C"]:
    """p_.k, the share of the area that is class k by the reference (equation 9)."""
    return np.asarray(proportions.sum(axis=-2))


def _producers(proportions_CC: np.ndarray, variance_CC: np.ndarray) -> Estimates:
    """Producer's accuracy with equation 7, in shares of the area instead of numbers of pixels."""
    accuracy_C = producers_accuracy(proportions_CC)
    own_C = np.diagonal(variance_CC)
    others_C = np.where(np.eye(len(own_C), dtype=bool), 0.0, variance_CC).sum(axis=0)
    spread_C = np.square(1 - accuracy_C) * own_C + np.square(accuracy_C) * others_C
    return Estimates(accuracy_C, _ratio(np.sqrt(spread_C), area_shares(proportions_CC)), 1.0)


def _cell_variances(counts_CC: np.ndarray) -> np.ndarray:
    """Of the shares n_ij / n_i within each row; nan for a row of fewer than two units."""
    units_C1 = counts_CC.sum(axis=1, keepdims=True)
    shares_CC = _ratio(counts_CC, units_C1)
    return _ratio(shares_CC * (1 - shares_CC), units_C1 - 1)


def _diagonal(matrix: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("...ii->...i", matrix))


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """`top / bottom`, nan where `bottom` is not above 0."""
    bottom = np.broadcast_to(np.asarray(bottom, np.float64), np.shape(top))
    undefined = np.full(np.shape(top), np.nan)
    return np.asarray(np.divide(top, bottom, out=undefined, where=bottom > 0))
