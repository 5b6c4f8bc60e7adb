"""The folder of a long job beside its output: one process at a time, for one purpose only.

`F.parts/` beside the output `F` holds `job.json` (what was asked; made last and removed last:
without it the folder is nothing), `lock`, and what is finished of the job. A job that was killed
goes on there; one that was asked something else is refused.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from likeness.errors import UserError
from likeness.files import write_json

RECORD, LOCK = "job.json", "lock"


def work_folder(out: Path) -> Path:
    """Where the work on `out` is kept."""
    return out.with_name(f"{out.name}.parts")


def part_file(folder: Path, number: int, ending: str) -> Path:
    """Where a part is, or will be; it is whole if it is there, because it appears by renaming."""
    return folder / f"part-{number:06d}.{ending}"


@contextmanager
def locked(folder: Path, out: Path) -> Iterator[None]:
    """Keep a second process away; the system lets go of the lock when the process dies.

    Args:
        folder: the work folder; it is made if need be.
        out: what is written, for the message.

    Raises:
        UserError: if another process holds the lock, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / LOCK).open("wb")
    except OSError as error:
        raise UserError(f"out must be a writable place, got {out}: {error.strerror}") from error
    with handle:
        try:
            import fcntl
        except ImportError:  # Windows: the user keeps the order
            yield
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"out must be free, got {out}, which another process writes") from None
        except OSError:  # a file system without locks
            pass
        yield


def begin(folder: Path, asked: Mapping[str, Any]) -> None:
    """Write down what is asked, or see that it is what was asked before.

    Args:
        folder: the work folder, locked.
        asked: plain data, all that changes the output.

    Raises:
        UserError: if the folder was begun with something else.
    """
    record = folder / RECORD
    now = json.loads(json.dumps(dict(asked)))  # as it will be read
    if not record.is_file():
        write_json(record, now)
        return
    before = json.loads(record.read_text(encoding="utf-8"))
    changed = next((key for key in now if before.get(key) != now[key]), None)
    if changed is not None:
        raise begun_otherwise(folder, f"{changed} {before.get(changed)}")


def begun_otherwise(folder: Path, what: str) -> UserError:
    """The refusal of a folder that was begun with `what`."""
    return UserError(
        f"out must be a name whose parts belong to the same work (remove {folder} or "
        f"choose another name), got parts begun with {what}"
    )


def empty(folder: Path, but: Container[str] = (LOCK,)) -> None:
    """Remove what is in the folder, but the files of some names."""
    for old in folder.iterdir():
        if old.name in but:
            continue
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink()


def remove(folder: Path) -> None:
    """Remove the folder, which has served; its record goes last."""
    empty(folder, but=(LOCK, RECORD))
    shutil.rmtree(folder)
