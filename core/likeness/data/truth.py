"""Tables of labels that lie beside images: rows by image name, flags of 0 and 1, one-hot rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from likeness.data.findings import Finding
from likeness.data.tables import load_csv
from likeness.errors import UserError, require

Row = Mapping[str, str]  # cell by column


def by_stem(images: Sequence[str]) -> dict[str, str]:
    """Path by name without ending, which tables use.

    Raises:
        UserError: if two images have the same name.
    """
    paths: defaultdict[str, list[str]] = defaultdict(list)
    for path in images:
        paths[PurePosixPath(path).stem].append(path)
    for stem, found in paths.items():
        require(len(found) == 1, f"image {stem!r}", "there once", ", ".join(found))
    return {stem: found[0] for stem, found in paths.items()}


def flag(cell: str, where: str) -> bool:
    """A cell of 0 or 1, also written as 0.0 or 1.0.

    Raises:
        UserError: if it is anything else; `where` says where it stands.
    """
    try:
        value = float(cell)
    except ValueError:
        raise UserError(f"{where} must be of 0 and 1, got {cell!r}") from None
    require(value in (0.0, 1.0), where, "of 0 and 1", cell)
    return value == 1.0


def rows_by_name(table: Path, columns: Sequence[str], key: str) -> dict[str, Row]:
    """The rows of a CSV table (with or without the ending .csv) by image name.

    Args:
        table: a text table with a header, in UTF-8; comma, semicolon or tab.
        columns: the columns that must be there; a column's name may be in any case.
        key: the one with the image's name; an ending and a folder in it are left away.

    Returns:
        All columns of each row as stripped text, by lower-case name of the column.

    Raises:
        UserError: if the table cannot be read, lacks a column, or names an image twice.
    """
    frame = load_csv(table).rename(columns=str.lower)
    for name in (key, *columns):
        if name not in frame.columns:
            known = ", ".join(map(str, frame.columns))
            raise UserError(f"{table.name} must have a column {name!r}, got {known}")
    rows: dict[str, Row] = {}
    for number, cells in enumerate(frame.to_dict("records"), start=1):
        row = {str(name): str(cell).strip() for name, cell in cells.items()}
        stem = stem_of(row[key])
        where = f"row {number} of {table.name}"
        require(stem not in rows, where, "about an image that no other row is about", stem)
        rows[stem] = row
    return rows


def stem_of(name: str) -> str:
    """The name in a table's cell without folder and image ending; other points stay."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.stem if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".bmp") else path.name


def one_hot(row: Row, classes: Sequence[str], where: str) -> str:
    """The one class whose cell is 1; "" if none is.

    Args:
        row: cells of 0 and 1, by lower-case column.
        classes: the lower-case columns that are classes.
        where: the row, for messages.

    Raises:
        UserError: if a cell is neither 0 nor 1, or several are 1.
    """
    chosen = [name for name in classes if flag(row[name], where)]
    require(len(chosen) < 2, where, "of one class", " and ".join(chosen))
    return chosen[0] if chosen else ""


def missing_image_finding(table: str, stems: Sequence[str]) -> list[Finding]:
    """One warning for all names of a table that are no image of the set; none without any."""
    if not stems:
        return []
    message = f"{len(stems)} names are no image of the set; the first is {stems[0]!r}"
    advice = "add the images, or remove the lines"
    return [Finding("warning", "list-without-image", table, message, advice)]
