"""What `predict` and `embed` are given, as a stream of paths in an order that never changes.

Nothing here holds the whole list: a folder's names are sorted in runs on disk where they are many.
"""

from __future__ import annotations

import csv
import heapq
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from likeness.data.listing import IMAGE_SUFFIXES
from likeness.data.masks import is_mask
from likeness.data.tables import TABLE_SUFFIXES
from likeness.errors import UserError, require

NAMES_IN_MEMORY = 100_000  # about 10 MiB of names
_PATH_COLUMNS = ("path", "image")  # the first that a table has
_SYSTEM = frozenset(("__macosx", "thumbs.db", "desktop.ini"))


@dataclass
class Source:
    """Images to be read, in order; a path that is listed twice is two rows.

    Attributes:
        root: the folder that the paths are relative to.
        given: what the user named, for messages.
        left_out: files that the last complete walk of a folder left out: their ending is not an
            image's, or they are the mask of one.
    """

    root: Path
    given: str
    left_out: int = field(default=0, init=False)

    def paths(self) -> Iterator[str]:
        """Posix paths relative to `root`; an absolute path outside it stays absolute.

        Raises:
            UserError: if the input cannot be read.
        """
        raise NotImplementedError


@dataclass
class Listed(Source):
    """Paths from anything that can be iterated again and again, a column of a table say."""

    listing: Iterable[str] = ()

    def paths(self) -> Iterator[str]:
        """The listed paths; see `Source.paths`."""
        for text in self.listing:
            yield _relative(text, self.root)


class Folder(Source):
    """The image files below a folder by ending, sorted by their posix path."""

    def paths(self) -> Iterator[str]:
        """Every image file; masks, hidden and system files and folders are passed over."""
        self.left_out = 0
        try:
            yield from self._walk("", (_identity(self.root),))
        except OSError as error:
            raise UserError(
                f"input must be a readable folder, got {error.filename}: {error.strerror}"
            ) from error

    def _walk(self, base: str, ancestors: tuple[tuple[int, int], ...]) -> Iterator[str]:
        for name in _sorted_names(self.root / base):
            if not name.endswith("/"):
                image = os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
                if image and not is_mask(self.root / (base + name)):
                    yield base + name
                else:
                    self.left_out += 1
                continue
            identity = _identity(self.root / (base + name))
            if identity not in ancestors:  # a link to a folder above would never end
                yield from self._walk(base + name, (*ancestors, identity))


class Table(Source):
    """The column `path` (or `image`) of a CSV or Parquet file, row by row."""

    def paths(self) -> Iterator[str]:
        """The cells in row order; see `Source.paths`."""
        parquet = Path(self.given).suffix.lower() in (".parquet", ".pq")
        cells = _parquet_cells(self.given) if parquet else _csv_cells(self.given)
        try:
            for text in cells:
                yield _relative(text.strip(), self.root)
        except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"input must be a readable table, got {self.given}: {reason}"
            ) from error


def open_source(path: Path | str, root: Path | str | None = None) -> Source:
    """Recognise a folder, a table (.csv, .tsv, .parquet, .pq) or a single image file.

    Args:
        path: what to read. In a folder files count by their ending; a file that is named itself or
            listed in a table is decoded by content whatever its ending.
        root: what a table's paths are relative to; None takes the table's folder.

    Raises:
        UserError: if there is no such path, or `root` is no folder.
    """
    given = Path(path)
    require(given.exists(), "input", "an existing folder, image or table", str(path))
    if given.is_dir():
        return Folder(given.absolute(), str(path))
    if given.suffix.lower() not in TABLE_SUFFIXES:
        return Listed(given.absolute().parent, str(path), [given.name])
    base = Path(root) if root is not None else given.parent
    require(base.is_dir(), "root", "an existing folder", str(base))
    return Table(base.absolute(), str(path))


def printable(text: str) -> str:
    """`text` as UTF-8 can hold it: undecodable bytes of a file name are escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _relative(text: str, root: Path) -> str:
    if not text:
        return ""
    given = text.replace("\\", "/")  # tables written on Windows
    if not os.path.isabs(given):
        return Path(os.path.normpath(given)).as_posix()
    path = Path(os.path.normpath(given))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _sorted_names(folder: Path) -> Iterator[str]:
    """Names in a folder, sorted; a folder's name ends in "/", so that whole paths are in order."""
    with ExitStack() as stack:
        runs: list[Iterator[str]] = []
        names: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower() in _SYSTEM:
                    continue
                names.append(f"{entry.name}/" if _is_folder(entry) else entry.name)
                if len(names) == NAMES_IN_MEMORY:
                    runs.append(_spooled(sorted(names), stack))
                    names = []
        yield from heapq.merge(*runs, sorted(names))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """A link to itself is none: a file that cannot be read, and no more."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _spooled(names: list[str], stack: ExitStack) -> Iterator[str]:
    """The names by way of a temporary file; JSON keeps line ends and undecodable bytes apart."""
    handle = stack.enter_context(tempfile.TemporaryFile("w+", encoding="ascii"))  # noqa: SIM115
    handle.writelines(f"{json.dumps(name)}\n" for name in names)
    handle.seek(0)
    return (json.loads(line) for line in handle)


def _csv_cells(path: str) -> Iterator[str]:
    with open(path, encoding="utf-8-sig", newline="") as handle:
        header = handle.readline()
        handle.seek(0)
        rows = csv.reader(handle, delimiter=max(",;\t", key=header.count), skipinitialspace=True)
        names = [name.strip() for name in next(rows, [])]
        column = names.index(_path_column(names, path))
        for row in rows:
            if row:  # blank lines are no rows
                yield row[column] if column < len(row) else ""


def _parquet_cells(path: str) -> Iterator[str]:
    with pq.ParquetFile(path) as file:
        name = _path_column(file.schema_arrow.names, path)
        for batch in file.iter_batches(batch_size=4096, columns=[name]):
            yield from (str(cell or "") for cell in batch.column(0).to_pylist())


def _path_column(names: list[str], path: str) -> str:
    for name in _PATH_COLUMNS:
        if name in names:
            return name
    known = ", ".join(map(str, names)) or "no column"
    raise UserError(f"{Path(path).name} must have a column 'path', got {known}")
