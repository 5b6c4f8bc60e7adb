"""Exact ranks of listed gallery rows in the full ranking, by counting instead of sorting.

Legend: Q queries, G gallery rows, B queries of one block, P padded columns, M listed columns of
all queries or of one, C candidate columns of one query.

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
    scores_BP = search.scores(rows).numpy()
    tolerance_B = search.tolerance_Q[rows].tolist()
    end_B = np.cumsum(np.bincount(owner_M, minlength=len(scores_BP)))
    listed = np.split(column_M, end_B[:-1])
    # Query by query: a dozen passes over one row of scores stay within the cache.
    found = [
        _ranks(search, rows.start + row, scores_BP[row], tolerance_B[row], columns)
        for row, columns in enumerate(listed)
        if len(columns)
    ]
    return np.concatenate([np.empty(0, np.int64), *found])


def _ranks(
    search: ExactSearch, query: int, score_P: np.ndarray, tolerance: float, column_M: np.ndarray
) -> np.ndarray:
    """Ranks of the listed columns of one query."""
    bin_P, bins = _binned(score_P, float(score_P[column_M].max()), tolerance)
    count = np.bincount(bin_P, minlength=bins)
    # A candidate is whatever lies in a listed column's bin or beside it. The last bin holds what
    # is beyond every listed column; it is never beside one.
    listed_M = bin_P[column_M]
    compared = np.zeros(bins, dtype=bool)
    for shift in (-1, 0, 1):
        compared[np.maximum(listed_M + shift, 0)] = True
    column_C = np.flatnonzero(compared[bin_P])
    distance_C = search.distances_from(query, column_C)
    order_C = np.argsort(distance_C, kind="stable")  # columns rise: equal distances stay in order
    before_C = np.empty(len(column_C), np.int64)
    before_C[order_C] = np.arange(len(column_C))
    # Rank = columns surely before it + candidates sorted before it + 1.
    count[compared] = 0
    sure = np.cumsum(count)
    return np.asarray(sure[listed_M] + before_C[np.searchsorted(column_C, column_M)] + 1)


def _binned(score_P: np.ndarray, farthest: float, tolerance: float) -> tuple[np.ndarray, int]:
    """Bin of every score, and the number of bins.

    The bins are equal up to the farthest listed score; the last one takes all that is beyond.
    """
    count = max(64, min(_BINS, len(score_P)))
    low = score_P.min()
    # Rounding moves a bin's edge by less than 1 % of a bin; the factor 1.1 allows for it.
    width = max((farthest - low) / count, 1.1 * tolerance, 1e-30)
    scaled_P = score_P - low
    scaled_P /= np.float32(width)
    # The farthest listed score is in bin <= count + 1, its neighbour in count + 2, the rest beyond.
    return np.minimum(scaled_P, count + 3, out=scaled_P).astype(np.intp), count + 4
