"""Small pictures of tracklets: a few frames side by side, made only where somebody asks for them.

Legend: H, W height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from likeness_apps.shell.report.data import Picture
from likeness_apps.shell.results import thumbnail

FRAMES = 3
HEIGHT = 96  # of a strip


def evenly(count: int) -> list[int]:
    """Up to `FRAMES` places among `count` frames, from the first to the last."""
    places = np.linspace(0, count - 1, min(FRAMES, count)).round()
    return [int(place) for place in places]


def strip(files: Sequence[Path]) -> Picture | None:
    """Frames side by side, all as high; None if none can be read."""
    pictures = [picture for file in files if (picture := thumbnail(file)) is not None]
    if not pictures:
        return None
    return np.concatenate([_as_high(picture) for picture in pictures], axis=1)


def write_strip(path: Path, picture: Picture) -> None:
    """Write a strip as JPEG, without metadata."""
    Image.fromarray(picture).save(path, "JPEG", quality=85)


def _as_high(picture_HWC: Picture) -> Picture:
    height, width = picture_HWC.shape[:2]
    size = (max(1, round(width * HEIGHT / height)), HEIGHT)
    return np.asarray(Image.fromarray(picture_HWC).resize(size, Image.Resampling.BICUBIC))
