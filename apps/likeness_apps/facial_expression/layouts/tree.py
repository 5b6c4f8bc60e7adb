"""What lies in a folder, and how a set of faces is made of some of it: common to all layouts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from likeness.data.findings import Finding
from likeness.data.listing import walk
from likeness.data.manifest import Manifest, build
from likeness.errors import require

# Normal beside these sets: what systems leave behind, and what `sample` writes.
_BESIDE = (".ds_store", "thumbs.db", "desktop.ini", "readme.txt", "truth.csv")


@dataclass(frozen=True)
class Tree:
    """Everything below a folder; paths are posix, relative to it and sorted.

    Attributes:
        source: the folder that was given.
        images: image files, by their ending.
        others: the other files, without what lies beside many sets and is no data.
    """

    source: Path
    images: Sequence[str]
    others: Sequence[str]


# A set, and the files that are no part of it.
Reading = tuple[Manifest, list[str]]


def read_tree(source: Path) -> Tree:
    """List a folder."""
    images, others = walk(source)
    return Tree(source, images, [path for path in others if name_of(path).lower() not in _BESIDE])


def name_of(path: str) -> str:
    """The bare name of a file."""
    return path.rpartition("/")[2]


def stem_of(path: str) -> str:
    """The bare name without its ending."""
    return name_of(path).rpartition(".")[0]


def face_set(
    tree: Tree,
    layout: str,
    images: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    findings: Sequence[Finding] = (),
    *,
    folders: int = 0,
) -> Manifest:
    """Pictures of faces as a set.

    Args:
        tree: what was given.
        layout: its name.
        images: paths of the pictures, relative to the tree's source.
        columns: of the manifest, a value for each picture; `subject` where the set names them.
        findings: what was noticed.
        folders: how many folders above a picture belong to its path in the set, at most.

    Returns:
        The set. Its column `subject` is "" where nobody is named; a subject is a group, and so is
        a picture of which nobody knows whom it shows.

    Raises:
        UserError: if there is no picture.
    """
    require(images, "data", f"a folder with pictures of {layout} in it", str(tree.source))
    above = [PurePosixPath(path).parents for path in images]
    kept = min(folders, *(len(parents) - 1 for parents in above))
    top = os.path.commonpath([parents[kept] for parents in above]) or "."
    paths = [str(PurePosixPath(path).relative_to(top)) for path in images]
    subjects = columns.get("subject", [""] * len(paths))
    table = {**columns, "path": paths, "subject": subjects, "group": subjects}
    return build(tree.source.absolute() / top, table, layout, findings)


def once(paths: Sequence[str]) -> dict[str, str]:
    """Path by bare name without ending.

    Raises:
        UserError: if two pictures have the same name.
    """
    found: dict[str, str] = {}
    for path in paths:
        other = found.setdefault(stem_of(path), path)
        require(other == path, f"picture {stem_of(path)!r}", "there once", f"{other} and {path}")
    return found


def counted(code: str, path: str, count: int, message: str, advice: str) -> list[Finding]:
    """One warning that tells of `count` things, or none without any."""
    if not count:
        return []
    return [Finding("warning", code, path, message, advice)]


def missing(table: str, names: Sequence[str]) -> list[Finding]:
    """One warning about all pictures that a table names and that are not there."""
    first = names[0] if names else ""
    message = f"named and missing: {len(names)} of the pictures; the first is {first!r}"
    return counted("missing-picture", table, len(names), message, "add them, or go without")


def not_listed(images: Sequence[str], table: str) -> list[Finding]:
    """One warning about all pictures that the set's table does not name."""
    first = images[0] if images else ""
    count = len(images)
    message = f"left out, as {table} does not name them: {count} of the pictures; the first is "
    return counted("not-in-the-table", "", count, message + first, "nothing, if so meant")
