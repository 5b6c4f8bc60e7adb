"""Who is nearest, and what may be said of it: same, different or unknown, and how probable.

Ranks may come from expanded queries and re-ranked distances. Score, decision and probability are
always those of the two tracklets themselves: thresholds were fixed on such scores, and hold for no
others.

Legend: Q queries, G gallery rows, D embedding dimension, K ranks, M listed pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from likeness.bundle import Bundle
from likeness.errors import require
from likeness.evaluation.verdict import UNKNOWN, Verdicts, verdicts_from
from likeness.search.exact import nearest
from likeness.search.expansion import expanded_queries
from likeness.search.reciprocal import rerank
from likeness.search.reordering import Reordering
from likeness.search.space import Space, pair_distances, prepared
from likeness_apps.person_reid.archive.embedding import Embedded
from likeness_apps.person_reid.reordering import KINDS

BETWEEN = "between the thresholds"
ONE_CAMERA = "of one camera: the thresholds are for pairs of different cameras"
NOT_CALIBRATED = "the model has no calibrated threshold"
NO_THRESHOLD = "its validation had too few pairs to fix a threshold (its card says how few)"
ALONE = "the gallery holds nothing but copies of it"
COLUMNS = (
    *("query", "query_label", "query_camera", "query_frames", "status", "reason", "rank"),
    *("tracklet", "label", "camera", "frames", "distance", "score", "decision", "probability"),
)
_PARAMETERS = ("same_from", "different_below", "false_accept_rate", "false_reject_rate")


@dataclass(frozen=True)
class Ranking:
    """How to rank.

    Attributes:
        k: ranks per query, >= 1; a smaller gallery gives as many as it has.
        kinds: of `reordering.KINDS`, all of them at once: expanded queries are re-ranked.

    Raises:
        UserError: if `k` is out of range, or a kind is unknown.
    """

    k: int
    kinds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(self.k >= 1, "k", ">= 1", self.k)
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        require(not unknown, "re-rank", f"one of {', '.join(KINDS)}", ", ".join(unknown))

    @property
    def reordering(self) -> Reordering:
        """All kinds in one."""
        chosen = [KINDS[kind].how for kind in self.kinds]
        return Reordering(
            expanded_by=max((how.expanded_by for how in chosen), default=0),
            reciprocal=next((how.reciprocal for how in chosen if how.reciprocal), None),
        )

    def described(self, queries: int, gallery: int) -> dict[str, Any]:
        """As plain data for a record, for so many queries and gallery rows."""
        return {"k": self.k, **self.reordering.fitting(queries, gallery).described()}


@dataclass(frozen=True)
class Judge:
    """What decides about pairs.

    Attributes:
        verdicts: of the model; None if it has none.
        prior: the presumed share of genuine pairs among those that are asked about, in (0, 1).
    """

    verdicts: Verdicts | None
    prior: float

    def described(self, gallery: int) -> dict[str, Any]:
        """As plain data for a record, with what the rates mean in a gallery of this size."""
        if self.verdicts is None:
            return {"calibrated": False, "reason": NOT_CALIBRATED}
        found = self.verdicts.as_dict()
        return {
            "calibrated": True,
            **{name: found[name] for name in _PARAMETERS},
            "prior": self.prior,
            "pairs": "tracklets of different cameras; where a camera is unknown, it is presumed",
            "strangers_called_same_per_query": self.verdicts.false_accept_rate * gallery,
        }

    def decide(self, scores_M: np.ndarray, one_camera_M: np.ndarray) -> dict[str, np.ndarray]:
        """The columns decision, reason (why unknown) and probability (nan without thresholds)."""
        count = len(scores_M)
        if self.verdicts is None:
            return {
                "decision": np.full(count, UNKNOWN, dtype=object),
                "reason": np.full(count, NOT_CALIBRATED, dtype=object),
                "probability": np.full(count, np.nan),
            }
        decision_M = self.verdicts.decide(scores_M)
        decision_M[one_camera_M] = UNKNOWN
        open_M = decision_M == UNKNOWN
        reason_M = np.where(open_M, np.where(one_camera_M, ONE_CAMERA, BETWEEN), "")
        probability_M = self.verdicts.probability(scores_M, self.prior)
        probability_M = np.where(one_camera_M, np.nan, probability_M)
        return {"decision": decision_M, "reason": reason_M, "probability": probability_M}


@dataclass(frozen=True, eq=False)
class Ranked:
    """The K nearest gallery rows of Q queries.

    Attributes:
        indices_QK: gallery rows in order; -1 where copies of the query left fewer.
        distances_QK: what the order is by.
        scores_QK: minus the distances of the tracklets themselves; nan where the index is -1.
    """

    indices_QK: np.ndarray
    distances_QK: np.ndarray
    scores_QK: np.ndarray


def require_prior(prior: float | None) -> None:
    """Refuse a share that is none, before any work.

    Raises:
        UserError: unless it is None or in (0, 1).
    """
    rule = "between 0 and 1, the share of right ones among the pairs that are asked about"
    require(prior is None or 0 < prior < 1, "prior", rule, prior)


def verdicts_of(bundle: Bundle, false_accept_rate: float | None = None) -> Verdicts | None:
    """The thresholds of a model at a false-accept rate, fixed on its validation pairs.

    Args:
        bundle: the model.
        false_accept_rate: one of those that the model has thresholds for; None: its own choice.

    Returns:
        None if the model has no thresholds and no rate is asked for.

    Raises:
        UserError: if the validation pairs do not support the rate, or the thresholds are
            unreadable.
    """
    recorded, rate = bundle.metrics.get("open_set") or {}, false_accept_rate
    if "same_from" not in recorded:
        rule = f"left out for this model: {NO_THRESHOLD}"
        require(rate is None, "false-accept-rate", rule, rate)
        return None
    verdicts = verdicts_from(recorded)
    if rate in (None, verdicts.false_accept_rate):
        return verdicts
    recorded = bundle.metrics.get("thresholds_at", ())
    points = {point["false_accept_rate"]: point for point in recorded}
    rates = sorted({verdicts.false_accept_rate, *points}, reverse=True)
    rule = f"one of {', '.join(f'{rate:g}' for rate in rates)}: what {verdicts.impostor_pairs} "
    rule += "validation pairs of different people support, and the model has thresholds for"
    require(rate in points, "false-accept-rate", rule, rate)
    return verdicts.at(points[rate])


def judge_of(verdicts: Verdicts | None, gallery: int, prior: float | None = None) -> Judge:
    """Thresholds with a prior.

    Args:
        verdicts: see `verdicts_of`.
        gallery: how many rows each query is compared with.
        prior: see `require_prior`; None presumes that one of these rows is right.
    """
    return Judge(verdicts, 1 / max(gallery, 2) if prior is None else prior)


def rank(query: Embedded, gallery: Embedded, space: Space, how: Ranking) -> Ranked:
    """The nearest gallery rows of every query; copies of a query (equal content) never answer.

    Memory is that of the embeddings, of blocks, and of Q x K answers.

    Raises:
        UserError: if the space is not one to re-rank in.
    """
    exclude = [(query.rows["sha256"].to_numpy(str), gallery.rows["sha256"].to_numpy(str))]
    query_QD, gallery_GD = query.embeddings_ND, gallery.embeddings_ND
    chosen = how.reordering.fitting(len(query), len(gallery))
    if chosen.expanded_by:
        deep = chosen.expanded_by
        query_QD = expanded_queries(query_QD, gallery_GD, deep, space=space, exclude=exclude)
    k = min(how.k, len(gallery))
    if chosen.reciprocal:
        settings = chosen.reciprocal
        found = rerank(query_QD, gallery_GD, k, settings, space=space, exclude=exclude)
    else:
        found = nearest(query_QD, gallery_GD, k, space=space, exclude=exclude)
    owner_M, place_M = np.nonzero(found.indices_QK >= 0)
    scores_QK = np.full(found.indices_QK.shape, np.nan, np.float32)
    scores_QK[owner_M, place_M] = -pair_distances(
        prepared(query.embeddings_ND, space, "query"),
        prepared(gallery_GD, space, "gallery"),
        owner_M,
        found.indices_QK[owner_M, place_M],
        space,
    )
    return Ranked(found.indices_QK, found.distances_QK, scores_QK)


def answers(
    query: Embedded, gallery: Embedded, found: Ranked, rows: slice, judge: Judge
) -> pd.DataFrame:
    """The table of some queries: `COLUMNS`, one row per query and rank.

    Args:
        query: who asks.
        gallery: who answers.
        found: what `rank` gave for all queries.
        rows: the queries to tell of.
        judge: see `judge_of`.
    """
    indices_QK = found.indices_QK[rows]
    owner_M, place_M = np.nonzero(indices_QK >= 0)
    asking = query.rows[rows].iloc[owner_M].reset_index(drop=True)
    answering = gallery.rows.iloc[indices_QK[owner_M, place_M]].reset_index(drop=True)
    scores_M = found.scores_QK[rows][owner_M, place_M]
    one_camera_M = ((asking["camera"] == answering["camera"]) & (asking["camera"] != "")).to_numpy()
    columns = {
        "query": asking["tracklet"],
        "query_label": asking["label"],
        "query_camera": asking["camera"],
        "query_frames": asking["frames"],
        "status": "ok",
        "rank": place_M + 1,
        **{name: answering[name] for name in ("tracklet", "label", "camera", "frames")},
        "distance": found.distances_QK[rows][owner_M, place_M],
        "score": scores_M,
        **judge.decide(scores_M, one_camera_M),
    }
    table = pd.DataFrame(columns, columns=list(COLUMNS))
    alone = query.rows[rows][(indices_QK < 0).all(axis=1)]
    return joined(table, unanswered(alone.assign(reason=ALONE)))


def unanswered(failed: pd.DataFrame) -> pd.DataFrame:
    """A row for each query without an answer, from its tracklet, label, camera and reason."""
    names = {"query": "tracklet", "query_label": "label", "query_camera": "camera"}
    return _without_answer(failed, names)


def unusable(failed: pd.DataFrame) -> pd.DataFrame:
    """A row for each gallery tracklet that could not be compared."""
    return _without_answer(failed, {name: name for name in ("tracklet", "label", "camera")})


def joined(*tables: pd.DataFrame) -> pd.DataFrame:
    """Tables of `COLUMNS` as one, with whole numbers that may be missing."""
    whole = dict.fromkeys(("query_frames", "rank", "frames"), "Int64")
    return pd.concat([table.astype(whole) for table in tables], ignore_index=True)


def _without_answer(failed: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    texts: Sequence[str] = ("query", "query_label", "query_camera", "tracklet", "label", "camera")
    given = {column: failed[source].to_numpy(object) for column, source in names.items()}
    numbers = dict.fromkeys(("distance", "score", "probability"), np.nan)
    columns: dict[str, Any] = {
        **dict.fromkeys(texts, ""),
        **given,
        "status": "error",
        "reason": failed["reason"].to_numpy(object),
        "decision": UNKNOWN,
        **dict.fromkeys(("query_frames", "rank", "frames"), pd.NA),
        **numbers,
    }
    return pd.DataFrame(columns, index=range(len(failed)), columns=list(COLUMNS))
