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
import torch
from jaxtyping import Int
from torch import Tensor

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
    scores_BP = search.scores(rows)
    owner, column = torch.from_numpy(owner_M), torch.from_numpy(column_M)
    bins_BP, bins = _binned(scores_BP, owner, column, search.tolerance_Q[rows])
    count = len(bins_BP) * bins
    flat_BP = bins_BP + torch.arange(len(bins_BP))[:, None] * bins
    occupied = torch.bincount(flat_BP.view(-1), minlength=count)
    # A candidate is whatever lies in a listed pair's bin or beside it. The last bin holds what is
    # beyond every listed pair; it is never beside one.
    listed_M = flat_BP[owner, column]
    compared = torch.zeros(count, dtype=torch.bool)
    for shift in (-1, 0, 1):
        compared[(listed_M + shift).clamp_(min=0)] = True
    compared.view(-1, bins)[:, -1] = False
    row_C, column_C = (found.numpy() for found in torch.nonzero(compared[flat_BP], as_tuple=True))
    distance_C = search.pair_distances(row_C + rows.start, column_C)
    order_C = np.lexsort((column_C, distance_C, row_C))
    # Rank = rows surely before it + candidates sorted before it + 1.
    sure = occupied.masked_fill(compared, 0).view(-1, bins).cumsum(dim=1).view(-1)
    candidates_B = np.bincount(row_C, minlength=len(bins_BP))
    first_B = np.cumsum(candidates_B) - candidates_B
    place_C = np.empty(len(row_C), np.int64)
    place_C[order_C] = np.arange(len(row_C)) - first_B[row_C]
    width = scores_BP.shape[1]
    # Candidates come row by row, columns rising: listed pairs are found among them by search.
    position_M = np.searchsorted(row_C * width + column_C, owner_M * width + column_M)
    return np.asarray(sure[listed_M].numpy() + place_C[position_M] + 1)


def _binned(
    scores_BP: Tensor, owner: Tensor, column: Tensor, tolerance_B: Tensor
) -> tuple[Tensor, int]:
    """Bin of every score, and how many: equal ones up to the farthest listed row, then the rest."""
    count = max(64, min(_BINS, scores_BP.shape[1]))
    low_B = scores_BP.amin(dim=1)
    low_B.masked_fill_(low_B.isinf(), 0.0)  # a query that meets nobody
    high_B = low_B.clone().scatter_reduce_(0, owner, scores_BP[owner, column], "amax")
    # Rounding moves a bin's edge by less than 1 % of a bin; the factor 1.1 allows for it.
    width_B = torch.maximum((high_B - low_B) / count, 1.1 * tolerance_B).clamp_(min=1e-30)
    scaled_BP = (scores_BP - low_B[:, None]).div_(width_B[:, None])
    # The farthest listed row is in bin <= count + 1, its neighbour in count + 2, the rest beyond.
    return scaled_BP.clamp_(max=count + 3).long(), count + 4
