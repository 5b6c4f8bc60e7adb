"""What is finished of a video, beside the table, so that a killed call goes on where it was.

Beside what `work_folder` says, `F.parts/` holds `part-000000.parquet`, ...: the rows of some
hundred frames, and in the metadata where in the video the next part begins and what is known of the
faces that are followed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from likeness.data.video import Place
from likeness.errors import require
from likeness.inference.tables import write_part
from likeness.work_folder import RECORD, begin, locked, part_file, remove, work_folder

FORMAT_VERSION = 1
_STATE = b"state"


@dataclass(frozen=True)
class State:
    """Where a killed call goes on.

    Attributes:
        parts: that are finished.
        place: the first frame of the next part; None = the first of all.
        faces: state of the `Follower`; None = it has seen none.
        ended: whether the parts are the whole video.
    """

    parts: int = 0
    place: Place | None = None
    faces: dict[str, Any] | None = None
    ended: bool = False


@dataclass(frozen=True)
class Journal:
    """An opened work folder."""

    folder: Path

    def resume(self) -> State:
        """What the finished parts leave to do."""
        for number in count():
            if not self._file(number).is_file():
                break
        return self._state(number) if number else State()

    def save(self, table: pa.Table, state: State) -> None:
        """Keep the rows of a part, and how to go on after it; `state.parts` counts it."""
        place = None if state.place is None else astuple(state.place)
        record = json.dumps({"place": place, "faces": state.faces, "ended": state.ended})
        kept = {**(table.schema.metadata or {}), _STATE: record.encode()}
        write_part(self._file(state.parts - 1), table.replace_schema_metadata(kept))

    def tables(self, parts: int, *columns: str) -> Iterator[pa.Table]:
        """The rows of the first `parts` parts, one table each; all columns if none is named."""
        for number in range(parts):
            yield pq.read_table(self._file(number), columns=list(columns) or None)

    def close(self) -> None:
        """Remove the folder, which has served."""
        remove(self.folder)

    def _file(self, number: int) -> Path:
        return part_file(self.folder, number, "parquet")

    def _state(self, parts: int) -> State:
        metadata = pq.read_metadata(self._file(parts - 1)).metadata
        record = json.loads(metadata[_STATE])
        place = None if record["place"] is None else Place(*record["place"])
        return State(parts, place, record["faces"], record["ended"])


@contextmanager
def open_journal(out: Path, asked: Mapping[str, Any]) -> Iterator[Journal]:
    """Begin a table, or go on with it; one process at a time.

    Args:
        out: the table.
        asked: plain data, all that changes the table.

    Yields:
        The journal. Its folder stays until `Journal.close`.

    Raises:
        UserError: if `out` is there and no work on it was begun, another process works on it, or
            the work was begun with something else.
    """
    journal = Journal(work_folder(out))
    # Killed when the table had its name, a call that is repeated gives it the same once more.
    ended = (journal.folder / RECORD).is_file() and journal.resume().ended
    require(ended or not out.exists(), "out", "the name of a file that is not there yet", str(out))
    with locked(journal.folder, out):
        begin(journal.folder, {**asked, "format_version": FORMAT_VERSION})
        yield journal
