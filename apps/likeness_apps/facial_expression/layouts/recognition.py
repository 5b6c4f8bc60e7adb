"""Which layout a folder, or a table, is in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from likeness.data.listing import foreign_findings
from likeness.data.manifest import Manifest
from likeness.data.tables import TABLE_SUFFIXES
from likeness.errors import require
from likeness_apps.facial_expression.layouts import (
    affectnet,
    bu_3dfe,
    ck_plus,
    cropped,
    fer2013,
    ferplus,
    folders,
    jaffe,
    raf_db,
    tables,
)
from likeness_apps.facial_expression.layouts.pixels import header_of
from likeness_apps.facial_expression.layouts.tree import Reading, Tree, read_tree

LOOKED_FOR = (
    "FER2013 (fer2013.csv), FER+ (data/FER2013Train/label.csv), CK+, JAFFE, AffectNet, RAF-DB, "
    "BU-3DFE, one folder per expression with images in it, or a table with path,label"
)


@dataclass(frozen=True)
class Layout:
    """A layout that can be recognised.

    Attributes:
        name: of the layout and of its dataset card.
        is_here: whether a folder holds it.
        read: the set in a folder that holds it.
    """

    name: str
    is_here: Callable[[Tree], bool]
    read: Callable[[Tree], Reading]


PUBLISHED = (
    Layout(ferplus.NAME, ferplus.is_here, ferplus.read),
    Layout(fer2013.NAME, fer2013.is_here, fer2013.read),
    Layout(ck_plus.NAME, ck_plus.is_here, ck_plus.read),
    Layout(ck_plus.CUT, ck_plus.is_cut_here, ck_plus.read_cut),
    Layout(jaffe.NAME, jaffe.is_here, jaffe.read),
    Layout(affectnet.NAME, affectnet.is_here, affectnet.read),
    Layout(raf_db.NAME, raf_db.is_here, raf_db.read),
    Layout(bu_3dfe.NAME, bu_3dfe.is_here, bu_3dfe.read),
)


def recognise(path: Path | str) -> Manifest:
    """Read a set of faces, whatever its layout.

    Args:
        path: the folder of a set or one above it; a .csv or .parquet table with path and label; or
            one of FER2013's tables of pixels.

    Returns:
        The manifest: a row per face, `label` one of `expressions.EXPRESSIONS` or "", and beyond the
        standard columns `subject` ("" = unknown), which is the group where it is known. Sets with
        subjects and without a split have `fold`; sets with votes have the columns of
        `votes.COLUMNS`. `layout` is a dataset card's name, `folder-per-class` or `table`. What is
        left out is told.

    Raises:
        UserError: in one sentence, if there is nothing there, nothing that is known, several sets,
            or a label that is no expression.
    """
    source = Path(path)
    require(source.exists(), "data", "an existing folder or table", str(path))
    if source.is_file():
        rule = "a folder or a .csv or .parquet table (archives must be unpacked)"
        require(source.suffix.lower() in TABLE_SUFFIXES, "data", rule, str(path))
        return _from_file(source)
    if cropped.is_here(source):
        return cropped.read(source)
    tree = read_tree(source)
    manifest, rest = _from_folder(tree)
    return manifest.with_findings(*foreign_findings(rest))


def _from_file(source: Path) -> Manifest:
    if source.name == ferplus.NEW_TABLE:
        return recognise(source.absolute().parent)
    if source.name == cropped.TABLE and cropped.is_here(source.parent):
        return cropped.read(source.parent)
    if "pixels" in header_of(source):
        return fer2013.read_table(source)
    return tables.read(source)


def _from_folder(tree: Tree) -> Reading:
    """The one public set in a folder, or class folders.

    Raises:
        UserError: if there are several sets. FER+ lies beside FER2013's own table, and is meant.
    """
    found = [layout for layout in PUBLISHED if layout.is_here(tree)]
    if ferplus.NAME in (layout.name for layout in found):
        found = [layout for layout in found if layout.name != fer2013.NAME]
    names = " and ".join(layout.name for layout in found)
    require(len(found) < 2, "data", "one set", f"{tree.source} with {names}")
    return found[0].read(tree) if found else folders.read(tree, LOOKED_FOR)
