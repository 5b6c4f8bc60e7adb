"""Exact distances of whole blocks, for what needs every distance of a query and not its nearest.

Legend: Q queries, G gallery rows, D embedding dimension, B queries of one block, T gallery columns
of one tile, K neighbours, M listed pairs.

The numbers are those of `space.pair_distances`, bit for bit: float64 matrix products leave a known
error, and the few pairs that it could round to another float32 are computed one by one. So nothing
that is made of these blocks depends on how large they are or on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from likeness.errors import require
from likeness.search.exact import Neighbours
from likeness.search.exclusion import Exclusion, Keys
from likeness.search.space import Space, pair_distances, prepared
from likeness.threads import prefetched

T = TypeVar("T")
Block = tuple[slice, np.ndarray]  # queries, and their float32 distances (B, G)
_BLOCK_BYTES = 16 << 20  # of one block's distances
_TILE = 2048  # columns whose float64 numbers stay near the processor
_ROUNDOFF = 2.0**-53  # float64


def distance_blocks(
    query_QD: Shaped[np.ndarray, "Q D"],
    gallery_GD: Shaped[np.ndarray, "G D"] | None,
    *,
    space: Space = "cosine",
    exclude: Sequence[Keys] = (),
    block_rows: int | None = None,
) -> Iterator[Block]:
    """All distances, block by block in the order of the queries.

    Args:
        query_QD: embeddings, raw or normalised.
        gallery_GD: embeddings, or None: the queries ask each other, never themselves.
        space: see `exact.nearest`.
        exclude: see `exact.nearest`; such pairs have an infinite distance.
        block_rows: queries per block; by default what makes 16 MiB.

    Yields:
        (slice of the queries, float32 distances (B, G)).

    Raises:
        UserError: if dimensions differ, or the embeddings are refused by `prepared`.
    """
    query = prepared(query_QD, space, "query")
    gallery = query if gallery_GD is None else prepared(gallery_GD, space, "gallery")
    rule = f"as wide as the query, {query.shape[1]} numbers a row"
    require(gallery.shape[1] == query.shape[1], "gallery", rule, gallery.shape[1])
    exclusion = Exclusion(len(query), len(gallery), exclude, leave_self_out=gallery_GD is None)

    def work(rows: slice) -> Float[np.ndarray, "B G"]:
        distance_BG = block_distances(query[rows], gallery, space)
        distance_BG[exclusion.pairs(rows)] = np.inf
        return distance_BG

    return in_blocks(len(query), len(gallery), work, block_rows)


def in_blocks(
    queries: int, gallery: int, work: Callable[[slice], T], block_rows: int | None = None
) -> Iterator[tuple[slice, T]]:
    """(rows, work(rows)) for blocks of queries in order, as many at a time as torch has threads.

    Raises:
        UserError: if `block_rows` is below 1.
    """
    rows = max(16, _BLOCK_BYTES // (4 * gallery)) if block_rows is None else block_rows
    require(rows >= 1, "block_rows", ">= 1", block_rows)
    blocks = (slice(start, min(start + rows, queries)) for start in range(0, queries, rows))
    threads = torch.get_num_threads()
    return prefetched(blocks, lambda part: (part, work(part)), threads=threads, ahead=threads)


def block_distances(
    query_BD: Float[np.ndarray, "B D"], gallery_GD: Float[np.ndarray, "G D"], space: Space
) -> Float[np.ndarray, "B G"]:
    """`pair_distances` of every pair of prepared rows: the same float32 numbers, much faster."""
    distance_BG = np.empty((len(query_BD), len(gallery_GD)), np.float32)
    query = torch.from_numpy(query_BD.astype(np.float64))
    for start in range(0, len(gallery_GD), _TILE):
        gallery_TD = gallery_GD[start : start + _TILE]
        low_BT, high_BT = _bounds(query, torch.from_numpy(gallery_TD.astype(np.float64)), space)
        tile_BT = low_BT.float()
        row_M, column_M = (found.numpy() for found in torch.where(tile_BT != high_BT.float()))
        tile = tile_BT.numpy()
        tile[row_M, column_M] = pair_distances(query_BD, gallery_TD, row_M, column_M, space)
        distance_BG[:, start : start + _TILE] = tile
    return distance_BG


def nearest_of_block(distance_BG: Float[np.ndarray, "B G"], k: int) -> Neighbours:
    """The k nearest of every row of a block, equal distances by column; infinite ones never.

    Returns:
        Indices (-1 where fewer than k are finite) and distances, as `exact.nearest`.
    """
    block = torch.from_numpy(distance_BG)
    kth_B = block.topk(k, dim=1, largest=False, sorted=False).values.amax(dim=1).numpy()
    row_M, column_M = np.nonzero((distance_BG <= kth_B[:, None]) & np.isfinite(distance_BG))
    order_M = np.lexsort((column_M, distance_BG[row_M, column_M], row_M))
    row_M, column_M = row_M[order_M], column_M[order_M]
    place_M = np.arange(len(row_M)) - np.searchsorted(row_M, row_M)
    row_M, column_M, place_M = (part[place_M < k] for part in (row_M, column_M, place_M))
    indices_BK = np.full((len(distance_BG), k), -1, np.int64)
    distances_BK = np.full((len(distance_BG), k), np.inf, np.float32)
    indices_BK[row_M, place_M] = column_M
    distances_BK[row_M, place_M] = distance_BG[row_M, column_M]
    return Neighbours(indices_BK, distances_BK)


def ranks_in_block(
    distance_BG: Float[np.ndarray, "B G"],
    owner_M: Int[np.ndarray, " M"],
    column_M: Int[np.ndarray, " M"],
) -> Int[np.ndarray, " M"]:
    """Rank (1 = nearest) of listed columns among all of their row; ties as `nearest_of_block`.

    Args:
        distance_BG: a block of distances; infinite ones come last.
        owner_M: row within the block, sorted; columns of one row are distinct.
        column_M: columns, at finite distances.
    """
    end_B = np.cumsum(np.bincount(owner_M, minlength=len(distance_BG)))
    listed = zip(distance_BG, np.split(column_M, end_B[:-1]), strict=True)
    found = [_ranks(distance_G, columns) for distance_G, columns in listed if len(columns)]
    return np.concatenate([np.empty(0, np.int64), *found])


def _ranks(distance_G: np.ndarray, column_M: np.ndarray) -> np.ndarray:
    """Ranks of the listed columns of one row, by counting: O(G log M) and no sort of the row."""
    level = np.unique(distance_G[column_M])
    above_G = np.searchsorted(level, distance_G, side="right")  # levels at or below each distance
    nearer = np.cumsum(np.bincount(above_G, minlength=len(level) + 1))
    tied = np.flatnonzero((above_G > 0) & (distance_G == level[above_G - 1]))
    order = np.lexsort((tied, above_G[tied]))
    by_level = above_G[tied][order]
    place = np.empty(len(tied), np.int64)
    place[order] = np.arange(len(tied)) - np.searchsorted(by_level, by_level)
    return np.asarray(nearer[above_G[column_M] - 1] + place[np.searchsorted(tied, column_M)] + 1)


def _bounds(query_BD: Tensor, gallery_TD: Tensor, space: Space) -> tuple[Tensor, Tensor]:
    """Float64 numbers between which `pair_distances` lies before it is rounded to float32."""
    reach_B1, reach_T = query_BD.norm(dim=1, keepdim=True), gallery_TD.norm(dim=1)
    # D u |q||g| for an inner product in any order of summation (Higham, Accuracy and Stability of
    # Numerical Algorithms, 3.1), as much again for the sum that `pair_distances` takes, and some
    # roundings more.
    slack = 4 * (query_BD.shape[1] + 8) * _ROUNDOFF
    if space == "dot":
        value_BT = 0.0 - query_BD @ gallery_TD.T
        error_B1 = slack * reach_B1 * reach_T.max()
        return value_BT - error_B1, value_BT + error_B1
    value_BT = torch.addmm(reach_T.square(), query_BD, gallery_TD.T, alpha=-2)
    value_BT += reach_B1.square()
    error_B1 = slack * (reach_B1 + reach_T.max()).square()
    return (value_BT - error_B1).clamp_min_(0).sqrt_(), (value_BT + error_B1).sqrt_()
