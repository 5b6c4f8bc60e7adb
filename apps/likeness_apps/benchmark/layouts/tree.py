"""What the layouts share: a list beside the images, its rows, and the manifest of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from likeness.data.findings import Finding
from likeness.data.manifest import Manifest, build
from likeness.errors import UserError, require

LISTED = "listed, but there is no such file"


class Listed(NamedTuple):
    """One image of a published list; `role` is query or gallery where the set has both."""

    path: str
    label: str
    split: str
    role: str = ""


def beside(source: Path, name: str) -> Path | None:
    """The folder that holds the file `name` (a path): the one given, below it, or above it."""
    below = sorted(folder for folder in source.iterdir() if folder.is_dir())
    for folder in (source, *below, source.parent):
        if (folder / name).is_file():
            return folder
    return None


def read_rows(path: Path, columns: int, *, skip: int = 0) -> list[list[str]]:
    """The rows of a text file, split at blanks; the last column keeps its blanks.

    Args:
        path: the file.
        columns: of each row.
        skip: lines above the first row.

    Raises:
        UserError: if it cannot be read, or a row has fewer columns.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[skip:]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} must be a readable text file, got {error}") from None
    rows = []
    for number, line in enumerate(lines, start=skip + 1):
        cells = line.split(maxsplit=columns - 1)
        if cells:
            fits = len(cells) == columns
            require(fits, f"line {number} of {path.name}", f"{columns} columns", line)
            rows.append([cell.strip() for cell in cells])
    require(rows, path.name, "a list of images", "no row")
    return rows


def manifest_of(root: Path, layout: str, listed: Sequence[Listed]) -> Manifest:
    """The images of a list that are there; those that are not are told as errors.

    Raises:
        UserError: if none is there.
    """
    there, findings = [], []
    for item in listed:
        if (root / item.path).is_file():
            there.append(item)
        else:
            advice = "unpack the set again, or give its folder"
            findings.append(Finding("error", "missing-file", item.path, LISTED, advice))
    require(there, "data", f"the images of {layout} beside its list", str(root))
    columns = {
        "path": [str(PurePosixPath(item.path)) for item in there],
        "label": [item.label for item in there],
        "split": [item.split for item in there],
        "role": [item.role for item in there],
    }
    return build(root.absolute(), columns, layout, findings)
