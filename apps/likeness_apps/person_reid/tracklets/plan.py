"""Which boxes of a frame become crops, and under which names; no pixel is touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from likeness.data.video import Place, VideoFrame
from likeness_apps.person_reid.tracklets import statuses
from likeness_apps.person_reid.tracklets.crops import VISIBLE, Region, region_of, visible
from likeness_apps.person_reid.tracklets.detections import Box, refuse
from likeness_apps.person_reid.tracklets.ledger import Ledger, Row

_SMEARED = "it follows a damaged frame, up to the next key frame, and may be smeared"


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame with its boxes.

    Attributes:
        number: of the frame, as the detections count.
        frame: None if the video has no such frame.
        boxes: in it.
    """

    number: int
    frame: VideoFrame | None
    boxes: Sequence[Box]

    @property
    def place(self) -> Place | None:
        """Where to go on reading; None behind the end of the video."""
        return None if self.frame is None else self.frame.place


@dataclass(frozen=True, eq=False)
class Planned:
    """What is to be made of a frame: its rows, and path and region of each crop."""

    seen: Seen
    rows: list[Row]
    crops: list[tuple[str, Region]]


@dataclass(frozen=True)
class Wanted:
    """What the user asks of a crop.

    Attributes:
        pad: see `crops.region_of`.
        min_confidence: boxes below are left out; None takes all.
    """

    pad: float = 0.0
    min_confidence: float | None = None


def matched(
    frames: Iterable[VideoFrame], boxes: Iterable[Box], first_frame: int, start: int = 0
) -> Iterator[Seen]:
    """Put boxes to their frames; both are read as streams.

    Args:
        frames: of a video, in order, without a gap.
        boxes: sorted by frame.
        first_frame: what the boxes call frame 0.
        start: index of the first of `frames`; boxes of those before it are passed over.

    Yields:
        Every frame, then every frame number with boxes behind the last.
    """
    groups = groupby(boxes, key=lambda box: box.frame)
    ahead = next(((n, list(g)) for n, g in groups if n >= start + first_frame), None)
    for frame in frames:
        number, here = frame.index + first_frame, []
        if ahead is not None and ahead[0] == number:
            here = ahead[1]
            ahead = next(((n, list(g)) for n, g in groups), None)
        yield Seen(number, frame, here)
    while ahead is not None:
        yield Seen(ahead[0], None, ahead[1])
        ahead = next(((n, list(g)) for n, g in groups), None)


def plan(seen: Seen, ledger: Ledger, wanted: Wanted) -> Planned:
    """The rows of a frame's boxes; `ledger` takes note of them."""
    planned = Planned(seen, [], [])
    here: set[int] = set()
    for box in seen.boxes:
        checked = _checked(box, seen.frame, here, wanted)
        row, region = _row(checked, seen, ledger, wanted)
        ledger.note(row)
        planned.rows.append(row)
        if region is not None:
            planned.crops.append((row.path, region))
    unreadable = _unreadable(seen.frame)
    if unreadable and not seen.boxes and seen.frame is not None:
        row = Row("", statuses.UNREADABLE, unreadable, seen.number, seen.frame.time_s)
        ledger.note(row)
        planned.rows.append(row)
    return planned


def _checked(box: Box, frame: VideoFrame | None, here: set[int], wanted: Wanted) -> Box:
    """The box, refused if there can be no crop of it; `here` has the tracks of the frame so far."""
    if box.status or box.track is None:
        return box
    if wanted.min_confidence is not None and (box.confidence or 0.0) < wanted.min_confidence:
        return refuse(box, statuses.LOW_CONFIDENCE, "no confidence, or too low a one")
    if box.track in here:
        return refuse(box, statuses.TWICE, "the frame has a box of this track already")
    here.add(box.track)
    if frame is None:
        return refuse(box, statuses.NO_SUCH_FRAME, "the video ends before this frame")
    if unreadable := _unreadable(frame):
        return refuse(box, statuses.UNREADABLE, unreadable)
    if box.width <= 0 or box.height <= 0:
        return refuse(box, statuses.EMPTY_BOX, "width and height must be > 0")
    if (share := visible(box, frame.size)) < VISIBLE:
        height, width = frame.size
        told = f"{share:.0%} of it is in the picture of {width} x {height} pixels"
        return refuse(box, statuses.OUTSIDE, told)
    return box


def _unreadable(frame: VideoFrame | None) -> str:
    """Why there is no sound picture; "" if there is."""
    if frame is None:
        return ""
    return frame.reason or (_SMEARED if frame.after_damage else "")


def _row(box: Box, seen: Seen, ledger: Ledger, wanted: Wanted) -> tuple[Row, Region | None]:
    """The row of a box, and what is to be cropped."""
    if box.status == statuses.MALFORMED:
        return Row("", box.status, box.reason, None, None), None
    row = Row(
        path="",
        status=box.status or statuses.OK,
        reason=box.reason,
        frame=seen.number,
        time_s=None if seen.frame is None else seen.frame.time_s,
        track=box.track,
        left=box.left,
        top=box.top,
        width=box.width,
        height=box.height,
        confidence=box.confidence,
    )
    if box.status or box.track is None or seen.frame is None:
        return row, None
    region = region_of(box, seen.frame.size, wanted.pad)
    assert region is not None  # as `_checked` has seen
    label, tracklet, path = ledger.name(box.track)
    row = replace(
        row,
        path=path,
        label=label,
        tracklet=tracklet,
        reason=_cut(box, seen.frame.size),
        crop_left=region.left,
        crop_top=region.top,
        crop_right=region.right,
        crop_bottom=region.bottom,
    )
    return row, region


def _cut(box: Box, size: tuple[int, int]) -> str:
    """Whether a part of the box is missing in the crop."""
    height, width = size
    inside = box.left >= 0 and box.top >= 0
    inside = inside and box.left + box.width <= width and box.top + box.height <= height
    return "" if inside else "cut at the edge of the picture"
