"""What is finished of a video, beside the output, so that a killed call goes on where it was.

Beside what `work_folder` says, `OUT.parts/` holds `set/` (which becomes OUT by renaming) and
`part-000000.json`, ...: the rows of some hundred frames, whose crops are in `set/`, and where in
the video to go on. Crops of a part that was not finished are written again, under the same names.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from likeness.data.video import Place
from likeness.files import write_text
from likeness.work_folder import RECORD, begin, empty, locked, part_file, remove, work_folder
from likeness_apps.person_reid.tracklets.ledger import Row
from likeness_apps.shell.outputs import require_new

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Journal:
    """An opened work folder.

    Attributes:
        folder: where it is.
        out: what becomes of its `set`.
    """

    folder: Path
    out: Path

    @property
    def set(self) -> Path:
        """Where the set is while it is made."""
        return self.folder / "set"

    def resume(self) -> tuple[int, Place | None]:
        """How many parts are finished, and where in the video the next begins (None: at its start).

        Parts behind the end of the video are not counted: they are made in no time.
        """
        place = None
        for number in count():
            following = self._read(number)["next"] if self._file(number).is_file() else None
            if following is None:
                return number, place
            place = Place(*following)
        raise AssertionError

    def save(self, number: int, rows: Sequence[Row], following: Place | None) -> None:
        """Keep a part whose crops are written."""
        with suppress(AttributeError):  # Windows has none
            os.sync()  # the crops are on the disk before it is said that they are
        place = None if following is None else astuple(following)
        record = {"next": place, "rows": [astuple(row) for row in rows]}
        write_text(self._file(number), json.dumps(record, separators=(",", ":")))

    def rows(self, parts: int) -> Iterator[Row]:
        """The rows of the first `parts` parts."""
        for number in range(parts):
            for row in self._read(number)["rows"]:
                yield Row(*row)

    def finish(self) -> None:
        """Give the set its name."""
        if self.out.is_dir():
            self.out.rmdir()  # it is empty
        self.set.rename(self.out)

    def close(self) -> None:
        """Remove the folder, which has served."""
        remove(self.folder)

    def _file(self, number: int) -> Path:
        return part_file(self.folder, number, "json")

    def _read(self, number: int) -> Any:
        return json.loads(self._file(number).read_text(encoding="utf-8"))


@contextmanager
def open_journal(out: Path, asked: Mapping[str, Any], *, resume: bool) -> Iterator[Journal]:
    """Begin a set, or go on with it; one process at a time.

    Args:
        out: the set's folder; the work folder is this with `.parts` behind its name.
        asked: plain data, all that changes the set.
        resume: whether work that was begun is of use; else it is thrown away.

    Yields:
        The journal. Its folder stays until `Journal.close`.

    Raises:
        UserError: if there is something at `out` and no work on it was begun, another process works
            on it, or the work was begun with something else.
    """
    folder = work_folder(out)
    journal = Journal(folder, out)
    if (folder / RECORD).is_file() and out.exists() and not journal.set.exists():
        shutil.rmtree(folder)  # of a call that was killed when it had finished
    require_new(out)
    with locked(folder, out):
        if not resume:
            empty(folder)
        journal.set.mkdir(exist_ok=True)
        begin(folder, {**asked, "format_version": FORMAT_VERSION})
        yield journal
