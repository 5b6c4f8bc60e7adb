"""The figures of a named protocol from the features of tracklets.

`score_tracklets` is the importable function; `score` is the command around it.

Legend: N tracklets, D feature dimension, Q queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from likeness.errors import require
from likeness.evaluation.intervals import mean_intervals
from likeness.evaluation.query_gallery import CMC_AT, RankedQueries, gallery_rows, rank_queries
from likeness.evaluation.resampling import (
    DEFAULT,
    RUNS_AND_GROUPS,
    Bootstrap,
    mean_of_sums,
    mean_sums,
    two_level_interval,
)
from likeness.evaluation.values import MetricValue, plain
from likeness.search.reciprocal import Progress
from likeness.search.reordering import PLAIN, Reordering
from likeness.search.space import Space
from likeness_apps.person_reid.identities import DISTRACTOR, JUNK
from likeness_apps.person_reid.protocols import RankingProtocol, protocol_named
from likeness_apps.person_reid.tracklet_table import require_rankable, sets_of, tracklet_table
from likeness_apps.shell.measure import interval_facts

PER_QUERY = {"map": "ap", "minp": "inp"}  # figure -> what it is for one query


@dataclass(frozen=True, eq=False)
class Scored:
    """metrics.json, and one row per query.

    Attributes:
        metrics: plain data: protocol, rules, retrieval, camera_pairs, unmatched, counts, interval;
            `splits` where the protocol has several.
        queries: split, tracklet, label, camera, status (ok or skipped), reason, ranked (items in
            its gallery), relevant (true matches), first_rank (of the nearest; 0 without one),
            cmc@K, ap, inp.
    """

    metrics: dict[str, Any]
    queries: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Part:
    """One test set, ranked.

    Attributes:
        split: the number of the random split; "" if there is one test set.
        ranked: what its queries found.
        rows: the table rows of the queries.
    """

    split: str
    ranked: RankedQueries
    rows: pd.DataFrame


def score_tracklets(
    features_ND: np.ndarray,
    table: pd.DataFrame,
    protocol: str,
    *,
    space: Space = "cosine",
    bootstrap: Bootstrap = DEFAULT,
    block_rows: int | None = None,
) -> Scored:
    """The figures of a protocol, each with an interval by drawing identities.

    Args:
        features_ND: one row per tracklet, raw or normalised.
        table: N rows in the same order, see `tracklet_table`.
        protocol: its name.
        space: how features are compared.
        bootstrap: of the intervals; over several splits: splits, then identities.
        block_rows: queries per block, which bounds the memory and changes no figure.

    Raises:
        UserError: if the protocol is unknown, the table lacks something or does not fit the
            features or the protocol, or features are not finite.
    """
    chosen = protocol_named(protocol)
    rows = tracklet_table(table)
    require_rankable(rows, chosen)
    parts = rank_parts(features_ND, rows, chosen, space=space, block_rows=block_rows)
    labels = np.concatenate([part.rows["label"].to_numpy(object) for part in parts])
    facts = interval_facts(labels, bootstrap)
    if len(parts) > 1:
        facts["interval"]["label"] = RUNS_AND_GROUPS
    metrics = {
        "app": "person-reid",
        **chosen.stated(),
        "space": space,
        **facts,
        "retrieval": figures_of(parts, bootstrap),
        "unmatched": _summed([part.ranked.unmatched for part in parts]),
        "counts": _counts(rows, parts),
    }
    if len(parts) > 1 or chosen.splits > 1:
        metrics["splits"] = _spread(parts) | {"published": chosen.splits}
    if (pairs := parts[0].ranked.pairs) is not None:
        metrics["camera_pairs"] = pairs.as_dict()
    return Scored(metrics, queries_of(parts))


def rank_parts(
    features_ND: np.ndarray,
    table: pd.DataFrame,
    protocol: RankingProtocol,
    *,
    space: Space = "cosine",
    reordering: Reordering = PLAIN,
    with_pairs: bool = True,
    block_rows: int | None = None,
    on_progress: Progress | None = None,
) -> list[Part]:
    """Rank every test set of a table, see `sets_of`; CMC only at ranks that all galleries have.

    The other arguments are those of `rank_queries`.

    Raises:
        UserError: see `score_tracklets`.
    """
    rule = f"{len(table)} rows, one per tracklet of the table"
    require(len(features_ND) == len(table), "features", rule, len(features_ND))
    sets = sets_of(table, protocol)
    smallest = min(len(gallery_rows(each.items, protocol.rules)) for each in sets)
    parts = []
    for each in sets:
        ranked = rank_queries(
            features_ND if len(each.rows) == len(table) else features_ND[each.rows],
            each.items,
            protocol.rules,
            cmc_at=[k for k in CMC_AT if k <= smallest],
            with_pairs=with_pairs and len(sets) == 1,
            space=space,
            reordering=reordering,
            block_rows=block_rows,
            on_progress=on_progress,
        )
        parts.append(Part(each.split, ranked, table.iloc[each.rows[ranked.rows_Q]]))
    return parts


def headline(parts: list[Part]) -> dict[str, float]:
    """Every figure, the mean over the test sets."""
    values = [part.ranked.values() for part in parts]
    return {name: float(np.mean([each[name].value for each in values])) for name in values[0]}


def figures_of(parts: list[Part], bootstrap: Bootstrap = DEFAULT) -> dict[str, Any]:
    """Every figure with its interval, as plain data; of several test sets their mean."""
    several = len(parts) > 1
    return plain(_over_splits(parts, bootstrap) if several else _values(parts[0], bootstrap))


def queries_of(parts: list[Part]) -> pd.DataFrame:
    """queries.csv, see `Scored`."""
    return pd.concat([_query_rows(part) for part in parts], ignore_index=True)


def _values(part: Part, bootstrap: Bootstrap) -> dict[str, MetricValue]:
    labels_Q = part.rows["label"].to_numpy(object)
    return mean_intervals(part.ranked.values(), part.ranked.per_query, labels_Q, bootstrap)


def _over_splits(parts: list[Part], bootstrap: Bootstrap) -> dict[str, MetricValue]:
    """The mean over splits, with intervals by drawing splits, then identities."""
    values = [part.ranked.values() for part in parts]
    found = {}
    for name in values[0]:
        sums = [
            mean_sums(part.ranked.per_query[name], part.rows["label"].to_numpy(object))
            for part in parts
        ]
        interval = two_level_interval(sums, mean_of_sums, bootstrap, shared_groups=False)
        counted = sum(each[name].count for each in values)
        skipped = _summed([each[name].skipped for each in values])
        found[name] = interval.on(MetricValue(interval.value, counted, skipped))
    return found


def _spread(parts: list[Part]) -> dict[str, Any]:
    """How the figures vary between splits: every value, and their standard deviation."""
    values = [part.ranked.values() for part in parts]
    spread = {}
    for name in values[0]:
        each = [found[name].value for found in values]
        spread[name] = {"sd": float(np.std(each, ddof=1)) if len(each) > 1 else None, "each": each}
    return {"measured": len(parts), "spread": spread}


def _summed(counts: list[dict[str, int]]) -> dict[str, int]:
    reasons = dict.fromkeys(reason for each in counts for reason in each)
    return {reason: sum(each.get(reason, 0) for each in counts) for reason in reasons}


def _counts(table: pd.DataFrame, parts: list[Part]) -> dict[str, int]:
    """Queries and gallery rows of all splits together; the rest of the table."""
    return {
        "queries": sum(len(part.rows) for part in parts),
        "gallery": sum(part.ranked.gallery for part in parts),
        "identities_asked_for": len({label for part in parts for label in part.rows["label"]}),
        "cameras": int(table["camera"].nunique()),
        "junk": int((table["label"] == JUNK).sum()),
        "distractors": int((table["label"] == DISTRACTOR).sum()),
    }


def _query_rows(part: Part) -> pd.DataFrame:
    """queries.csv of one test set."""
    ranked = part.ranked
    table = part.rows[["tracklet", "label", "camera"]].reset_index(drop=True)
    table.insert(0, "split", part.split)
    counted_Q = ~np.isnan(ranked.per_query["map"])
    figures = {PER_QUERY.get(name, name): values for name, values in ranked.per_query.items()}
    return table.assign(
        status=np.where(counted_Q, "ok", "skipped"),
        reason=ranked.reason_Q,
        ranked=ranked.ranked_Q,
        relevant=ranked.relevant_Q,
        first_rank=ranked.first_Q,
        **figures,
    )
