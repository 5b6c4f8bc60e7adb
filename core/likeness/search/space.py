"""What "near" means in each space, exactly for listed pairs and approximately for whole blocks.

Legend: Q queries, G gallery rows, D embedding dimension, M listed pairs, B queries of one block,
P gallery columns with padding.

The distance of a pair is *defined* by `pair_distances`: float64 arithmetic on the float32 rows,
rounded to float32. It depends on the two rows alone, never on their position, on the block or on
the number of threads. `Approximation` gives the same order fast by matrix products, together with
a proven bound on how far it can be off; the exact search uses it to find candidates only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from likeness.errors import require

Space = Literal["euclidean", "cosine", "dot"]
SPACES: tuple[str, ...] = get_args(Space)

_UNIT_ROUNDOFF = 2.0**-24  # float32
_SUBNORMAL_RISK = 1e-30
_PAIR_ELEMENTS = 1 << 16  # numbers per step of `pair_distances`: within the cache


def prepared(
    embeddings_ND: Shaped[np.ndarray, "N D"], space: Space, name: str
) -> Float[np.ndarray, "N D"]:
    """The rows as the space compares them: float32, and of unit length in the cosine space.

    Args:
        embeddings_ND: real numbers; anything but float32 is converted (float64 loses digits).
        space: "euclidean", "cosine" or "dot".
        name: what to call the array in an error.

    Returns:
        A C-contiguous float32 array, (N, D).

    Raises:
        UserError: if the array is not 2-D or empty, holds nan or infinities, or if a row is zero
            in the cosine space (it has no direction).
    """
    require(space in SPACES, "space", f"one of {', '.join(SPACES)}", space)
    array = np.asarray(embeddings_ND)
    require(array.ndim == 2 and array.size > 0, name, "a 2-D array with rows", array.shape)
    with np.errstate(over="ignore"):  # what is too large for float32 is refused below
        rows_ND = np.ascontiguousarray(array, dtype=np.float32)
    finite_N = np.isfinite(rows_ND).all(axis=1)
    require(finite_N.all(), name, "finite in every row", _wrong_rows(np.logical_not(finite_N)))
    if space != "cosine":
        return rows_ND
    # Scaled by the largest entry first, so that no square over- or underflows.
    largest_N1 = np.abs(rows_ND).max(axis=1, keepdims=True).astype(np.float64)
    rule = "of non-zero length in every row in the cosine space"
    require((largest_N1 > 0).all(), name, rule, _wrong_rows(largest_N1[:, 0] == 0))
    scaled_ND = rows_ND / largest_N1
    length_N1 = np.sqrt(np.square(scaled_ND).sum(axis=1, keepdims=True))
    return np.ascontiguousarray(scaled_ND / length_N1, dtype=np.float32)


def pair_distances(
    query_QD: Float[np.ndarray, "Q D"],
    gallery_GD: Float[np.ndarray, "G D"],
    rows_M: Int[np.ndarray, " M"],
    columns_M: Int[np.ndarray, " M"],
    space: Space,
) -> Float[np.ndarray, " M"]:
    """Distances of listed pairs of prepared rows, float32: the definition that every search obeys.

    euclidean: |q - g|. cosine: the chord |q - g| of unit rows, which is sqrt(2 - 2 cos).
    dot: the negative inner product -q.g, so that smaller is nearer in every space.
    """
    # numpy on one thread: many small steps, each of which would wait for a pool of threads.
    step = max(1, _PAIR_ELEMENTS // query_QD.shape[1])
    distances_M = np.empty(len(rows_M), dtype=np.float32)
    for start in range(0, len(rows_M), step):
        part = slice(start, start + step)
        query_MD = query_QD.take(rows_M[part], axis=0).astype(np.float64)
        distances_M[part] = _distances(query_MD, gallery_GD, columns_M[part], space)
    return distances_M


def distances_from(
    query_D: Float[np.ndarray, " D"],
    gallery_GD: Float[np.ndarray, "G D"],
    columns_M: Int[np.ndarray, " M"],
    space: Space,
) -> Float[np.ndarray, " M"]:
    """`pair_distances` of one prepared query and the listed gallery rows: the same numbers."""
    query_D = query_D.astype(np.float64)
    step = max(1, _PAIR_ELEMENTS // len(query_D))
    distances_M = np.empty(len(columns_M), dtype=np.float32)
    for start in range(0, len(columns_M), step):
        part = slice(start, start + step)
        distances_M[part] = _distances(query_D, gallery_GD, columns_M[part], space)
    return distances_M


def _distances(
    query: np.ndarray, gallery_GD: np.ndarray, columns_M: np.ndarray, space: Space
) -> np.ndarray:
    """Float64 distances of float64 queries (M, D), or one (D,), and the listed gallery rows."""
    gallery_MD = gallery_GD.take(columns_M, axis=0)
    if space == "dot":
        # Subtracted from zero, a product of 0 stays 0.0 and does not become -0.0.
        return np.asarray(0.0 - np.einsum("md->m", query * gallery_MD))
    gap_MD = query - gallery_MD
    return np.asarray(np.sqrt(np.einsum("md,md->m", gap_MD, gap_MD)))


class Approximation:
    """Scores that rise with the distance, by matrix products, and a bound on their error.

    The score is |g|^2 / 2 - q.g (euclidean, cosine) or -q.g (dot), in float32, on shifted
    and scaled copies: the gallery's mean becomes the origin (an offset shared by all rows
    would drown the differences) and the largest norm becomes 1. If two scores of a query differ by
    more than `tolerance_Q`, the pairs are ordered the same way by `pair_distances`, ties included.
    """

    def __init__(
        self,
        query_QD: Float[np.ndarray, "Q D"],
        gallery_GD: Float[np.ndarray, "G D"],
        space: Space,
        lane: int,
    ) -> None:
        """Prepare the copies.

        Args:
            query_QD: prepared rows.
            gallery_GD: prepared rows.
            space: the space of both.
            lane: the columns are padded to a multiple of this, with infinite scores.
        """
        count, dim = gallery_GD.shape
        self.width = -(-count // lane) * lane
        origin_D = np.zeros(dim, np.float32)
        if space != "dot":
            origin_D = gallery_GD.mean(axis=0, dtype=np.float64).astype(np.float32)
        query, gallery = query_QD - origin_D, gallery_GD - origin_D
        query_scale, gallery_scale = (max(_norms(x).max(), 1e-37) for x in (query, gallery))
        if space != "dot":  # one scale for both, as differences are taken between them
            query_scale = gallery_scale = max(query_scale, gallery_scale)
        query /= np.float32(query_scale)
        gallery /= np.float32(gallery_scale)
        reach_Q, norm_G = _norms(query), _norms(gallery)
        bias_P = np.full(self.width, np.inf, np.float32)
        bias_P[:count] = 0 if space == "dot" else np.square(norm_G) / 2
        self._query_QD, self._bias_P = torch.from_numpy(query), torch.from_numpy(bias_P)
        # Laid out column by column: the product is some 5 % faster than from rows.
        self._gallery_DP = torch.zeros(dim, self.width)
        self._gallery_DP[:, :count] = torch.from_numpy(gallery).t()
        # Inner products in float32 in any order of summation: D u |q||g| (Higham, Accuracy and
        # Stability of Numerical Algorithms, 3.1); the rest covers the rounding of the copies, of
        # the bias and of the float32 distance itself. Twice, for two scores.
        norm = norm_G.max()
        bound_Q = 1.1 * dim * reach_Q * norm + 8 * np.square(reach_Q + norm)
        self.tolerance_Q = torch.from_numpy((2 * _UNIT_ROUNDOFF * bound_Q).astype(np.float32))
        if min(query_scale, gallery_scale, query_scale * gallery_scale) < _SUBNORMAL_RISK:
            # Distances may round to equal subnormal numbers: trust no score.
            self.tolerance_Q.fill_(1e9)

    def scores(self, rows: slice, out: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]:
        """Fill `out` with the scores of the queries `rows` against every column."""
        with full_precision():
            return torch.addmm(
                self._bias_P, self._query_QD[rows], self._gallery_DP, alpha=-1, out=out
            )


@contextmanager
def full_precision() -> Iterator[None]:
    """No gradient, no autocast and no reduced-precision matrix products inside.

    The error bound holds for float32 products; a training run may have allowed bfloat16 ones. That
    switch is one for all threads: whoever starts threads that multiply enters here first.
    """
    allowed = torch.get_float32_matmul_precision()
    if allowed != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            yield
    finally:
        if allowed != "highest":
            torch.set_float32_matmul_precision(allowed)


def _norms(rows_ND: np.ndarray) -> np.ndarray:
    """Lengths in float64, without a float64 copy of the rows."""
    return np.asarray(np.sqrt(np.einsum("nd,nd->n", rows_ND, rows_ND, dtype=np.float64)))


def _wrong_rows(wrong_N: np.ndarray) -> Any:
    wrong = np.flatnonzero(wrong_N)
    return f"{len(wrong)} otherwise, first row {wrong[0]}" if len(wrong) else ""
