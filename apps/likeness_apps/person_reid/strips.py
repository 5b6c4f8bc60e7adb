"""Strips: a few frames of a tracklet side by side, made only where somebody asks for pictures.

Shape legend: H, W height and width of a picture, C its channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from likeness_apps.shell.report.data import Picture
from likeness_apps.shell.report.pictures import as_image
from likeness_apps.shell.results import thumbnail

TALL, WIDE = 112, 56  # pixels of one frame; walking people are about twice as tall as wide
GAP = 2
_GROUND = (128, 128, 128)


def evenly(count: int, most: int) -> list[int]:
    """The middles of up to `most` equal parts of `count` frames.

    So neither the first nor the last of a long tracklet, in which people are half in the picture.
    """
    parts = min(most, count)
    return [(2 * part + 1) * count // (2 * parts) for part in range(parts)]


def strip(files: Sequence[Path]) -> Picture | None:
    """Frames in a row, aspect kept, on a grey ground; None if none can be read."""
    pictures = [picture for file in files if (picture := thumbnail(file)) is not None]
    if not pictures:
        return None
    row = Image.new("RGB", (len(pictures) * (WIDE + GAP) - GAP, TALL), _GROUND)
    for place, picture in enumerate(pictures):
        image = as_image(picture)
        scale = min(WIDE / image.width, TALL / image.height)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        left = place * (WIDE + GAP) + (WIDE - size[0]) // 2
        small = image.resize(size, Image.Resampling.LANCZOS)
        row.paste(small, (left, (TALL - size[1]) // 2))
    return np.asarray(row)


def strips_of(frames: pd.DataFrame, root: Path, most: int) -> Callable[[str], Picture | None]:
    """Gives the strip of a tracklet by its name: frames evenly spaced; None without one.

    Args:
        frames: path and tracklet of every frame, and maybe `frame`, their order.
        root: where the paths begin.
        most: frames of a strip.
    """
    ordered = frames.sort_values("frame", kind="stable") if "frame" in frames else frames
    paths = ordered["path"].to_numpy(object)
    places = ordered.reset_index(drop=True).groupby("tracklet").indices

    def of(tracklet: str) -> Picture | None:
        own = places.get(tracklet, np.empty(0, np.int64))
        return strip([root / paths[own[place]] for place in evenly(len(own), most)])

    return of


def write_strip(path: Path, picture: Picture) -> None:
    """Write a strip as JPEG, without metadata."""
    Image.fromarray(picture).save(path, "JPEG", quality=85)
