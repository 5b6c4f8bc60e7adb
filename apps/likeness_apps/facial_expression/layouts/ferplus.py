"""FER+ (Barsoum et al. 2016): FER2013's faces, each seen by ten taggers.

`data/FER2013{Train,Valid,Test}/fer0000000.png` with a `label.csv` without header in each folder
(name, box, ten votes; the oldest form lacks the box); or `fer2013new.csv`, a row for each row of
`fer2013.csv`, beside that table or beside the unpacked pictures.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from likeness.data.findings import Finding
from likeness.data.manifest import Manifest, build
from likeness.errors import UserError, require
from likeness_apps.facial_expression import votes
from likeness_apps.facial_expression.layouts.fer2013 import split_of
from likeness_apps.facial_expression.layouts.pixels import header_of, unpack
from likeness_apps.facial_expression.layouts.tree import (
    Reading,
    Tree,
    counted,
    face_set,
    missing,
    name_of,
    not_listed,
    once,
    stem_of,
)

NAME = "ferplus"
NEW_TABLE = "fer2013new.csv"
_SPLITS = {"FER2013Train": "train", "FER2013Valid": "val", "FER2013Test": "test"}
_LIST = re.compile(rf"^(?:.*/)?(?P<folder>{'|'.join(_SPLITS)})/label\.csv$")
_PICTURE = re.compile(r"^fer\d{7}\.(?i:png|jpe?g)$")
_BESIDE = re.compile(r"^(?:fer2013|icml_face_data|fer2013new)\.csv$")
_NO_LABEL = {
    votes.TIE: "several answers have the most votes",
    votes.UNKNOWN: "most taggers did not know",
    votes.NOT_A_FACE: "most taggers saw no face",
    votes.NO_VOTES: "the votes sum to zero",
}


class Row(NamedTuple):
    """What a table says of one picture.

    Attributes:
        number: of the row, from 1; below the header, if there is one.
        name: of the file; "" = none, FER+ does not take it for a face.
        split: train, val or test.
        votes: in the order of `votes.ANSWERS`.
    """

    number: int
    name: str
    split: str
    votes: list[int]


def is_here(tree: Tree) -> bool:
    """Whether there are tables of votes."""
    return any(_LIST.match(path) or name_of(path) == NEW_TABLE for path in tree.others)


def read(tree: Tree) -> Reading:
    """The set in a folder.

    Columns: `label` by our rule, `label_official` by the authors', `outcome` (what came of the
    votes, see `votes.judge`), and the votes. A picture without a label stays, and is counted.

    Raises:
        UserError: if votes are no numbers of votes, tables do not fit each other, or there are no
            pictures.
    """
    lists = [path for path in tree.others if _LIST.match(path)]
    named = [path for path in tree.images if _PICTURE.match(name_of(path))]
    others = [path for path in tree.others if not _BESIDE.match(name_of(path))]
    taken = {*named, *lists}
    rest = [path for path in (*tree.images, *others) if path not in taken]
    if lists:
        return _from_lists(tree, lists, named), rest
    table = _only(tree, NEW_TABLE)
    if named:
        return _from_files(tree, table, named), rest
    return _from_pixels(tree, table, _only(tree, "fer2013.csv")), rest


def _from_lists(tree: Tree, lists: Sequence[str], named: Sequence[str]) -> Manifest:
    there, rows, findings = set(named), {}, []
    for table in lists:
        folder, absent = PurePosixPath(table).parent, []
        for row in _list_rows(tree.source / table, _SPLITS[folder.name]):
            path = str(folder / row.name)
            once_told = f"row {row.number} of {folder.name}/label.csv"
            require(path not in rows, once_told, "about a picture of its own", row.name)
            if path in there:
                rows[path] = row
            else:
                absent.append(row.name)
        findings += missing(table, absent)
    findings += not_listed([path for path in named if path not in rows], "label.csv")
    return _manifest(tree, rows, findings)


def _from_files(tree: Tree, table: str, named: Sequence[str]) -> Manifest:
    found, absent, rows = once(named), [], {}
    listed = list(_new_rows(tree.source / table))
    for row in listed:
        path = found.get(stem_of(row.name))
        if path is not None:
            rows[path] = row
        elif row.name:
            absent.append(row.name)
    findings = [*_unnamed(listed, table), *missing(table, absent)]
    findings += not_listed([path for path in named if path not in rows], NEW_TABLE)
    return _manifest(tree, rows, findings)


def _from_pixels(tree: Tree, table: str, pixels: str) -> Manifest:
    """The rows of two tables belong together by their order."""
    unpacked, listed = unpack(tree.source / pixels), list(_new_rows(tree.source / table))
    count = len(unpacked.rows)
    other = name_of(pixels)
    require(len(listed) == count, NEW_TABLE, f"of as many rows as {other}, {count}", len(listed))
    rows = {}
    for row, path, usage in zip(listed, unpacked.rows["path"], unpacked.rows["usage"], strict=True):
        where = f"row {row.number} of {NEW_TABLE}"
        same = split_of(usage, f"Usage in row {row.number} of {other}") == row.split
        require(same, where, f"of the same Usage as in {other}", row.split)
        if row.name and path:
            rows[path] = row
    findings = [*_unnamed(listed, table), *unpacked.findings(pixels)]
    return _manifest(tree, rows, findings, root=unpacked.folder)


def _manifest(
    tree: Tree, rows: dict[str, Row], findings: list[Finding], *, root: Path | None = None
) -> Manifest:
    """The pictures by their path in the tree, or in `root`."""
    votes_NA = np.array([row.votes for row in rows.values()], dtype=np.int64)
    votes_NA = votes_NA.reshape(-1, len(votes.ANSWERS))
    labels, outcomes = votes.judge(votes_NA)
    columns: dict[str, Sequence[Any]] = {
        "label": labels,
        "split": [row.split for row in rows.values()],
        "label_official": votes.official_labels(votes_NA),
        "outcome": outcomes,
        **dict(zip(votes.COLUMNS, votes_NA.T.tolist(), strict=True)),
    }
    findings = [*findings, *_without_label(outcomes)]
    if root is None:
        return face_set(tree, NAME, list(rows), columns, findings, folders=1)
    require(rows, "data", f"a folder with pictures of {NAME} in it", str(tree.source))
    return build(root, {**columns, "path": list(rows), "subject": [""] * len(rows)}, NAME, findings)


def _without_label(outcomes: Sequence[str]) -> list[Finding]:
    findings, counts = [], Counter(outcomes)
    for outcome, reason in _NO_LABEL.items():
        code, count = f"no-label-{outcome.replace(' ', '-')}", counts[outcome]
        message = f"no label for {count} of the pictures: {reason}"
        advice = "column outcome of manifest.csv says which"
        findings += counted(code, "", count, message, advice)
    return findings


def _unnamed(rows: Sequence[Row], table: str) -> list[Finding]:
    count = sum(not row.name for row in rows)
    message = f"left out, as FER+ does not take them for faces: {count} of the rows, without a name"
    return counted("not-a-face", table, count, message, "nothing")


def _list_rows(table: Path, split: str) -> Iterator[Row]:
    """`label.csv`: name, box, votes; or name, votes."""
    told = f"{table.parent.name}/{table.name}"
    for number, cells in _csv_rows(table):
        spare = len(cells) - 1 - len(votes.ANSWERS)
        rule = f"a name, a box and {len(votes.ANSWERS)} votes"
        require(spare in (0, 1), f"row {number} of {told}", rule, ",".join(cells)[:60])
        counts = votes.read_votes(cells[1 + spare :], f"row {number} of {told}")
        yield Row(number, cells[0], split, counts)


def _new_rows(table: Path) -> Iterator[Row]:
    """`fer2013new.csv`: Usage, Image name and the votes, by the names of the columns."""
    header = header_of(table)
    wanted = ["usage", "image name", *votes.ANSWERS]
    absent = [name for name in wanted if name not in header]
    require(not absent, table.name, f"a table with the columns {', '.join(wanted)}", header)
    places = [header.index(name) for name in wanted]
    for line, cells in _csv_rows(table):
        number = line - 1
        if number < 1:
            continue
        whole = len(cells) == len(header)
        require(whole, f"row {number} of {table.name}", f"{len(header)} cells", len(cells))
        usage, name, *counts = (cells[place] for place in places)
        split = split_of(usage, f"Usage in row {number} of {table.name}")
        yield Row(number, name, split, votes.read_votes(counts, f"row {number} of {table.name}"))


def _csv_rows(table: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, stripped, with their numbers from 1."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            for number, row in enumerate(filter(None, csv.reader(lines)), start=1):
                yield number, [cell.strip() for cell in row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table} must be a readable table, got {error}") from error


def _only(tree: Tree, name: str) -> str:
    found = [path for path in tree.others if name_of(path) == name]
    got = f"{tree.source} with {' and '.join(found) or 'none'}"
    require(len(found) == 1, "data", f"a folder with one {name} in it", got)
    return found[0]
