"""Sets whose folders say everything: LPW, DukeMTMC-VideoReID, and identity/camera/tracklet."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from likeness.data.findings import Finding
from likeness.data.manifest import SPLIT_NAMES, Manifest, split_name
from likeness.errors import UserError
from likeness_apps.person_reid.layouts.frames import GALLERY, QUERY, in_order, people_manifest
from likeness_apps.person_reid.layouts.roles import role_of
from likeness_apps.person_reid.layouts.tree import Files, Tree

LPW, DUKE, FOLDERS = "lpw", "dukemtmc-videoreid", "identity-camera-tracklet"
LPW_FOLDER = re.compile(
    r"^(?:(?P<root>.*)/)?(?P<scene>scen[1-3])/(?:view|cam)?_?(?P<view>\d)/(?P<person>[^/]+)$"
)
LPW_FILE = re.compile(r"^(?P<image>.+\.(?i:jpe?g))$")
DUKE_FOLDER = re.compile(
    r"^(?:(?P<root>.*)/)?(?P<part>train|query|gallery)/(?P<label>\d{4})/(?P<track>[^/]+)$"
)
DUKE_FILE = re.compile(r"^\d{4}_?C(?P<camera>\d)_?F(?P<frame>\d{4,})_?X\d+\.(?i:jpe?g)$")
_PARTS = (*SPLIT_NAMES, QUERY, GALLERY)
FOLDERS_FOLDER = re.compile(
    rf"^(?:(?P<root>.+?)/)??(?:(?P<part>(?i:{'|'.join(_PARTS)}))/)?"
    r"(?P<label>[^/]+)/(?P<camera>[^/]+)/(?P<track>[^/]+)$"
)
ANY_FILE = re.compile(r"^(?P<image>.+)$")
_QUERY_VIEW = "2"


def read_lpw(tree: Tree, files: Files) -> Manifest:
    """LPW (Song et al. 2018): scene 1 is tested, view 2 asks.

    An identity is unique only within its scene, and so is a camera.

    Args:
        tree: what is there.
        files: the images that are called as this layout says.
    """
    frames = files.table
    frames["label"] = frames["scene"] + "-" + frames["person"]
    frames["camera"] = frames["scene"] + "-" + frames["view"]
    frames["tracklet"] = frames["folder"]
    frames["frame"] = in_order(frames)
    tested = frames["scene"] == "scen1"
    frames["split"] = pd.Series(np.where(tested, "test", "train"), index=frames.index, dtype=str)
    frames["role"] = role_of(frames["split"], (frames["view"] == _QUERY_VIEW).to_numpy())
    frames = frames.drop(columns=["scene", "view", "person", "folder", "image"])
    return people_manifest(tree.source / files.root, LPW, frames)


def read_duke(tree: Tree, files: Files) -> Manifest:
    """DukeMTMC-VideoReID (Wu et al. 2018): the folders train, query and gallery.

    Frame numbers may begin at 2 and have gaps; both forms of file names are known.

    Args:
        tree: what is there.
        files: the images that are called as this layout says.
    """
    frames = files.table
    frames["tracklet"] = frames["folder"]
    frames["split"] = frames["part"].replace({QUERY: "test", GALLERY: "test"})
    frames["role"] = frames["part"].replace({"train": ""})
    message = "this set was withdrawn by its owner: nobody in it agreed to be recognised"
    advice = "publish nothing made from it; take another set if you can"
    told = [Finding("warning", "withdrawn", "", message, advice)]
    frames = frames.drop(columns=["part", "track", "folder"])
    return people_manifest(tree.source / files.root, DUKE, frames, told)


def read_folders(tree: Tree, files: Files) -> Manifest:
    """Folders of identities, of cameras in these, of tracklets in these, of frames in these.

    They may lie in `train`, `val`, `test`, `query` and `gallery`. Without query and gallery,
    tracklets of a test split have no role: each asks all others.

    Args:
        tree: what is there.
        files: the images at that depth.

    Raises:
        UserError: if a folder level seems to be missing.
    """
    frames = files.table
    words = frames["label"].str.lower().isin(_PARTS)
    if words.any():
        rule = "train, val, test, query or gallery above identity/camera/tracklet/frames"
        raise UserError(f"data must be {rule}, got {frames['path'][words].iloc[0]!r}")
    frames["tracklet"] = frames["folder"]
    frames["frame"] = in_order(frames)
    parts = {part: split_name(part) or "test" if part else "" for part in frames["part"].unique()}
    frames["split"] = frames["part"].map(parts)
    roles = {part: part.lower() if part.lower() in (QUERY, GALLERY) else "" for part in parts}
    frames["role"] = frames["part"].map(roles)
    frames = frames.drop(columns=["part", "track", "folder", "image"])
    return people_manifest(tree.source / files.root, FOLDERS, frames)
