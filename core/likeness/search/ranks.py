"""Exact ranks of listed gallery rows in the full ranking, by counting instead of sorting.

Legend: Q queries, G gallery rows, B queries of one block, P padded columns, N bins per query,
M listed pairs, C candidate pairs.

Average precision needs the places of the few relevant rows, not the order of the many others. The
approximate scores of a query are dropped into equal bins, wider than their error bound, and
counted. A row two bins away from a listed one is on a known side of it; only the rows of the same
and the two neighbouring bins are compared exactly. That costs O(G) per query; sorting, O(G log G).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from likeness.search.exact import ExactSearch

_BINS = 1 << 16
_BLOCK_SCORES = 1 << 21  # per block, with some ten arrays of 8 bytes each


def block_rows_for_ranks(gallery: int) -> int:
    """Queries per block that suit `ranks_of`."""
    return max(16, _BLOCK_SCORES // gallery)


def ranks_of(
    search: ExactSearch,
    rows: slice,
    owner_M: Int[np.ndarray, " M"],
    column_M: Int[np.ndarray, " M"],
) -> Int[np.ndarray, " M"]:
    """Rank (1 = nearest) of each listed pair among all rows that its query may meet.

    Args:
        search: the prepared search.
        rows: the block of queries.
        owner_M: query within the block, sorted; columns of one query are distinct.
        column_M: gallery rows, none of them excluded for its query.

    Returns:
        Ranks under the order of `search.nearest`: float32 distance, then gallery index.
    """
    # numpy on one thread: a dozen light passes, each of which would wait for a pool of threads.
    scores_BP = search.scores(rows).numpy()
    flat_BP, bins = _binned(scores_BP, owner_M, column_M, search.tolerance_Q[rows].numpy())
    occupied = np.bincount(flat_BP.ravel(), minlength=len(flat_BP) * bins)
    # A candidate is whatever lies in a listed pair's bin or beside it. The last bin holds what is
    # beyond every listed pair; it is never beside one.
    listed_M = flat_BP[owner_M, column_M]
    compared = np.zeros(len(occupied), dtype=bool)
    for shift in (-1, 0, 1):
        compared[np.maximum(listed_M + shift, 0)] = True
    compared[bins - 1 :: bins] = False
    place_C = np.flatnonzero(compared[flat_BP])
    row_C, column_C = np.divmod(place_C, scores_BP.shape[1])
    distance_C = search.pair_distances(row_C + rows.start, column_C)
    order_C = np.lexsort((column_C, distance_C, row_C))
    # Rank = rows surely before it + candidates sorted before it + 1.
    occupied[compared] = 0
    sure = occupied.reshape(-1, bins).cumsum(axis=1).ravel()
    candidates_B = np.bincount(row_C, minlength=len(flat_BP))
    first_B = np.cumsum(candidates_B) - candidates_B
    before_C = np.empty(len(row_C), np.int64)
    before_C[order_C] = np.arange(len(row_C)) - first_B[row_C]
    position_M = np.searchsorted(place_C, owner_M * scores_BP.shape[1] + column_M)
    return np.asarray(sure[listed_M] + before_C[position_M] + 1)


def _binned(
    scores_BP: np.ndarray, owner_M: np.ndarray, column_M: np.ndarray, tolerance_B: np.ndarray
) -> tuple[np.ndarray, int]:
    """Bin of every score, numbered through all rows, and the bins of a row.

    The bins are equal up to the farthest listed row; the last one takes all that is beyond.
    """
    count = max(64, min(_BINS, scores_BP.shape[1]))
    low_B = scores_BP.min(axis=1)
    low_B[np.isinf(low_B)] = 0  # a query that meets nobody
    high_B = low_B.copy()
    np.maximum.at(high_B, owner_M, scores_BP[owner_M, column_M])
    # Rounding moves a bin's edge by less than 1 % of a bin; the factor 1.1 allows for it.
    width_B = np.maximum(np.maximum((high_B - low_B) / count, 1.1 * tolerance_B), 1e-30)
    scaled_BP = (scores_BP - low_B[:, None]) / width_B[:, None].astype(np.float32)
    # The farthest listed row is in bin <= count + 1, its neighbour in count + 2, the rest beyond.
    flat_BP = np.minimum(scaled_BP, count + 3, out=scaled_BP).astype(np.int64)
    flat_BP += np.arange(len(flat_BP))[:, None] * (count + 4)
    return flat_BP, count + 4
