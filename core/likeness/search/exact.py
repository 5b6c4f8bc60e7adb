"""Exact nearest neighbours in blocks: memory is bounded by the blocks, never queries x gallery.

Legend: Q queries, G gallery rows, D embedding dimension, K neighbours, B queries of one block,
P padded gallery columns, L columns per lane and C lanes, or C candidates in all, T candidates of
one query, M pairs.

Order is part of the contract: smaller distance first, and among *equal float32 distances* the
smaller gallery index, also at the k-th place. The result depends on the rows alone, not on the
block size, the number of threads or the matrix library. Two steps make that fast: float32 matrix
products find all candidates within a proven error bound, and wherever two candidates are closer
than that bound their distances are computed exactly (`space.pair_distances`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from likeness.errors import require
from likeness.search.exclusion import Exclusion, Keys
from likeness.search.space import (
    Approximation,
    Space,
    distances_from,
    full_precision,
    pair_distances,
    prepared,
)
from likeness.search.twins import find_twins
from likeness.threads import prefetched

_SCORE_BYTES = 192 << 20  # of float32 scores, of all blocks that are in work
_LANE = 16  # columns are a multiple of this, for `_candidates`
_MOST_CANDIDATES = 1 << 21  # handled together, with some ten numbers each
_LARGEST = float(np.finfo(np.float32).max)


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
        block_rows: queries per block; by default what makes 192 MiB of scores in all threads.

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

    def answer(rows: slice) -> None:
        indices_QK[rows] = search.nearest(rows, k)
        distances_QK[rows] = search.distances(rows, indices_QK[rows])

    search.for_each_block(answer)
    return Neighbours(indices_QK, distances_QK)


class ExactSearch:
    """Queries against a gallery, prepared once and answered block by block.

    Attributes:
        queries: number of queries.
        gallery: number of gallery rows.
        candidates: what a query can meet at most: the gallery, less itself if it asks its own set.
        leave_one_out: the queries ask each other.
        twins: identical gallery rows, None if there are none.
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
        self.query_QD, self.gallery_GD = query, gallery
        self.twins = find_twins(gallery)
        self._approximation = Approximation(query, gallery, space, _LANE)
        self.tolerance_Q = self._approximation.tolerance_Q
        self._threads = torch.get_num_threads()
        if block_rows is None:
            width = self._approximation.width
            fits = _SCORE_BYTES // (4 * width * self._threads) // 16 * 16
            even = -(-self.queries // (4 * self._threads))  # some blocks for every thread
            block_rows = max(16, min(fits, even))
        require(block_rows >= 1, "block_rows", ">= 1", block_rows)
        self.block_rows = min(block_rows, self.queries)
        self._buffers = threading.local()

    def blocks(self) -> Iterator[slice]:
        """Slices of the queries, in order."""
        for start in range(0, self.queries, self.block_rows):
            yield slice(start, min(start + self.block_rows, self.queries))

    def for_each_block(self, work: Callable[[slice], None]) -> None:
        """Call `work` with every block, with as many blocks at a time as torch has threads.

        One thread a block is faster than many threads on one block: nobody waits for the others
        after every step.
        """
        with full_precision():
            for _ in prefetched(self.blocks(), work, threads=self._threads, ahead=self._threads):
                pass

    def require_k(self, k: int, name: str) -> None:
        """Refuse a k that the gallery cannot fill.

        Raises:
            UserError: unless 1 <= k <= candidates.
        """
        rule = f"between 1 and {self.candidates}, the gallery rows a query can meet"
        require(1 <= k <= self.candidates, name, rule, k)

    def scores(self, rows: slice) -> Float[Tensor, "B P"]:
        """Approximate scores of one block, infinite where excluded.

        They are valid until the next call in the same thread.
        """
        if not hasattr(self._buffers, "scores"):
            self._buffers.scores = torch.empty(self.block_rows, self._approximation.width)
        buffer: Tensor = self._buffers.scores
        scores_BP = self._approximation.scores(rows, buffer[: rows.stop - rows.start])
        owner, column = self.exclusion.pairs(rows)
        scores_BP[torch.from_numpy(owner), torch.from_numpy(column)] = float("inf")
        return scores_BP

    def nearest(
        self, rows: slice, k: int, scores_BP: Tensor | None = None
    ) -> Int[np.ndarray, "B K"]:
        """Gallery indices of the k nearest rows of a block; -1 where there are fewer.

        `scores_BP` are the block's `scores` if they are at hand; they are overwritten.
        """
        scores_BP = self.scores(rows) if scores_BP is None else scores_BP
        if self.twins is not None:
            # Of identical rows only the first k that a query may meet can be among its k nearest.
            surplus = np.flatnonzero(self.twins.before_G >= k + self.exclusion.most)
            scores_BP.index_fill_(1, torch.from_numpy(surplus), float("inf"))
        return self._best(rows, scores_BP, k).numpy()

    def _best(self, rows: slice, scores_BP: Tensor, k: int) -> Tensor:
        owner_C, column_C = _candidates(scores_BP, k, self.tolerance_Q[rows])
        if len(owner_C) > _MOST_CANDIDATES and len(scores_BP) > 1:  # very many near-ties
            half = len(scores_BP) // 2
            first = self._best(slice(rows.start, rows.start + half), scores_BP[:half], k)
            second = self._best(slice(rows.start + half, rows.stop), scores_BP[half:], k)
            return torch.cat([first, second])
        score_C = scores_BP[owner_C, column_C]
        # One padded row per query, ordered by score.
        count_B = torch.bincount(owner_C, minlength=len(scores_BP))
        place_C = torch.arange(len(owner_C)) - (count_B.cumsum(0) - count_B)[owner_C]
        shape = (len(scores_BP), max(k, int(count_B.max())))
        values_BT = torch.full(shape, float("inf"))
        columns_BT = torch.full(shape, -1)
        values_BT[owner_C, place_C], columns_BT[owner_C, place_C] = score_C, column_C
        values_BT, order_BT = values_BT.sort(dim=1)
        columns_BT = columns_BT.gather(1, order_BT)
        self._order_near_ties(rows, values_BT, columns_BT, k)
        return columns_BT[:, :k]

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
        return pair_distances(self.query_QD, self.gallery_GD, query_M, column_M, self.space)

    def distances_from(
        self, query: int, column_M: Int[np.ndarray, " M"]
    ) -> Float[np.ndarray, " M"]:
        """Exact float32 distances of one query (global index) and the listed gallery columns."""
        if self.twins is None:
            return distances_from(self.query_QD[query], self.gallery_GD, column_M, self.space)
        first_U, group_M = np.unique(self.twins.first_G[column_M], return_inverse=True)
        distance_U = distances_from(self.query_QD[query], self.gallery_GD, first_U, self.space)
        return distance_U[group_M]

    def _order_near_ties(self, rows: slice, values_BT: Tensor, columns_BT: Tensor, k: int) -> None:
        """Order runs of scores within the error bound by exact distance, then index; in place."""
        # inf - inf is nan, which is not <=: the padding never ties.
        tied = values_BT[:, 1:] - values_BT[:, :-1] <= self.tolerance_Q[rows, None]
        run_BT = torch.zeros(values_BT.shape, dtype=torch.int64)
        run_BT[:, 1:] = (~tied).cumsum(dim=1)
        flagged = torch.zeros(values_BT.shape, dtype=torch.bool)
        flagged[:, 1:] |= tied
        flagged[:, :-1] |= tied
        flagged &= run_BT <= run_BT[:, k - 1 : k]
        row_M, place_M = torch.nonzero(flagged, as_tuple=True)
        owner_M, column_M = row_M.numpy(), columns_BT[row_M, place_M].numpy()
        distance_M = self.pair_distances(owner_M + rows.start, column_M)
        order_M = np.lexsort((column_M, distance_M, run_BT[row_M, place_M].numpy(), owner_M))
        columns_BT[row_M, place_M] = torch.from_numpy(column_M[order_M])


def _candidates(scores_BP: Tensor, k: int, tolerance_B: Tensor) -> tuple[Tensor, Tensor]:
    """Every (row, column) that can be among the k nearest of its row, rows rising.

    Columns are grouped in lanes of `_LANE` strided columns. The k-th smallest of the lanes' minima
    is no smaller than the k-th smallest score, so only lanes that reach below it, plus the error
    bound, are looked at in full. Infinite scores are no candidates.
    """
    rows, width = scores_BP.shape
    lanes = width // _LANE
    if lanes < 2 * k:
        limit_B = (_kth_smallest(scores_BP, k) + tolerance_B).clamp_(max=_LARGEST)
        owner_C, column_C = torch.nonzero(scores_BP <= limit_B[:, None], as_tuple=True)
        return owner_C, column_C
    lane_BLC = scores_BP.view(rows, _LANE, lanes)
    least_BC = lane_BLC.amin(dim=1)
    limit_B = (_bound_on_kth(least_BC, k) + tolerance_B).clamp_(max=_LARGEST)
    row_M, lane_M = torch.nonzero(least_BC <= limit_B[:, None], as_tuple=True)
    within = lane_BLC[row_M, :, lane_M] <= limit_B[row_M, None]
    found_C, step_C = torch.nonzero(within, as_tuple=True)
    return row_M[found_C], step_C * lanes + lane_M[found_C]


def _bound_on_kth(least_BC: Tensor, k: int) -> Tensor:
    """A bound on the k-th smallest value of every row, a few places above it at most of the time.

    The k-th smallest of the minima of some 4 k groups of columns: to select among so few costs
    little. Columns that fill no group are left out, which can only raise the bound.
    """
    lanes = least_BC.shape[1]
    group = max(1, lanes // (4 * k))
    groups_BLC = least_BC[:, : lanes // group * group].unflatten(1, (group, -1))
    return _kth_smallest(groups_BLC.amin(dim=1), k)


def _kth_smallest(values_BT: Tensor, k: int) -> Tensor:
    """The k-th smallest value of every row; torch's own `kthvalue` is several times slower."""
    return values_BT.topk(k, dim=1, largest=False, sorted=False).values.amax(dim=1)
