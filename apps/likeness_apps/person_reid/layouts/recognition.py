"""Which layout a folder is in.

Paths of a manifest are relative to the set's own folder, whether it or one above it was given.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from likeness.data.manifest import Manifest
from likeness.data.tables import TABLE_SUFFIXES
from likeness.errors import UserError, require
from likeness_apps.person_reid.layouts import folders, images, mars, tables, two_cameras
from likeness_apps.person_reid.layouts.tree import Files, Tree, files_of, read_tree, rest_findings

LOOKED_FOR = (
    "MARS (bbox_train/0001/0001C1T0001F001.jpg), Market-1501 (bounding_box_train/"
    "0002_c1s1_000451_03.jpg), PRID2011, iLIDS-VID, LPW, another set of the manual, folders "
    "identity/camera/tracklet/frames, or a table with path,label,camera"
)
_NOTHING = re.compile(r"(?!)")


@dataclass(frozen=True)
class Layout:
    """A layout that can be recognised.

    Attributes:
        name: of the layout and of its dataset card.
        folder: a folder with images of the set, relative to the folder that is given; the group
            `root` is the set's own.
        file: the name of an image.
        read: what is there, and the images -> the manifest.
        beside: names of files that are no images and belong to the set.
    """

    name: str
    folder: re.Pattern[str]
    file: re.Pattern[str]
    read: Callable[[Tree, Files], Manifest]
    beside: re.Pattern[str] = _NOTHING


PUBLISHED = (
    Layout(mars.NAME, mars.FOLDER, mars.FILE, mars.read, mars.BESIDE),
    Layout(
        two_cameras.PRID,
        two_cameras.PRID_FOLDER,
        two_cameras.PRID_FILE,
        two_cameras.read_prid,
        two_cameras.BESIDE,
    ),
    Layout(
        two_cameras.ILIDS,
        two_cameras.ILIDS_FOLDER,
        two_cameras.ILIDS_FILE,
        two_cameras.read_ilids,
        two_cameras.BESIDE,
    ),
    Layout(folders.LPW, folders.LPW_FOLDER, folders.LPW_FILE, folders.read_lpw),
    Layout(folders.DUKE, folders.DUKE_FOLDER, folders.DUKE_FILE, folders.read_duke),
    Layout(images.MARKET, images.MARKET_FOLDER, images.MARKET_FILE, images.read_market),
    Layout(images.PKU, images.PKU_FOLDER, images.PKU_FILE, images.read_pku),
)
OWN = Layout(folders.FOLDERS, folders.FOLDERS_FOLDER, folders.ANY_FILE, folders.read_folders)
WITHDRAWN = (folders.DUKE,)


def recognise(path: Path | str, *, acknowledge_withdrawn: bool = False) -> Manifest:
    """Read a set of people, whatever its layout.

    Args:
        path: the folder of a set or one above it, or a .csv or .parquet table.
        acknowledge_withdrawn: whether somebody said that a set that its owner has withdrawn is
            meant; without it such a set is refused.

    Returns:
        The manifest: a row per frame, and beyond the standard columns `camera`, `tracklet`, `frame`
        and `role`; sets with ten splits have `tested_in` (see `halves`). Its `layout` is a dataset
        card's name, `identity-camera-tracklet` or `table`. Labels are identities, `distractor` or
        `junk`. What is left out is told as warnings; so is what keeps queries from a match.

    Raises:
        UserError: in one sentence, if there is nothing there, nothing that is known, several sets,
            or a set that was withdrawn.
    """
    source = Path(path)
    require(source.exists(), "data", "an existing folder or table", str(path))
    if source.is_file():
        rule = "a folder or a .csv or .parquet table (archives must be unpacked)"
        require(source.suffix.lower() in TABLE_SUFFIXES, "data", rule, str(path))
        return tables.read(source)
    tree = read_tree(source)
    require(tree.images, "data", "a folder with image files in it", str(path))
    layout, files = _known(tree)
    if layout.name in WITHDRAWN and not acknowledge_withdrawn:
        rule = "a set that its owner has not withdrawn, or be taken with --acknowledge-withdrawn"
        require(False, "data", rule, f"{source} in the layout {layout.name}")
    others = [name for name in tree.others if not layout.beside.match(PurePosixPath(name).name)]
    manifest = layout.read(tree, files)
    return manifest.with_findings(*rest_findings(files, others, layout.name))


def _known(tree: Tree) -> tuple[Layout, Files]:
    """The one layout of a tree, and its images.

    Raises:
        UserError: if there is none, or several.
    """
    found = [(one, files) for one in PUBLISHED if (files := files_of(tree, one.folder, one.file))]
    names = " and ".join(layout.name for layout, _ in found)
    require(len(found) < 2, "data", "one set", f"{tree.source} with {names}")
    if found:
        return found[0]
    files = files_of(tree, OWN.folder, OWN.file)
    if files is None:
        first = next(iter(tree.images))
        example = f"{first}/{tree.images[first][0]}".lstrip("/")
        raise UserError(f"data must be {LOOKED_FOR}, got {str(tree.source)!r} with {example!r}")
    return OWN, files
