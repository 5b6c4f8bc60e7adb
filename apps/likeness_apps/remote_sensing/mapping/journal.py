"""What is finished of a map, beside it on the disk, so that a killed call goes on where it was.

Beside what `work_folder` says, `MAP.tif.parts/` holds `part-000000.npz`, ... (answers of some rows
of windows and the scene's data mask). The answers of a scene of 20,000 x 20,000 pixels take a few
megabytes: the map itself is always written anew from them, in one go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from likeness.errors import require
from likeness.files import atomic_path
from likeness.work_folder import RECORD, begin, locked, part_file, remove, work_folder
from likeness_apps.remote_sensing.mapping.answers import Part

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Journal:
    """An opened work folder."""

    folder: Path

    def file(self, part: int) -> Path:
        """Where a part is, or will be."""
        return part_file(self.folder, part, "npz")

    def finished(self) -> int:
        """How many parts from the first on are there."""
        return next(part for part in count() if not self.file(part).is_file())

    def save(self, number: int, part: Part) -> None:
        """Keep a part; killed meanwhile, nothing is kept of it."""
        with atomic_path(self.file(number)) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(
                handle,
                answers=part.answers_RCK,
                valid=np.packbits(part.valid_YX, axis=1),
                unreadable=np.array(part.unreadable, np.int64).reshape(-1, 4),
            )

    def load(self, number: int, width: int) -> Part:
        """A finished part; `width` is the scene's."""
        with np.load(self.file(number), allow_pickle=False) as stored:
            valid_YX = np.unpackbits(stored["valid"], axis=1, count=width).astype(bool)
            unreadable = [(int(a), int(b), int(c), int(d)) for a, b, c, d in stored["unreadable"]]
            return Part(stored["answers"], valid_YX, tuple(unreadable))

    def close(self) -> None:
        """Remove the folder, which has served."""
        remove(self.folder)


@contextmanager
def open_journal(
    out: Path, others: Sequence[Path | None], asked: Mapping[str, Any]
) -> Iterator[Journal]:
    """Begin a map, or go on with it; one process at a time.

    Args:
        out: the map; the folder is this with `.parts` behind its name.
        others: what else is written.
        asked: plain data, all that changes the answers.

    Yields:
        The journal. Its folder stays until `Journal.close`.

    Raises:
        UserError: if an output is there and no work on it was begun, another process works on it,
            or the folder was begun with something else.
    """
    folder = work_folder(out)
    begun = (folder / RECORD).is_file()
    for file in (out, *filter(None, others)):
        free = begun or not file.exists()
        require(free, "out", "the name of a file that is not there yet", str(file))
    with locked(folder, out):
        begin(folder, {**asked, "format_version": FORMAT_VERSION})
        yield Journal(folder)
