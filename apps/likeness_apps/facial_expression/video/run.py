"""From a video to a table of its faces over time: as a stream, in bounded memory, resumable.

The video is decoded in the caller's thread, faces are found in others, followed in the caller's
again, and the faces of several frames go to the model together.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from likeness.data.video import Place, VideoFrame, frames, frames_hint
from likeness.errors import require
from likeness.inference.blocks import OK, Model
from likeness.threads import prefetched
from likeness_apps.facial_expression.faces.cascade import CascadeDetector
from likeness_apps.facial_expression.faces.detector import Detector
from likeness_apps.facial_expression.faces.find import Finder, Found, finder_of
from likeness_apps.facial_expression.faces.follow import Follower, Following
from likeness_apps.facial_expression.faces.rows import (
    NO_FACE,
    Sheet,
    face_schema,
    join,
    require_table,
    table_of,
)
from likeness_apps.facial_expression.video.journal import Journal, State, open_journal

PART_FRAMES = 256  # that are finished together: what a kill can cost
SHARE = 0.1  # smallest face that the cascade looks for, of the picture's longer side
UNREADABLE = "unreadable_frame"
FACES_NOTE = (
    "face numbers link what is taken for the same face from frame to frame of this video; they are "
    "no identities"
)
_SMEARED = "it follows a damaged frame, up to the next key frame, and may be smeared"
_KEYS = (("frame", pa.int64()), ("time_s", pa.float64()))
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Watched:
    """What became of a video.

    Attributes:
        frames: that were looked at.
        unreadable: of these, damaged.
        without_face: of these, readable and no face was found.
        tracks: faces that were followed, by number.
        faces: rows with a face.
        ok: of these, with an answer.
        resumed: frames, counted from the video's first, that an earlier call had passed.
    """

    frames: int
    unreadable: int
    without_face: int
    tracks: int
    faces: int
    ok: int
    resumed: int = 0

    @property
    def exit_code(self) -> int:
        """0 if any face has an answer, else 1."""
        return 0 if self.ok else 1

    def told(self) -> str:
        """In words."""
        seen = self.frames - self.unreadable
        text = f"faces found in {seen - self.without_face} of {seen} frames"
        if self.unreadable:
            text += f" ({self.unreadable} more cannot be read)"
        text += f": {self.tracks} followed, {self.faces} rows, {self.ok} ok"
        return text + (f"; went on at frame {self.resumed}" if self.resumed else "")


class _Looked(NamedTuple):
    """A frame with the faces in it, or why it has no sound picture; the picture is gone."""

    place: Place
    time_s: float
    reason: str
    faces: list[Found]


def predict_video(
    model: Model,
    video: Path | str,
    out: Path | str,
    *,
    detector: Detector | None = None,
    every: int = 1,
    margin: float = 0.0,
    align: bool = False,
    grey: bool | None = None,
    following: Following | None = None,
    plot: Path | str | None = None,
    threads: int = 2,
    on_progress: Progress | None = None,
) -> Watched:
    """Write one row per face and frame.

    Columns: frame (from 0), time_s (as the file has it, right with a variable frame rate and behind
    damaged frames), face (its number while it is followed), left, top, width, height (pixels of the
    frame), detector_score, status, reason, label, `p_<class>`, model_id. A frame without a face is
    a row with status `no_face`, a damaged one a row with `unreadable_frame`. Memory holds a few
    frames and the rows of 256, however long the video is. A call that was killed goes on when it
    is repeated, and the table comes out the same.

    Args:
        model: who is asked.
        video: see `likeness.data.video.frames`.
        out: a new file that ends in .csv or .parquet.
        detector: see `detector.Detector`; None takes the cascade, for faces of at least a tenth of
            the picture's longer side.
        every: look at the frames whose number is a multiple of it, >= 1.
        margin: see `predict_photos`.
        align: see `predict_photos`.
        grey: see `predict_photos`.
        following: how faces are linked.
        plot: also draw the faces over time, see `timeline`; a .png file.
        threads: that find faces, >= 1.
        on_progress: called with (frames done, frames in all as the header says, 0 = unknown).

    Returns:
        What was found.

    Raises:
        UserError: if a file or number is not as above, or the work folder belongs to other work.
            What `detector` raises is passed on.
    """
    require(len(model.classes), "model", "one with classes or centres", model.model_id)
    require(every >= 1, "every", ">= 1", every)
    require(threads >= 1, "threads", ">= 1", threads)
    final = Path(out).absolute()
    require_table(final)
    plot = None if plot is None else Path(plot)
    require(plot is None or plot.suffix == ".png", "plot", "a .png file", str(plot))
    total = frames_hint(video)  # and it is a video
    detector = detector or CascadeDetector(share=SHARE)
    finder = finder_of(model, detector, margin=margin, align=align, grey=grey)
    rules = following or Following()
    settings = {**model.settings, "faces": finder.settings, "following": asdict(rules)}
    asked = {"video": _identity(Path(video)), "model": model.model_id, "every": every}
    facts = {**model.terms, "model_id": model.model_id, "faces": FACES_NOTE}
    told = {**facts, "every": str(every), "settings": json.dumps(settings)}
    schema = face_schema(_KEYS, model.classes, told)
    with open_journal(final, {**asked, "settings": settings}) as journal:
        state = journal.resume()
        resumed = state.place.index if state.place else 0
        if not state.ended:
            follower = Follower(rules, state.faces)
            looked = _look(finder, video, state.place, every, threads)
            work = _told(looked, on_progress or (lambda done, total: None), total)
            with closing(looked):  # type: ignore[type-var]
                state = _keep(work, journal, state, follower, Sheet(model), schema)
        watched = _counted(journal, state)
        counted = {**(schema.metadata or {}), "coverage": json.dumps(asdict(watched))}
        if plot is not None:
            from likeness_apps.facial_expression.video.timeline import write_timeline

            write_timeline(plot, partial(journal.tables, state.parts), model.classes)
        join(journal.folder, final, journal.tables(state.parts), schema.with_metadata(counted))
        journal.close()
    return replace(watched, resumed=resumed)


def _look(
    finder: Finder, video: Path | str, start: Place | None, every: int, threads: int
) -> Iterator[_Looked]:
    """Find the faces of the chosen frames in threads, ahead of the reader; in order."""
    chosen = (frame for frame in frames(video, start=start) if frame.index % every == 0)
    work = partial(_looked, finder)
    return prefetched(chosen, work, threads=threads, ahead=2 * threads)


def _looked(finder: Finder, frame: VideoFrame) -> _Looked:
    reason = frame.reason or (_SMEARED if frame.after_damage else "")
    found = [] if reason else finder(frame.image_HWC)
    return _Looked(frame.place, frame.time_s, reason, found)


def _told(looked: Iterator[_Looked], on_progress: Progress, total: int) -> Iterator[_Looked]:
    """The same, counted for the person who waits."""
    for one in looked:
        yield one
        done = one.place.index + 1
        on_progress(done, max(done, total))


def _keep(
    work: Iterator[_Looked],
    journal: Journal,
    state: State,
    follower: Follower,
    sheet: Sheet,
    schema: pa.Schema,
) -> State:
    """Journal the rows part by part; returns the state at the end of the video."""
    inside = 0  # frames of the part that is under way
    for looked in work:
        if inside == PART_FRAMES:
            state = State(state.parts + 1, looked.place, follower.state)
            journal.save(table_of(sheet.take(), sheet.model, schema), state)
            inside = 0
        _add(sheet, looked, follower)
        inside += 1
    state = State(state.parts + 1, ended=True)
    journal.save(table_of(sheet.take(), sheet.model, schema), state)
    return state


def _add(sheet: Sheet, looked: _Looked, follower: Follower) -> None:
    """The rows of a frame."""
    keys = looked.place.index, looked.time_s
    if looked.reason:
        sheet.add_other(keys, UNREADABLE, looked.reason)
        return
    faces = [found.face for found in looked.faces]
    numbers = follower.update(looked.time_s, faces, [found.patch_P for found in looked.faces])
    for number, found in zip(numbers, looked.faces, strict=True):
        sheet.add_face(keys, number, found)
    if not faces:
        sheet.add_other(keys, NO_FACE, "no face was found")


def _counted(journal: Journal, state: State) -> Watched:
    """Over all parts; the rows of a frame are in one of them."""
    status = Counter[Any]()
    frame_count = tracks = faces = 0
    for table in journal.tables(state.parts, "frame", "face", "status"):
        status.update(table.column("status").to_pylist())
        frame_count += pc.count_distinct(table.column("frame")).as_py()
        faces += len(table) - table.column("face").null_count
        tracks = max(tracks, pc.max(table.column("face")).as_py() or 0)
    bare = {"unreadable": status[UNREADABLE], "without_face": status[NO_FACE]}
    return Watched(frame_count, **bare, tracks=tracks, faces=faces, ok=status[OK])


def _identity(path: Path) -> list[object]:
    """What tells a file from its next edition."""
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]
