"""Queries rank a gallery under explicit rules: the evaluation of re-identification.

Legend: N items, Q queries, G gallery rows, D feature dimension, C cameras, B queries of one block,
M found true matches.

The gallery is ranked once, by the exact search in blocks of queries; what the rules and the camera
pairs take out of a query's ranking is worked out from the ranks of its true matches
(`ranking.without`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from likeness.errors import require
from likeness.evaluation import ranking
from likeness.evaluation.camera_pairs import CameraPairs, by_camera, camera_pairs
from likeness.evaluation.ranking import RelevantRanks, without
from likeness.evaluation.ranking_rules import RankingRules
from likeness.evaluation.relevance import SameLabel
from likeness.evaluation.values import MetricValue
from likeness.search.exact import ExactSearch
from likeness.search.ranks import ranks_of
from likeness.search.reciprocal import Progress
from likeness.search.reordering import PLAIN, Reordering
from likeness.search.space import Space

CMC_AT = (1, 5, 10, 20)
NOWHERE = "the gallery has no other item of the query's identity"
OWN_CAMERA = "all other items of the query's identity are from the query's own camera"
_NOBODY = -1  # label code of junk and distractors


@dataclass(frozen=True, eq=False)
class Items:
    """What is known of the N items of a test set.

    Attributes:
        label_N: identity, integers or strings; what stands at junk and distractors is not read.
        camera_N: camera, integers or strings.
        query_N: which items ask; the others are the gallery.
        junk_N: which are neither right nor wrong.
        distractor_N: which are of nobody whom a query asks for.

    Raises:
        UserError: if lengths differ, nobody asks, or junk or distractors ask.
    """

    label_N: Shaped[np.ndarray, " N"]
    camera_N: Shaped[np.ndarray, " N"]
    query_N: Bool[np.ndarray, " N"]
    junk_N: Bool[np.ndarray, " N"]
    distractor_N: Bool[np.ndarray, " N"]

    def __post_init__(self) -> None:
        lengths = {len(column) for column in vars(self).values()}
        require(len(lengths) == 1, "items", "columns of one length", sorted(lengths))
        require(self.query_N.any(), "items", "with at least one query", "none")
        wrong = int((self.query_N & (self.junk_N | self.distractor_N)).sum())
        require(not wrong, "queries", "of somebody: no junk, no distractors", f"{wrong} others")


@dataclass(frozen=True, eq=False)
class RankedQueries:
    """What every query found.

    Attributes:
        per_query: "cmc@K" (1 if a true match is among the K nearest), "map" (the query's AP) and
            "minp" (its inverse negative penalty); nan for a query that is left out.
        rows_Q: the query's row among the items.
        first_Q: rank of its nearest true match, 0 without one.
        relevant_Q: true matches in its gallery.
        ranked_Q: items in its gallery.
        reason_Q: why it has no true match; "" if it has.
        gallery: rows of the gallery, before what single queries do not meet.
        pairs: matrices over camera pairs; None if they were not asked for.
    """

    per_query: dict[str, Float[np.ndarray, " Q"]]
    rows_Q: Int[np.ndarray, " Q"]
    first_Q: Int[np.ndarray, " Q"]
    relevant_Q: Int[np.ndarray, " Q"]
    ranked_Q: Int[np.ndarray, " Q"]
    reason_Q: Shaped[np.ndarray, " Q"]
    gallery: int
    pairs: CameraPairs | None = None

    @property
    def unmatched(self) -> dict[str, int]:
        """Queries without a true match, by reason: skipped, or counted as 0."""
        counts = {reason: int((self.reason_Q == reason).sum()) for reason in (NOWHERE, OWN_CAMERA)}
        return {reason: count for reason, count in counts.items() if count}

    def values(self) -> dict[str, MetricValue]:
        """The mean of every figure over the queries that count."""
        found = {}
        for name, values_Q in self.per_query.items():
            counted_Q = ~np.isnan(values_Q)
            value = float(values_Q[counted_Q].mean()) if counted_Q.any() else float("nan")
            skipped = {} if counted_Q.all() else self.unmatched
            found[name] = MetricValue(value, int(counted_Q.sum()), skipped)
        return found


def gallery_rows(items: Items, rules: RankingRules) -> Int[np.ndarray, " G"]:
    """The items that are in the gallery of some query."""
    kept_N = np.ones(len(items.query_N), dtype=bool)
    if not rules.queries_in_gallery:
        kept_N &= ~items.query_N
    if rules.junk_removed:
        kept_N &= ~items.junk_N
    if not rules.distractors_kept:
        kept_N &= ~items.distractor_N
    return np.flatnonzero(kept_N)


def rank_queries(
    features_ND: Shaped[np.ndarray, "N D"],
    items: Items,
    rules: RankingRules,
    *,
    cmc_at: Sequence[int] = CMC_AT,
    with_pairs: bool = True,
    space: Space = "cosine",
    reordering: Reordering = PLAIN,
    block_rows: int | None = None,
    on_progress: Progress | None = None,
) -> RankedQueries:
    """Rank the gallery for every query and measure.

    Args:
        features_ND: one row per item.
        items: who is who.
        rules: what is ranked and counted.
        cmc_at: the K of "cmc@K", each at most the number of gallery rows.
        with_pairs: also measure every pair of cameras.
        space: how features are compared, see `search.exact.nearest`.
        reordering: what is done to the ranking first; its neighbourhoods know no label, so they
            hold items that the rules take out of a query's ranking afterwards.
        block_rows: queries per block, which bounds the memory and changes no figure.
        on_progress: see `Reordering.search`.

    Returns:
        Figures per query, in the order of the items. Ties: equal float32 distances are ranked by
        the order of the items.

    Raises:
        UserError: if features do not fit the items, are not finite, or are zero in the cosine
            space; if the rules leave no gallery; for a K beyond the gallery.
    """
    _check_features(features_ND, len(items.label_N))
    how = _How(space, reordering, block_rows, on_progress)
    gallery = _Gallery(features_ND, items, rules, how)
    for k in cmc_at:
        require(1 <= k <= gallery.size, "K of cmc@K", f"from 1 to {gallery.size}, the gallery", k)
    names = [*(f"cmc@{k}" for k in cmc_at), "map", "minp"]
    per_query = {name: np.empty(gallery.queries) for name in names}
    first_Q, relevant_Q, own_Q = (np.empty(gallery.queries, np.int64) for _ in range(3))
    paired = gallery.for_pairs(features_ND, items) if with_pairs else None
    rank1_QC, ap_QC = (np.empty((gallery.queries, len(gallery.cameras))) for _ in range(2))

    def measure(rows: slice) -> None:
        found, camera_M = gallery.found(rows)
        if paired is not None:
            other = (found, camera_M) if paired is gallery else paired.found(rows)
            rank1_QC[rows], ap_QC[rows] = by_camera(*other, len(gallery.cameras), rules.curve)
        ranks = gallery.ruled(found, camera_M, rows)
        own_Q[rows] = found.relevant_Q - ranks.relevant_Q
        first_Q[rows], relevant_Q[rows] = ranking.first_rank(ranks), ranks.relevant_Q
        for k in cmc_at:
            per_query[f"cmc@{k}"][rows] = ranking.recall_at(ranks, k)
        per_query["map"][rows] = ranking.average_precision(ranks, rules.curve)
        per_query["minp"][rows] = ranking.inverse_negative_penalty(ranks)

    gallery.search.for_each_block(measure)
    if rules.unmatched == "zero":
        per_query = {name: np.nan_to_num(values_Q) for name, values_Q in per_query.items()}
    reason_Q = np.where(gallery.identity_Q > 0, OWN_CAMERA, NOWHERE)
    return RankedQueries(
        per_query=per_query,
        rows_Q=gallery.rows_Q,
        first_Q=first_Q,
        relevant_Q=relevant_Q,
        ranked_Q=gallery.met_Q - own_Q,
        reason_Q=np.where(relevant_Q > 0, "", reason_Q),
        gallery=gallery.size,
        pairs=camera_pairs(gallery.cameras, gallery.camera_Q, rank1_QC, ap_QC) if paired else None,
    )


@dataclass(frozen=True)
class _How:
    """How a gallery is ranked, see `rank_queries`."""

    space: Space
    reordering: Reordering
    block_rows: int | None
    on_progress: Progress | None


class _Gallery:
    """The gallery that the rules leave, ready to be ranked.

    Attributes:
        size: its rows.
        queries: Q.
        cameras: the names of all cameras of the set.
        rows_Q: rows of the queries among the items.
        camera_Q: their cameras' numbers.
        identity_Q: gallery rows of the query's identity, of any camera, without itself.
        met_Q: gallery rows that the query meets, those of its own identity and camera included
            unless the whole camera is removed.
    """

    def __init__(
        self,
        features_ND: np.ndarray,
        items: Items,
        rules: RankingRules,
        how: _How,
    ) -> None:
        self._rules, self._how = rules, how
        self.rows_Q = np.flatnonzero(items.query_N)
        rows_G = gallery_rows(items, rules)
        rule = "left with rows by the rules"
        require(len(rows_G) > 0, "gallery", rule, f"none of {len(items.query_N)} items")
        names, camera_N = np.unique(items.camera_N, return_inverse=True)
        self.cameras = tuple(str(name) for name in names)
        self.camera_Q, self._camera_G = camera_N[self.rows_Q], camera_N[rows_G]
        label_N = np.unique(items.label_N, return_inverse=True)[1]
        label_N = np.where(items.junk_N | items.distractor_N, _NOBODY, label_N)
        exclude = []
        if rules.queries_in_gallery:
            exclude.append((self.rows_Q, rows_G))
        if rules.same_camera == "removed":
            exclude.append((self.camera_Q, self._camera_G))
        self.search = how.reordering.search(
            features_ND[self.rows_Q],
            features_ND[rows_G],
            space=how.space,
            exclude=exclude,
            block_rows=how.block_rows,
            on_progress=how.on_progress,
        )
        self.queries, self.size = len(self.rows_Q), len(rows_G)
        self._same = SameLabel(self.search, label_N[self.rows_Q], label_N[rows_G])
        itself = int(rules.queries_in_gallery)
        count = np.bincount(label_N[rows_G] + 1, minlength=label_N.max() + 2)  # _NOBODY is 0
        self.identity_Q = count[label_N[self.rows_Q] + 1] - itself
        self.met_Q = np.full(self.queries, self.size - itself)
        if rules.same_camera == "removed":
            count = np.bincount(self._camera_G, minlength=len(names))
            self.met_Q = self.size - count[self.camera_Q]

    def for_pairs(self, features_ND: np.ndarray, items: Items) -> _Gallery:
        """The gallery that the rules leave for camera pairs: this one, or one with junk."""
        rules = self._rules
        if not (rules.pairs_keep_junk and rules.junk_removed and items.junk_N.any()):
            return self
        rules = replace(rules, junk_removed=False)
        return _Gallery(features_ND, items, rules, self._how)

    def found(self, rows: slice) -> tuple[RelevantRanks, Int[np.ndarray, " M"]]:
        """Ranks of all items of a query's identity, of any camera that it meets; their cameras."""
        query_M, column_M, _ = self._same.pairs(rows)
        if isinstance(self.search, ExactSearch):
            rank_M = ranks_of(self.search, rows, query_M, column_M)
        else:
            rank_M = self.search.ranks_of(rows, query_M, column_M)
        order_M = np.lexsort((rank_M, query_M))
        relevant_B = np.bincount(query_M, minlength=rows.stop - rows.start)
        ranks = RelevantRanks(query_M[order_M], rank_M[order_M], relevant_B)
        return ranks, self._camera_G[column_M[order_M]]

    def ruled(self, found: RelevantRanks, camera_M: np.ndarray, rows: slice) -> RelevantRanks:
        """The ranking without what the rules take out of it."""
        if self._rules.same_camera != "same identity removed":
            return found
        return without(found, camera_M == self.camera_Q[rows][found.query_M])


def _check_features(features_ND: np.ndarray, items: int) -> None:
    fits = features_ND.ndim == 2 and len(features_ND) == items
    require(fits, "features", f"{items} rows, one per item", features_ND.shape)
    finite_N = np.isfinite(features_ND).all(axis=1)
    bad = f"row {int(finite_N.argmin()) + 1} that is not"
    require(finite_N.all(), "features", "finite in every row", bad)
