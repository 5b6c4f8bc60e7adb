"""Who stands first: the nearest items of every query under the rules of a protocol.

Legend: N items, D feature dimension, Q queries, G gallery rows, K ranks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from likeness.evaluation.query_gallery import Items, gallery_rows
from likeness.evaluation.ranking_rules import RankingRules
from likeness.search.exact import nearest
from likeness.search.exclusion import Keys
from likeness.search.space import Space
from likeness_apps.person_reid.identities import DISTRACTOR, NOBODY
from likeness_apps.person_reid.protocols import protocol_named
from likeness_apps.person_reid.report.result import Result
from likeness_apps.person_reid.tracklet_table import sets_of, tracklet_table

RANKS = 10
_MOST_CONFUSED, _EXAMPLES = 12, 3


@dataclass(frozen=True, eq=False)
class Rankings:
    """The first ranks of every query of a test set.

    Attributes:
        table: label, camera and tracklet of the items of the set.
        split: the number of the random split that is shown; "" if there is one test set.
        rows_Q: the queries' rows in `table`.
        item_QK: the rows ranked first, -1 where the gallery has no more.
        distance_QK: their distances.
    """

    table: pd.DataFrame
    split: str
    rows_Q: np.ndarray
    item_QK: np.ndarray
    distance_QK: np.ndarray


@dataclass(frozen=True)
class Confusion:
    """Two identities, one taken for the other by the nearest item.

    Attributes:
        names: the two; the second may be `DISTRACTOR`, which is nobody in particular.
        count: queries of either whose nearest item is of the other.
        queries: queries of either.
        examples: (query, nearest item), by tracklet.
    """

    names: tuple[str, str]
    count: int
    queries: int
    examples: list[tuple[str, str]]


def rankings(result: Result) -> Rankings | None:
    """The first ranks under the rules that the result states, of its first test set.

    None without tracklets and features.
    """
    if result.tracklets is None or result.features_ND is None:
        return None
    rules = RankingRules(**result.metrics["rules"])
    protocol = replace(protocol_named(result.metrics["protocol"]), rules=rules)
    table = tracklet_table(result.tracklets)
    first = sets_of(table, protocol)[0]
    found = rank_items(result.features_ND[first.rows], first.items, rules, result.metrics["space"])
    return Rankings(table.iloc[first.rows].reset_index(drop=True), first.split, *found)


def rank_items(
    features_ND: np.ndarray, items: Items, rules: RankingRules, space: Space, ranks: int = RANKS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The queries' rows, and for each the rows and distances of the items ranked first.

    Equal distances are ranked by the order of the items, as `rank_queries` does.
    """
    rows_Q, rows_G = np.flatnonzero(items.query_N), gallery_rows(items, rules)
    exclude: list[Keys] = []
    if rules.queries_in_gallery:
        exclude.append((rows_Q, rows_G))
    if rules.same_camera != "ranked":
        columns = {"camera": items.camera_N}
        if rules.same_camera == "same identity removed":
            columns["label"] = items.label_N
        code_N = pd.DataFrame(columns).groupby(list(columns)).ngroup().to_numpy()
        exclude.append((code_N[rows_Q], code_N[rows_G]))
    found = nearest(
        features_ND[rows_Q],
        features_ND[rows_G],
        min(ranks, len(rows_G)),
        space=space,
        exclude=exclude,
    )
    item_QK = np.where(found.indices_QK < 0, -1, rows_G[found.indices_QK])
    return rows_Q, item_QK, found.distances_QK


def confusions(found: Rankings) -> list[Confusion]:
    """Pairs of identities by how often the nearest item of one is of the other, most often first.

    Queries without a true match in their gallery are counted like all others: what stands first
    is wrong all the same.
    """
    labels = found.table["label"].to_numpy(str)
    tracklets = found.table["tracklet"].to_numpy(str)
    asked = Counter(labels[found.rows_Q].tolist())
    examples = defaultdict(list)
    for query, item in zip(found.rows_Q.tolist(), found.item_QK[:, 0].tolist(), strict=True):
        one, other = labels[query], labels[item]
        if item < 0 or one == other:
            continue
        pair = (one, other) if other in NOBODY else tuple(sorted((one, other)))
        examples[pair].append((tracklets[query], tracklets[item]))
    listed = [
        Confusion(pair, len(shown), sum(asked[name] for name in pair), shown[:_EXAMPLES])
        for pair, shown in examples.items()
    ]
    listed.sort(key=lambda each: (-each.count, each.queries, each.names))
    return listed[:_MOST_CONFUSED]


def said(name: str) -> str:
    """A label as a table says it."""
    return f"a {name}" if name == DISTRACTOR else name
