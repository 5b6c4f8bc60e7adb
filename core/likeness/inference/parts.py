"""The work folder of a long job: what was asked, the list of inputs, and the finished parts.

Beside what `work_folder` says, `F.parts/` holds `inputs.jsonl` (one line `[path, bytes, modified]`
per row) and `part-000000.parquet`, ... Whatever kills the process leaves whole parts and a listing
that does not change under them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import Any

from likeness.errors import UserError, require
from likeness.files import atomic_path, write_json
from likeness.inference.sources import Source
from likeness.work_folder import (
    LOCK,
    RECORD,
    begun_otherwise,
    empty,
    locked,
    part_file,
    remove,
    work_folder,
)

FORMAT_VERSION = 1
_WORDS = {"model_id": "model"}


@dataclass(frozen=True)
class Job:
    """What a work folder is for; the first five fields must agree for the work to go on.

    Attributes:
        command: `predict` or `embed`.
        model_id: of the model that answers.
        settings: plain data, what else changes the answers.
        shard: `[i, n]`: this job does block i of n, i from 1.
        fingerprint: SHA-256 over path, size and modification time of every input, all blocks.
        first: the block's first row in the whole list.
        rows: rows of the block.
        part_rows: rows per part.
        left_out: files of the input folder that are no images by their ending.
        ok: rows with an answer, once the output is in its place; None before.
        refused: rows out of scope, likewise.
        format_version: of this record.
    """

    command: str
    model_id: str
    settings: dict[str, Any]
    shard: list[int]
    fingerprint: str
    first: int
    rows: int
    part_rows: int
    left_out: int
    ok: int | None = None
    refused: int = 0
    format_version: int = FORMAT_VERSION

    @property
    def parts(self) -> int:
        """Number of parts."""
        return -(-self.rows // self.part_rows)

    def rows_of(self, part: int) -> int:
        """Rows of one part; all have `part_rows` but the last."""
        return min(self.part_rows, self.rows - part * self.part_rows)


@dataclass(frozen=True)
class Parts:
    """An opened work folder."""

    folder: Path
    job: Job

    def file(self, part: int) -> Path:
        """Where a part is, or will be."""
        return part_file(self.folder, part, "parquet")

    def finished(self, part: int) -> bool:
        """Whether a part is whole: it is, if it is there."""
        return self.file(part).is_file()

    def paths_of(self, wanted: Container[int]) -> Iterator[str]:
        """The inputs of some parts, in order, read as they are asked for."""
        with _inputs(self.folder).open(encoding="ascii") as lines:
            block = islice(lines, self.job.first, self.job.first + self.job.rows)
            for row, line in enumerate(block):
                if row // self.job.part_rows in wanted:
                    yield json.loads(line)[0]


@contextmanager
def opened(
    files: Sequence[Path],
    source: Source,
    *,
    command: str,
    model_id: str,
    settings: Mapping[str, Any],
    shard: tuple[int, int],
    part_rows: int,
    overwrite: bool,
) -> Iterator[Parts]:
    """Begin a job, or go on with it where it was stopped; one process at a time.

    Args:
        files: what will be written; the folder is the first with `.parts` behind its name.
        source: the inputs. They are listed once; a job that goes on keeps its own list.
        command: see `Job`.
        model_id: see `Job`.
        settings: see `Job`.
        shard: `(i, n)` with 1 <= i <= n.
        part_rows: rows per part; a job that goes on keeps its own.
        overwrite: whether a new job may replace the files.

    Yields:
        The folder. It stays: call `close` when the output is in its place. If `job.ok` is set, an
        earlier call was killed after that, and nothing is left to do but `close`.

    Raises:
        UserError: if the input is empty or cannot be listed, a file is there and the job is new,
            another process works on it, or the folder was begun with another model, input, block
            or other settings.
    """
    index, count = shard
    require(1 <= index <= count, "shard", "i/n with 1 <= i <= n", f"{index}/{count}")
    require(part_rows >= 1, "part_rows", ">= 1", part_rows)
    folder = work_folder(files[0])
    asked = {
        "command": command,
        "model_id": model_id,
        "settings": json.loads(json.dumps(dict(settings))),
        "shard": [index, count],
    }
    with locked(folder, files[0]):
        job = _read_job(folder)
        if job is not None:
            now = {**asked, "fingerprint": _fingerprint(source)}
            changed = next((key for key in now if getattr(job, key) != now[key]), None)
            there = all(file.exists() for file in files)
            if job.ok is not None and (changed is not None or not there):
                job = None  # what is left of a finished job
            elif changed is not None:
                raise _foreign(folder, changed, getattr(job, changed))
        if job is None:
            try:
                _require_free(files, overwrite)
                job = _begin(folder, source, asked, part_rows)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        yield Parts(folder, job)


def close(parts: Parts, ok: int, refused: int = 0) -> None:
    """Remove the folder, which has served; killed in between, the next call finds that noted.

    Args:
        parts: the folder.
        ok: rows with an answer.
        refused: rows out of scope.
    """
    write_json(parts.folder / RECORD, asdict(replace(parts.job, ok=ok, refused=refused)))
    remove(parts.folder)


def _require_free(files: Sequence[Path], overwrite: bool) -> None:
    for file in files:
        free = not file.exists() or (overwrite and file.is_file())
        require(free, "out", "the name of a file that is not there yet", str(file))


def _begin(folder: Path, source: Source, asked: Mapping[str, Any], part_rows: int) -> Job:
    empty(folder, but=(LOCK,))  # left by a process that was killed before it had a record
    digest, total = hashlib.sha256(), 0
    with atomic_path(_inputs(folder)) as temporary, temporary.open("wb") as handle:
        for line in _lines(source):
            handle.write(line)
            digest.update(line)
            total += 1
    if total == 0:
        raise UserError(f"input must be a place with at least one image, got {source.given}")
    index, count = asked["shard"]
    first, end = (index - 1) * total // count, index * total // count
    job = Job(
        **asked,
        fingerprint=digest.hexdigest(),
        first=first,
        rows=end - first,
        part_rows=part_rows,
        left_out=source.left_out,
    )
    write_json(folder / RECORD, asdict(job))
    return job


def _lines(source: Source) -> Iterator[bytes]:
    """One line per input; ASCII JSON keeps undecodable bytes and line ends of names apart."""
    for path in source.paths():
        size = modified = -1
        with suppress(OSError, ValueError):  # missing: the row will say so
            status = (source.root / path).stat()
            if S_ISREG(status.st_mode):  # a folder's time changes with what it holds
                size, modified = status.st_size, status.st_mtime_ns
        yield f"{json.dumps([path, size, modified])}\n".encode("ascii")


def _read_job(folder: Path) -> Job | None:
    record = folder / RECORD
    if not record.is_file():
        return None
    try:
        return Job(**json.loads(record.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"out must be a name without foreign parts (remove {folder} or choose another name), "
            f"got a {record.name} that is not this version's"
        ) from error


def _fingerprint(source: Source) -> str:
    digest = hashlib.sha256()
    for line in _lines(source):
        digest.update(line)
    return digest.hexdigest()


def _foreign(folder: Path, key: str, before: Any) -> UserError:
    what = "another input" if key == "fingerprint" else f"{_WORDS.get(key, key)} {before}"
    return begun_otherwise(folder, what)


def _inputs(folder: Path) -> Path:
    return folder / "inputs.jsonl"
