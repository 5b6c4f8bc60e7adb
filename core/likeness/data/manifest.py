"""One table of images: what every layout is read into, and what everything else reads.

Columns: `path` (posix, relative to the root), `label` ("" = unlabelled), `split` ("", train, val
or test), `group` (what must not straddle a split; the image itself where nothing else is known),
then whatever an application adds. In a multi-label set a cell of `label` holds the names of all
labels of the image, sorted, with `|` between them.

Shapes: N images, L labels.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from likeness.data.findings import Finding, sort_findings
from likeness.errors import UserError, require
from likeness.files import atomic_path

COLUMNS = ("path", "label", "split", "group")
SPLITS = ("train", "val", "test")
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff"),
        *(".bmp", ".gif", ".webp", ".ppm", ".pgm", ".jp2", ".j2k", ".dcm", ".dicom"),
    )
)
TABLE_SUFFIXES = frozenset((".csv", ".tsv", ".parquet", ".pq"))
SEPARATOR = "|"  # between the labels of one image
_FLAGS = {"0", "1", "0.0", "1.0", "True", "False"}  # cells of a column that is a label
_SYSTEM = frozenset(("__macosx", "thumbs.db", "desktop.ini"))
_ESCAPED = re.compile(r"\\udc[89a-f][0-9a-f]")  # what `walk` makes of bytes that are no UTF-8


@dataclass(frozen=True, eq=False)
class Manifest:
    """A set of images.

    Attributes:
        root: the folder that the paths in `table` are relative to.
        table: one row per image with at least `COLUMNS`, all text, and a RangeIndex.
        layout: what was recognised; also the name of the dataset card where there is one.
        findings: what was noticed while recognising.
        multilabel: whether an image may have several labels.
        band_names: the bands of the files in their order, where the layout fixes them; else ().
    """

    root: Path
    table: pd.DataFrame
    layout: str
    findings: tuple[Finding, ...] = ()
    multilabel: bool = False
    band_names: tuple[str, ...] = ()

    @property
    def classes(self) -> list[str]:
        """The labels in use, sorted; their order is the order of class numbers everywhere."""
        cells = set(self.table["label"]) - {""}
        return sorted({name for cell in cells for name in self.names(cell)})

    def names(self, label: str) -> list[str]:
        """The labels in a cell of `label`: one, several in a multi-label set, or none."""
        return split_labels(label) if self.multilabel else [label] if label else []

    def with_table(self, table: pd.DataFrame) -> Manifest:
        """The same set with other rows or columns."""
        return replace(self, table=table.reset_index(drop=True))

    def with_findings(self, *findings: Finding) -> Manifest:
        """The same set with more findings."""
        return replace(self, findings=sort_findings((*self.findings, *findings)))

    def rows(self, split: str) -> pd.DataFrame:
        """The rows of one split; their index is the position in `table`.

        Raises:
            UserError: if `split` is not one of "", train, val, test.
        """
        require(split in ("", *SPLITS), "split", f"one of {', '.join(SPLITS)}", split)
        return self.table[self.table["split"] == split]

    def file(self, path: str) -> Path:
        """Where the image of a row is."""
        return self.root / path

    def write_csv(self, path: Path | str) -> None:
        """Write the table atomically; `read_table` reads it back if it lies in the root."""
        table = self.table.rename(columns={"label": "labels"}) if self.multilabel else self.table
        with atomic_path(path) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")


def build(
    root: Path,
    columns: Mapping[str, Sequence[Any] | np.ndarray],
    layout: str,
    findings: Sequence[Finding] = (),
    *,
    multilabel: bool = False,
) -> Manifest:
    """Make a Manifest: missing standard columns are filled in, rows are sorted by path.

    Args:
        root: the folder that the paths are relative to.
        columns: at least `path`; `label`, `split` and `group` as text; further columns as they are.
        layout: the name of the layout.
        findings: what was noticed.
        multilabel: cells of `label` are `join_labels` of the image's labels.

    Returns:
        The manifest; an empty group has become the image's own path.
    """
    paths = [str(path) for path in columns["path"]]
    text = {name: [str(item) for item in columns.get(name, [""] * len(paths))] for name in COLUMNS}
    text["group"] = [group or path for group, path in zip(text["group"], text["path"], strict=True)]
    extra = {name: values for name, values in columns.items() if name not in COLUMNS}
    table = pd.DataFrame({**text, **extra})
    table = table.astype(dict.fromkeys(COLUMNS, str)).sort_values("path", kind="stable")
    rows = table.reset_index(drop=True)
    return Manifest(root, rows, layout, sort_findings(findings), multilabel)


def join_labels(names: Iterable[str]) -> str:
    """The cell of `label` for an image with these labels.

    Raises:
        UserError: if a name is empty or holds a `|`.
    """
    chosen = sorted(set(names))
    for name in chosen:
        require(name and SEPARATOR not in name, "label", f"a name without {SEPARATOR!r}", name)
    return SEPARATOR.join(chosen)


def split_labels(cell: str) -> list[str]:
    """The labels in a cell of a multi-label set; none in an empty one."""
    return cell.split(SEPARATOR) if cell else []


def label_matrix(cells: Sequence[str], classes: Sequence[str]) -> UInt8[np.ndarray, "N L"]:
    """1 where an image has a label, else 0.

    Args:
        cells: `label` of each image of a multi-label set.
        classes: L names, in the order of the columns.

    Raises:
        UserError: if an image has a label that is not among `classes`.
    """
    column = {name: place for place, name in enumerate(classes)}
    matrix_NL = np.zeros((len(cells), len(classes)), np.uint8)
    for row, cell in enumerate(cells):
        for name in split_labels(cell):
            require(name in column, "label", f"among the {len(classes)} known ones", name)
            matrix_NL[row, column[name]] = 1
    return matrix_NL


def read_table(path: Path | str, *, labelled: bool = True) -> Manifest:
    """Read a CSV (comma, semicolon or tab; UTF-8) or Parquet table of images.

    `path` and `label` are needed, `split` and `group` are optional, further columns are kept: as
    text from CSV, typed from Parquet. Paths are relative to the table's folder. A multi-label set
    has, instead of `label`, a column `labels` with `|` between the names, or one column of 0 and 1
    for each label (two at least; then every further column of only 0 and 1 is a label, and one that
    is so but for a few rows is told as an error). A row without any label stays in the table,
    unlabelled, with a warning.

    Args:
        path: a file that ends in .csv, .tsv, .parquet or .pq.
        labelled: whether every row must have a label; without it `label` may be absent or empty.

    Raises:
        UserError: naming the column or the row (counted from 1 below the header) if the file is no
            such table, a column is missing, a path is empty, listed twice or outside the folder, a
            split name is unknown, or the one label is empty.
    """
    source = Path(path)
    frame = load_frame(source)
    require(frame.columns.is_unique, source.name, "a table with one column per name", list(frame))
    frame, multilabel, findings = _gather_labels(frame, source.name)
    needed = ["path", "label"] if labelled else ["path"]
    for name in needed:
        if name not in frame.columns:
            known = ", ".join(map(str, frame.columns)) or "no column"
            raise UserError(f"{source.name} must have a column {name!r}, got {known}")
    require(len(frame) > 0, source.name, "a table of at least one image", "no row")
    columns: dict[str, Any] = {
        name: _texts(frame[name]) if name in COLUMNS else frame[name].to_numpy()
        for name in frame.columns
    }
    root = source.absolute().parent
    columns["path"] = _check_paths(columns["path"], root, source.name)
    if labelled and "" in columns["label"]:
        row = columns["label"].index("") + 1
        if not multilabel:
            raise UserError(f"label in row {row} of {source.name} must be given, got ''")
        findings += unlabelled_findings(columns["path"], columns["label"])
    if "split" in columns:
        columns["split"] = _check_splits(columns["split"], source.name)
    return build(root, columns, "table", findings, multilabel=multilabel)


def unlabelled_findings(paths: Sequence[str], labels: Sequence[str]) -> list[Finding]:
    """One warning for each image of a multi-label set that has no label."""
    message, advice = "no label is set; not used", "give it a label, or remove the row"
    return [
        Finding("warning", "no-label", path, message, advice)
        for path, label in zip(paths, labels, strict=True)
        if not label
    ]


def _gather_labels(frame: pd.DataFrame, table: str) -> tuple[pd.DataFrame, bool, list[Finding]]:
    """The table with one column `label`, whether it is a multi-label set, and what is odd."""
    if "label" in frame.columns:
        return frame, False, []
    if "labels" in frame.columns:
        cells = [
            join_labels(name.strip() for name in cell.split(SEPARATOR) if name.strip())
            for cell in _texts(frame["labels"])
        ]
        return frame.drop(columns="labels").assign(label=cells), True, []
    taken = (*COLUMNS, "fold")
    flags = {name: _flags(frame[name]) for name in frame.columns if name not in taken}
    known = {str(name): column for name, column in flags.items() if column is not None}
    if len(known) < 2:
        return frame, False, []
    others = [name for name, column in flags.items() if column is None]
    odd = [found for name in others if (found := _almost_flags(frame[name], table))]
    matrix_NL = np.stack(list(known.values()), axis=1)
    names = np.array(list(known), dtype=object)
    cells = [join_labels(names[row_L]) for row_L in matrix_NL]
    return frame.drop(columns=list(known)).assign(label=cells), True, odd


def _almost_flags(column: pd.Series, table: str) -> Finding | None:
    """An error for a column of 0 and 1 that a few rows spoil: a label that would be lost."""
    texts = _texts(column)
    odd = [row for row, text in enumerate(texts, start=1) if text not in _FLAGS]
    if 4 * len(odd) > len(texts):
        return None
    row, cell = odd[0], texts[odd[0] - 1]
    message = (
        f"column {str(column.name)!r} is read as no label: row {row} holds {cell!r}, where others "
        "hold 0 or 1"
    )
    advice = "write 0 or 1 in every row, or leave the column out"
    return Finding("error", "almost-a-label", table, message, advice)


def _flags(column: pd.Series) -> np.ndarray | None:
    """The column as booleans if it holds nothing but 0 and 1, else None."""
    texts = _texts(column)
    if not set(texts) <= _FLAGS:
        return None
    return np.array([text in ("1", "1.0", "True") for text in texts], dtype=bool)


def split_name(text: str) -> str | None:
    """The split that a folder, file or cell names (`Validation` is `val`), or None."""
    return SPLIT_NAMES.get(text.strip().lower())


def images_in(path: Path | str) -> Manifest:
    """Every image below a folder, or one image file, without labels: what `predict` is given.

    Args:
        path: a folder, or a file (whose ending does not matter: content decides).

    Raises:
        UserError: if there is no such path or no image in it.
    """
    source = Path(path)
    require(source.exists(), "input", "an existing folder, image or table", str(path))
    if source.is_file():
        return build(source.absolute().parent, {"path": [source.name]}, "images")
    images, foreign = walk(source)
    require(images, "input", "a folder with image files in it", str(path))
    return build(source.absolute(), {"path": images}, "images", foreign_findings(foreign))


def walk(root: Path) -> tuple[list[str], list[str]]:
    """List the files below `root`, following links once.

    Args:
        root: an existing folder.

    Returns:
        The image files (by ending) and everything else that was left out (other files, hidden
        files, hidden or system folders with a `/` behind the name, unopened; names that are no
        UTF-8, with escapes, since no table can hold them); posix paths relative to `root`, sorted.
    """
    images: list[str] = []
    foreign: list[str] = []
    visited = {os.path.realpath(root)}
    for here, folders, files in os.walk(root, followlinks=True):
        base = PurePosixPath(Path(here).relative_to(root).as_posix())
        for name in list(folders):
            real = os.path.realpath(os.path.join(here, name))
            left_out = _skipped(name) or not _is_text(name)
            if left_out:
                foreign.append(_printable(f"{base / name}/"))
            if left_out or real in visited:
                folders.remove(name)  # os.walk goes where this list says
            visited.add(real)
        for name in files:
            image = not _skipped(name) and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
            path = str(base / name)
            if image and _is_text(name):
                images.append(path)
            else:
                foreign.append(_printable(path))
    return sorted(images), sorted(foreign)


def foreign_findings(paths: Sequence[str]) -> list[Finding]:
    """One warning for each file or folder that was left out because it is no image."""
    image = "left out: no image"
    convert = "nothing, if it is no part of the data; else convert it to an image format"
    return [
        Finding("warning", "foreign-name", path, "left out: its name is not UTF-8", "rename it")
        if _ESCAPED.search(path)
        else Finding("warning", "foreign-file", path, image, convert)
        for path in paths
    ]


def _is_text(name: str) -> bool:
    """Whether a table can hold the name; bytes that are no UTF-8 arrive as lone surrogates."""
    return _printable(name) == name


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _skipped(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM


def load_frame(source: Path) -> pd.DataFrame:
    """A CSV (comma, semicolon or tab; UTF-8; all cells text) or Parquet (typed) file as it is.

    Raises:
        UserError: if it is no such file or cannot be read.
    """
    require(source.is_file(), "table", "an existing .csv or .parquet file", str(source))
    suffix = source.suffix.lower()
    require(suffix in TABLE_SUFFIXES, "table", "a .csv or .parquet file", str(source))
    if suffix in (".csv", ".tsv"):
        return load_csv(source)
    try:
        return pd.read_parquet(source)
    except (OSError, ValueError) as error:
        raise _unreadable(source, error) from error


def load_csv(source: Path) -> pd.DataFrame:
    """A text table (comma, semicolon or tab; UTF-8; all cells text), whatever its name ends in.

    Raises:
        UserError: if it is no such file or cannot be read.
    """
    try:
        with source.open(encoding="utf-8-sig") as handle:
            header = handle.readline()
        separator = max(",;\t", key=header.count)
        names = [name.strip() for name in next(csv.reader([header], delimiter=separator), [])]
        # keep_default_na: "NA" and "None" are class names like any other.
        frame = pd.read_csv(
            source,
            sep=separator,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            skipinitialspace=True,
        )
        if not isinstance(frame.index, pd.RangeIndex):  # pandas took the first cells for an index
            raise ValueError("rows with more cells than the header")
    except (OSError, ValueError, pd.errors.EmptyDataError) as error:
        raise _unreadable(source, error) from error
    twice = {name for name in names if name and names.count(name) > 1}
    # pandas would call the second one `label.1`
    require(not twice, source.name, "a table with one column per name", names)
    return frame.rename(columns=lambda name: str(name).strip())


def _unreadable(source: Path, error: Exception) -> UserError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UserError(f"{source} must be a readable table, got {reason}")


def _texts(column: pd.Series) -> list[str]:
    """Cells as stripped text: nothing is "", and a whole number stays without a point."""
    texts = []
    for cell in column.tolist():
        if cell is None or cell is pd.NA or (isinstance(cell, float) and np.isnan(cell)):
            texts.append("")
        elif isinstance(cell, float) and cell.is_integer():
            texts.append(str(int(cell)))
        else:
            texts.append(str(cell).strip())
    return texts


def _check_paths(paths: list[str], root: Path, table: str) -> list[str]:
    seen: dict[str, int] = {}
    for row, text in enumerate(paths, start=1):
        require(text, f"path in row {row} of {table}", "given", text)
        path = _inside(text, root)
        if path is None:
            raise UserError(
                f"path in row {row} of {table} must be inside the table's folder, got {text!r}"
            )
        if path in seen:
            raise UserError(
                f"path in row {row} of {table} must be listed once, got {text!r} as in row "
                f"{seen[path]}"
            )
        seen[path] = row
    return list(seen)


def _inside(text: str, root: Path) -> str | None:
    """The path relative to `root`, or None if it leads out of it; links are not followed."""
    given = text.replace("\\", "/")  # tables written on Windows
    full = os.path.normpath(os.path.join(root, given))
    relative = os.path.relpath(full, root)
    if relative in (".", "..") or relative.startswith(f"..{os.sep}"):
        return None
    return Path(relative).as_posix()


def _check_splits(cells: list[str], table: str) -> list[str]:
    names = [split_name(cell) if cell else "" for cell in cells]
    for row, (cell, name) in enumerate(zip(cells, names, strict=True), start=1):
        rule = f"one of {', '.join(SPLITS)} or empty"
        require(name is not None, f"split in row {row} of {table}", rule, cell)
    return [name or "" for name in names]
