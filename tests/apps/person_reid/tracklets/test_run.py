"""From video and boxes to a set: names, pixels and rows."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fixtures.cut_tracks import COUNT, TOLD, assert_nothing_else, files_of, table_of
from fixtures.videos import (
    COLOURS,
    HEIGHT,
    SIDE,
    WIDTH,
    box_at,
    damage,
    json_lines,
    mot_lines,
    write_mot,
    write_video,
)
from likeness.data.video import VideoFrame
from likeness.errors import UserError
from likeness_apps.person_reid.layouts import recognise
from likeness_apps.person_reid.tracklets import run
from likeness_apps.person_reid.tracklets.run import Cropped, tracklets


def test_crops_show_their_track_and_lie_where_mars_puts_them(
    video: Path, mot: Path, tmp_path: Path
) -> None:
    done = tracklets(video, mot, tmp_path / "out", camera=2)
    assert (done.frames, done.tracks, done.resumed, done.exit_code) == (COUNT, 3, 0, 0)
    assert done.counts == {"ok": 3 * COUNT}
    assert_nothing_else(done.out)
    rows = table_of(done.out, "boxes.csv")
    assert {row["path"] for row in rows} == set(files_of(done.out)) - TOLD
    for row in rows:
        track, index = int(row["track"]), int(row["frame"]) - 1
        assert row["label"] == f"{1 + list(COLOURS).index(track):04d}"
        assert row["path"].endswith(f"{row['label']}C2T0001F{index + 1:03d}.jpg")
        assert float(row["time_s"]) == pytest.approx(0.04 * index)
        left, top, _, _ = box_at(track, index)
        bounds = [int(row[f"crop_{side}"]) for side in ("left", "top", "right", "bottom")]
        assert bounds == [left, top, left + SIDE, top + SIDE]
        with Image.open(done.out / row["path"]) as crop:
            assert crop.size == (SIDE, SIDE)
            middle = np.asarray(crop)[5:-5, 5:-5].reshape(-1, 3).mean(axis=0)
        assert np.abs(middle - COLOURS[track]).max() < 40, (row, middle)


def test_the_set_is_read_as_mars(video: Path, mot: Path, tmp_path: Path) -> None:
    done = tracklets(video, mot, tmp_path / "out", camera=2, first_id=41)
    manifest = recognise(done.out)
    assert set(manifest.table["label"]) == {"0041", "0042", "0043"}
    assert set(manifest.table["camera"]) == {"2"}
    assert manifest.table.groupby("tracklet").size().to_dict() == {
        f"{label}C2T0001": COUNT for label in ("0041", "0042", "0043")
    }
    text = " ".join((done.out / "README.md").read_text(encoding="utf-8").split())
    assert "The numbers are not identities" in text
    assert "0041 to 0043" in text


def test_tracks_are_told_one_by_one(video: Path, tmp_path: Path) -> None:
    lines = ["5,3,10,10,20,20", "9,3,10,10,20,20", "9,3,1,1,5,5", "9,8,-90,0,20,20"]
    done = tracklets(video, write_mot(tmp_path / "b.txt", lines), tmp_path / "out", camera=1)
    assert (done.tracks, done.counts) == (1, {"ok": 2, "twice": 1, "outside": 1})
    one, other = table_of(done.out, "tracks.csv")
    assert one == {
        **{"track": "3", "label": "0001", "status": "ok", "reason": "1 twice"},
        **{"boxes": "3", "crops": "2", "tracklets": "1", "first_frame": "5", "last_frame": "9"},
        **{"first_time_s": "0.16", "last_time_s": "0.32"},
    }
    assert (other["track"], other["label"], other["status"]) == ("8", "", "no-crop")
    assert (other["reason"], other["boxes"], other["crops"]) == ("1 outside", "1", "0")


@pytest.mark.parametrize(
    ("box", "status", "bounds"),
    [
        ((-5, 10, 20, 20), "ok", (0, 10, 15, 30)),
        ((WIDTH - 10, HEIGHT - 10, 20, 20), "ok", (WIDTH - 10, HEIGHT - 10, WIDTH, HEIGHT)),
        ((WIDTH - 10, HEIGHT - 9, 20, 20), "outside", None),  # less than a quarter of it
        ((-1e9, -1e9, 2e9, 2e9), "outside", None),
        ((-5, -5, WIDTH + 10, HEIGHT + 10), "ok", (0, 0, WIDTH, HEIGHT)),
        ((1.5, 2.5, 3, 4), "ok", (1, 2, 5, 7)),
        ((-20, 10, 20, 20), "outside", None),
        ((WIDTH, 10, 20, 20), "outside", None),
        ((0, HEIGHT + 100, 20, 20), "outside", None),
        ((10, 10, 0, 20), "empty-box", None),
        ((10, 10, 20, -3), "empty-box", None),
    ],
)
def test_boxes_at_the_edge_and_beyond(
    video: Path,
    tmp_path: Path,
    box: tuple[float, ...],
    status: str,
    bounds: tuple[int, ...] | None,
) -> None:
    lines = ["1,3,10,10,20,20", ",".join(map(str, (2, 7, *box)))]
    done = tracklets(video, write_mot(tmp_path / "b.txt", lines), tmp_path / "out", camera=1)
    _, row = table_of(done.out, "boxes.csv")
    assert row["status"] == status
    assert [float(row[name]) for name in ("left", "top", "width", "height")] == [*box]
    if bounds is None:
        assert row["path"] == row["label"] == row["crop_left"] == ""
        assert row["reason"]
        return
    sides = ("left", "top", "right", "bottom")
    assert tuple(int(row[f"crop_{side}"]) for side in sides) == bounds
    cut = box[0] < 0 or box[0] + box[2] > WIDTH
    assert row["reason"] == ("cut at the edge of the picture" if cut else "")
    with Image.open(done.out / row["path"]) as crop:
        assert crop.size == (bounds[2] - bounds[0], bounds[3] - bounds[1])


def test_frames_that_are_not_there_low_confidence_and_bad_lines_are_rows(
    video: Path, tmp_path: Path
) -> None:
    lines = ["1,3,10,10,20,20,0.9", "2,3,10,10,20,20,0.2", "junk", f"{COUNT},3,1,1,5,5,1"]
    lines += [f"{COUNT + 1},3,1,1,5,5,1", "90000,7,1,1,5,5,1"]
    done = tracklets(
        video, write_mot(tmp_path / "b.txt", lines), tmp_path / "out", camera=1, min_confidence=0.5
    )
    found = [(row["frame"], row["status"]) for row in table_of(done.out, "boxes.csv")]
    assert found == [
        *(("1", "ok"), ("2", "low-confidence"), ("", "malformed"), (str(COUNT), "ok")),
        *((str(COUNT + 1), "no-such-frame"), ("90000", "no-such-frame")),
    ]
    assert (done.frames, done.exit_code) == (COUNT, 0)


def test_no_crop_at_all_exits_1(video: Path, tmp_path: Path) -> None:
    table = write_mot(tmp_path / "b.txt", ["900,3,10,10,20,20"])
    done = tracklets(video, table, tmp_path / "out", camera=1)
    assert (done.exit_code, done.tracks, done.counts) == (1, 0, {"no-such-frame": 1})


def test_a_damaged_frame_costs_its_crops_and_nothing_else(tmp_path: Path) -> None:
    video = damage(write_video(tmp_path / "a.avi", COUNT, codec="mpeg4"), 13)
    table = write_mot(tmp_path / "b.txt", mot_lines(COUNT, tracks=(3,)))
    done = tracklets(video, table, tmp_path / "out", camera=1)
    rows = table_of(done.out, "boxes.csv")
    lost = [int(row["frame"]) - 1 for row in rows if row["status"] == "unreadable-frame"]
    assert lost == list(range(13, 20))  # up to the next key frame
    assert "damaged" in rows[13]["reason"]
    assert "follows a damaged frame" in rows[14]["reason"]
    assert done.counts == {"ok": COUNT - 7, "unreadable-frame": 7}
    (track,) = table_of(done.out, "tracks.csv")
    assert (track["status"], track["crops"], track["tracklets"]) == ("ok", str(COUNT - 7), "1")
    crops = [row["path"] for row in rows if row["path"]]
    assert [int(name[-7:-4]) for name in crops] == list(range(1, COUNT - 6))  # F has no gap
    for row in rows:
        if row["path"]:
            with Image.open(done.out / row["path"]) as crop:
                middle = np.asarray(crop)[5:-5, 5:-5].reshape(-1, 3).mean(axis=0)
            assert np.abs(middle - COLOURS[3]).max() < 60


def test_a_damaged_frame_without_a_box_is_told_too(tmp_path: Path) -> None:
    video = damage(write_video(tmp_path / "a.avi", COUNT, codec="mpeg4", key_every=1), 13)
    table = write_mot(tmp_path / "b.txt", ["1,3,10,10,20,20"])
    done = tracklets(video, table, tmp_path / "out", camera=1)
    _, row = table_of(done.out, "boxes.csv")
    assert (row["frame"], row["track"], row["status"]) == ("14", "", "unreadable-frame")


def test_any_form_and_order_of_the_table_gives_the_same_set(
    video: Path, mot: Path, tmp_path: Path
) -> None:
    lines = mot_lines(COUNT)
    tables = {
        "by track": sorted(lines, key=lambda line: int(line.split(",")[1])),
        "per box": json_lines(lines, per_frame=False),
        "per frame": json_lines(lines, per_frame=True),
    }
    expected = files_of(tracklets(video, mot, tmp_path / "out", camera=1).out)
    for name, changed in tables.items():
        table = write_mot(tmp_path / f"{name}.txt", changed)
        assert files_of(tracklets(video, table, tmp_path / name, camera=1).out) == expected


def test_a_table_that_counts_from_zero(video: Path, mot: Path, tmp_path: Path) -> None:
    lines = [f"{int(line.split(',')[0]) - 1},{line.split(',', 1)[1]}" for line in mot_lines(COUNT)]
    table = write_mot(tmp_path / "zero.txt", lines)
    zero = tracklets(video, table, tmp_path / "zero", camera=1, first_frame=0)
    one = tracklets(video, mot, tmp_path / "one", camera=1)
    crops, expected = files_of(zero.out), files_of(one.out)
    assert {n: crops[n] for n in set(crops) - TOLD} == {
        n: expected[n] for n in set(expected) - TOLD
    }
    with pytest.raises(UserError, match="must be >= 1"):
        tracklets(video, table, tmp_path / "out", camera=1)


@pytest.mark.parametrize("count", [40, 160])
def test_memory_holds_a_few_frames_however_long_the_video_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Counted: frames that are alive, and rows that are kept until they are written."""
    monkeypatch.setattr(run, "PART_FRAMES", 8)
    video = write_video(tmp_path / "a.avi", count, codec="mpeg4")
    table = write_mot(tmp_path / "b.txt", mot_lines(count))
    alive: weakref.WeakSet[VideoFrame] = weakref.WeakSet()
    most = rows = 0
    plan, save = run.plan, run.Journal.save

    def watched(seen: Any, *rest: Any) -> Any:
        nonlocal most
        alive.add(seen.frame)
        gc.collect(0)
        most = max(most, len(alive))
        return plan(seen, *rest)

    def counted(self: Any, number: int, part: Any, following: Any) -> None:
        nonlocal rows
        rows = max(rows, len(part))
        save(self, number, part, following)

    monkeypatch.setattr(run, "plan", watched)
    monkeypatch.setattr(run.Journal, "save", counted)
    done = tracklets(video, table, tmp_path / "out", camera=1, threads=2)
    assert done.counts == {"ok": 3 * count}
    assert most <= 10
    assert rows == 8 * 3


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"camera": 0}, "camera must be in 1 to 99, got 0"),
        ({"camera": 100}, "camera must be in 1 to 99, got 100"),
        ({"pad": -0.1}, r"pad must be in \[0, 1\], got -0.1"),
        ({"pad": float("nan")}, r"pad must be in \[0, 1\], got nan"),
        ({"first_id": 0}, "first_id must be >= 1, got 0"),
        ({"first_frame": 2}, "first_frame must be 0 or 1, got 2"),
    ],
)
def test_numbers_out_of_range(
    video: Path, mot: Path, tmp_path: Path, setting: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        tracklets(video, mot, tmp_path / "out", **{"camera": 1, **setting})
    assert not list(tmp_path.glob("out*"))


def test_what_was_done_is_a_record(tmp_path: Path) -> None:
    done = Cropped(tmp_path, 3, 0, run.Counter(), 0)
    assert done.exit_code == 1
