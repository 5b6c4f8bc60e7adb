"""Pictures that are written as numbers in a CSV table: unpacked once, into a cache.

The tables of FER2013 have a row `emotion,pixels,Usage` for each face of 48 x 48 grey pixels, in
three forms: so; without `Usage`; and as `emotion, Usage, pixels` with blanks in the header.

The cache is the folder `likeness/faces` of the user's own caches, or of `LIKENESS_CACHE`. It holds
pictures of people: only the user may read it, and it may be removed at any time.
"""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from likeness.data.findings import Finding
from likeness.errors import UserError, require
from likeness.files import sha256_file
from likeness_apps.shell.console import progress
from likeness_apps.shell.generated import README

SIDE = 48
_ROWS = "rows.csv"  # of an unpacked table, beside the pictures
_COLUMNS = ("path", "emotion", "usage", "fault")
_SPLIT_FOLDERS = ("Training", "PublicTest", "PrivateTest")


@dataclass(frozen=True, eq=False)
class Unpacked:
    """A table whose pictures lie in files.

    Attributes:
        folder: where they are.
        rows: one row per row of the table, in its order, all text: `path` of the picture in
            `folder` ("" = there is none), `emotion` and `usage` as they stand ("" if there is no
            such column), `fault`: why there is no picture.
    """

    folder: Path
    rows: pd.DataFrame

    def findings(self, table: str) -> list[Finding]:
        """An error for each row that has no picture; `table` is its name."""
        bad = self.rows[self.rows["fault"] != ""]
        advice = "correct the row; it is left out"
        return [
            Finding("error", "bad-pixels", table, f"row {number + 1}: {fault}", advice)
            for number, fault in bad["fault"].items()
        ]


def header_of(table: Path) -> list[str]:
    """The columns of a CSV table, in lower case and stripped; [] if it cannot be read."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            return [name.strip().lower() for name in next(csv.reader(lines), [])]
    except (OSError, ValueError, csv.Error):
        return []


def unpack(table: Path) -> Unpacked:
    """Write every picture of a table into the cache, unless it is there already.

    The folder is named by the table's content: a changed table gets another one, and it appears as
    a whole or not at all, whoever else unpacks the same.

    Args:
        table: a CSV file with a column `pixels`.

    Raises:
        UserError: if the table cannot be read, or the cache not written.
    """
    folder = cache_folder() / sha256_file(table)[:24]
    if not folder.is_dir():
        try:
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))  # of mode 0700
            try:
                _write_pictures(table, temporary)
                _rename(temporary, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        except OSError as error:
            rule = "a place for unpacked pictures that can be written"
            raise UserError(f"LIKENESS_CACHE must be {rule}, got {folder}: {error}") from error
    rows = pd.read_csv(folder / _ROWS, dtype=str, keep_default_na=False)
    return Unpacked(folder, rows)


def cache_folder() -> Path:
    """Where unpacked tables are kept."""
    own = os.environ.get("LIKENESS_CACHE")
    if own:
        return Path(own) / "faces"
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "likeness" / "faces"


def _rename(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():  # else somebody else was faster, with the same pictures
            raise


def _write_pictures(table: Path, folder: Path) -> None:
    for name in ("", *_SPLIT_FOLDERS):
        (folder / name).mkdir(exist_ok=True)
    written = []
    with progress(f"unpacking {table.name}") as advance:
        for number, (emotion, usage, text, done) in enumerate(_cells(table)):
            known = usage if usage in _SPLIT_FOLDERS else ""
            path, fault = f"{known}/fer{number:07d}.png".lstrip("/"), ""
            try:
                picture = Image.fromarray(_pixels(text))
            except ValueError as error:
                path, fault = "", str(error)
            else:
                picture.save(folder / path, compress_level=1)
            written.append((path, emotion, usage, fault))
            advance(done, table.stat().st_size)
    rows = pd.DataFrame(written, columns=list(_COLUMNS))
    rows.to_csv(folder / _ROWS, index=False, lineterminator="\n")
    readme = table.parent / README  # says of generated data that they are
    if readme.is_file():
        shutil.copyfile(readme, folder / README)


def _cells(table: Path) -> Iterator[tuple[str, str, str, int]]:
    """`emotion`, `usage` and `pixels` of each row, and how much of the file has been read."""
    read = 0
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.reader(lines)
            header = [name.strip().lower() for name in next(rows, [])]
            require("pixels" in header, table.name, "a table with a column pixels", header)
            places = {name: header.index(name) for name in header}
            for row in rows:
                if not row:  # an empty line
                    continue
                read += sum(map(len, row))
                cells = {name: row[n].strip() for name, n in places.items() if n < len(row)}
                yield (
                    cells.get("emotion", ""),
                    cells.get("usage", ""),
                    cells.get("pixels", ""),
                    read,
                )
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table} must be a readable table, got {error}") from error


def _pixels(text: str) -> np.ndarray:
    """The picture in a cell.

    Raises:
        ValueError: saying what is wrong with it.
    """
    words = text.split()
    if len(words) != SIDE * SIDE:
        raise ValueError(f"{len(words)} pixels, where {SIDE} x {SIDE} = {SIDE * SIDE} are expected")
    try:
        values = np.fromiter(map(int, words), np.int64, len(words))
    except (ValueError, OverflowError):
        odd = next(word for word in words if not word.isdecimal())
        raise ValueError(f"a pixel that is no whole number, {odd[:20]!r}") from None
    if values.min() < 0 or values.max() > 255:
        raise ValueError(
            f"pixels from {values.min()} to {values.max()}, where 0 to 255 are expected"
        )
    return values.astype(np.uint8).reshape(SIDE, SIDE)
