"""Rank sheets: the tracklet of a query as a strip of frames, and those of the first ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from likeness_apps.person_reid.identities import DISTRACTOR, NOBODY
from likeness_apps.person_reid.report.rankings import Rankings, rankings
from likeness_apps.person_reid.report.result import Result
from likeness_apps.person_reid.strips import GAP, WIDE, strips_of
from likeness_apps.shell.report.pictures import Pictures

_RIGHT, _WRONG = 3, 5  # queries of either kind
_FRAMES = 4  # of a strip


@dataclass(frozen=True)
class Strip:
    """A tracklet in a sheet; `rank` is 0 for the query itself."""

    uri: str | None
    rank: int
    tracklet: str
    camera: str
    frames: int
    right: bool = False
    own_camera: bool = False
    distractor: bool = False
    distance: str = ""

    @property
    def alt(self) -> str:
        """What a screen reader says in the picture's place: nobody's name."""
        if self.rank == 0:
            return f"Query: {self.frames} frames of its tracklet"
        verdict = "right" if self.right else "wrong"
        camera = ", of the query's camera" if self.own_camera else ""
        return f"Rank {self.rank}, {verdict}{camera}: {self.frames} frames of the tracklet"


@dataclass(frozen=True)
class Row:
    """A query and what was ranked first; `first` is the rank of its first true match."""

    query: Strip
    found: list[Strip]
    first: int


@dataclass(frozen=True)
class Sheets:
    """Rows under their headings; how many strips did not fit into the page."""

    groups: list[tuple[str, list[Row]]]
    left_out: int
    split: str


def rank_sheets(result: Result) -> Sheets | str:
    """A few queries that were right, drawn by chance, and the worst; or why there is none."""
    found = rankings(result)
    if found is None or result.frames is None or result.root is None:
        return "strips need the frames of the tracklets, and their features."
    strip = strips_of(result.frames, result.root, _FRAMES)
    pictures, lengths = Pictures(strip), result.frames["tracklet"].value_counts()

    def row(place: int, first: int) -> Row:
        return _row(found, pictures, lengths, place, first)

    right, wrong = _chosen(result, found)
    groups = [
        ("Right at rank 1, drawn by chance", [row(*each) for each in right]),
        ("The worst: the first true match comes last", [row(*each) for each in wrong]),
    ]
    shown = [(title, rows) for title, rows in groups if rows]
    return Sheets(shown, pictures.left_out, found.split) if shown else "no query has a true match."


def _chosen(result: Result, found: Rankings) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(place among the queries, rank of the first match): right ones, wrong ones.

    No identity is shown twice among either.
    """
    asked = result.queries
    if found.split:
        asked = asked[asked["split"].astype(str) == found.split]
    first_Q = asked["first_rank"].to_numpy(int)
    label_Q = found.table["label"].to_numpy(str)[found.rows_Q]
    draw = np.random.default_rng(result.seed).permutation(len(first_Q))
    right = [place for place in draw.tolist() if first_Q[place] == 1]
    last = np.argsort(-first_Q, kind="stable")
    wrong = [place for place in last.tolist() if first_Q[place] > 1]
    kept = []
    for places, most in ((right, _RIGHT), (wrong, _WRONG)):
        once = {label_Q[place]: place for place in reversed(places)}
        listed = sorted(once.values(), key=places.index)[:most]
        kept.append([(place, int(first_Q[place])) for place in listed])
    return kept[0], kept[1]


def _row(found: Rankings, pictures: Pictures, lengths: pd.Series, place: int, first: int) -> Row:
    table, asker = found.table, int(found.rows_Q[place])

    def strip(item: int, rank: int, distance: str = "") -> Strip:
        tracklet, label = table["tracklet"].iloc[item], table["label"].iloc[item]
        return Strip(
            uri=pictures.uri(tracklet, _FRAMES * (WIDE + GAP)),
            rank=rank,
            tracklet=tracklet,
            camera=table["camera"].iloc[item],
            frames=min(_FRAMES, int(lengths.get(tracklet, 0))),
            right=label == table["label"].iloc[asker] and label not in NOBODY,
            own_camera=table["camera"].iloc[item] == table["camera"].iloc[asker],
            distractor=label == DISTRACTOR,
            distance=distance,
        )

    listed = zip(found.item_QK[place].tolist(), found.distance_QK[place].tolist(), strict=True)
    ranked = [(item, f"{far:.3f}") for item, far in listed if item >= 0]
    strips = [strip(item, rank, far) for rank, (item, far) in enumerate(ranked, start=1)]
    return Row(strip(asker, 0), strips, first)
