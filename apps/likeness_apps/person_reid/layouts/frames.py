"""From frames that a layout knows to a Manifest: common to all layouts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from likeness.data.findings import Finding, sort_findings
from likeness.data.manifest import COLUMNS, Manifest
from likeness_apps.person_reid.missing_matches import match_findings

OWN_COLUMNS = ("camera", "tracklet", "frame", "role")
QUERY, GALLERY = "query", "gallery"
_LAST_NUMBER = r"(\d{1,18})\D*$"  # of a file name


def people_manifest(
    root: Path, layout: str, frames: pd.DataFrame, findings: Sequence[Finding] = ()
) -> Manifest:
    """The frames as a set.

    Args:
        root: what paths are relative to.
        layout: its name.
        frames: one row per frame with path, label, camera, tracklet (unique in the set) and frame;
            split, group and role are filled in where they are missing; further columns are kept.
        findings: what was noticed.

    Returns:
        The manifest, sorted by path; the group of a frame is its identity. Its findings say also
        which queries have no true match.
    """
    text = [*COLUMNS, "camera", "tracklet", "role"]
    given = {"split": "", "group": frames["label"], "role": ""} | dict(frames.items())
    table = pd.DataFrame(given, index=frames.index)
    extra = [name for name in table.columns if name not in (*COLUMNS, *OWN_COLUMNS)]
    table = table[[*COLUMNS, *OWN_COLUMNS, *extra]].astype(dict.fromkeys(text, str))
    table = table.astype({"frame": "int32"}).sort_values("path", kind="stable")
    table = table.reset_index(drop=True)
    told = sort_findings((*findings, *match_findings(table)))
    return Manifest(root.absolute(), table, layout, told)


def in_order(frames: pd.DataFrame) -> pd.Series:
    """The place 1, 2, ... of each frame in its tracklet: by the last number in its name, then name.

    Args:
        frames: with columns path and tracklet.
    """
    number = frames["path"].str.extract(_LAST_NUMBER)[0].fillna("0").astype("int64")
    keys = frames[["tracklet", "path"]].assign(number=number)
    keys = keys.sort_values(["tracklet", "number", "path"], kind="stable")
    place: pd.Series = keys.groupby("tracklet", sort=False).cumcount() + 1
    return place.reindex(frames.index).astype("int32")


def tracklets_of(table: pd.DataFrame) -> pd.DataFrame:
    """One row per tracklet, in the order in which they appear.

    Args:
        table: of a manifest of people, one row per frame.

    Returns:
        path (of the first row), label, split, group, camera, tracklet and role, and `frames`, how
        many there are; a fresh RangeIndex.
    """
    kept = [name for name in (*COLUMNS, "camera", "tracklet", "role") if name in table]
    first = table.drop_duplicates("tracklet")[kept].reset_index(drop=True)
    sizes = table["tracklet"].value_counts(sort=False)
    return first.assign(frames=first["tracklet"].map(sizes).astype("int64"))
