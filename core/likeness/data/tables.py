"""A table of images that somebody wrote: CSV or Parquet, read into a Manifest."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.data.findings import Finding
from likeness.data.manifest import (
    COLUMNS,
    SEPARATOR,
    SPLITS,
    Manifest,
    build,
    join_labels,
    split_name,
    unlabelled_findings,
)
from likeness.errors import UserError, require

TABLE_SUFFIXES = frozenset((".csv", ".tsv", ".parquet", ".pq"))
_FLAGS = {"0", "1", "0.0", "1.0", "True", "False"}  # cells of a column that is a label


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
