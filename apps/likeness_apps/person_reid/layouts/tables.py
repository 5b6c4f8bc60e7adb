"""A table of frames that somebody wrote: path, label and camera, and what else is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from likeness.data.findings import Finding
from likeness.data.manifest import Manifest
from likeness.data.tables import read_table
from likeness.errors import UserError, require
from likeness_apps.person_reid.layouts.frames import (
    GALLERY,
    OWN_COLUMNS,
    QUERY,
    in_order,
    people_manifest,
)

NAME = "table"
_ROLES = ("", QUERY, GALLERY)


def read(path: Path) -> Manifest:
    """A CSV or Parquet table with the columns path, label and camera.

    `tracklet` (without it every image is one of its own), `frame` (whole numbers; without them the
    numbers in the names order the frames), `split`, `role` (query or gallery) and `group` (what
    must not straddle a split; else the identity) may be there, and further columns are kept. A row
    without an identity stays, and is told.

    Raises:
        UserError: naming the column, row or path, if it is no such table.
    """
    manifest = read_table(path, labelled=False)
    frames = manifest.table.copy()
    for name in ("label", "camera"):
        if name not in frames or not (frames[name] != "").any():
            raise UserError(f"{path.name} must have a column {name!r}, got {', '.join(frames)}")
    own = [name for name in OWN_COLUMNS if name in frames and name != "frame"]
    texts = {name: frames[name].fillna("").astype(str).str.strip() for name in own}
    frames = frames.assign(**texts)
    frames["group"] = frames["group"].where(frames["group"] != frames["path"], frames["label"])
    _require_cells(frames, path.name)
    alone = frames["path"].str.rpartition(".")[0]
    given = frames.get("tracklet", alone)
    frames["tracklet"] = alone.where(given == "", given)
    frames, told = _one_of_each(frames)
    frames["frame"] = _frames(frames) if "frame" in frames else in_order(frames)
    return people_manifest(manifest.root, NAME, frames, [*manifest.findings, *told])


def _require_cells(frames: pd.DataFrame, table: str) -> None:
    bare = frames["path"][frames["camera"] == ""]
    require(bare.empty, f"camera of {next(iter(bare), '')} in {table}", "given", "")
    if "role" in frames:
        odd = frames[~frames["role"].isin(_ROLES)]
        for path, role in zip(odd["path"], odd["role"], strict=True):
            require(False, f"role of {path} in {table}", "query, gallery or empty", role)


def _frames(frames: pd.DataFrame) -> pd.Series:
    numbers = pd.to_numeric(frames["frame"], errors="coerce")
    wrong = frames[~(numbers % 1 == 0) | (numbers.abs() > np.iinfo(np.int32).max)]
    for path, cell in zip(wrong["path"], wrong["frame"], strict=True):
        require(False, f"frame of {path}", "a whole number", cell)
    return numbers.astype("int32")


def _one_of_each(frames: pd.DataFrame) -> tuple[pd.DataFrame, list[Finding]]:
    """Tracklets of one identity, camera, split and role.

    Tables often number tracklets anew for each person or camera; then these make the name.
    """
    parts = [name for name in ("label", "camera", "split", "role") if name in frames]
    kinds = frames.drop_duplicates(["tracklet", *parts])
    repeated = kinds["tracklet"][kinds["tracklet"].duplicated()]
    if repeated.empty:
        return frames, []
    name = repeated.iloc[0]
    message = (
        f"{repeated.nunique()} tracklets are of several identities, cameras, splits or roles, the "
        f"first is {name!r}; each combination counts as one of its own"
    )
    advice = "give each tracklet its own name, if this is not meant"
    first = str(frames["path"][frames["tracklet"] == name].iloc[0])
    whole = frames["tracklet"]
    for part in reversed(parts):
        whole = (frames[part] + "/").where(frames[part] != "", "") + whole
    told = Finding("warning", "tracklet-of-several", first, message, advice)
    return frames.assign(tracklet=whole), [told]
