"""k-reciprocal re-ranking (Zhong, Zheng, Cao and Li, CVPR 2017): exact, sparse and in blocks.

Two items are close if their neighbourhoods agree. With N = Q + G items, d the Euclidean distance
(the chord, for unit rows) and N(i, k) the item i followed by its k nearest others:

    R(i, k) = {j in N(i, k): i in N(j, k)}                           reciprocal neighbours
    R*(i)   = R(i, k1) and every R(j, h) with j in R(i, k1) that has
              more than 2/3 of its items in R(i, k1)                 h = k1 / 2
    o(i, j) = d(i, j)^2 / max over all N items m of d(i, m)^2        the original distance
    V(i, j) = exp(-o(i, j)) for j in R*(i), divided by its row's sum
    W(i)    = mean of V(j) over the first k2 items of N(i, k1)       local query expansion
    J(i, j) = 1 - s / (2 - s), s = sum over m of min(W(i, m), W(j, m))    Jaccard; rows sum to 1
    answer  = (1 - lambda) J(q, g) + lambda o(q, g)

Where paper and published code differ, this follows the published Python code: "more than" 2/3
instead of "at least"; the square and the maximum in o, which is each query's own, so that o is not
symmetric; h = k1 / 2 rounded to the even number, beside the item itself. (The authors' MATLAB code
takes round((k1 + 1) / 2) items with the item itself, which is one fewer for k1 = 3, 7, 11, ...)
Ties are ours to define: the item itself comes first, then smaller float32 distance, then index.

Dense implementations hold several N x N matrices, 35 GB each at 94,000 items. Here a row holds the
k1 neighbours of an item and later the few dozen entries of W(i); J is 1 wherever no entry is
shared, and distances come block by block.

Legend: Q queries, G gallery rows, N = Q + G items, D embedding dimension, K = k1 + 1 listed items,
B queries or items of one block, P padded columns, C entries of one row, M listed pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from scipy import sparse
from torch import Tensor

from likeness.errors import require
from likeness.search.distances import (
    Block,
    block_distances,
    in_blocks,
    nearest_of_block,
    ranks_in_block,
)
from likeness.search.exact import ExactSearch, Neighbours
from likeness.search.exclusion import Exclusion, Keys, ragged_ranges
from likeness.search.space import Space, full_precision, pair_distances, prepared
from likeness.threads import prefetched

Progress = Callable[[int, int], None]
Sparse = Any  # scipy.sparse.csr_array, which has no type of its own
_ENCODED = 2048  # items whose sets are made together
_ENTRIES = 1 << 20  # shared entries of a query that are added together


@dataclass(frozen=True)
class Reciprocal:
    """Settings of the re-ranking; the defaults are the paper's, for Market-1501.

    Attributes:
        k1: neighbours that may be reciprocal, >= 1.
        k2: items of the local query expansion, the item itself among them; 1 = none.
        original_weight: the paper's lambda, in [0, 1]: 1 = the original distance alone.
    """

    k1: int = 20
    k2: int = 6
    original_weight: float = 0.3

    def __post_init__(self) -> None:
        require(self.k1 >= 1, "k1", ">= 1", self.k1)
        rule = f"between 1 and k1 + 1 = {self.k1 + 1}"
        require(1 <= self.k2 <= self.k1 + 1, "k2", rule, self.k2)
        inside = 0 <= self.original_weight <= 1
        require(inside, "original_weight", "between 0 and 1", self.original_weight)

    def fitting(self, items: int) -> Reciprocal:
        """The same settings, or what so few items (at least two) allow of them."""
        k1 = min(self.k1, items - 1)
        return replace(self, k1=k1, k2=min(self.k2, k1 + 1))


PUBLISHED = Reciprocal()
# What the script of online soft mining (Wang et al., AAAI 2019) ends with, for tracklets of MARS.
SOFT_MINING_SCRIPT = Reciprocal(k1=7, k2=3, original_weight=0.85)


def rerank(
    query_QD: Shaped[np.ndarray, "Q D"],
    gallery_GD: Shaped[np.ndarray, "G D"],
    k: int,
    settings: Reciprocal = PUBLISHED,
    *,
    space: Space = "cosine",
    exclude: Sequence[Keys] = (),
) -> Neighbours:
    """The k nearest gallery rows of every query after re-ranking; see `ReciprocalSearch`."""
    return ReciprocalSearch(query_QD, gallery_GD, settings, space=space, exclude=exclude).nearest(k)


class ReciprocalSearch:
    """Queries against a gallery by re-ranked distances, prepared once, answered block by block.

    Preparing looks at all N x N distances once, in blocks, and keeps O(N): it is most of the time.

    Attributes:
        queries: number of queries.
        gallery: number of gallery rows.
        settings: k1, k2 and the weight of the original distance.
        exclusion: which pairs never meet.
    """

    def __init__(
        self,
        query_QD: Shaped[np.ndarray, "Q D"],
        gallery_GD: Shaped[np.ndarray, "G D"],
        settings: Reciprocal = PUBLISHED,
        *,
        space: Space = "cosine",
        exclude: Sequence[Keys] = (),
        block_rows: int | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        """Find the neighbours and encode them.

        Args:
            query_QD: embeddings, raw or normalised.
            gallery_GD: embeddings. A query that is also in the gallery counts twice, as in the
                published code.
            settings: see `Reciprocal`.
            space: "cosine" (the chord of unit rows) or "euclidean".
            exclude: see `exact.nearest`; such pairs get an infinite distance. Neighbourhoods are
                made of all items, as in the published code.
            block_rows: items per block of every pass; by default what keeps memory bounded.
            on_progress: called with (items done, items in all) while the neighbours are found.

        Raises:
            UserError: if k1 is not below the number of items, the space is "dot", widths differ, or
                embeddings are refused by `prepared`.
        """
        require(space != "dot", "space", "cosine or euclidean for re-ranking", space)
        query = prepared(query_QD, space, "query")
        gallery = prepared(gallery_GD, space, "gallery")
        rule = f"as wide as the query, {query.shape[1]} numbers a row"
        require(gallery.shape[1] == query.shape[1], "gallery", rule, gallery.shape[1])
        self.settings = settings
        self.queries, self.gallery = len(query), len(gallery)
        others = self.queries + self.gallery - 1
        rule = f"between 1 and {others}, the other items among queries and gallery"
        require(settings.k1 <= others, "k1", rule, settings.k1)
        self.exclusion = Exclusion(self.queries, self.gallery, exclude, leave_self_out=False)
        self._block_rows = block_rows
        # Prepared rows compare by the Euclidean distance in both spaces.
        self._items_ND = np.concatenate([query, gallery])
        del query, gallery
        neighbour_NK, farthest_N = _neighbours(
            self._items_ND, settings.k1, block_rows, on_progress or (lambda done, total: None)
        )
        # Items that are all one point are at distance 0, not 0 / 0.
        self._farthest_N = np.where(farthest_N > 0, farthest_N, 1.0)
        vectors_NN = _expanded(
            _encoded(self._items_ND, neighbour_NK, self._farthest_N), neighbour_NK, settings.k2
        )
        self._of_query_QN = vectors_NN[: self.queries]
        self._by_entry_GN = vectors_NN[self.queries :].tocsc()

    def distance_blocks(self) -> Iterator[Block]:
        """(slice of the queries, re-ranked float32 distances (B, G)) in order; each can be kept."""
        return in_blocks(self.queries, self.gallery, self.distances, self._block_rows)

    def distances(self, rows: slice) -> Float[np.ndarray, "B G"]:
        """Re-ranked distances of a block of queries, in [0, 1]; infinite where excluded."""
        gallery_GD = self._items_ND[self.queries :]
        weight = self.settings.original_weight
        distance_BG = block_distances(self._items_ND[rows], gallery_GD, "euclidean")
        # Query by query: a dozen passes over one row stay within the cache.
        for query, distance_G in enumerate(distance_BG, start=rows.start):
            original_G = np.square(distance_G.astype(np.float64) / self._farthest_N[query])
            shared_G = np.minimum(self._shared(query), 1.0)
            jaccard_G = 1.0 - shared_G / (2.0 - shared_G)
            distance_G[:] = weight * original_G + (1 - weight) * jaccard_G
        distance_BG[self.exclusion.pairs(rows)] = np.inf
        return distance_BG

    def for_each_block(self, work: Callable[[slice], None]) -> None:
        """Call `work` with every block of queries, as many at a time as torch has threads."""
        for _ in in_blocks(self.queries, self.gallery, work, self._block_rows):
            pass

    def ranks_of(
        self, rows: slice, owner_M: Int[np.ndarray, " M"], column_M: Int[np.ndarray, " M"]
    ) -> Int[np.ndarray, " M"]:
        """Re-ranked places of listed pairs of a block; `ranks.ranks_of` has the original ones."""
        return ranks_in_block(self.distances(rows), owner_M, column_M)

    def nearest(self, k: int) -> Neighbours:
        """The k nearest gallery rows of every query; equal float32 distances by gallery index.

        Raises:
            UserError: unless 1 <= k <= G.
        """
        require(1 <= k <= self.gallery, "k", f"between 1 and {self.gallery}, the gallery rows", k)
        indices_QK = np.empty((self.queries, k), np.int64)
        distances_QK = np.empty((self.queries, k), np.float32)
        for rows, distance_BG in self.distance_blocks():
            found = nearest_of_block(distance_BG, k)
            indices_QK[rows], distances_QK[rows] = found.indices_QK, found.distances_QK
        return Neighbours(indices_QK, distances_QK)

    def _shared(self, query: int) -> Float[np.ndarray, " G"]:
        """Sum of the smaller weights that a query shares with every gallery row."""
        own, entries = self._of_query_QN, self._by_entry_GN
        part = slice(own.indptr[query], own.indptr[query + 1])
        column_C, weight_C = own.indices[part], own.data[part]
        start_C = entries.indptr[column_C].astype(np.int64)
        count_C = entries.indptr[column_C + 1] - start_C
        # In portions: an item that is everybody's neighbour has as many entries as the gallery.
        ends = np.flatnonzero(np.diff(np.cumsum(count_C) // _ENTRIES)) + 1
        shared_G = np.zeros(self.gallery)
        for portion in np.split(np.arange(len(column_C)), ends):
            owner_M, place_M = ragged_ranges(start_C[portion], count_C[portion])
            least_M = np.minimum(weight_C[portion][owner_M], entries.data[place_M])
            shared_G += np.bincount(entries.indices[place_M], least_M, minlength=self.gallery)
        return shared_G


def _neighbours(
    items_ND: np.ndarray, k1: int, block_rows: int | None, on_progress: Progress
) -> tuple[Int[np.ndarray, "N K"], Float[np.ndarray, " N"]]:
    """Every item followed by its k1 nearest others, and the distance of its farthest other."""
    search = ExactSearch(items_ND, None, space="euclidean", block_rows=block_rows)
    neighbour_NK = np.empty((len(items_ND), k1 + 1), np.int32)
    neighbour_NK[:, 0] = np.arange(len(items_ND))
    farthest_N = np.empty(len(items_ND))

    def work(rows: slice) -> int:
        scores_BP = search.scores(rows)
        farthest_N[rows] = _farthest(search, rows, scores_BP)
        neighbour_NK[rows, 1:] = search.nearest(rows, k1, scores_BP)
        return int(rows.stop)

    threads = torch.get_num_threads()
    with full_precision():
        for done in prefetched(search.blocks(), work, threads=threads, ahead=threads):
            on_progress(done, len(items_ND))
    return neighbour_NK, farthest_N


def _farthest(search: ExactSearch, rows: slice, scores_BP: Tensor) -> Float[np.ndarray, " B"]:
    """Exact distance of the farthest other item; `scores_BP` is left as it was."""
    scores_BG = scores_BP[:, : search.gallery]  # what is padded is infinite
    own_B = torch.arange(rows.start, rows.stop)
    place_B = torch.arange(len(own_B))
    scores_BG[place_B, own_B] = -torch.inf
    limit_B = scores_BG.amax(dim=1) - search.tolerance_Q[rows]
    owner_M, column_M = (found.numpy() for found in torch.where(scores_BG >= limit_B[:, None]))
    scores_BG[place_B, own_B] = torch.inf
    if search.twins is not None:  # one of many identical items is enough
        first_M = search.twins.before_G[column_M] == 0
        owner_M, column_M = owner_M[first_M], column_M[first_M]
    farthest_B = np.zeros(len(own_B))
    np.maximum.at(farthest_B, owner_M, search.pair_distances(owner_M + rows.start, column_M))
    return farthest_B


def _encoded(
    items_ND: np.ndarray, neighbour_NK: Int[np.ndarray, "N K"], farthest_N: np.ndarray
) -> Sparse:
    """V: the weights of every item's reciprocal neighbours, sparse (N, N), rows that sum to 1."""
    k1 = neighbour_NK.shape[1] - 1
    near_NN = _reciprocal(neighbour_NK)
    half_NN = _reciprocal(neighbour_NK[:, : round(k1 / 2) + 1])  # round: halves to the even number
    size_N = np.diff(half_NN.indptr)

    def work(start: int) -> Sparse:
        near_BN = near_NN[start : start + _ENCODED]
        # Being reciprocal is symmetric: the product counts what R(i, k1) and R(j, h) share.
        agreed_BN = (near_BN @ half_NN).multiply(near_BN).tocsr()
        agreed_BN.data = (3 * agreed_BN.data > 2 * size_N[agreed_BN.indices]).astype(np.float64)
        agreed_BN.eliminate_zeros()
        grown_BN = (near_BN + agreed_BN @ half_NN).tocsr()
        grown_BN.sort_indices()
        owner_M = np.repeat(np.arange(grown_BN.shape[0]), np.diff(grown_BN.indptr))
        item_M = owner_M + start
        distance_M = pair_distances(items_ND, items_ND, item_M, grown_BN.indices, "euclidean")
        weight_M = np.exp(-np.square(distance_M / farthest_N[item_M]))
        weight_M /= np.bincount(owner_M, weight_M)[owner_M]
        return sparse.csr_array((weight_M, grown_BN.indices, grown_BN.indptr), grown_BN.shape)

    starts = range(0, len(items_ND), _ENCODED)
    return sparse.vstack(list(prefetched(starts, work, threads=torch.get_num_threads())), "csr")


def _reciprocal(neighbour_NK: Int[np.ndarray, "N K"]) -> Sparse:
    """Which listed items list each other: sparse (N, N), ones."""
    listed_NN = _by_place(neighbour_NK, 1.0)
    return listed_NN.multiply(listed_NN.T).tocsr()


def _expanded(vectors_NN: Sparse, neighbour_NK: Int[np.ndarray, "N K"], k2: int) -> Sparse:
    """W: the mean of the vectors of the first k2 items of every list."""
    return vectors_NN if k2 == 1 else _by_place(neighbour_NK[:, :k2], 1 / k2) @ vectors_NN


def _by_place(listed_NK: Int[np.ndarray, "N K"], value: float) -> Sparse:
    """A sparse (N, N) matrix with `value` where row i lists column j."""
    count, width = listed_NK.shape
    data = np.full(listed_NK.size, value)
    ends = np.arange(0, listed_NK.size + 1, width, dtype=np.int32)
    return sparse.csr_array((data, listed_NK.ravel(), ends), (count, count))
