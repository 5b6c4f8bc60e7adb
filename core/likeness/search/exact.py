"""Exact nearest neighbours in blocks: memory is bounded by the block, never queries x gallery.

Legend: Q queries, G gallery rows, D embedding dimension, K neighbours, B queries of one block,
P padded gallery columns, T candidates kept per query, W queries with many near-ties, M pairs.

Order is part of the contract: smaller distance first, and among *equal float32 distances* the
smaller gallery index, also at the k-th place. The result depends on the rows alone, not on the
block size, the number of threads or the matrix library. Two steps make that fast: float32 matrix
products find candidates with a proven error bound, and wherever two candidates are closer than
that bound their distances are computed exactly (`space.pair_distances`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from likeness.errors import require
from likeness.search.exclusion import Exclusion, Keys
from likeness.search.space import Approximation, Space, pair_distances, prepared

_BLOCK_BYTES = 64 << 20  # of float32 scores
_LANE = 16  # columns are a multiple of this, for `_smallest`
_RESOLVED = 1 << 22  # scores of queries with many near-ties, looked at together
_SLACK = 8  # candidates beyond k, so that near-ties at the k-th place rarely need a second look


@dataclass(frozen=True)
class Neighbours:
    """The k nearest gallery rows of every query.

    Attributes:
        indices_QK: gallery rows in order; -1 where exclusion left fewer than k.
        distances_QK: their distances, rising; infinity where the index is -1.
    """

    indices_QK: Int[np.ndarray, "Q K"]
    distances_QK: Float[np.ndarray, "Q K"]


def nearest(
    query_QD: Shaped[np.ndarray, "Q D"],
    gallery_GD: Shaped[np.ndarray, "G D"] | None,
    k: int,
    *,
    space: Space = "cosine",
    exclude: Sequence[Keys] = (),
    block_rows: int | None = None,
) -> Neighbours:
    """The k nearest gallery rows of every query, exactly, with defined ties.

    Args:
        query_QD: embeddings, raw or normalised.
        gallery_GD: embeddings, or None: the queries ask each other and row i never finds row i.
        k: how many, at most the rows of the gallery (one fewer if the gallery is None).
        space: "euclidean"; "cosine": rows are normalised, the distance is the chord
            sqrt(2 - 2 cos), in [0, 2]; "dot": the distance is the negative inner product.
        exclude: (query keys, gallery keys) pairs; a gallery row with the query's key is never
            returned. Same id: `[(ids, ids)]`. Same id or same group: two entries. Same identity
            *and* camera: one entry of combined keys.
        block_rows: queries per block; by default what makes a block of scores 64 MiB.

    Returns:
        Indices (int64) and distances (float32), both (Q, K), ordered by distance, then index.

    Raises:
        UserError: if k is out of range, dimensions differ, or embeddings are not finite, empty,
            or zero in the cosine space.
    """
    search = ExactSearch(query_QD, gallery_GD, space=space, exclude=exclude, block_rows=block_rows)
    search.require_k(k, "k")
    indices_QK = np.empty((search.queries, k), np.int64)
    distances_QK = np.empty((search.queries, k), np.float32)
    for rows in search.blocks():
        indices_QK[rows] = search.nearest(rows, k)
        distances_QK[rows] = search.distances(rows, indices_QK[rows])
    return Neighbours(indices_QK, distances_QK)


class ExactSearch:
    """Queries against a gallery, prepared once and answered block by block.

    Attributes:
        queries: number of queries.
        gallery: number of gallery rows.
        candidates: what a query can meet at most: the gallery, less itself if it asks its own set.
        leave_one_out: the queries ask each other.
    """

    def __init__(
        self,
        query_QD: Shaped[np.ndarray, "Q D"],
        gallery_GD: Shaped[np.ndarray, "G D"] | None,
        *,
        space: Space = "cosine",
        exclude: Sequence[Keys] = (),
        block_rows: int | None = None,
    ) -> None:
        """Prepare the search; arguments as in `nearest`."""
        query = prepared(query_QD, space, "query")
        gallery = query if gallery_GD is None else prepared(gallery_GD, space, "gallery")
        rule = f"as wide as the query, {query.shape[1]} numbers a row"
        require(gallery.shape[1] == query.shape[1], "gallery", rule, gallery.shape[1])
        self.leave_one_out = gallery_GD is None
        self.queries, self.gallery = len(query), len(gallery)
        self.candidates = self.gallery - int(self.leave_one_out)
        self.space: Space = space
        self.exclusion = Exclusion(
            self.queries, self.gallery, exclude, leave_self_out=self.leave_one_out
        )
        self.query_QD, self.gallery_GD = torch.from_numpy(query), torch.from_numpy(gallery)
        self._approximation = Approximation(self.query_QD, self.gallery_GD, space, _LANE)
        self.tolerance_Q = self._approximation.tolerance_Q
        if block_rows is None:
            block_rows = min(4096, max(16, _BLOCK_BYTES // (4 * self._approximation.width)))
        self.resize_blocks(block_rows)

    def resize_blocks(self, block_rows: int) -> None:
        """Set the number of queries per block.

        Raises:
            UserError: unless it is at least 1.
        """
        require(block_rows >= 1, "block_rows", ">= 1", block_rows)
        self.block_rows = min(block_rows, self.queries)
        self._buffer: Tensor | None = None

    def blocks(self) -> Iterator[slice]:
        """Slices of the queries, in order."""
        for start in range(0, self.queries, self.block_rows):
            yield slice(start, min(start + self.block_rows, self.queries))

    def require_k(self, k: int, name: str) -> None:
        """Refuse a k that the gallery cannot fill.

        Raises:
            UserError: unless 1 <= k <= candidates.
        """
        rule = f"between 1 and {self.candidates}, the gallery rows a query can meet"
        require(1 <= k <= self.candidates, name, rule, k)

    def scores(self, rows: slice) -> Float[Tensor, "B P"]:
        """Approximate scores of one block, infinite where excluded; valid until the next call."""
        if self._buffer is None:
            self._buffer = torch.empty(self.block_rows, self._approximation.width)
        scores_BP = self._approximation.scores(rows, self._buffer[: rows.stop - rows.start])
        owner, column = self.exclusion.pairs(rows)
        scores_BP[torch.from_numpy(owner), torch.from_numpy(column)] = float("inf")
        return scores_BP

    def nearest(self, rows: slice, k: int) -> Int[np.ndarray, "B K"]:
        """Gallery indices of the k nearest rows of a block; -1 where there are fewer."""
        scores_BP = self.scores(rows)
        keep = min(k + max(_SLACK, k // 8), self.gallery)
        values_BT, indices_BT = _smallest(scores_BP, keep)
        tolerance_B1 = self.tolerance_Q[rows, None]
        _order_near_ties(self, rows, values_BT, indices_BT, tolerance_B1)
        if keep < self.gallery:
            # A column that was not kept can still be among the k nearest if the error bound allows.
            reach_B = values_BT[:, k - 1] + tolerance_B1[:, 0]
            wide_W = torch.nonzero((values_BT[:, -1] <= reach_B) & reach_B.isfinite())[:, 0]
            for part_W in wide_W.split(max(1, _RESOLVED // self.gallery)):
                near_WP = scores_BP[part_W] <= reach_B[part_W, None]
                indices_BT[part_W, :k] = self._resolve(rows, part_W, near_WP, k)
        indices_BK = indices_BT[:, :k].clone()
        indices_BK[values_BT[:, :k].isinf()] = -1
        return indices_BK.numpy()

    def distances(
        self, rows: slice, indices_BK: Int[np.ndarray, "B K"]
    ) -> Float[np.ndarray, "B K"]:
        """Exact float32 distances of the listed neighbours of a block; infinity for index -1."""
        row_M, place_M = np.nonzero(indices_BK >= 0)
        distances_BK = np.full(indices_BK.shape, np.inf, np.float32)
        columns_M = indices_BK[row_M, place_M]
        distances_BK[row_M, place_M] = self.pair_distances(row_M + rows.start, columns_M)
        return distances_BK

    def pair_distances(
        self, query_M: Int[np.ndarray, " M"], column_M: Int[np.ndarray, " M"]
    ) -> Float[np.ndarray, " M"]:
        """Exact float32 distances of (global query index, gallery column) pairs."""
        rows, columns = torch.from_numpy(query_M), torch.from_numpy(column_M)
        found = pair_distances(self.query_QD, self.gallery_GD, rows, columns, self.space)
        return found.numpy()

    def _resolve(self, rows: slice, part_W: Tensor, near_WP: Tensor, k: int) -> Tensor:
        """The k nearest of some queries, from all columns that can be among them."""
        owner_M, column_M = (found.numpy() for found in torch.nonzero(near_WP, as_tuple=True))
        query_M = part_W.numpy()[owner_M] + rows.start
        distance_M = self.pair_distances(query_M, column_M)
        order_M = np.lexsort((column_M, distance_M, owner_M))
        count_W = np.bincount(owner_M, minlength=len(part_W))
        first_W = np.cumsum(count_W) - count_W
        return torch.from_numpy(column_M[order_M[first_W[:, None] + np.arange(k)]])


def _smallest(scores_BP: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """The `keep` smallest scores of every row and their columns, rising.

    Columns are grouped in lanes of `_LANE` strided columns. The smallest scores all lie in the
    `keep` lanes with the smallest minima, so only those are looked at in full.
    """
    rows, width = scores_BP.shape
    lanes = width // _LANE
    if lanes < 3 * keep:
        values, columns = scores_BP.topk(keep, dim=1, largest=False, sorted=True)
        return values, columns
    lane_BLC = scores_BP.view(rows, _LANE, lanes)
    chosen_BT = lane_BLC.amin(dim=1).topk(keep, dim=1, largest=False, sorted=False).indices
    chosen_BLT = chosen_BT[:, None, :].expand(-1, _LANE, -1)
    found_BM = lane_BLC.gather(2, chosen_BLT).reshape(rows, -1)
    values, places = found_BM.topk(keep, dim=1, largest=False, sorted=True)
    columns = (places // keep) * lanes + chosen_BT.gather(1, places % keep)
    return values, columns


def _order_near_ties(
    search: ExactSearch, rows: slice, values_BT: Tensor, indices_BT: Tensor, tolerance_B1: Tensor
) -> None:
    """Order runs of candidates within the error bound by exact distance, then index; in place."""
    # inf - inf is nan, which is not <=: excluded columns never count as ties.
    tied = values_BT[:, 1:] - values_BT[:, :-1] <= tolerance_B1
    flagged = torch.zeros_like(values_BT, dtype=torch.bool)
    flagged[:, 1:] |= tied
    flagged[:, :-1] |= tied
    row_M, place_M = torch.nonzero(flagged, as_tuple=True)
    if len(row_M) == 0:
        return
    run_BT = torch.zeros(values_BT.shape, dtype=torch.int64)
    run_BT[:, 1:] = (~tied).cumsum(dim=1)
    owner_M, column_M = row_M.numpy(), indices_BT[row_M, place_M].numpy()
    distance_M = search.pair_distances(owner_M + rows.start, column_M)
    order_M = np.lexsort((column_M, distance_M, run_BT[row_M, place_M].numpy(), owner_M))
    indices_BT[row_M, place_M] = torch.from_numpy(column_M[order_M])
