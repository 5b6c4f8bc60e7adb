"""Memory does not grow with the length of a video: an hour is watched like a minute."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fixtures.face_videos import picture, write_frames
from likeness_apps.facial_expression.video import run

RATE = 2  # frames a second
# A process of its own, in which nothing else was ever kept. It watches the short video and then the
# long one, so that libraries and buffers are there before the long one begins.
SCRIPT = """
import json, sys
from pathlib import Path
from fixtures.face_videos import find_squares
from fixtures.stand_in_model import StandIn
from likeness_apps.facial_expression.video import run
run.PART_FRAMES = 32
for video in map(Path, sys.argv[1:]):
    out = video.with_suffix(".parquet")
    done = run.predict_video(StandIn(batch_size=16), video, out, detector=find_squares)
    # Not ru_maxrss: a child inherits its parent's peak across exec.
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print(json.dumps([done.frames, done.ok, int(status["VmHWM"].split()[0])]))
"""


def write_minutes(path: Path, minutes: int) -> Path:
    """Two small faces that go to and fro, one of them often away."""
    frames = 60 * RATE * minutes
    ways = np.abs((np.arange(frames) * 2) % 60 - 30)
    images = (
        picture({0: (int(way), 8)} | ({1: (64, 8)} if index % 40 < 20 else {}), size=(48, 96))
        for index, way in enumerate(ways)
    )
    return write_frames(path, images, step_ms=1000 // RATE, key_every=50)


def watched(*videos: Path) -> list[tuple[int, int, int]]:
    """Frames, answered rows, and the peak of memory so far in KiB, for one video after another."""
    tests, root = Path(__file__).parents[3], Path(run.__file__).parents[4]
    places = map(str, (tests, root / "core", root / "apps"))
    # Few allocator arenas: how many a loaded machine's threads open is not what is measured.
    steady = {"PYTHONPATH": os.pathsep.join(places), "MALLOC_ARENA_MAX": "2"}
    words = [sys.executable, "-c", SCRIPT, *map(str, videos)]
    environment = {**os.environ, **steady}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("minutes", [10, pytest.param(60, marks=pytest.mark.slow)])
def test_a_long_video_needs_no_more_memory_than_a_minute(tmp_path: Path, minutes: int) -> None:
    """The pictures of an hour would be 95 MiB more."""
    lengths = (1, minutes)
    short, long = watched(*(write_minutes(tmp_path / f"{n}.mp4", n) for n in lengths))
    assert short[:2] == (60 * RATE, 90 * RATE)
    assert long[:2] == (60 * RATE * minutes, 90 * RATE * minutes)
    assert long[2] - short[2] < 5 * 1024, (short[2], long[2])
