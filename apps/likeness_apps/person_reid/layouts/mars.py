"""MARS (Zheng et al. 2016): images like `bbox_train/0001/0001C1T0001F001.jpg`.

Identity, camera and order are in the names; only the queries need `info/`. Where its tables are
missing or do not fit the folders, names decide, queries are derived, and that is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from likeness.data.findings import Finding
from likeness.data.manifest import Manifest
from likeness.errors import UserError
from likeness_apps.person_reid.identities import DISTRACTOR, JUNK
from likeness_apps.person_reid.layouts import mars_info
from likeness_apps.person_reid.layouts.frames import people_manifest, tracklets_of
from likeness_apps.person_reid.layouts.roles import derived_finding, derived_queries, role_of
from likeness_apps.person_reid.layouts.tree import Files, Tree, beside

NAME = "mars"
FOLDER = re.compile(
    rf"^(?:(?P<root>.*)/)?bbox_(?P<split>train|test)/(?P<folder_id>{mars_info.PERSON})$"
)
FILE = re.compile(mars_info.NAME)
BESIDE = re.compile(
    r"^(?:tracks_(?:train|test)_info\.mat|query_IDX\.mat|(?:train|test)_name\.txt)$"
)
_NOBODY = {"00-1": JUNK, "0000": DISTRACTOR}
_MEND = "download info/ again, or remove it: names decide then, and queries are derived"


@dataclass(frozen=True)
class _Info:
    """What the tables say.

    Attributes:
        lengths: by split, how many frames each tracklet has that has a row; only of usable tables.
        queries: the tracklets that ask; None if nobody says.
        findings: what was noticed.
    """

    lengths: dict[str, pd.Series]
    queries: set[str] | None
    findings: list[Finding]


def read(tree: Tree, files: Files) -> Manifest:
    """The set in a tree.

    Args:
        tree: what is there.
        files: the images that are called as this layout says.
    """
    frames = files.table
    lost = frames["pid"] != frames["folder_id"]
    findings = [_misplaced(path) for path in frames["path"][lost]]
    frames = frames[~lost].drop(columns=["folder", "folder_id"])
    frames["label"] = frames["pid"].replace(_NOBODY)
    frames["camera"] = frames["camera"].str.lstrip("0")
    frames = frames.drop(columns="pid")
    tracklets = tracklets_of(frames)
    info = _read_info(tree, tracklets)
    findings += info.findings
    for split, lengths in info.lengths.items():
        here = tracklets[tracklets["split"] == split].set_index("tracklet")
        unlisted = here.index.difference(lengths.index)
        findings += [*_unlisted(here.loc[unlisted]), *_other_lengths(here, lengths, split)]
        frames = frames[~frames["tracklet"].isin(unlisted)]
    queries = info.queries
    test = tracklets[tracklets["split"] == "test"]
    if queries is None and len(test):
        findings.append(derived_finding(f"info/{mars_info.QUERIES}"))
        queries = set(test["tracklet"][derived_queries(test)])
    asks = frames["tracklet"].isin(queries or ())
    frames["role"] = role_of(frames["split"], asks.to_numpy())
    return people_manifest(tree.source / files.root, NAME, frames, findings)


def _read_info(tree: Tree, tracklets: pd.DataFrame) -> _Info:
    """The tables; those that cannot be used are told as errors and passed over."""
    info = _Info({}, None, [])
    for split in mars_info.KEYS:
        table = beside(tree, mars_info.tracks_name(split))
        if table is None:
            continue
        listed = sorted(tracklets["tracklet"][tracklets["split"] == split])
        try:
            tracks_T4 = mars_info.read_tracks(table, split)
            names = _names(beside(tree, mars_info.names_name(split)))
            found = mars_info.tracklets_of_rows(tracks_T4, names, listed, table.name)
            info.lengths[split] = pd.Series(tracks_T4[:, 1] - tracks_T4[:, 0] + 1, index=found)
            file = beside(tree, mars_info.QUERIES)
            if split == "test" and file is not None:
                rows_Q = mars_info.read_queries(file, len(found))
                info = replace(info, queries={found[row] for row in rows_Q})
        except UserError as error:
            finding = Finding("error", "tables-do-not-fit", f"info/{table.name}", str(error), _MEND)
            info.findings.append(finding)
    return info


def _names(path: Path | None) -> list[str] | None:
    return path.read_text(encoding="utf-8", errors="replace").split() if path else None


def _misplaced(path: str) -> Finding:
    message = "left out: its name and its folder are of two identities"
    return Finding("warning", "misplaced", path, message, "move or rename it")


def _unlisted(tracklets: pd.DataFrame) -> Iterator[Finding]:
    if len(tracklets):
        message = f"left out: {len(tracklets)} tracklets in no row of the tables"
        yield Finding("warning", "unlisted", str(tracklets["path"].iloc[0]), message, _MEND)


def _other_lengths(here: pd.DataFrame, lengths: pd.Series, split: str) -> Iterator[Finding]:
    """Tracklets with no frame, and those with fewer or more than the table says.

    Args:
        here: those in the folders, by name.
        lengths: those of the table, by name.
        split: whose they are.
    """
    there = here["frames"].reindex(lengths.index).fillna(0).astype("int64")
    where = f"info/{mars_info.tracks_name(split)}"
    for name in lengths.index[there == 0]:
        message = f"tracklet {name} has no frame in bbox_{split}; no row is made of it"
        yield Finding("warning", "empty-tracklet", where, message, "add its frames")
    odd = lengths.index[(there > 0) & (there != lengths)]
    if len(odd):
        message = (
            f"{len(odd)} tracklets have other numbers of frames than the table says; the first is "
            f"{odd[0]} with {there[odd[0]]} of {lengths[odd[0]]}"
        )
        yield Finding("warning", "other-length", where, message, "add the missing frames")
