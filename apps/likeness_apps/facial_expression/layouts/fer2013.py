"""FER2013 (Goodfellow et al. 2013): faces found on the web, 48 x 48 grey, seven expressions.

`fer2013.csv` (emotion,pixels,Usage), `icml_face_data.csv` (emotion, Usage, pixels), `train.csv`
(emotion,pixels), or folders `train/angry/Training_123.jpg`, `test/happy/PublicTest_456.jpg`.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from likeness.data.manifest import Manifest, build
from likeness.errors import UserError, require
from likeness_apps.facial_expression.expressions import (
    FER2013,
    require_expression,
    require_number,
)
from likeness_apps.facial_expression.layouts.pixels import header_of, unpack
from likeness_apps.facial_expression.layouts.tree import Reading, Tree, face_set, name_of

NAME = "fer2013"
USAGES = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
_FILE = re.compile(r"^(?P<usage>Training|PublicTest|PrivateTest)_\d+\.(?i:jpe?g|png)$")


def tables(tree: Tree) -> list[str]:
    """The CSV tables with pixels among the files."""
    found = [path for path in tree.others if path.lower().endswith(".csv")]
    return [path for path in found if "pixels" in header_of(tree.source / path)]


def is_here(tree: Tree) -> bool:
    """Whether there is such a table, or pictures that are called so."""
    return any(_FILE.match(name_of(path)) for path in tree.images) or bool(tables(tree))


def read(tree: Tree) -> Reading:
    """The set in a folder: its pictures, or else its table.

    Raises:
        UserError: if a label is none of the set, or there are several complete tables.
    """
    if any(_FILE.match(name_of(path)) for path in tree.images):
        return _from_folders(tree)
    table = _the_table(tree)
    manifest = read_table(tree.source / table)
    others = [path for path in tree.others if path != table]
    return manifest, [*tree.images, *others]


def read_table(table: Path) -> Manifest:
    """The set in one table of pixels; the manifest's folder is the cache.

    A row whose pixels are no picture is left out and told as an error.

    Raises:
        UserError: if an emotion or a usage is none of the set, or there are no emotions.
    """
    require("emotion" in header_of(table), table.name, "a table with a column emotion", "none")
    unpacked = unpack(table)
    rows = unpacked.rows
    labels, splits = [], []
    for number, (emotion, usage) in enumerate(zip(rows["emotion"], rows["usage"], strict=True), 1):
        labels.append(require_number(emotion, FER2013, f"emotion in row {number} of {table.name}"))
        splits.append(split_of(usage, f"Usage in row {number} of {table.name}"))
    rows = rows.assign(label=labels, split=splits, subject="")
    rows = rows.loc[rows["fault"] == "", ["path", "label", "split", "subject"]]
    require(len(rows), table.name, "a table with a picture", "none")
    columns = rows.to_dict("list")
    return build(unpacked.folder, columns, NAME, unpacked.findings(table.name))


def split_of(usage: str, where: str) -> str:
    """The split that a cell of `Usage` means; "" is none.

    Raises:
        UserError: if it means none; `where` says where it stands.
    """
    if usage and usage not in USAGES:
        raise UserError(f"{where} must be one of {', '.join(USAGES)}, got {usage!r}")
    return USAGES.get(usage, "")


def _the_table(tree: Tree) -> str:
    """A table with labels and usages, or else one with labels.

    Raises:
        UserError: if it is not clear which is meant, or none has labels.
    """
    headers = {path: header_of(tree.source / path) for path in tables(tree)}
    labelled = [path for path, header in headers.items() if "emotion" in header]
    complete = [path for path in labelled if "usage" in headers[path]]
    chosen = complete or labelled
    got = f"{tree.source} with {' and '.join(chosen or headers)}"
    require(len(chosen) == 1, "data", "one table of FER2013 with emotions, or a folder of it", got)
    return chosen[0]


def _from_folders(tree: Tree) -> Reading:
    """The file's name says the split, its folder the label."""
    images, labels, splits = [], [], []
    rest = list(tree.others)
    for path in tree.images:
        match, folder = _FILE.match(name_of(path)), PurePosixPath(path).parent.name
        if match is None:
            rest.append(path)
            continue
        images.append(path)
        labels.append(require_expression(folder, f"folder of {path}"))
        splits.append(USAGES[match["usage"]])
    columns = {"label": labels, "split": splits}
    return face_set(tree, NAME, images, columns, folders=2), rest
