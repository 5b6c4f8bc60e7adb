"""One class as a mixture: how many components, and which row belongs to which.

Legend: N = rows of the class, D = embedding dimension, M = largest number of components tried.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from likeness.errors import require

Kind = Literal["full", "diag", "kmeans"]

STARTS = 3  # of which the likeliest is kept
# Least variance of a component in any direction; the class's mean variance is 1.
VARIANCE_FLOOR = 1e-3
ROWS_PER_DIMENSION = 5  # fewer make no covariance matrix


@dataclass(frozen=True, eq=False)
class Mixture:
    """A class and the components that it was divided into, K of them.

    Attributes:
        component_N: component of each row, in [0, K), every number taken.
        certainty_N: probability that the row is of its component, in (0, 1]; 1 for k-means.
        bic_M: Bayesian information criterion with 1 ... M components, smaller is better; of rows
            scaled to a mean variance of 1. nan where nothing was fitted.
    """

    component_N: Int[np.ndarray, " N"]
    certainty_N: Float[np.ndarray, " N"]
    bic_M: Float[np.ndarray, " M"]


def allowed_components(rows: int, most: int, *, min_images: int) -> int:
    """How many components a class of so many rows may have: at least 10 rows for each, or one."""
    return 1 if rows < min_images else max(1, min(rows // 10, most))


def fit_mixture(
    rows_ND: Float[np.ndarray, "N D"], most: int, *, kind: Kind = "diag", seed: int
) -> Mixture:
    """The mixture of 1 ... `most` components with the lowest BIC; the fewest of equals.

    So a split is kept only if BIC falls. Everything is computed in float64 on rows scaled to a
    mean variance of 1: the floor of a component's variance then means the same for every class.

    Args:
        rows_ND: embeddings of one class.
        most: M, >= 1.
        kind: `full` and `diag` are Gaussian mixtures with covariances of their own; `full` becomes
            `diag` below 5 rows for each dimension. `kmeans` divides by the nearest mean and judges
            the number by the BIC of spherical Gaussians of one variance (X-means, Pelleg and
            Moore 2000).
        seed: of the starting points, >= 0. The same rows in the same order give the same result.

    Raises:
        UserError: if an argument is out of range or a row is not finite.
    """
    require(most >= 1, "most", ">= 1", most)
    require(len(rows_ND) >= 1, "rows", "at least one", 0)
    rows_ND = np.asarray(rows_ND, dtype=np.float64)
    require(np.isfinite(rows_ND).all(), "rows", "finite", "numbers that are not")
    centred_ND = rows_ND - rows_ND.mean(axis=0)
    deviation = float(np.sqrt(np.square(centred_ND).mean()))
    count, dim = rows_ND.shape
    if most == 1 or deviation <= 1e-12 * np.abs(rows_ND).max():
        return Mixture(np.zeros(count, np.int64), np.ones(count), np.full(most, np.nan))
    if kind == "full" and count < ROWS_PER_DIMENSION * dim:
        kind = "diag"
    scaled_ND = centred_ND / deviation
    # OpenMP adds up k-means' sums in whatever order its threads come: not the same every time.
    with threadpool_limits(1, "openmp"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a mixture like any other: BIC judges
        fits = [_fit(scaled_ND, number, kind, seed) for number in range(1, most + 1)]
    bic_M = np.array([bic for _, _, bic in fits])
    found_N, certainty_N, _ = fits[int(np.argmin(bic_M))]
    _, component_N = np.unique(found_N, return_inverse=True)
    return Mixture(component_N.astype(np.int64), certainty_N, bic_M)


def _fit(
    rows_ND: np.ndarray, number: int, kind: Kind, seed: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Component and certainty of each row, and BIC, with so many components."""
    count = len(rows_ND)
    random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence((seed, number))))
    if kind == "kmeans":
        model = KMeans(number, n_init=STARTS, random_state=random).fit(rows_ND)
        component_N = model.labels_.astype(np.int64)
        return component_N, np.ones(count), _kmeans_bic(rows_ND, component_N, number)
    model = GaussianMixture(
        number,
        covariance_type=kind,
        reg_covar=VARIANCE_FLOOR,
        n_init=STARTS,
        random_state=random,
    ).fit(rows_ND)
    share_NK = model.predict_proba(rows_ND)
    component_N = share_NK.argmax(axis=1)
    return component_N, share_NK.max(axis=1), float(model.bic(rows_ND))


def _kmeans_bic(rows_ND: np.ndarray, component_N: np.ndarray, number: int) -> float:
    """BIC of hard clusters as spherical Gaussians of one variance, with shares as priors."""
    count, dim = rows_ND.shape
    size_K = np.bincount(component_N, minlength=number)
    sums_KD = np.zeros((number, dim))
    np.add.at(sums_KD, component_N, rows_ND)
    gap_ND = rows_ND - (sums_KD / np.maximum(size_K, 1)[:, None])[component_N]
    variance = max(float(np.square(gap_ND).mean()), VARIANCE_FLOOR)
    filled_K = size_K[size_K > 0]
    log_likelihood = float(filled_K @ np.log(filled_K / count))
    log_likelihood -= count * dim / 2 * np.log(2 * np.pi * variance)
    log_likelihood -= float(np.square(gap_ND).sum()) / (2 * variance)
    parameters = number * dim + number  # means, shares (one less) and the variance
    return float(parameters * np.log(count) - 2 * log_likelihood)
