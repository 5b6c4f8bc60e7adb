"""Retrieval metrics as pure functions of the ranks of the relevant items.

Legend: Q queries, M relevant items that were found, query by query, ranks rising.

Ranks start at 1. Every function returns one number per query, nan for a query without relevant
items. A metric that needs deeper ranks than were looked at is refused, never approximated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from likeness.errors import UserError, require

PrecisionCurve = Literal["step", "trapezoid"]


@dataclass(frozen=True)
class RelevantRanks:
    """Where the relevant items of each query are in its ranking.

    Attributes:
        query_M: query of each found item, sorted.
        rank_M: its rank, 1 = nearest, rising within a query.
        relevant_Q: relevant items per query, found or not.
        depth: ranks beyond this were not looked at; None: all were.
        gain_M: graded relevance of each found item; None: all 1.
        size_M: number of labels of each found item; None: all 1.
        size_Q: number of labels of each query; None: all 1.
        same_Q: items with the query's very labels, found or not; None: the relevant ones.
    """

    query_M: Int[np.ndarray, " M"]
    rank_M: Int[np.ndarray, " M"]
    relevant_Q: Int[np.ndarray, " Q"]
    depth: int | None = None
    gain_M: Float[np.ndarray, " M"] | None = None
    size_M: Int[np.ndarray, " M"] | None = None
    size_Q: Int[np.ndarray, " Q"] | None = None
    same_Q: Int[np.ndarray, " Q"] | None = None

    @property
    def valid_Q(self) -> Bool[np.ndarray, " Q"]:
        """Queries with something to find."""
        return np.asarray(self.relevant_Q > 0)


def from_hits(hits_QK: Bool[np.ndarray, "Q K"], relevant_Q: Int[np.ndarray, " Q"]) -> RelevantRanks:
    """Ranks from a table of hits.

    Args:
        hits_QK: whether the item at each rank is relevant, nearest first.
        relevant_Q: relevant items in the whole gallery.
    """
    query_M, place_M = np.nonzero(hits_QK)
    return RelevantRanks(query_M, place_M + 1, relevant_Q, hits_QK.shape[1])


def recall_at(ranks: RelevantRanks, k: int) -> Float[np.ndarray, " Q"]:
    """Recall@k as metric learning means it: 1 if any of the k nearest is relevant, else 0.

    Also called CMC@k or rank-k. Not the share of relevant items found.

    Raises:
        UserError: if k is beyond the depth.
    """
    return nan_invalid(ranks, _hits_within(ranks, require_k(ranks, k)) > 0)


def precision_at(ranks: RelevantRanks, k: int) -> Float[np.ndarray, " Q"]:
    """Relevant items among the k nearest, divided by k (also where fewer than k are relevant).

    Raises:
        UserError: if k is beyond the depth.
    """
    return nan_invalid(ranks, _hits_within(ranks, require_k(ranks, k)) / k)


def r_precision(ranks: RelevantRanks) -> Float[np.ndarray, " Q"]:
    """Precision at R, the number of relevant items of the query.

    Raises:
        UserError: if some R is beyond the depth.
    """
    _require_depth(ranks, _most(ranks), "R, the relevant items of a query,")
    with np.errstate(invalid="ignore"):
        return np.asarray(_hits_within(ranks, ranks.relevant_Q) / ranks.relevant_Q)


def map_at_r(ranks: RelevantRanks) -> Float[np.ndarray, " Q"]:
    """MAP@R: sum over the hits within the first R ranks of the precision there, divided by R.

    Musgrave, Belongie, Lim, "A Metric Learning Reality Check", ECCV 2020.

    Raises:
        UserError: if some R is beyond the depth.
    """
    _require_depth(ranks, _most(ranks), "R, the relevant items of a query,")
    within_M = ranks.rank_M <= ranks.relevant_Q[ranks.query_M]
    return _share_of_relevant(ranks, np.where(within_M, place_in_query(ranks) / ranks.rank_M, 0.0))


def average_precision(
    ranks: RelevantRanks, curve: PrecisionCurve = "step"
) -> Float[np.ndarray, " Q"]:
    """AP over the full ranking: the area under precision as a function of recall.

    R = all relevant items, so that an item not found within a truncated ranking would count as 0;
    such a ranking is refused.

    Args:
        ranks: the ranks.
        curve: "step": the mean of the precision at every relevant item, no interpolation.
            "trapezoid": at every relevant item the mean of the precision there and one rank
            earlier, which is 1 before the first rank (the Oxford buildings evaluation, and after
            it the official ones of Market-1501 and MARS).

    Raises:
        UserError: if the ranking is truncated, or for another curve.
    """
    _require_complete(ranks, "average precision")
    require(curve in get_args(PrecisionCurve), "curve", "step or trapezoid", curve)
    place_M = place_in_query(ranks)
    precision_M = place_M / ranks.rank_M
    if curve == "trapezoid":
        earlier_M = np.where(ranks.rank_M > 1, place_M - 1, 1) / np.maximum(ranks.rank_M - 1, 1)
        precision_M = (precision_M + earlier_M) / 2
    return _share_of_relevant(ranks, precision_M)


def interpolated_precision(ranks: RelevantRanks) -> Float[np.ndarray, " Q"]:
    """AP with the precision at every relevant item raised to the best at it or behind it.

    The area under the interpolated curve of Pascal VOC since 2010. Never below the step-wise AP; in
    zero-shot sketch retrieval much code reports this (SAKE's, MATHM's) without saying so.

    Raises:
        UserError: if the ranking is truncated.
    """
    _require_complete(ranks, "average precision")
    precision_M = place_in_query(ranks) / ranks.rank_M
    # Backwards through the queries: a running maximum, lifted by 2 for each query behind it.
    lift_M = 2.0 * (len(ranks.relevant_Q) - ranks.query_M)
    raised_M = np.maximum.accumulate((precision_M + lift_M)[::-1])[::-1] - lift_M
    return _share_of_relevant(ranks, raised_M)


def inverse_negative_penalty(ranks: RelevantRanks) -> Float[np.ndarray, " Q"]:
    """INP: relevant items / rank of the last of them, in (0, 1]; its mean is mINP.

    Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook" (2021).

    Raises:
        UserError: if the ranking is truncated.
    """
    _require_complete(ranks, "the inverse negative penalty")
    last_Q = np.zeros(len(ranks.relevant_Q), np.int64)
    np.maximum.at(last_Q, ranks.query_M, ranks.rank_M)
    with np.errstate(invalid="ignore"):
        return np.asarray(ranks.relevant_Q / last_Q)


def first_rank(ranks: RelevantRanks) -> Int[np.ndarray, " Q"]:
    """Rank of the nearest relevant item of each query, 0 where none was found."""
    place_M = place_in_query(ranks)
    first_Q = np.zeros(len(ranks.relevant_Q), np.int64)
    first_Q[ranks.query_M[place_M == 1]] = ranks.rank_M[place_M == 1]
    return first_Q


def without(ranks: RelevantRanks, dropped_M: Bool[np.ndarray, " M"]) -> RelevantRanks:
    """The ranking with some of its relevant items taken out: whatever is behind them moves up.

    Args:
        ranks: of a full ranking, ungraded.
        dropped_M: the relevant items that leave it.

    Raises:
        UserError: if the ranking is truncated (what moves up was not looked at) or graded.
    """
    _require_complete(ranks, "a ranking that items are taken out of")
    require(ranks.gain_M is None and ranks.size_M is None, "ranks", "ungraded", "graded ones")
    query_M, rank_M = ranks.query_M[~dropped_M], ranks.rank_M[~dropped_M]
    relevant_Q = np.bincount(query_M, minlength=len(ranks.relevant_Q))
    kept = RelevantRanks(query_M, rank_M, relevant_Q)
    ahead_M = place_in_query(ranks)[~dropped_M] - place_in_query(kept)  # taken out before it
    return replace(kept, rank_M=rank_M - ahead_M)


def ndcg_at(
    ranks: RelevantRanks, k: int, ideal_Q: Float[np.ndarray, " Q"] | None = None
) -> Float[np.ndarray, " Q"]:
    """nDCG@k: sum of gain / log2(rank + 1) over the first k, divided by the same for ideal order.

    With binary gains the standard definition, which Saeki et al. (arXiv 2110.03997, multi-proxies
    anchor) propose for metric learning; that theirs is this one is UNCONFIRMED. nDCG@1 is recall@1.

    Args:
        ranks: with `gain_M` for graded relevance.
        k: the depth; the ideal order of binary gains has min(k, R) items.
        ideal_Q: the ideal sum for graded gains, see `ideal_dcg`; needed if `gain_M` is given.

    Raises:
        UserError: if k is beyond the depth, or graded gains come without their ideal.
    """
    require_k(ranks, k)
    gain_M = ranks.gain_M
    if gain_M is None:
        gain_M = np.ones(len(ranks.rank_M))
        steps = np.concatenate([[0.0], np.cumsum(_discount(np.arange(1, k + 1)))])
        ideal_Q = steps[np.minimum(ranks.relevant_Q, k)]
    if ideal_Q is None:
        raise UserError("ideal_Q must be given with graded gains, got None")
    worth_M = np.where(ranks.rank_M <= k, gain_M * _discount(ranks.rank_M), 0.0)
    dcg_Q = np.bincount(ranks.query_M, worth_M, minlength=len(ranks.relevant_Q))
    with np.errstate(invalid="ignore"):
        return np.asarray(dcg_Q / ideal_Q)


def ndcg_at_r(ranks: RelevantRanks) -> Float[np.ndarray, " Q"]:
    """nDCG@R of binary gains: as `ndcg_at`, each query at its own number of relevant items.

    Raises:
        UserError: if some R is beyond the depth, or gains are graded.
    """
    _require_depth(ranks, _most(ranks), "R, the relevant items of a query,")
    require(ranks.gain_M is None, "ranks", "ungraded for nDCG@R", "graded ones")
    steps = np.concatenate([[0.0], np.cumsum(_discount(np.arange(1, _most(ranks) + 1)))])
    within_M = ranks.rank_M <= ranks.relevant_Q[ranks.query_M]
    worth_M = np.where(within_M, _discount(ranks.rank_M), 0.0)
    dcg_Q = np.bincount(ranks.query_M, worth_M, minlength=len(ranks.relevant_Q))
    with np.errstate(invalid="ignore"):
        return np.asarray(dcg_Q / steps[ranks.relevant_Q])


def ideal_dcg(
    query_M: Int[np.ndarray, " M"], gain_M: Float[np.ndarray, " M"], queries: int, k: int
) -> Float[np.ndarray, " Q"]:
    """The largest DCG@k: the gains of *all* relevant items of each query in falling order.

    Args:
        query_M: query of each relevant item.
        gain_M: its gain, > 0.
        queries: Q.
        k: the depth.
    """
    order_M = np.lexsort((-gain_M, query_M))
    query_M, gain_M = query_M[order_M], gain_M[order_M]
    place_M = _place(query_M, queries)
    worth_M = np.where(place_M <= k, gain_M * _discount(place_M), 0.0)
    return np.bincount(query_M, worth_M, minlength=queries)


def nmrr(ranks: RelevantRanks, largest: int | None = None) -> Float[np.ndarray, " Q"]:
    """Normalised modified retrieval rank of MPEG-7, in [0, 1], 0 is best; its mean is ANMRR.

    NG = relevant items; K = min(4 NG, 2 max NG), the maximum over all queries; an item ranked
    beyond K counts as rank 1.25 K; NMRR = (mean rank - (1 + NG) / 2) / (1.25 K - (1 + NG) / 2).
    Manjunath et al., "Color and texture descriptors", IEEE TCSVT 2001.

    Args:
        ranks: the ranks.
        largest: max NG over all queries of the evaluation, if these are only some of them.

    Raises:
        UserError: if some K is beyond the depth.
    """
    count_Q = ranks.relevant_Q.astype(np.float64)
    reach_Q = np.minimum(4 * count_Q, 2 * (_most(ranks) if largest is None else largest))
    _require_depth(ranks, int(reach_Q.max(initial=0)), "K, the reach of ANMRR,")
    within_M = ranks.rank_M <= reach_Q[ranks.query_M]
    sum_Q = np.bincount(ranks.query_M, ranks.rank_M * within_M, minlength=len(count_Q))
    missed_Q = count_Q - np.bincount(ranks.query_M, within_M, minlength=len(count_Q))
    best_Q = (1 + count_Q) / 2
    with np.errstate(invalid="ignore"):
        mean_Q = (sum_Q + missed_Q * 1.25 * reach_Q) / count_Q
        return nan_invalid(ranks, (mean_Q - best_Q) / (1.25 * reach_Q - best_Q))


def require_k(ranks: RelevantRanks, k: int) -> int:
    """k, or a UserError if it is below 1 or beyond the depth."""
    require(k >= 1, "k", ">= 1", k)
    return _require_depth(ranks, k, "k")


def _require_depth(ranks: RelevantRanks, needed: int, name: str) -> int:
    depth = ranks.depth
    rule = f"<= {depth}, the depth of the ranking"
    require(depth is None or needed <= depth, name, rule, needed)
    return needed


def _most(ranks: RelevantRanks) -> int:
    return int(ranks.relevant_Q.max(initial=0))


def _hits_within(ranks: RelevantRanks, k: int | np.ndarray) -> np.ndarray:
    limit = k if isinstance(k, int) else k[ranks.query_M]
    return np.bincount(ranks.query_M[ranks.rank_M <= limit], minlength=len(ranks.relevant_Q))


def _require_complete(ranks: RelevantRanks, what: str) -> None:
    complete = ranks.depth is None or len(ranks.rank_M) == ranks.relevant_Q.sum()
    require(complete, "depth", f"the full ranking for {what}", ranks.depth)


def _share_of_relevant(ranks: RelevantRanks, worth_M: np.ndarray) -> np.ndarray:
    """Sum of the found items' worth, divided by the relevant items."""
    sum_Q = np.bincount(ranks.query_M, worth_M, minlength=len(ranks.relevant_Q))
    with np.errstate(invalid="ignore"):
        return np.asarray(sum_Q / ranks.relevant_Q)


def place_in_query(ranks: RelevantRanks) -> Int[np.ndarray, " M"]:
    """1 for the first found item of each query, 2 for the second, ..."""
    return _place(ranks.query_M, len(ranks.relevant_Q))


def _place(query_M: np.ndarray, queries: int) -> np.ndarray:
    """1, 2, 3, ... within each query."""
    count_Q = np.bincount(query_M, minlength=queries)
    return np.asarray(np.arange(len(query_M)) - (np.cumsum(count_Q) - count_Q)[query_M] + 1)


def _discount(rank: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / np.log2(rank + 1.0))


def nan_invalid(ranks: RelevantRanks, values_Q: np.ndarray) -> np.ndarray:
    """The values, nan for queries without relevant items."""
    return np.where(ranks.valid_Q, values_Q.astype(np.float64), np.nan)
