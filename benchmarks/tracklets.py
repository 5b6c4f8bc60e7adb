"""Tracklets from a video: frames per second, and memory that the video's length does not change.

    python benchmarks/tracklets.py                             some minutes on two cores
    python benchmarks/tracklets.py --frames 120 --rounds 1 --out /tmp/tracklets.json

The video is drawn: 1280 x 720 pixels at 25 frames a second, H.264 with a key frame every 50 frames,
drifting noise with ten walking boxes of 64 x 128 pixels; after 50 frames the pictures repeat.
Speed, in turns: the decoder alone (`decode`), and the whole command (`whole`: it decodes, cuts ten
crops out of each frame, writes them as JPEG, and the tables). Processor time of all threads and the
wall clock; the best round counts. Memory: growth of a fresh process after the imports, for the
video and for one that is ten times as long.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from measurements import (
    answered_in_child,
    arguments,
    in_child,
    in_turns,
    record,
    timed,
    with_growth,
)

WIDTH, HEIGHT, RATE, KEY_EVERY = 1280, 720, 25, 50
TRACKS, BOX = 10, (64, 128)  # width and height of a box
LONGER = 10


def box_at(track: int, index: int) -> tuple[int, int, int, int]:
    """Left, top, width and height of a track in a frame."""
    left = (120 * track + 3 * index) % (WIDTH - BOX[0])
    return left, 40 + 50 * track, *BOX


def draw() -> list[np.ndarray]:
    """`KEY_EVERY` pictures, height x width x 3."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(60, 180, (HEIGHT // 16, WIDTH // 16, 3), dtype=np.uint8)
    ground_HW3 = coarse.repeat(16, axis=0).repeat(16, axis=1)
    colours = generator.integers(0, 256, (TRACKS, 3), dtype=np.uint8)
    pictures = []
    for index in range(KEY_EVERY):
        image_HW3 = np.roll(ground_HW3, index, axis=1)
        for track in range(TRACKS):
            left, top, width, height = box_at(track, index)
            image_HW3[top : top + height, left : left + width] = colours[track]
        pictures.append(image_HW3)
    return pictures


def write_video(path: Path, frames: int) -> Path:
    """The pictures over and over."""
    import av

    pictures = draw()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = KEY_EVERY
        for index in range(frames):
            image_HW3 = pictures[index % KEY_EVERY]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image_HW3, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_table(path: Path, frames: int) -> Path:
    """The boxes as a MOT table."""
    with path.open("w", encoding="ascii") as table:
        for index in range(frames):
            for track in range(TRACKS):
                box = ",".join(map(str, box_at(track, index % KEY_EVERY)))
                table.write(f"{index + 1},{track + 1},{box},0.9,-1,-1,-1\n")
    return path


def growth(video: str, table: str, out: str) -> dict[str, Any]:
    """One run in a process where nothing was computed before: how far memory grows."""
    from likeness_apps.person_reid.tracklets.run import tracklets

    taken, growth_mb = with_growth(
        lambda: timed(lambda: tracklets(Path(video), Path(table), Path(out), camera=1))
    )
    done, wall = taken.value, taken.wall_s[0]
    crops = done.counts["ok"]
    return {"frames": done.frames, "crops": crops, "wall_s": wall, "growth_mb": growth_mb}


def speeds(video: Path, table: Path, folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Frames per second of the decoder alone and of the whole command, in turns."""
    from likeness.data.video import frames
    from likeness_apps.person_reid.tracklets.run import tracklets

    numbers = count()
    works: dict[str, Callable[[], int]] = {
        "decode": lambda: sum(1 for _ in frames(video)),
        "whole": lambda: tracklets(video, table, folder / f"set-{next(numbers)}", camera=1).frames,
    }
    return {
        name: {
            "frames_per_cpu_s": taken.value / min(taken.cpu_s),
            "frames_per_s": taken.value / min(taken.wall_s),
        }
        for name, taken in in_turns(works, rounds=rounds).items()
    }


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        lengths = (chosen.frames, LONGER * chosen.frames)
        videos = [write_video(folder / f"{n}.mp4", n) for n in lengths]
        tables = [write_table(folder / f"{n}.txt", n) for n in lengths]
        memory = []
        for video, table in zip(videos, tables, strict=True):
            out = folder / f"set of {video.stem}"
            paths = {"video": video, "table": table, "out": out}
            memory.append(in_child(__file__, {key: str(path) for key, path in paths.items()}))
        return {"speed": speeds(videos[0], tables[0], folder, chosen.rounds), "memory": memory}


def main() -> None:
    """Measure, print and write."""
    if answered_in_child(growth):
        return
    parser = arguments(__doc__, "tracklets", frames=1000, rounds=3)
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where videos are written")
    chosen = parser.parse_args()
    from likeness.files import write_json

    provenance = record(seed=0)
    found = measure(chosen)
    print(json.dumps(found, indent=2))
    setting = {"frames": chosen.frames, "rounds": chosen.rounds, "tracks": TRACKS, "box": BOX}
    setting |= {"size": f"{WIDTH} x {HEIGHT}", "codec": "h264", "key_every": KEY_EVERY}
    write_json(chosen.out, {**found, "provenance": provenance, "setting": setting})


if __name__ == "__main__":
    main()
