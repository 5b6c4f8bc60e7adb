"""Retrieval metrics of items with several labels, from the ranks of what shares a label.

Legend: Q queries, M relevant items that were found, query by query, ranks rising.

An item is relevant if it shares a label with the query; c is the number of shared labels. Like
`ranking`, every function returns one number per query, nan for a query without relevant items, 0
for one that has some but none among the k nearest.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from likeness.evaluation.ranking import RelevantRanks, nan_invalid, place_in_query, require_k


def acg_at(ranks: RelevantRanks, k: int) -> Float[np.ndarray, " Q"]:
    """Average cumulative gain: mean number of shared labels of the k nearest.

    Raises:
        UserError: if k is beyond the depth.
    """
    require_k(ranks, k)
    return nan_invalid(ranks, _summed(ranks, k, shared_labels(ranks)) / k)


def ap_at(ranks: RelevantRanks, k: int) -> Float[np.ndarray, " Q"]:
    """Average precision of the k nearest: mean over the *hits among them* of the precision there.

    The usual one of multi-label hashing. It does not ask how many relevant items there are: one hit
    at rank 1 and nothing else is 1. `ap_min_at` asks.

    Raises:
        UserError: if k is beyond the depth.
    """
    require_k(ranks, k)
    hits_Q = _summed(ranks, k, np.ones(len(ranks.rank_M)))
    return nan_invalid(ranks, _summed(ranks, k, _precision(ranks)) / np.maximum(hits_Q, 1))


def ap_min_at(ranks: RelevantRanks, k: int) -> Float[np.ndarray, " Q"]:
    """As `ap_at`, divided by min(k, number of relevant items) instead of the hits.

    Raises:
        UserError: if k is beyond the depth.
    """
    require_k(ranks, k)
    possible_Q = np.maximum(np.minimum(ranks.relevant_Q, k), 1)
    return nan_invalid(ranks, _summed(ranks, k, _precision(ranks)) / possible_Q)


def wap_at(ranks: RelevantRanks, k: int) -> Float[np.ndarray, " Q"]:
    """Weighted average precision: mean over the hits among the k nearest of ACG at their rank.

    Its mean over queries is WMAP.

    Raises:
        UserError: if k is beyond the depth.
    """
    require_k(ranks, k)
    shared_M = shared_labels(ranks)
    before_M = np.cumsum(shared_M) - shared_M
    first_M = np.arange(len(shared_M)) - place_in_query(ranks) + 1
    gained_M = before_M - before_M[first_M] + shared_M  # within the query, down to this item
    hits_Q = _summed(ranks, k, np.ones(len(ranks.rank_M)))
    return nan_invalid(ranks, _summed(ranks, k, gained_M / ranks.rank_M) / np.maximum(hits_Q, 1))


def example_accuracy_at(ranks: RelevantRanks, k: int) -> Float[np.ndarray, " Q"]:
    """Mean over the k nearest of c / (labels of the query or of the item).

    Each pair of query and item is measured by itself, then averaged over ranks; the labels of the
    k nearest are *not* united first, which would be another, more generous metric.

    Raises:
        UserError: if k is beyond the depth.
    """
    require_k(ranks, k)
    shared_M, size_M, query_size_M = _sizes(ranks)
    share_M = shared_M / (size_M + query_size_M - shared_M)
    return nan_invalid(ranks, _summed(ranks, k, share_M) / k)


def example_precision_at(ranks: RelevantRanks, k: int) -> Float[np.ndarray, " Q"]:
    """Mean over the k nearest of c / labels of the item, pair by pair.

    Raises:
        UserError: if k is beyond the depth.
    """
    require_k(ranks, k)
    shared_M, size_M, _ = _sizes(ranks)
    return nan_invalid(ranks, _summed(ranks, k, shared_M / size_M) / k)


def example_recall_at(ranks: RelevantRanks, k: int) -> Float[np.ndarray, " Q"]:
    """Mean over the k nearest of c / labels of the query, pair by pair.

    Raises:
        UserError: if k is beyond the depth.
    """
    require_k(ranks, k)
    shared_M, _, query_size_M = _sizes(ranks)
    return nan_invalid(ranks, _summed(ranks, k, shared_M / query_size_M) / k)


def example_f1_at(ranks: RelevantRanks, k: int) -> Float[np.ndarray, " Q"]:
    """Harmonic mean of the query's `example_precision_at` and `example_recall_at`; 0 if both are.

    Raises:
        UserError: if k is beyond the depth.
    """
    precision_Q, recall_Q = example_precision_at(ranks, k), example_recall_at(ranks, k)
    total_Q = precision_Q + recall_Q
    return np.asarray(2 * precision_Q * recall_Q / np.where(total_Q == 0, 1.0, total_Q))


def exact_recall_at(ranks: RelevantRanks, k: int) -> Float[np.ndarray, " Q"]:
    """1 if any of the k nearest has the very label set of the query, else 0.

    nan for a query whose label set no item of the gallery has.

    Raises:
        UserError: if k is beyond the depth.
    """
    require_k(ranks, k)
    same_Q = ranks.relevant_Q if ranks.same_Q is None else ranks.same_Q
    shared_M, size_M, query_size_M = _sizes(ranks)
    same_M = (shared_M == size_M) & (shared_M == query_size_M)
    return np.where(same_Q > 0, _summed(ranks, k, same_M.astype(np.float64)) > 0, np.nan)


def shared_labels(ranks: RelevantRanks) -> Float[np.ndarray, " M"]:
    """Shared labels c of each found item, from its gain 2^c - 1; 1 for single labels."""
    if ranks.gain_M is None:
        return np.ones(len(ranks.rank_M))
    return np.asarray(np.rint(np.log2(ranks.gain_M + 1)))


def _sizes(ranks: RelevantRanks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each found item: shared labels, its labels, labels of its query."""
    shared_M = shared_labels(ranks)
    if ranks.size_M is None or ranks.size_Q is None:
        return shared_M, np.ones_like(shared_M), np.ones_like(shared_M)
    return shared_M, ranks.size_M, ranks.size_Q[ranks.query_M]


def _precision(ranks: RelevantRanks) -> np.ndarray:
    return np.asarray(place_in_query(ranks) / ranks.rank_M)


def _summed(ranks: RelevantRanks, k: int, worth_M: np.ndarray) -> np.ndarray:
    """Sum over the found items among the k nearest, by query."""
    counted_M = np.where(ranks.rank_M <= k, worth_M, 0.0)
    return np.bincount(ranks.query_M, counted_M, minlength=len(ranks.relevant_Q))
