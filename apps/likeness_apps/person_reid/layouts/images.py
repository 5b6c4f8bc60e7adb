"""Sets of single images: Market-1501, and PKU-Reid with its pseudo-tracklets."""

from __future__ import annotations

import re

from likeness.data.findings import Finding
from likeness.data.manifest import Manifest
from likeness_apps.person_reid.identities import DISTRACTOR, JUNK
from likeness_apps.person_reid.layouts.frames import GALLERY, QUERY, people_manifest
from likeness_apps.person_reid.layouts.tree import Files, Tree

MARKET, PKU = "market1501", "pku-reid"
MARKET_FOLDER = re.compile(
    r"^(?:(?P<root>.*)/)?(?P<part>bounding_box_train|query|bounding_box_test)$"
)
MARKET_FILE = re.compile(r"^(?P<pid>-1|\d{4})_c(?P<camera>[1-6])s\d_\d{6}_\d{2}\.(?i:jpe?g)$")
PKU_FOLDER = re.compile(r"^(?:(?P<root>.*)/)?(?P<label>\d{3})$")
PKU_FILE = re.compile(r"^(?P<camera>\d{2})_(?P<frame>\d+)\.(?i:png)$")
_NOBODY = {"-1": JUNK, "0000": DISTRACTOR}
_SPLITS = {"bounding_box_train": "train", "query": "test", "bounding_box_test": "test"}
_ROLES = {"bounding_box_train": "", "query": QUERY, "bounding_box_test": GALLERY}


def read_market(tree: Tree, files: Files) -> Manifest:
    """Market-1501 (Zheng et al. 2015): every image is a tracklet of one frame.

    Identity -1 is junk (bad boxes), 0000 is a distractor.

    Args:
        tree: what is there.
        files: the images that are called as this layout says.
    """
    frames = files.table
    frames["label"] = frames["pid"].replace(_NOBODY)
    frames["tracklet"] = frames["path"].str.rpartition(".")[0]
    frames["frame"] = 1
    frames["split"] = frames["part"].replace(_SPLITS)
    frames["role"] = frames["part"].replace(_ROLES)
    frames = frames.drop(columns=["pid", "part", "folder"])
    return people_manifest(tree.source / files.root, MARKET, frames)


def read_pku(tree: Tree, files: Files) -> Manifest:
    """PKU-Reid (Ma et al. 2016): two cameras, eight orientations each, no split.

    The eight views of a camera stand for a tracklet. They are no film: nothing about time or motion
    can be learned or measured here. The `.png` files are JPEG inside, which decoding sees.

    Args:
        tree: what is there.
        files: the images that are called as this layout says.
    """
    frames = files.table.drop(columns="folder")
    frames["camera"] = frames["camera"].str.lstrip("0")
    frames["tracklet"] = frames["label"] + "C" + frames["camera"]
    message = "pseudo-tracklets: the views of a camera, which are orientations and not a film"
    advice = "conclude nothing about time or motion from them"
    told = [Finding("warning", "pseudo-tracklets", "", message, advice)]
    return people_manifest(tree.source / files.root, PKU, frames, told)
