"""From a video and boxes to a set in the layout of MARS, as a stream, resumable.

The video is decoded in the caller's thread; crops are cut and written in others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from likeness.data.video import Place, VideoFrame, frames, frames_hint
from likeness.errors import UserError, require
from likeness.threads import prefetched
from likeness_apps.person_reid.tracklets import statuses, tables
from likeness_apps.person_reid.tracklets.crops import write_crop
from likeness_apps.person_reid.tracklets.detections import Box, box_of, malformed, read_boxes
from likeness_apps.person_reid.tracklets.journal import Journal, open_journal
from likeness_apps.person_reid.tracklets.ledger import Ledger, Row
from likeness_apps.person_reid.tracklets.plan import Planned, Seen, Wanted, matched, plan
from likeness_apps.shell.console import say

PART_FRAMES = 256  # that are finished together: what a kill can cost
CAMERAS = 99  # two digits; other readers of MARS know 1 to 6 only
Detect = Callable[[np.ndarray], Any]
Progress = Callable[[int, int], None]
Source = Callable[[Journal, Place | None], Iterator[Seen]]


@dataclass(frozen=True)
class Cropped:
    """What a call has made.

    Attributes:
        out: the set.
        frames: of the video.
        tracks: that have a crop.
        counts: boxes by status.
        resumed: frames that an earlier call had finished.
    """

    out: Path
    frames: int
    tracks: int
    counts: Counter[str]
    resumed: int

    @property
    def exit_code(self) -> int:
        """0; 1 if there is not one crop."""
        return 0 if self.counts[statuses.OK] else 1


def tracklets(
    video: Path | str,
    detections: Path | str,
    out: Path | str,
    *,
    camera: int,
    pad: float = 0.0,
    min_confidence: float | None = None,
    first_frame: int = 1,
    first_id: int = 1,
    threads: int = 2,
    on_progress: Progress | None = None,
) -> Cropped:
    """Cut the boxes of a tracker's table out of a video: a set of tracklets in MARS's layout.

    Memory holds a few frames, 256 frames' rows and a line per track, however long the video is. A
    call that was killed goes on when it is repeated, and the set comes out the same.

    Args:
        video: see `likeness.data.video.frames`.
        detections: a MOT table or JSON lines, see `detections`.
        out: a new or empty folder.
        camera: its number, 1 to 99.
        pad: what is added on each side of a box, as a share of its width and height, in [0, 1].
        min_confidence: boxes below have no crop; None takes all.
        first_frame: what the table calls the first frame, 0 or 1.
        first_id: provisional number of the first track, >= 1.
        threads: that write crops, >= 1.
        on_progress: called with (frames done, frames in all as the header says, 0 = unknown).

    Returns:
        What was done. Each box that has no crop has a row with the reason in `boxes.csv`.

    Raises:
        UserError: if a file is missing or not what it should be, a number is out of range, `out` is
            not free, or the work beside it was begun with something else.
    """
    table = Path(detections)
    require(table.is_file(), "detections", "an existing file", str(table))
    require(first_frame in (0, 1), "first_frame", "0 or 1", first_frame)
    wanted = _wanted(pad, min_confidence)

    def source(journal: Journal, start: Place | None) -> Iterator[Seen]:
        boxes = read_boxes(table, journal.folder, first_frame=first_frame)
        pictures = frames(video, start=start)
        return matched(pictures, boxes, first_frame, start.index if start else 0)

    asked = {"detections": _identity(table), "first frame": first_frame}
    setting = _Setting(Path(video), Path(out), camera, first_id, wanted, threads, asked)
    return _make(setting, source, on_progress, resume=True)


def crop_tracks(
    video: Path | str,
    detect: Detect,
    out: Path | str,
    *,
    camera: int,
    pad: float = 0.0,
    min_confidence: float | None = None,
    first_id: int = 1,
    threads: int = 2,
    on_progress: Progress | None = None,
) -> Cropped:
    """As `tracklets`, with boxes from a function instead of a table; frames count from 1.

    A tracker remembers what it has seen, so a call that was killed begins again at the first frame.

    Args:
        video: see `tracklets`.
        detect: called with each readable frame in order, uint8 RGB (H, W, 3), in the caller's
            thread; returns its boxes as rows of track, left, top, width, height and perhaps
            confidence: numbers, tracks whole and >= 0, pixels. None is no box.
        out: see `tracklets`.
        camera: see `tracklets`.
        pad: see `tracklets`.
        min_confidence: see `tracklets`.
        first_id: see `tracklets`.
        threads: see `tracklets`.
        on_progress: see `tracklets`.

    Returns:
        What was done.

    Raises:
        UserError: as `tracklets`. What `detect` raises is passed on.
    """

    def source(journal: Journal, start: Place | None) -> Iterator[Seen]:
        return (_asked_of(detect, frame) for frame in frames(video, start=start))

    wanted = _wanted(pad, min_confidence)
    setting = _Setting(Path(video), Path(out), camera, first_id, wanted, threads, {})
    return _make(setting, source, on_progress, resume=False)


def tell(done: Cropped, *, quiet: bool = False) -> int:
    """Say what was done; that nothing was cropped is said even if `quiet`.

    Returns:
        The exit code: 0, or 1 if there is not one crop.
    """
    told = f"{done.out}: {done.counts[statuses.OK]} crops of {done.tracks} tracks"
    told += f" from {done.frames} frames"
    if done.resumed:
        told += f", {done.resumed} of them read by an earlier call"
    say(told, quiet=quiet and not done.exit_code)
    refused = {name: n for name, n in sorted(done.counts.items()) if name != statuses.OK}
    if refused:
        listed = ", ".join(f"{count} {name}" for name, count in refused.items())
        say(f"without a crop: {listed} (see {tables.BOXES})", quiet=quiet and not done.exit_code)
    say("the numbers of the tracks are provisional: they are no identities", quiet=quiet)
    return done.exit_code


@dataclass(frozen=True)
class _Setting:
    """What both ways of finding boxes share; `asked` is what else changes the set."""

    video: Path
    out: Path
    camera: int
    first_id: int
    wanted: Wanted
    threads: int
    asked: dict[str, Any]


def _wanted(pad: float, min_confidence: float | None) -> Wanted:
    require(0 <= pad <= 1, "pad", "in [0, 1]", pad)
    return Wanted(pad, min_confidence)


def _asked_of(detect: Detect, frame: VideoFrame) -> Seen:
    """The frame with what the function finds in it; it is shown sound pictures only."""
    number = frame.index + 1
    found = None if frame.after_damage else detect(frame.image_HWC)
    return Seen(number, frame, [_box_of(number, row) for row in (() if found is None else found)])


def _box_of(number: int, row: Any) -> Box:
    try:
        values = [float(value) for value in row]
    except (TypeError, ValueError):
        values = []
    if len(values) not in (5, 6):
        raise UserError(
            "detect must return rows of track, left, top, width, height and perhaps confidence, "
            f"got {row}"
        )
    try:
        return box_of(number, values)
    except ValueError as error:
        return malformed(number, f"frame {number} has a box that is none: {error}")


def _make(
    setting: _Setting,
    source: Source,
    on_progress: Progress | None,
    *,
    resume: bool,
) -> Cropped:
    """Crop what `source` sees, part by part, and write the tables."""
    require(1 <= setting.camera <= CAMERAS, "camera", f"in 1 to {CAMERAS}", setting.camera)
    require(setting.first_id >= 1, "first_id", ">= 1", setting.first_id)
    total = frames_hint(setting.video)  # and it is a video
    asked = {
        "video": _identity(setting.video),
        "camera": setting.camera,
        "first id": setting.first_id,
        **asdict(setting.wanted),
        **setting.asked,
    }
    with open_journal(setting.out.absolute(), asked, resume=resume) as journal:
        ledger = Ledger(setting.camera, setting.first_id)
        parts, start = journal.resume()
        for row in journal.rows(parts):
            ledger.note(row)
        work = _work(source(journal, start), ledger, setting, journal.set)
        told = _told(work, on_progress, total)
        parts, read = _keep(told, journal, parts)
        tables.write_boxes(journal.set, journal.rows(parts))
        tables.write_tracks(journal.set, ledger)
        tables.write_readme(journal.set, setting.camera, ledger)
        journal.finish()
        journal.close()
    resumed = start.index if start else 0
    tracks = sum(bool(track.crops) for track in ledger.tracks.values())
    return Cropped(setting.out, resumed + read, tracks, ledger.counts, resumed)


def _work(
    seen: Iterator[Seen], ledger: Ledger, setting: _Setting, folder: Path
) -> Iterator[Planned]:
    """Plan frame after frame here, write their crops in threads; in order."""
    plans = (plan(each, ledger, setting.wanted) for each in seen)
    write = partial(_write_crops, folder)
    return prefetched(plans, write, threads=setting.threads, ahead=2 * setting.threads)


def _write_crops(folder: Path, planned: Planned) -> Planned:
    frame = planned.seen.frame
    if frame is not None:
        for path, region in planned.crops:
            write_crop(frame.image_HWC, region, folder / path)
    return planned


def _told(work: Iterator[Planned], on_progress: Progress | None, total: int) -> Iterator[Planned]:
    """The same, counted for the person who waits."""
    for planned in work:
        if on_progress is not None and planned.seen.frame is not None:
            done = planned.seen.frame.index + 1
            on_progress(done, max(done, total))
        yield planned


def _keep(work: Iterator[Planned], journal: Journal, parts: int) -> tuple[int, int]:
    """Journal the rows; returns how many parts there are, and how many frames were read."""
    rows: list[Row] = []
    frames_read, limit = 0, None
    for planned in work:
        number = planned.seen.number
        if limit is not None and number >= limit:
            journal.save(parts, rows, planned.seen.place)
            parts, rows, limit = parts + 1, [], None
        limit = number + PART_FRAMES if limit is None else limit
        rows += planned.rows
        frames_read += planned.seen.frame is not None
    journal.save(parts, rows, None)
    return parts + 1, frames_read


def _identity(path: Path) -> list[object]:
    """What tells a file from its next edition."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]
