"""The frames of a video, one after the other, with number and time, whatever is damaged.

A frame's number is counted from the packets (the compressed frames) that go into the decoder, not
from the pictures that come out of it: a frame that cannot be decoded keeps its number, and those
behind it keep theirs. Memory holds the frames that the decoder needs, however long the video is.

Legend: H height, W width, C = 3 (RGB).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from heapq import heappop, heappush
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame as Picture
from av.video.stream import VideoStream
from jaxtyping import UInt8

from likeness.data.decoded import MAX_PIXELS
from likeness.errors import UserError, require

if TYPE_CHECKING:
    Packet: TypeAlias = av.Packet[VideoStream]
else:  # at run time it takes no parameter
    Packet = av.Packet

_Time: TypeAlias = tuple[int, int]

# Files that hold their own frames. Play lists and scripts, which name other files, are not here.
_CONTAINERS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,ivf,mxf,nut,h264,hevc,m4v,mpegvideo,mjpeg"
# These may begin anywhere; others begin with a key frame, even if it is too damaged to be known.
_CUT_OUT = frozenset(("mpegts", "mpeg", "h264", "hevc", "m4v", "mpegvideo"))
# A decoder puts frames into order within 16; what it has not given after so many, it will not give.
_DELAY = 64
_RETRIES = 100  # reads in a row that may fail before the file counts as ended
_STEPS_BACK = (0, 2, 10, 60)  # seconds to seek further back, where a seek came out too late
_START: _Time = (0, -(2**63))
_LOST = "damaged: the decoder gave no whole picture of it"


@dataclass(frozen=True)
class Place:
    """Where a frame is: its number from 0, and its time in units of the stream.

    The time is None where it cannot be sought: in a raw stream, and behind damage.
    """

    index: int
    pts: int | None


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One frame.

    Attributes:
        place: where it is; `frames` can begin there.
        time_s: presentation time in seconds, as the file has it.
        reason: why there is no picture; "" = there is one.
        after_damage: whether a frame between the last key frame and this one was damaged, so that
            this picture may be smeared.
        picture: as the decoder gave it.
    """

    place: Place
    time_s: float
    reason: str = ""
    after_damage: bool = False
    picture: Picture | None = None

    @property
    def index(self) -> int:
        """Number of the frame, from 0."""
        return self.place.index

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of `image_HWC` in pixels.

        Raises:
            UserError: if there is no picture.
        """
        picture = self._shown()
        sides = picture.height, picture.width
        return sides[::-1] if _quarter_turns(picture) % 2 else sides

    @cached_property
    def image_HWC(self) -> UInt8[np.ndarray, "H W 3"]:
        """The picture as it is to be shown: RGB, turned as the file says; made when asked for.

        Raises:
            UserError: if there is no picture.
        """
        picture = self._shown()
        image_HWC: np.ndarray = picture.to_ndarray(format="rgb24")
        return np.ascontiguousarray(np.rot90(image_HWC, _quarter_turns(picture)))

    def _shown(self) -> Picture:
        if self.picture is None:
            raise UserError(f"frame must be readable, got frame {self.index}: {self.reason}")
        return self.picture


def frames_hint(path: Path | str) -> int:
    """About how many frames a video has, from its header, for a progress bar; 0 = unknown.

    Raises:
        UserError: if the file is missing or holds no video.
    """
    with _opened(path, 1) as (container, stream):
        if stream.frames:
            return int(stream.frames)
        seconds = (container.duration or 0) / av.time_base
        return round(seconds * float(stream.average_rate or 0))


def frames(
    path: Path | str, *, start: Place | None = None, threads: int = 1
) -> Iterator[VideoFrame]:
    """Decode a video as a stream, in the order in which it is shown.

    A frame that the decoder refuses, or has only a part of, is given without a picture, with the
    reason; the next ones keep number and time. Times are those in the file, so a variable frame
    rate is right; a raw stream without times (.h264) has its frame rate's. A transport stream may
    begin anywhere and is numbered from its first key frame on: what stands before it can never be
    shown, and no player counts it. Where damage to the container itself swallows packets without a
    sign (a cluster of Matroska), later numbers fall short by these, while times stay right.

    Args:
        path: a video file; its first video stream is read, a cover picture is none.
        start: the first frame that is wanted, from an earlier reading of the same file. It is
            sought from the last key frame before it, or counted from the beginning behind damage;
            the frames are those of the earlier reading, only pictures with `after_damage` may
            differ (what a decoder shows there depends on all that it has seen).
        threads: of the decoder, >= 1.

    Yields:
        The frames. Hold few of them: each keeps its picture.

    Raises:
        UserError: if the file is missing or holds no video, or `threads` is below 1.
    """
    require(threads >= 1, "threads", ">= 1", threads)
    if start is not None and start.pts is not None:
        with _opened(path, threads) as (container, stream):
            packets = _sought(container, stream, start.pts)
            if packets is not None:
                yield from _numbered(packets, stream, start)
                return
    with _opened(path, threads) as (container, stream):
        for frame in _numbered(_packets(container, stream), stream, None):
            if start is None or frame.index >= start.index:
                yield frame


@contextmanager
def _opened(path: Path | str, threads: int) -> Iterator[tuple[InputContainer, VideoStream]]:
    file = Path(path).absolute()  # an absolute path is never read as a protocol
    require(file.is_file(), "video", "an existing file", str(path))
    limits = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    try:
        container = av.open(str(file), container_options=limits, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        foreign = isinstance(error, av.ArgumentError)
        reason = "no video by its content" if foreign else getattr(error, "strerror", str(error))
        raise UserError(f"video must be a readable video file, got {path}: {reason}") from error
    with container:
        cover = av.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & cover]
        if not streams:
            raise UserError(f"video must be a file with a video stream, got {path}")
        stream = streams[0]
        # Whole frames only: a decoder's guess at a damaged part is no picture of anything.
        checks = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
        stream.codec_context.options = checks
        stream.codec_context.thread_count = threads
        stream.codec_context.thread_type = av.codec.context.ThreadType.SLICE
        yield container, stream


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """The compressed frames in the order of the file; bytes that make no sense are passed over."""
    source, failed = container.demux(stream), 0
    while failed <= _RETRIES:
        try:
            packet = next(source, None)
        except av.FFmpegError:
            source, failed = container.demux(stream), failed + 1
            continue
        if packet is None:
            return
        failed = 0
        if packet.size and not packet.is_discard and _is_shown(packet, stream):
            yield packet


def _is_shown(packet: Packet, stream: VideoStream) -> bool:
    """Not so the reference frames of VP8 that are never shown (bit 4 of the first byte)."""
    return stream.codec.name != "vp8" or bool(memoryview(packet)[0] >> 4 & 1)


def _sought(container: InputContainer, stream: VideoStream, pts: int) -> Iterator[Packet] | None:
    """The packets from a key frame at or before `pts` on; None if seeking does not find one."""
    for seconds in _STEPS_BACK:
        back = int(seconds / (stream.time_base or Fraction(1)))
        try:
            container.seek(pts - back, stream=stream)
        except av.FFmpegError:
            return None
        packets = _packets(container, stream)
        first = next(packets, None)
        if first is not None and first.is_keyframe and first.pts is not None and first.pts <= pts:
            return chain((first,), packets)
    return None


def _numbered(
    packets: Iterator[Packet], stream: VideoStream, start: Place | None
) -> Iterator[VideoFrame]:
    """Decode packets, and put those that give no picture between those that do."""
    numbers = _Numbers(stream, start)
    for packet in packets:
        numbers.expect(packet)
        try:
            pictures = stream.codec_context.decode(packet)
        except av.FFmpegError:
            pictures = []
            yield from numbers.refused(packet)
        for picture in pictures:
            yield from numbers.shown(picture)
        yield from numbers.missing(keep=_DELAY)
    for picture in _rest(stream):
        yield from numbers.shown(picture)
    yield from numbers.missing(keep=0)


def _rest(stream: VideoStream) -> list[Picture]:
    """What the decoder still holds at the end."""
    try:
        return list(stream.codec_context.decode(None))
    except av.FFmpegError:
        return []


class _Numbers:
    """Counts frames by the times of their packets, which wait here until a later picture comes.

    A time is a pair: recordings that were joined begin again at 0, and then the first number goes
    up. In a raw stream the packets' own numbers are the times.
    """

    def __init__(self, stream: VideoStream, start: Place | None) -> None:
        self._unit = stream.time_base or Fraction(1)
        self._rate = stream.average_rate or Fraction(25)
        self._index = start.index if start else 0
        self._wanted = (0, start.pts or 0) if start else None  # what comes before is not wanted
        self._due: list[_Time] = []  # a heap
        self._packets = 0
        self._timed = True
        self._joined = 0
        cut_out = stream.container.format.name in _CUT_OUT
        self._first: _Time | None = None if cut_out else _START  # of the first key frame
        self._last = _START
        self._damaged = _START  # last frame that was; a later key frame ends its effect
        self._smeared = False
        self._intact = True  # since the beginning

    def expect(self, packet: Packet) -> None:
        """A packet goes into the decoder."""
        self._timed = packet.pts is not None
        pts = self._packets if packet.pts is None else packet.pts
        self._packets += 1
        if packet.is_keyframe and (self._joined, pts) <= self._last:
            self._joined, self._intact = self._joined + 1, False
        time = self._joined, pts
        if self._first is None and packet.is_keyframe:
            self._first = time
        if self._first is not None and time >= self._first:
            heappush(self._due, time)

    def refused(self, packet: Packet) -> Iterator[VideoFrame]:
        """The packet was an error; a raw stream gives no other sign of which frame is missing."""
        self._hurt((self._joined, self._packets - 1 if packet.pts is None else packet.pts))
        if not self._timed and self._due:
            yield from self._frame(heappop(self._due), None)

    def shown(self, picture: Picture) -> Iterator[VideoFrame]:
        """A picture came out: what should have come before it is missing."""
        time = self._time_of(picture)
        if time is None or self._first is None or time < max(self._first, self._last):
            return  # before the first key frame, or too late: it had been given up
        while self._due and self._due[0] < time:
            yield from self._frame(heappop(self._due), None)
        if self._due and self._due[0] == time:
            heappop(self._due)
        yield from self._frame(time, None if picture.is_corrupt else picture)

    def missing(self, *, keep: int) -> Iterator[VideoFrame]:
        """Give up what has waited too long: all but the `keep` latest."""
        while len(self._due) > keep:
            yield from self._frame(heappop(self._due), None)

    def _hurt(self, time: _Time) -> None:
        """What the decoder makes from now on may build on a damaged frame."""
        self._damaged = max(self._damaged, time)
        self._smeared, self._intact = True, False

    def _time_of(self, picture: Picture) -> _Time | None:
        if picture.pts is None or not self._timed:
            return self._due[0] if self._due else None
        joined, last = self._last
        return min(joined + (picture.pts < last), self._joined), picture.pts

    def _frame(self, time: _Time, picture: Picture | None) -> Iterator[VideoFrame]:
        self._last = time
        if picture is None:
            self._hurt(time)
        elif picture.key_frame and time > self._damaged:
            self._smeared = False
        if self._wanted is not None and time < self._wanted:
            return
        place = Place(self._index, time[1] if self._timed and self._intact else None)
        self._index += 1
        time_s = float(time[1] * self._unit if self._timed else place.index / self._rate)
        yield VideoFrame(place, time_s, "" if picture else _LOST, self._smeared, picture)


def _quarter_turns(picture: Picture) -> int:
    """By how many quarters the picture is to be turned, counter-clockwise."""
    return round(picture.rotation / 90) % 4
