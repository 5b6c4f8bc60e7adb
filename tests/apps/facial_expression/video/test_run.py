"""From a video to rows: numbers, times, damage, killed calls, memory."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from fixtures.face_videos import (
    SIDE,
    WIDTH,
    crossing,
    find_squares,
    picture,
    write_frames,
)
from fixtures.stand_in_model import StandIn
from fixtures.videos import damage, write_sound
from likeness.data.video import VideoFrame
from likeness.errors import UserError
from likeness_apps.facial_expression.faces.detector import Face
from likeness_apps.facial_expression.video import run
from likeness_apps.facial_expression.video.run import Watched, predict_video

COUNT = 40


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two faces cross in forty frames; read only."""
    return write_frames(tmp_path_factory.mktemp("video") / "a.mp4", crossing(COUNT))


def predict(video: Path, out: Path, **more: Any) -> Watched:
    return predict_video(StandIn(), video, out, **{"detector": find_squares, **more})


def rows_of(out: Path) -> pd.DataFrame:
    return pd.read_csv(out) if out.suffix == ".csv" else pd.read_parquet(out)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_every_face_of_every_frame_is_a_row(video: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"rows.{ending}"
    watched = predict(video, out)
    table = rows_of(out)
    assert list(table.columns) == [
        *("frame", "time_s", "face", "left", "top", "width", "height", "detector_score"),
        *("status", "reason", "label", "p_oak", "p_pine", "model_id"),
    ]
    assert table["frame"].tolist() == sorted(table["frame"])
    assert set(table["frame"]) == set(range(COUNT))
    assert table["time_s"].to_numpy() == pytest.approx(0.04 * table["frame"].to_numpy())
    assert set(table["status"]) == {"ok"}
    assert np.allclose(table["p_oak"] + table["p_pine"], 1, atol=1e-6)
    assert watched == Watched(COUNT, 0, 0, 2, len(table), len(table))
    assert watched.exit_code == 0
    assert not list(tmp_path.glob("*.parts"))


def test_faces_that_cross_keep_their_numbers(video: Path, tmp_path: Path) -> None:
    """The detector loses parts of the face behind, and all of it for a while."""
    predict(video, tmp_path / "rows.csv")
    table = rows_of(tmp_path / "rows.csv")
    assert table.groupby("frame").size().min() == 1  # one face is hidden in the middle
    assert set(table["face"]) == {1, 2}
    way = (WIDTH - SIDE) * table["frame"] / (COUNT - 1)
    expected = np.where(table["face"] == 1, way, WIDTH - SIDE - way)
    assert np.abs(table["left"] - expected).max() <= SIDE * 0.8


def test_the_metadata_say_what_the_table_is(video: Path, tmp_path: Path) -> None:
    watched = predict(video, tmp_path / "rows.parquet", every=2)
    facts = pq.read_schema(tmp_path / "rows.parquet").metadata
    assert b"displayed expression as judged by annotators" in facts[b"meaning"]
    assert b"no identities" in facts[b"faces"]
    assert facts[b"every"] == b"2"
    assert facts[b"data_licence"] == b"research only"
    settings = json.loads(facts[b"settings"])
    assert settings["faces"]["detector"] == "find_squares"
    assert settings["following"]["max_gap_s"] == 1.0
    assert json.loads(facts[b"coverage"]) == vars(watched)
    assert b"state" not in facts


def test_one_frame_of_so_many(video: Path, tmp_path: Path) -> None:
    watched = predict(video, tmp_path / "rows.csv", every=7)
    table = rows_of(tmp_path / "rows.csv")
    assert sorted(set(table["frame"])) == [0, 7, 14, 21, 28, 35]
    assert table["time_s"].to_numpy() == pytest.approx(0.04 * table["frame"].to_numpy())
    assert (watched.frames, watched.tracks) == (6, 2)


@pytest.mark.parametrize(("ending", "codec"), [("mp4", "libx264"), ("avi", "mpeg4")])
def test_a_damaged_frame_is_a_row_and_times_stay_right(
    tmp_path: Path, ending: str, codec: str
) -> None:
    """Frame 13 is noise; what builds on it is not shown to the detector, key frame 20 is."""
    images = [picture({0: (20 + index, 30)}) for index in range(COUNT)]
    video = damage(write_frames(tmp_path / f"a.{ending}", images, codec=codec), 13)
    seen: list[int] = []

    def detector(image: np.ndarray) -> list[Face]:
        found = find_squares(image)
        seen.append(round(found[0].left) - 20)
        return found

    watched = predict(video, tmp_path / "rows.csv", detector=detector, threads=1)
    table = rows_of(tmp_path / "rows.csv")
    assert table["frame"].tolist() == list(range(COUNT))
    assert table["time_s"].to_numpy() == pytest.approx(0.04 * np.arange(COUNT))
    lost = table["status"] == "unreadable_frame"
    assert table["frame"][lost].tolist() == list(range(13, 20))
    assert table["reason"][13].startswith("damaged")
    assert table["reason"][14].startswith("it follows a damaged frame")
    assert seen == pytest.approx([*range(13), *range(20, COUNT)], abs=1)  # lossy
    assert set(table["face"].dropna()) == {1}  # followed across the damage
    assert watched == Watched(COUNT, 7, 0, 1, COUNT - 7, COUNT - 7)
    assert "33 of 33 frames (7 more cannot be read)" in watched.told()


def test_a_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    """And a face is followed by its speed a second, not a frame."""
    times = np.cumsum(np.random.default_rng(0).choice([20, 40, 60, 200], COUNT)).tolist()
    images = [picture({0: (round(time * 0.03), 30)}) for time in times]
    video = write_frames(tmp_path / "a.mkv", images, times_ms=times)
    predict(video, tmp_path / "rows.parquet")
    table = rows_of(tmp_path / "rows.parquet")
    first = table["time_s"].iloc[0]
    assert (table["time_s"] - first).to_numpy() == pytest.approx((np.array(times) - times[0]) / 1e3)
    assert set(table["face"]) == {1}


def test_no_face_several_faces_and_faces_that_come_and_go(tmp_path: Path) -> None:
    three = {0: (6, 6), 1: (60, 50), 2: (120, 20)}
    images = [picture({})] * 5 + [picture(three)] * 5 + [picture({1: (60, 50)})] * 40
    video = write_frames(tmp_path / "a.mp4", [*images, *[picture(three)] * 3])
    watched = predict(video, tmp_path / "rows.csv")
    table = rows_of(tmp_path / "rows.csv")
    assert set(table["status"][:5]) == {"no_face"}
    assert table["face"][:5].isna().all()
    faces = table.dropna(subset="face").groupby("frame")["face"].agg(list)
    assert faces[5] == faces[9] == [1, 2, 3]
    assert faces[20] == [2]
    assert faces[52] == [4, 2, 5]  # gone for more than a second
    assert watched == Watched(53, 0, 5, 5, 5 * 3 + 40 + 9, 5 * 3 + 40 + 9)


def test_a_video_without_a_face_exits_1(tmp_path: Path) -> None:
    video = write_frames(tmp_path / "a.mp4", [picture({})] * 6)
    watched = predict(video, tmp_path / "rows.csv", plot=tmp_path / "plot.png")
    assert (watched.exit_code, watched.without_face, watched.tracks) == (1, 6, 0)
    assert set(rows_of(tmp_path / "rows.csv")["status"]) == {"no_face"}
    assert (tmp_path / "plot.png").is_file()


def test_a_broken_video_is_refused_or_ends_where_it_breaks(video: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.avi"
    write_frames(cut, crossing(COUNT), codec="mpeg4")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    watched = predict(cut, tmp_path / "rows.csv")
    assert 5 < watched.frames < COUNT
    (tmp_path / "none.mp4").write_bytes(b"not a video")
    (tmp_path / "half.mp4").write_bytes(video.read_bytes()[:2000])  # its index is at the end
    for name in ("none.mp4", "half.mp4"):
        with pytest.raises(UserError, match="video must be a readable video file"):
            predict(tmp_path / name, tmp_path / "more.csv")
    with pytest.raises(UserError, match="video must be a file with a video stream"):
        predict(write_sound(tmp_path / "sound.mp4"), tmp_path / "more.csv")
    with pytest.raises(UserError, match="video must be an existing file"):
        predict(tmp_path / "missing.mp4", tmp_path / "more.csv")
    assert not list(tmp_path.glob("more*"))


def test_faces_of_several_frames_go_to_the_model_together(video: Path, tmp_path: Path) -> None:
    sizes: list[int] = []

    class Counting(StandIn):
        def answer(self, prepared: Any) -> Any:
            sizes.append(len(prepared))
            return super().answer(prepared)

    predict_video(Counting(batch_size=16), video, tmp_path / "rows.csv", detector=find_squares)
    assert sizes[:-1] == [16] * (len(sizes) - 1)
    assert len(sizes) == -(-sum(sizes) // 16)


class Killed(BaseException):
    pass


def killed_at(frame: int) -> Any:
    def tell(done: int, total: int) -> None:
        if done == frame:
            raise Killed

    return tell


@pytest.mark.parametrize(("every", "spoilt"), [(1, ()), (1, (13,)), (3, (13,))])
def test_a_killed_call_goes_on_and_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, spoilt: tuple[int, ...]
) -> None:
    """Killed before the first part, inside parts and while two faces cross."""
    monkeypatch.setattr(run, "PART_FRAMES", 4)
    video = damage(write_frames(tmp_path / "a.mp4", crossing(COUNT)), *spoilt)
    plots = [tmp_path / "whole.png", tmp_path / "rows.png"]
    whole = predict(video, tmp_path / "whole.parquet", every=every, plot=plots[0])
    out = tmp_path / "rows.parquet"
    for frame in (4, 10, 19, 22, 37):
        with pytest.raises(Killed):
            predict(video, out, every=every, plot=plots[1], on_progress=killed_at(frame))
        assert not out.exists()
    done = predict(video, out, every=every, plot=plots[1])
    assert done.resumed == 36
    assert vars(done) == {**vars(whole), "resumed": 36}
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert plots[0].read_bytes() == plots[1].read_bytes()
    assert not list(tmp_path.glob("*.parts"))


def test_a_process_that_dies_leaves_what_the_next_needs(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No exception, no clean-up: the process is gone in the middle of a part."""
    script = """
import os, sys
sys.path += sys.argv[3:]
from fixtures.face_videos import find_squares
from fixtures.stand_in_model import StandIn
from likeness_apps.facial_expression.video import run
run.PART_FRAMES = 8
def die(done, total):
    if done == 21:
        os._exit(9)
run.predict_video(StandIn(), *sys.argv[1:3], detector=find_squares, on_progress=die)
"""
    out = tmp_path / "rows.csv"
    tests = str(Path(__file__).parents[3])
    words = [sys.executable, "-c", script, str(video), str(out), tests]
    assert subprocess.run(words, check=False).returncode == 9
    assert (tmp_path / "rows.csv.parts" / "job.json").is_file()
    monkeypatch.setattr(run, "PART_FRAMES", 8)
    assert predict(video, out).resumed == 16
    predict(video, tmp_path / "whole.csv")
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_call_that_was_killed_at_its_end_is_finished_by_the_next(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "rows.csv"

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(run.Journal, "close", die)
        with pytest.raises(Killed):
            predict(video, out)
    before = out.read_bytes()
    assert predict(video, out).frames == COUNT
    assert out.read_bytes() == before
    with pytest.raises(UserError, match="out must be the name of a file that is not there yet"):
        predict(video, out)
    assert out.read_bytes() == before


def test_a_file_that_came_in_between_is_not_overwritten(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    with pytest.raises(Killed):
        predict(video, out, on_progress=killed_at(5))
    out.write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="out must be the name of a file that is not there yet"):
        predict(video, out)
    assert out.read_text(encoding="utf-8") == "mine"


def test_work_of_another_kind_is_not_gone_on_with(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    with pytest.raises(Killed):
        predict(video, out, on_progress=killed_at(5))
    with pytest.raises(UserError, match="got parts begun with every 1"):
        predict(video, out, every=2)
    with pytest.raises(UserError, match="got parts begun with settings"):
        predict(video, out, margin=0.1)


def test_what_a_detector_raises_is_passed_on_and_the_work_is_kept(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "PART_FRAMES", 8)

    def find(image: np.ndarray) -> list[Face]:
        found = find_squares(image)
        if len(found) == 1:
            raise RuntimeError("one only")
        return found

    find.__qualname__ = "find_squares"
    with pytest.raises(RuntimeError, match="one only"):
        predict(video, tmp_path / "rows.csv", detector=find)
    assert predict(video, tmp_path / "rows.csv").resumed > 0


@pytest.mark.parametrize("count", [40, 160])
def test_memory_holds_a_few_frames_and_the_rows_of_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Counted: pictures that are alive, and rows that are kept until they are written."""
    monkeypatch.setattr(run, "PART_FRAMES", 8)
    video = write_frames(tmp_path / "a.avi", [picture({0: (8, 8)})] * count, codec="mpeg4")
    alive: weakref.WeakSet[VideoFrame] = weakref.WeakSet()
    most = rows = 0
    looked, save = run._looked, run.Journal.save

    def watched(finder: Any, frame: VideoFrame) -> Any:
        nonlocal most
        alive.add(frame)
        gc.collect(0)
        most = max(most, len(alive))
        return looked(finder, frame)

    def counted(self: Any, table: Any, state: Any) -> None:
        nonlocal rows
        rows = max(rows, len(table))
        save(self, table, state)

    monkeypatch.setattr(run, "_looked", watched)
    monkeypatch.setattr(run.Journal, "save", counted)
    assert predict(video, tmp_path / "rows.csv", threads=2).ok == count
    assert most <= 8
    assert rows == 8


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"every": 0}, "every must be >= 1, got 0"),
        ({"threads": 0}, "threads must be >= 1, got 0"),
        ({"margin": -1}, r"margin must be in \[0, 1\], got -1"),
        ({"plot": "a.svg"}, "plot must be a .png file, got 'a.svg'"),
        ({"model": StandIn(classes=())}, "model must be one with classes"),
    ],
)
def test_what_cannot_be_asked(
    video: Path, tmp_path: Path, setting: dict[str, Any], said: str
) -> None:
    model = setting.get("model", StandIn())
    more = {key: value for key, value in setting.items() if key != "model"}
    with pytest.raises(UserError, match=said):
        predict_video(model, video, tmp_path / "rows.csv", detector=find_squares, **more)
    assert not list(tmp_path.glob("rows*"))
    with pytest.raises(UserError, match="out must be a name that ends in"):
        predict(video, tmp_path / "rows.txt")
