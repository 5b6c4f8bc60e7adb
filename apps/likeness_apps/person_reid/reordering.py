"""Figures after re-ranking or query expansion, beside the plain ones and never in their place.

The settings are the published ones, for every set; none is chosen on the people who are tested.
Both look at the whole gallery at once, and re-ranking at all queries: a figure of one query alone
is the plain one. Thresholds of same, different and unknown hold for plain distances only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from likeness.errors import require
from likeness.evaluation.resampling import DEFAULT, Bootstrap
from likeness.search.reciprocal import PUBLISHED
from likeness.search.reordering import Reordering
from likeness.search.space import Space
from likeness_apps.person_reid.compare import differences
from likeness_apps.person_reid.protocols import protocol_named
from likeness_apps.person_reid.scoring import Part, Scored, figures_of, queries_of, rank_parts
from likeness_apps.person_reid.tracklet_table import tracklet_table
from likeness_apps.shell.console import progress

EXPANDED_BY = 5  # gallery rows that are averaged with a query; our choice


@dataclass(frozen=True)
class Kind:
    """One way of ranking again.

    Attributes:
        how: its settings.
        what: what it is, and whose.
    """

    how: Reordering
    what: str


KINDS: dict[str, Kind] = {
    "k-reciprocal": Kind(
        Reordering(reciprocal=PUBLISHED),
        "k-reciprocal re-ranking (Zhong et al., CVPR 2017) of queries and gallery together, with "
        "the paper's settings for Market-1501",
    ),
    "query-expansion": Kind(
        Reordering(expanded_by=EXPANDED_BY),
        "average query expansion (Chum et al., ICCV 2007): every query asks again as the mean of "
        f"itself and its {EXPANDED_BY} nearest gallery tracklets; how many is our choice",
    ),
}


def require_kinds(kinds: Sequence[str], space: Space) -> list[str]:
    """The kinds, each once; refused before any work.

    Raises:
        UserError: if one is unknown, or cannot be had in the space.
    """
    chosen = list(dict.fromkeys(kinds))
    unknown = [kind for kind in chosen if kind not in KINDS]
    require(not unknown, "re-rank", f"one of {', '.join(KINDS)}", ", ".join(unknown))
    possible = space != "dot" or not any(KINDS[kind].how.reciprocal for kind in chosen)
    require(possible, "space", "cosine or euclidean for k-reciprocal re-ranking", space)
    return chosen


def ranked_again(
    features_ND: np.ndarray,
    table: pd.DataFrame,
    scored: Scored,
    kinds: Sequence[str],
    *,
    bootstrap: Bootstrap = DEFAULT,
    quiet: bool = False,
) -> dict[str, Scored]:
    """The figures of every kind under the rules of the plain ones.

    Args:
        features_ND: one row per tracklet, raw or normalised.
        table: N rows in the same order, see `tracklet_table`.
        scored: the plain figures of both.
        kinds: of `KINDS`.
        bootstrap: of the intervals.
        quiet: no progress.

    Returns:
        Kind -> `metrics` with `what`, `settings`, `published` (whether they are the settings of
        `KINDS`, and not less because there are fewer tracklets), `retrieval`, and `gain` (this
        minus plain over the same queries, with intervals); and `queries`, as those of `scored`.

    Raises:
        UserError: see `require_kinds`.
    """
    space, protocol = scored.metrics["space"], protocol_named(scored.metrics["protocol"])
    rows, found = tracklet_table(table), {}
    for name in require_kinds(kinds, space):
        kind = KINDS[name]
        with progress(f"{name}", quiet=quiet) as advance:
            parts = rank_parts(
                features_ND,
                rows,
                protocol,
                space=space,
                reordering=kind.how,
                with_pairs=False,
                on_progress=advance,
            )
        queries = queries_of(parts)
        used = [_used(kind.how, part) for part in parts]
        metrics = {
            "what": kind.what,
            "settings": used[0].described(),
            "published": all(each == kind.how for each in used),
            "retrieval": figures_of(parts, bootstrap),
            "gain": differences(queries, scored.queries, bootstrap),
        }
        found[name] = Scored(metrics, queries)
    return found


def _used(how: Reordering, part: Part) -> Reordering:
    """The settings that a test set allowed."""
    return how.fitting(len(part.rows), part.ranked.gallery)
