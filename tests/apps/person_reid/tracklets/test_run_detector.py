"""`crop_tracks`: a function that finds boxes, instead of a table of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.cut_tracks import COUNT, Killed, assert_nothing_else, files_of, killed_at
from fixtures.videos import COLOURS, box_at, damage, mot_lines, number_in, write_mot, write_video
from likeness.errors import UserError
from likeness_apps.person_reid.tracklets.run import crop_tracks, tracklets


def true_boxes(image_HW3: np.ndarray) -> list[tuple[int, ...]]:
    """A detector and tracker that reads the frame's number."""
    index = number_in(image_HW3)
    return [(track, *box_at(track, index)) for track in COLOURS]


def test_a_function_gives_the_same_set_as_its_table(video: Path, tmp_path: Path) -> None:
    lines = [",".join(line.split(",")[:6]) for line in mot_lines(COUNT)]
    table = tracklets(video, write_mot(tmp_path / "b.txt", lines), tmp_path / "one", camera=1)
    done = crop_tracks(video, true_boxes, tmp_path / "two", camera=1)
    as_array = crop_tracks(
        video, lambda image: np.array(true_boxes(image)), tmp_path / "three", camera=1
    )
    assert files_of(table.out) == files_of(done.out) == files_of(as_array.out)


def test_a_function_begins_again_when_it_was_killed(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Killed):
        crop_tracks(video, true_boxes, out, camera=1, on_progress=killed_at(20))
    seen: list[int] = []

    def detect(image_HW3: np.ndarray) -> list[tuple[int, ...]]:
        seen.append(number_in(image_HW3))
        return true_boxes(image_HW3)

    done = crop_tracks(video, detect, out, camera=1)
    assert seen == list(range(COUNT))
    assert (done.resumed, done.counts) == (0, {"ok": 3 * COUNT})
    assert_nothing_else(out)


def test_a_function_is_not_shown_damaged_frames_and_may_find_nothing(tmp_path: Path) -> None:
    video = damage(write_video(tmp_path / "a.avi", COUNT, codec="mpeg4"), 13)
    seen: list[int] = []
    answers: Iterator[Any] = iter([None, [], np.empty((0, 5))])

    def detect(image_HW3: np.ndarray) -> Any:
        seen.append(number_in(image_HW3))
        return next(answers, [(1, 5, 5, 9, 9, 0.5), (2, float("nan"), 5, 9, 9, 0.5)])

    done = crop_tracks(video, detect, tmp_path / "out", camera=1)
    assert seen == [*range(13), *range(20, COUNT)]
    good = COUNT - 7 - 3
    assert done.counts == {"ok": good, "malformed": good, "unreadable-frame": 7}


def test_a_function_that_returns_something_else_is_told(video: Path, tmp_path: Path) -> None:
    for found in ([(1, 2, 3)], [5], ["box"]):
        with pytest.raises(UserError, match="detect must return rows of track, left, top"):
            crop_tracks(video, lambda image, found=found: found, tmp_path / "out", camera=1)
