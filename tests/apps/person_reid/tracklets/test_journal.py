"""Killed calls: what they leave, and what the next call makes of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.cut_tracks import COUNT, Killed, assert_nothing_else, die, files_of, killed_at
from fixtures.videos import damage, mot_lines, write_mot, write_video
from likeness.errors import UserError
from likeness_apps.person_reid.tracklets import ledger, run
from likeness_apps.person_reid.tracklets.run import tracklets


@pytest.mark.parametrize("spoilt", [(), (13,)])
def test_a_killed_call_goes_on_and_gives_the_same(
    mot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: tuple[int, ...]
) -> None:
    """Killed over and over: before the first part, inside parts, at their ends."""
    video = damage(write_video(tmp_path / "a.mp4", COUNT), *spoilt)
    monkeypatch.setattr(run, "PART_FRAMES", 8)
    monkeypatch.setattr(ledger, "LONGEST", 15)
    expected = files_of(tracklets(video, mot, tmp_path / "whole", camera=1).out)
    out = tmp_path / "out"
    for frame in (5, 9, 9, 26, 39):
        with pytest.raises(Killed):
            tracklets(video, mot, out, camera=1, on_progress=killed_at(frame))
        assert not out.exists()
    done = tracklets(video, mot, out, camera=1)
    assert done.resumed == 32
    assert done.frames == COUNT
    assert files_of(out) == expected
    assert_nothing_else(out)


def test_a_process_that_dies_leaves_what_the_next_needs(
    video: Path, mot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No exception, no clean-up: the process is gone in the middle of a part."""
    script = """
import os, sys
from likeness_apps.person_reid.tracklets import run
run.PART_FRAMES = 8
def die(done, total):
    if done == 21:
        os._exit(9)
run.tracklets(sys.argv[1], sys.argv[2], sys.argv[3], camera=1, on_progress=die)
"""
    out = tmp_path / "out"
    words = [sys.executable, "-c", script, str(video), str(mot), str(out)]
    assert subprocess.run(words, check=False).returncode == 9
    assert (tmp_path / "out.parts" / "job.json").is_file()
    monkeypatch.setattr(run, "PART_FRAMES", 8)
    done = tracklets(video, mot, out, camera=1)
    assert done.resumed == 16
    whole = tracklets(video, mot, tmp_path / "whole", camera=1)
    assert files_of(out) == files_of(whole.out)


def test_rows_behind_the_end_of_the_video_are_made_again(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "PART_FRAMES", 8)
    lines = mot_lines(COUNT) + [f"{n},3,1,1,5,5" for n in range(COUNT + 1, COUNT + 60)]
    table = write_mot(tmp_path / "b.txt", lines)
    whole = tracklets(video, table, tmp_path / "whole", camera=1)
    assert whole.counts == {"ok": 3 * COUNT, "no-such-frame": 59}
    with monkeypatch.context() as patch:
        patch.setattr(run.tables, "write_boxes", die)
        with pytest.raises(Killed):
            tracklets(video, table, tmp_path / "out", camera=1)
    done = tracklets(video, table, tmp_path / "out", camera=1)
    assert done.resumed == 32
    assert files_of(done.out) == files_of(whole.out)


def test_work_of_another_kind_is_not_gone_on_with(video: Path, mot: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Killed):
        tracklets(video, mot, out, camera=1, on_progress=killed_at(5))
    with pytest.raises(UserError, match=r"got parts begun with pad 0\.0"):
        tracklets(video, mot, out, camera=1, pad=0.1)
    mot.write_text(mot.read_text(encoding="utf-8") + "1,99,1,1,5,5\n", encoding="utf-8")
    with pytest.raises(UserError, match="got parts begun with detections"):
        tracklets(video, mot, out, camera=1)


def test_a_call_that_was_killed_when_all_was_done_says_so(
    video: Path, mot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(run.Journal, "close", die)
        with pytest.raises(Killed):
            tracklets(video, mot, out, camera=1)
    before = files_of(out)
    with pytest.raises(UserError, match="out must be a new or empty directory"):
        tracklets(video, mot, out, camera=1)
    assert files_of(out) == before
    assert_nothing_else(out)
