"""Frames of a video: number, time and picture, whatever is damaged.

The fixture's frames show their own number, so the pictures themselves say which frames they are.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.videos import (
    HEIGHT,
    WIDTH,
    damage,
    image_at,
    number_in,
    packets_of,
    turn,
    write_sound,
    write_video,
)
from likeness.data import video
from likeness.data.video import Place, VideoFrame, frames, frames_hint
from likeness.errors import UserError

COUNT = 40
KINDS = {
    "a.mp4": "libx264",
    "a.mkv": "libx264",
    "a.ts": "libx264",
    "a.avi": "mpeg4",
    "a.webm": "libvpx",
    "a.h264": "libx264",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One video of each kind; read only."""
    out = tmp_path_factory.mktemp("videos")
    for name, codec in KINDS.items():
        write_video(out / name, COUNT, codec=codec)
    return out


def facts(frame: VideoFrame) -> tuple[object, ...]:
    return frame.place, frame.time_s, frame.reason, frame.after_damage


def assert_shows_its_number(frame: VideoFrame) -> None:
    assert frame.image_HWC.dtype == np.uint8
    assert frame.image_HWC.shape == (*frame.size, 3)
    assert number_in(frame.image_HWC) == frame.index


@pytest.mark.parametrize("name", KINDS)
def test_frames_come_in_order_with_number_time_and_picture(folder: Path, name: str) -> None:
    found = list(frames(folder / name))
    assert [frame.index for frame in found] == list(range(COUNT))
    start = found[0].time_s  # a transport stream begins a little later
    assert [frame.time_s - start for frame in found] == pytest.approx(
        [0.04 * index for index in range(COUNT)]
    )
    for frame in found:
        assert not frame.reason
        assert not frame.after_damage
        assert_shows_its_number(frame)
    difference = found[5].image_HWC.astype(int) - image_at(5)
    assert np.abs(difference).mean() < 12  # RGB, not BGR; compression blurs edges


def test_a_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    times = np.cumsum([0, 40, 40, 500, 20, 20, 1000, 40, 7, 33, 2000, 40]).tolist()
    for name in ("a.mp4", "a.mkv"):
        found = list(frames(write_video(tmp_path / name, len(times), times_ms=times)))
        assert [round(1000 * frame.time_s) for frame in found] == times
        assert [number_in(frame.image_HWC) for frame in found] == list(range(len(times)))


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.avi", "mpeg4")])
@pytest.mark.parametrize("spoilt", [(13,), (20,), (39,), (5, 6, 31)])
def test_a_damaged_frame_takes_its_number_with_it(
    tmp_path: Path, name: str, codec: str, spoilt: tuple[int, ...]
) -> None:
    path = damage(write_video(tmp_path / name, COUNT, codec=codec, key_every=10), *spoilt)
    found = list(frames(path))
    assert [frame.index for frame in found] == list(range(COUNT))
    assert [round(1000 * frame.time_s) for frame in found] == [40 * n for n in range(COUNT)]
    lost = {frame.index for frame in found if frame.reason}
    assert set(spoilt) <= lost
    # Pictures come out some frames later, and until the next key frame they build on the lost one.
    reach = {n for index in spoilt for n in range(index - 5, index // 10 * 10 + 10)}
    for frame in found:
        assert frame.after_damage <= (frame.index in reach)
        assert frame.after_damage >= bool(frame.reason)
        if not frame.after_damage:
            assert_shows_its_number(frame)
        if frame.reason:
            with pytest.raises(UserError, match=f"frame {frame.index}"):
                _ = frame.image_HWC


def test_a_damaged_first_key_frame_is_counted(tmp_path: Path) -> None:
    found = list(frames(damage(write_video(tmp_path / "a.mp4", COUNT), 0)))
    assert [frame.index for frame in found] == list(range(COUNT))
    assert all(frame.after_damage for frame in found[:10])
    for frame in found[10:]:
        assert_shows_its_number(frame)


def test_what_never_comes_out_is_given_up_one_by_one(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 120, codec="mpeg4", key_every=1)
    found = list(frames(damage(path, *range(5, 100))))
    assert [frame.index for frame in found] == list(range(120))
    assert [frame.index for frame in found if frame.reason] == list(range(5, 100))
    assert all(number_in(frame.image_HWC) == frame.index for frame in found if not frame.reason)


@pytest.mark.parametrize("name", KINDS)
def test_a_reading_goes_on_at_any_frame(folder: Path, name: str) -> None:
    whole = list(frames(folder / name))
    for first in (0, 9, 18, 39):
        rest = list(frames(folder / name, start=whole[first].place))
        assert_the_same(rest, whole[first:])


def test_a_reading_goes_on_before_and_behind_damage(tmp_path: Path) -> None:
    path = damage(write_video(tmp_path / "a.mp4", COUNT), 13, 30)
    whole = list(frames(path))
    for first in (0, 11, 14, 21, 35):
        assert_the_same(list(frames(path, start=whole[first].place)), whole[first:])


def assert_the_same(found: list[VideoFrame], expected: list[VideoFrame]) -> None:
    assert [facts(frame) for frame in found] == [facts(frame) for frame in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.after_damage or (one.image_HWC == other.image_HWC).all()


class _Counted:
    """How many packets were read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, read = 0, video._packets

        def counted(*args: Any) -> Iterator[Any]:
            for packet in read(*args):
                self.count += 1
                yield packet

        monkeypatch.setattr(video, "_packets", counted)


def test_going_on_reads_no_more_than_from_the_last_key_frame(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = list(frames(folder / "a.mp4"))[35].place
    read = _Counted(monkeypatch)
    list(frames(folder / "a.mp4", start=place))
    assert read.count <= 15


def test_without_a_key_frame_to_seek_it_counts_from_the_beginning(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = list(frames(folder / "a.mp4"))[35].place
    monkeypatch.setattr(video, "_sought", lambda *args: None)
    assert [frame.index for frame in frames(folder / "a.mp4", start=place)] == list(range(35, 40))


@pytest.mark.parametrize("count", [40, 160])
def test_frames_are_decoded_as_they_are_asked_for_and_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    path = write_video(tmp_path / "a.mp4", count)
    read = _Counted(monkeypatch)
    alive: weakref.WeakSet[VideoFrame] = weakref.WeakSet()
    most = ahead = 0
    for frame in frames(path):
        alive.add(frame)
        _ = frame.image_HWC
        ahead = max(ahead, read.count - frame.index)
        gc.collect(0)
        most = max(most, len(alive))
    assert most <= 3
    if count == 160:
        assert ahead < 60  # x264 looks about this far ahead, whatever the length


@pytest.mark.parametrize(
    ("matrix", "quarters"), [((0, 1, -1, 0), 3), ((0, -1, 1, 0), 1), ((-1, 0, 0, -1), 2)]
)
def test_a_turned_recording_is_turned(
    folder: Path, tmp_path: Path, matrix: tuple[int, ...], quarters: int
) -> None:
    path = tmp_path / "turned.mp4"
    path.write_bytes((folder / "a.mp4").read_bytes())
    turned = next(iter(frames(turn(path, matrix))))
    plain = next(iter(frames(folder / "a.mp4")))
    assert turned.size == ((WIDTH, HEIGHT) if quarters % 2 else (HEIGHT, WIDTH))
    np.testing.assert_array_equal(turned.image_HWC, np.rot90(plain.image_HWC, quarters))


def test_joined_recordings_go_on_counting(folder: Path, tmp_path: Path) -> None:
    """Two transport streams, one behind the other: times begin again, numbers do not."""
    one = (folder / "a.ts").read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(one + one)
    found = list(frames(path))
    assert [frame.index for frame in found] == list(range(2 * COUNT))
    assert [number_in(frame.image_HWC) for frame in found] == 2 * list(range(COUNT))
    rest = list(frames(path, start=found[COUNT + 5].place))
    assert [number_in(frame.image_HWC) for frame in rest] == list(range(5, COUNT))


def test_a_recording_that_begins_between_key_frames_counts_from_the_first(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "cut.ts"
    position = packets_of(folder / "a.ts")[4][1]
    path.write_bytes((folder / "a.ts").read_bytes()[position // 188 * 188 :])
    found = list(frames(path))
    assert [frame.index for frame in found] == list(range(len(found)))
    assert [number_in(frame.image_HWC) for frame in found] == list(range(10, COUNT))


def test_a_file_that_is_cut_off_gives_what_it_has(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.mkv"
    data = (folder / "a.mkv").read_bytes()
    path.write_bytes(data[: len(data) // 2])
    found = list(frames(path))
    assert 5 < len(found) < COUNT
    for frame in found:
        if not frame.after_damage:
            assert_shows_its_number(frame)


def test_frames_of_vp8_that_are_never_shown_have_no_number(folder: Path, tmp_path: Path) -> None:
    data = bytearray((folder / "a.webm").read_bytes())
    _, position, _ = packets_of(folder / "a.webm")[12]
    start = data.index(bytes(_payload(folder / "a.webm", 12)), position)
    data[start] &= ~0x10  # "show this frame"
    path = tmp_path / "hidden.webm"
    path.write_bytes(data)
    found = list(frames(path))
    assert len(found) == COUNT - 1
    assert not any(frame.reason for frame in found)
    shown = [number_in(frame.image_HWC) for frame in found]
    assert shown[:12] == list(range(12))
    assert shown[19:] == list(range(20, COUNT))  # from the next key frame on


def _payload(path: Path, index: int) -> memoryview:
    import av

    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    return memoryview(packets[index])


def test_the_header_says_about_how_many_frames_there_are(folder: Path) -> None:
    assert frames_hint(folder / "a.mp4") == COUNT
    assert frames_hint(folder / "a.mkv") == pytest.approx(COUNT, abs=2)
    assert frames_hint(folder / "a.h264") >= 0


@pytest.mark.plain
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.mp4", b"once upon a time\n" * 50),
        ("text.txt", b"once upon a time\n" * 50),
        ("empty.mp4", b""),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na.ts\n#EXT-X-ENDLIST\n"),
        ("list.ffconcat", b"ffconcat version 1.0\nfile a.mp4\n"),
        ("image.ppm", b"P6 2 2 255\n" + bytes(12)),
    ],
)
def test_what_is_no_video_is_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    write_video(tmp_path / "a.mp4", 5)  # which a list names
    with pytest.raises(UserError, match=r"^video must be a readable video file, got .*") as caught:
        list(frames(tmp_path / name))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.plain
def test_sound_without_pictures_and_missing_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="video must be a file with a video stream"):
        frames_hint(write_sound(tmp_path / "a.m4a"))
    for missing in (tmp_path / "none.mp4", tmp_path):
        with pytest.raises(UserError, match="video must be an existing file"):
            list(frames(missing))
    with pytest.raises(UserError, match="threads must be >= 1, got 0"):
        list(frames(tmp_path / "none.mp4", threads=0))


def test_a_place_without_a_time_is_counted(folder: Path) -> None:
    rest = list(frames(folder / "a.mp4", start=Place(30, None)))
    assert [number_in(frame.image_HWC) for frame in rest] == list(range(30, COUNT))


def test_more_threads_give_the_same(folder: Path) -> None:
    one, two = frames(folder / "a.mp4"), frames(folder / "a.mp4", threads=2)
    for first, second in zip(one, two, strict=True):
        assert facts(first) == facts(second)
        np.testing.assert_array_equal(first.image_HWC, second.image_HWC)
