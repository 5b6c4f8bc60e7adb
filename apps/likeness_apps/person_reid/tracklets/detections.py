"""The boxes of a tracker, from a MOT table or from JSON lines, in the order of their frames.

MOT: `frame,id,left,top,width,height[,confidence,...]` per line; what follows is not read. JSON
lines: `{"frame": 1, "track": 7, "box": [left, top, width, height], "confidence": 0.9}` per box, or
`{"frame": 1, "boxes": [{"track": 7, "box": [...]}, ...]}` per frame; confidence may be left out.
Which of the two it is, the first line says. Pixels count from the left and upper edge of the
picture as it is shown. (Tables of the MOT challenge count them from 1: one pixel of difference.)

A table in the order of the frames is read as a stream. Any other is sorted on the disk.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from likeness.errors import UserError, require
from likeness_apps.person_reid.tracklets import statuses
from likeness_apps.person_reid.tracklets.sorting import Line, sorted_lines

_LONGEST = 2**20  # characters of a line; what is longer is no detection
_SHOWN = 160  # characters of a reason
_BETWEEN = re.compile(r"[,;\s]+")


@dataclass(frozen=True, slots=True)
class Box:
    """Where a track is in one frame.

    Attributes:
        frame: number of the frame, as the table counts.
        track: the tracker's number; None if it has none.
        left: of the box, in pixels.
        top: likewise.
        width: likewise.
        height: likewise.
        confidence: of the detector; None = unknown.
        status: why there can be no crop, one of `statuses`; "" = nothing is known against it.
        reason: the same in words.
    """

    frame: int
    track: int | None
    left: float
    top: float
    width: float
    height: float
    confidence: float | None = None
    status: str = ""
    reason: str = ""


def read_boxes(path: Path, work: Path, *, first_frame: int = 1) -> Iterator[Box]:
    """All boxes of a table, sorted by frame, and within a frame in the order of the table.

    Args:
        path: a MOT table or JSON lines, UTF-8; a header is passed over.
        work: an existing folder, for sorting.
        first_frame: what the table calls the first frame of the video, 0 or 1.

    Yields:
        The boxes; a line that is no detection is a box with the status `malformed`, after those of
        the line before it.

    Raises:
        UserError: if the file is missing or its first line is no detection of a track, or a frame
            has a number below `first_frame`.
    """
    require(path.is_file(), "detections", "an existing file", str(path))
    _check_first(path)
    in_order = all(one.frame <= other.frame for one, other in pairwise(_lines(path)))
    for line in _lines(path) if in_order else sorted_lines(_lines(path), work):
        if line.frame < first_frame:
            raise UserError(
                f"frame in line {line.number} of {path.name} must be >= {first_frame} (the first "
                f"frame; the option first frame says how the table counts), got {line.frame}"
            )
        yield from _boxes(line)


def box_of(frame: int, values: Sequence[float]) -> Box:
    """A box from its numbers.

    Args:
        frame: where it is.
        values: track, left, top, width, height and perhaps confidence.

    Raises:
        ValueError: saying which of the numbers is none.
    """
    if len(values) < 5:
        raise ValueError("not as many numbers as track, left, top, width and height")
    names = ("track", "left", "top", "width", "height", "confidence")[: len(values)]
    for name, value in zip(names, values, strict=True):
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}")
    track = _whole("track", values[0])
    left, top, width, height, *confidence = (float(value) for value in values[1:])
    box = Box(frame, track, left, top, width, height, confidence[0] if confidence else None)
    if track >= 0:
        return box
    return refuse(box, statuses.NO_TRACK, "a detection that no track has")


def malformed(frame: int, reason: str) -> Box:
    """What should have been a box."""
    nothing = Box(frame, None, math.nan, math.nan, math.nan, math.nan)
    return refuse(nothing, statuses.MALFORMED, reason)


def refuse(box: Box, status: str, reason: str) -> Box:
    """The box, with what is wrong with it."""
    return replace(box, status=status, reason=reason)


def _check_first(path: Path) -> None:
    """The first line says whether this is a table of tracks at all."""
    line = next(_lines(path), None)
    if line is None:
        raise UserError(f"detections must be a table with at least one box, got {path}")
    for box in _boxes(line):
        if box.status == statuses.MALFORMED:
            raise UserError(
                f"detections must be a MOT table or JSON lines, got {path}: {box.reason}"
            )
        if box.status == statuses.NO_TRACK:
            raise UserError(
                f"detections must be those of a tracker, with numbers of tracks from 0 on, got "
                f"{path}: line {line.number} has track {box.track}"
            )


def _lines(path: Path) -> Iterator[Line]:
    """The lines that say something; one without a frame keeps that of the line before."""
    frame, first = 0, True
    with path.open(encoding="utf-8-sig", errors="replace") as handle:
        for number, text in enumerate(iter(lambda: handle.readline(_LONGEST), ""), start=1):
            text = text.strip()
            if not text or (first and _is_header(text)):
                continue
            with suppress(ValueError):
                frame = _frame_of(text)
            first = False
            yield Line(frame, number, text)


def _is_header(text: str) -> bool:
    """Whether a line has names only, no number."""
    return not text.startswith("{") and not any(map(_is_number, _BETWEEN.split(text)))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _frame_of(text: str) -> int:
    """Raises ValueError if a line has no frame."""
    if text.startswith("{"):
        return _whole("frame", _number("frame", _record(text).get("frame")))
    return _whole("frame", float(_BETWEEN.split(text, maxsplit=1)[0]))


def _boxes(line: Line) -> Iterator[Box]:
    """The boxes of a line, and one with the reason for each that is none."""
    in_json = line.text.startswith("{")
    try:
        frame = _frame_of(line.text)
        items = _json_items(line.text) if in_json else [line.text]
    except ValueError as error:
        yield _no_detection(line.frame, line, error)
        return
    for item in items:
        try:
            yield box_of(frame, _json_row(item) if in_json else _mot_row(item))
        except ValueError as error:
            yield _no_detection(frame, line, error)


def _no_detection(frame: int, line: Line, error: ValueError) -> Box:
    return malformed(frame, f"line {line.number} is no detection: {error}"[:_SHOWN])


def _mot_row(text: str) -> list[float]:
    """Numbers as `box_of` takes them."""
    return [float(cell) for cell in _BETWEEN.split(text.rstrip(",; "))[1:7]]


def _json_items(text: str) -> list[Any]:
    """One object per box."""
    record = _record(text)
    items = record.get("boxes", [record])
    if not isinstance(items, list):
        raise ValueError("boxes is no list")
    return items


def _json_row(item: Any) -> list[float]:
    box = item.get("box") if isinstance(item, dict) else None
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError("box is no list of left, top, width and height")
    given = [
        ("track", item.get("track")),
        *zip(("left", "top", "width", "height"), box, strict=True),
    ]
    if item.get("confidence") is not None:
        given.append(("confidence", item["confidence"]))
    return [_number(name, value) for name, value in given]


def _record(text: str) -> Mapping[str, Any]:
    try:
        record = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(record, dict):
        raise ValueError("no object")
    return record


def _number(name: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not -1e300 < value < 1e300:
        raise ValueError(f"{name} is {value!r}")
    return float(value)


def _whole(name: str, value: float) -> int:
    if not math.isfinite(value) or value != int(value) or abs(value) > 2**53:
        raise ValueError(f"{name} is {value}, no whole number")
    return int(value)
