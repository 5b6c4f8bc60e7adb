"""AffectNet (Mollahosseini et al. 2019): faces found on the web, one annotator each.

Three forms: tables `training.csv` and `validation.csv` (which may lack its header) with pictures in
`Manually_Annotated_Images/<n>/`; `train_set` and `val_set` with `images/1.jpg` and
`annotations/1_exp.npy`; and folders `train/0` to `val/7`. The official validation is what
everybody tests on, and so its split is `test`.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from likeness.data.findings import Finding
from likeness.data.manifest import Manifest
from likeness.errors import UserError, require
from likeness_apps.facial_expression.expressions import AFFECTNET, require_number
from likeness_apps.facial_expression.layouts.tree import (
    Reading,
    Tree,
    counted,
    face_set,
    missing,
    name_of,
    not_listed,
)
from likeness_apps.shell.console import progress

NAME = "affectnet"
BOX = ("face_x", "face_y", "face_width", "face_height")  # pixels of the picture
_NONE, _UNCERTAIN, _NO_FACE = "none of them", "uncertain", "no face"
_ANSWERS = {**AFFECTNET, 8: _NONE, 9: _UNCERTAIN, 10: _NO_FACE}
_HEADER = (
    "subDirectory_filePath",
    *BOX,
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
_PARTS = {"training": "train", "validation": "test"}
_TABLE = re.compile(r"^(?P<part>training|validation)\.csv$", re.IGNORECASE)
_FIRST_CELL = re.compile(r"^\d+/[^/,]+\.[A-Za-z]+$")
_SETS = {"train_set": "train", "val_set": "test"}
_NPY = re.compile(r"^(?:.*/)?(?P<part>train_set|val_set)/annotations/(?P<name>[^/]+)_exp\.npy$")
_NPY_IMAGE = re.compile(r"^(?:.*/)?(?P<part>train_set|val_set)/images/(?P<name>[^/]+)\.[^./]+$")
_NPY_BESIDE = re.compile(r"^.*_(?:exp|val|aro|lnd)\.npy$")
_FOLDER = re.compile(r"^(?:.*/)?(?P<part>train|val)/(?P<number>\d{1,2})/[^/]+$")
_FOLDERS = {"train": "train", "val": "test"}


def is_here(tree: Tree) -> bool:
    """Whether one of the three forms is there."""
    numbered = tree.images and all(map(_FOLDER.match, tree.images))
    return bool(numbered or _tables(tree) or any(map(_NPY.match, tree.others)))


def read(tree: Tree) -> Reading:
    """The set in a folder.

    Pictures that were annotated as none of the expressions, uncertain or no face are left out and
    counted. Tables bring the columns of `BOX`, `valence` and `arousal`; `crop` cuts the
    pictures there.

    Raises:
        UserError: if an expression is none of the set, or an annotation cannot be read.
    """
    tables = _tables(tree)
    if tables:
        return _from_tables(tree, tables)
    if any(map(_NPY.match, tree.others)):
        return _from_arrays(tree)
    return _from_folders(tree)


def _tables(tree: Tree) -> list[str]:
    """The tables of this set among the files."""
    found = [path for path in tree.others if _TABLE.match(name_of(path))]
    return [path for path in found if _has_header(tree.source / path) is not None]


def _has_header(table: Path) -> bool | None:
    """Whether a table begins with the column names; None if it is no table of this set."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            first = next(csv.reader(lines), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    if first[:1] == [_HEADER[0]]:
        return True
    return False if len(first) == len(_HEADER) and _FIRST_CELL.match(first[0]) else None


def _from_tables(tree: Tree, tables: Sequence[str]) -> Reading:
    found = {"/".join(PurePosixPath(path).parts[-2:]): path for path in tree.images}
    used, findings, kept = set(), [], []
    for table in tables:
        rows = _table_rows(tree.source / table)
        match = _TABLE.match(name_of(table))
        assert match is not None
        rows["split"] = _PARTS[match["part"].lower()]
        rows["image"] = rows["subDirectory_filePath"].map(found)
        there = rows["image"].notna()
        findings += missing(table, rows.loc[~there, "subDirectory_filePath"].tolist())
        used.update(rows.loc[there, "image"])
        findings += _unusable(rows.loc[there, "label"], table)
        kept.append(rows[there & rows["label"].isin(AFFECTNET.values())])
    rows = pd.concat(kept, ignore_index=True)
    for name in BOX:
        rows[name] = _box_numbers(rows, name)
    columns = ["label", "split", *BOX, "valence", "arousal"]
    findings += not_listed([path for path in tree.images if path not in used], "a table")
    others = [path for path in tree.others if path not in tables]
    cells = rows[columns].to_dict("list")
    return face_set(tree, NAME, rows["image"].tolist(), cells, findings, folders=1), others


def _table_rows(table: Path) -> pd.DataFrame:
    """The rows, all text, without landmarks, with a column `label`."""
    names = None if _has_header(table) else list(_HEADER)
    columns = [name for name in _HEADER if name != "facial_landmarks"]
    try:
        rows = pd.read_csv(
            table,
            names=names,
            usecols=columns,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{table} must be a readable table, got {error}") from error
    where = "expression in row {} of " + table.name
    names_of = [
        require_number(cell, _ANSWERS, where.format(number))
        for number, cell in enumerate(rows["expression"], start=1)
    ]
    return rows.assign(label=names_of)


def _box_numbers(rows: pd.DataFrame, name: str) -> pd.Series:
    numbers = pd.to_numeric(rows[name], errors="coerce")
    for path, cell in rows.loc[numbers.isna(), ["subDirectory_filePath", name]].to_numpy():
        require(False, f"{name} of {path}", "a number", cell)
    return numbers.round().astype(int)


def _from_arrays(tree: Tree) -> Reading:
    found = {
        (match["part"], match["name"]): path
        for path in tree.images
        if (match := _NPY_IMAGE.match(path))
    }
    files = {path: match for path in tree.others if (match := _NPY.match(path))}
    images, labels, splits, absent = [], [], [], []
    with progress("reading annotations") as advance:
        for number, (path, match) in enumerate(files.items(), start=1):
            image = found.pop((match["part"], match["name"]), None)
            if image is None:
                absent.append(path)
                continue
            images.append(image)
            labels.append(require_number(_array_text(tree.source / path), _ANSWERS, path))
            splits.append(_SETS[match["part"]])
            advance(number, len(files))
    findings = [*missing("annotations", absent), *_unusable(pd.Series(labels, dtype=str), "")]
    findings += not_listed(sorted(found.values()), "an annotation")
    named = [path for path in tree.images if not _NPY_IMAGE.match(path)]
    rest = [*named, *(path for path in tree.others if not _NPY_BESIDE.match(path))]
    return _usable(tree, images, labels, splits, findings), rest


def _array_text(path: Path) -> str:
    """The one value of an annotation, a number or text; nothing in the file is executed."""
    try:
        return str(np.load(path, allow_pickle=False).item())
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} must be an array of one value, got {error}") from error


def _from_folders(tree: Tree) -> Reading:
    """Folders of numbers; whether they count as AffectNet does cannot be seen, so it is told."""
    labels, splits = [], []
    for path in tree.images:
        match = _FOLDER.match(path)
        assert match is not None
        labels.append(require_number(match["number"], _ANSWERS, f"folder of {path}"))
        splits.append(_FOLDERS[match["part"]])
    told = ", ".join(f"{number} {name}" for number, name in AFFECTNET.items())
    message = f"folders of numbers are read as those of AffectNet: {told}"
    advice = "give a table with path,label if they mean something else"
    findings = [Finding("warning", "numbered-folders", "", message, advice)]
    findings += _unusable(pd.Series(labels, dtype=str), "")
    return _usable(tree, tree.images, labels, splits, findings), list(tree.others)


def _usable(
    tree: Tree,
    images: Sequence[str],
    labels: Sequence[str],
    splits: Sequence[str],
    findings: Sequence[Finding],
) -> Manifest:
    """The set of the pictures that were annotated as one of the expressions."""
    rows = zip(images, labels, splits, strict=True)
    good = [row for row in rows if row[1] in AFFECTNET.values()]
    columns = {"label": [row[1] for row in good], "split": [row[2] for row in good]}
    return face_set(tree, NAME, [row[0] for row in good], columns, findings, folders=2)


def _unusable(labels: pd.Series, table: str) -> list[Finding]:
    findings, counts = [], Counter(labels)
    for answer in (_NONE, _UNCERTAIN, _NO_FACE):
        code, count = f"annotated-{answer.replace(' ', '-')}", counts[answer]
        message = f"left out, as annotated {answer}: {count} of the pictures"
        findings += counted(code, table, count, message, "nothing")
    return findings
