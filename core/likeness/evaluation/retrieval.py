"""Retrieval metrics of embeddings, from one pass over blocks of queries.

Legend: Q queries, G gallery rows, D embedding dimension, L labels of a multi-label table,
B queries of one block, K depth, M listed query-gallery pairs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from likeness.errors import UserError, require
from likeness.evaluation import graded, ranking
from likeness.evaluation.ranking import RelevantRanks
from likeness.evaluation.relevance import Relevance, SameLabel, relevance_of
from likeness.evaluation.values import MetricValue, mean_value
from likeness.search.exact import ExactSearch
from likeness.search.exclusion import Keys
from likeness.search.ranks import ranks_of
from likeness.search.space import Space

NO_RELEVANT = "query without a relevant item in the gallery"
NO_SAME_SET = "query without an item of the same labels in the gallery"
DEFAULT_METRICS = ("recall@1", "recall@5", "recall@10", "r_precision", "map@r", "map", "anmrr")
_AT_K: dict[str, Callable[[RelevantRanks, int], np.ndarray]] = {
    "recall": ranking.recall_at,
    "precision": ranking.precision_at,
    "acg": graded.acg_at,
    "wap": graded.wap_at,
    "ap": graded.ap_at,
    "ap_min": graded.ap_min_at,
    "example_accuracy": graded.example_accuracy_at,
    "example_precision": graded.example_precision_at,
    "example_recall": graded.example_recall_at,
    "example_f1": graded.example_f1_at,
    "exact_recall": graded.exact_recall_at,
}
_WHOLE = ("r_precision", "map@r", "ndcg@r", "map", "map_interpolated", "anmrr")


@dataclass(frozen=True)
class RetrievalResult:
    """Retrieval metrics, query by query.

    Attributes:
        per_query: metric name -> one number per query, nan for a skipped one.
        valid_Q: queries with at least one relevant item.
        relevant_Q: relevant items of each query, after exclusion.
        skipped: queries left out, by reason.
        protocol: what the numbers mean, in words.
    """

    per_query: dict[str, Float[np.ndarray, " Q"]]
    valid_Q: Bool[np.ndarray, " Q"]
    relevant_Q: Int[np.ndarray, " Q"]
    skipped: dict[str, int]
    protocol: dict[str, str]

    def values(self) -> dict[str, MetricValue]:
        """The mean of every metric over the queries that it counts (the mean NMRR is ANMRR)."""
        found = {}
        for name, values_Q in self.per_query.items():
            reason = NO_SAME_SET if name.startswith("exact_recall@") else NO_RELEVANT
            found[name] = mean_value(values_Q, ~np.isnan(values_Q), reason)
        return found


def retrieval(
    query_QD: Shaped[np.ndarray, "Q D"],
    query_labels: Shaped[np.ndarray, "Q ..."],
    gallery_GD: Shaped[np.ndarray, "G D"] | None = None,
    gallery_labels: Shaped[np.ndarray, "G ..."] | None = None,
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    space: Space = "cosine",
    exclude: Sequence[Keys] = (),
    block_rows: int | None = None,
) -> RetrievalResult:
    """Rank the gallery for every query and measure.

    Args:
        query_QD: embeddings.
        query_labels: one label per query (integers or strings; same label = relevant), or a
            boolean (Q, L) table (at least one shared label = relevant, with gain 2^shared - 1).
        gallery_GD: embeddings; None: leave-one-out, the queries ask each other.
        gallery_labels: as `query_labels`; None exactly if the gallery is.
        metrics: any of "recall@K", "precision@K", "ndcg@K" with a number K, "r_precision",
            "map@r", "ndcg@r" (of classes), "map" (full ranking, step-wise), "map_interpolated",
            "anmrr", see `evaluation.ranking`; and, meant for label tables, "acg@K", "wap@K",
            "ap@K", "ap_min@K", "exact_recall@K", "example_accuracy@K", "example_precision@K",
            "example_recall@K", "example_f1@K", see `evaluation.graded`.
        space: how to compare, see `search.exact.nearest`.
        exclude: (query keys, gallery keys) of equal key are never ranked, see `nearest`. An
            excluded row is neither relevant nor in anybody's way.
        block_rows: queries per block; by default what keeps memory at some hundred MB.

    Returns:
        Numbers per query. Ties: equal float32 distances are ranked by gallery index.

    Raises:
        UserError: for an unknown metric, a K beyond the gallery, labels that do not fit the
            embeddings, or embeddings that `nearest` refuses.
    """
    wanted = [_parse(name) for name in metrics]
    require(len(wanted) > 0, "metrics", "at least one name", metrics)
    both = (gallery_GD is None) == (gallery_labels is None)
    require(both, "gallery_labels", "given exactly if the gallery's embeddings are", gallery_labels)
    search = ExactSearch(query_QD, gallery_GD, space=space, exclude=exclude, block_rows=block_rows)
    relevance = relevance_of(search, query_labels, gallery_labels)
    for metric in wanted:
        if metric.k is not None:
            search.require_k(metric.k, metric.name)
    relevant_Q, same_Q = _count(search, relevance)
    depth = _depth(wanted, relevant_Q, search.candidates)
    per_query = {metric.name: np.full(search.queries, np.nan) for metric in wanted}
    largest = int(relevant_Q.max(initial=0))

    def measure(rows: slice) -> None:
        counts = (relevant_Q[rows], same_Q[rows])
        ranks = _block_ranks(search, relevance, rows, counts, depth)
        for metric in wanted:
            per_query[metric.name][rows] = _measure(metric, ranks, largest, relevance, rows)

    search.for_each_block(measure)
    missing = int((relevant_Q == 0).sum())
    return RetrievalResult(
        per_query=per_query,
        valid_Q=relevant_Q > 0,
        relevant_Q=relevant_Q,
        skipped={NO_RELEVANT: missing} if missing else {},
        protocol=_protocol(search, relevance, len(exclude)),
    )


@dataclass(frozen=True)
class _Metric:
    name: str
    kind: str
    k: int | None = None


def _parse(name: str) -> _Metric:
    if name in _WHOLE:
        return _Metric(name, name)
    match = re.fullmatch(r"([a-z_0-9]+)@([1-9][0-9]*)", name)
    kinds = (*_AT_K, "ndcg")
    if match is None or match[1] not in kinds:
        known = ", ".join([*(f"{kind}@K" for kind in kinds), *_WHOLE])
        raise UserError(f"metrics must be among {known}, got {name!r}")
    return _Metric(name, match[1], int(match[2]))


def _count(search: ExactSearch, relevance: Relevance) -> tuple[np.ndarray, np.ndarray]:
    """Relevant items of each query, and items with its very same labels."""
    relevant_Q = np.empty(search.queries, np.int64)
    same_Q = np.empty(search.queries, np.int64)
    for rows in search.blocks():
        relevant_Q[rows], same_Q[rows] = relevance.counts(rows)
    return relevant_Q, same_Q


def _depth(wanted: list[_Metric], relevant_Q: np.ndarray, candidates: int) -> int | None:
    """How many neighbours to look at; None: the places of all relevant items are needed."""
    largest = int(relevant_Q.max(initial=0))
    needs = dict.fromkeys(("r_precision", "map@r", "ndcg@r"), largest) | {"anmrr": 2 * largest}
    needs |= dict.fromkeys(("map", "map_interpolated"), candidates)
    depth = max(metric.k or needs[metric.kind] for metric in wanted)
    # Beyond about an eighth of the gallery counting is cheaper than selecting.
    return max(1, depth) if depth <= candidates // 8 else None


def _block_ranks(
    search: ExactSearch,
    relevance: Relevance,
    rows: slice,
    counts: tuple[np.ndarray, np.ndarray],
    depth: int | None,
) -> RelevantRanks:
    """The ranks of a block; `counts` are its queries' relevant items and those of the same set."""
    if depth is None:
        query_M, column_M, gain_M = relevance.pairs(rows)
        rank_M = ranks_of(search, rows, query_M, column_M)
        order_M = np.lexsort((rank_M, query_M))
        query_M, column_M, rank_M = query_M[order_M], column_M[order_M], rank_M[order_M]
        gain_M = None if gain_M is None else gain_M[order_M]
    else:
        indices_BK = search.nearest(rows, depth)
        gain_BK = relevance.gains(rows, indices_BK)
        query_M, place_M = np.nonzero(gain_BK)
        column_M, rank_M = indices_BK[query_M, place_M], place_M + 1
        gain_M = gain_BK[query_M, place_M].astype(np.float64) if relevance.graded else None
    relevant_B, same_B = counts
    ranks = RelevantRanks(query_M, rank_M, relevant_B, depth, gain_M)
    if isinstance(relevance, SameLabel):
        return ranks
    size_M, size_B = relevance.size_G[column_M], relevance.size_Q[rows]
    return replace(ranks, size_M=size_M, size_Q=size_B, same_Q=same_B)


def _measure(
    metric: _Metric,
    ranks: RelevantRanks,
    largest: int,
    relevance: Relevance,
    rows: slice,
) -> np.ndarray:
    if metric.kind in _AT_K:
        return _AT_K[metric.kind](ranks, metric.k or 0)
    if metric.kind == "ndcg":
        k = metric.k or 0
        return ranking.ndcg_at(ranks, k, relevance.ideal(rows, k))
    if metric.kind == "anmrr":
        return ranking.nmrr(ranks, largest)
    whole = {
        "r_precision": ranking.r_precision,
        "map@r": ranking.map_at_r,
        "ndcg@r": ranking.ndcg_at_r,
        "map": ranking.average_precision,
        "map_interpolated": ranking.interpolated_precision,
    }
    return whole[metric.kind](ranks)


def _protocol(search: ExactSearch, relevance: Relevance, exclusions: int) -> dict[str, str]:
    distance = {
        "euclidean": "Euclidean distance",
        "cosine": "chord distance sqrt(2 - 2 cos)",
        "dot": "negative inner product",
    }
    return {
        "gallery": "leave-one-out: the queries ask each other"
        if search.leave_one_out
        else "separate",
        "relevance": relevance.meaning,
        "distance": distance[search.space],
        "ties": "equal float32 distances are ranked by gallery index",
        "average precision": "step-wise over the full ranking",
        "recall@K": "share of queries with a relevant item among the K nearest",
        "ap@K": "divided by the hits among the K nearest (ap_min@K: by min(K, relevant items))",
        "example_*@K": "pair by pair, mean over ranks, then queries; F1 from a query's means",
        "exclusion": f"{exclusions} rules of equal keys" if exclusions else "none",
    }
