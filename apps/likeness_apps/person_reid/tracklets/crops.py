"""From a box to the pixels in it.

Legend: H height, W width.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from likeness.errors import UserError
from likeness_apps.person_reid.tracklets.detections import Box

QUALITY = 95  # of the JPEGs


VISIBLE = 0.25  # of a box at least: less is a sliver that shows nobody; our choice


class Region(NamedTuple):
    """Whole pixels of a picture; right and bottom are just outside."""

    left: int
    top: int
    right: int
    bottom: int


def region_of(box: Box, size: tuple[int, int], pad: float = 0.0) -> Region | None:
    """The pixels that a box touches, as far as they are in the picture.

    Args:
        box: width and height > 0.
        size: height and width of the picture.
        pad: what is added on each side, as a share of the box's width and height, >= 0.

    Returns:
        None if the box itself, without what is added, has no pixel in the picture.
    """
    height, width = size
    right, bottom = box.left + box.width, box.top + box.height
    if not (box.left < width and box.top < height and right > 0 and bottom > 0):
        return None
    x, y = pad * box.width, pad * box.height
    return Region(
        left=max(0, math.floor(box.left - x)),
        top=max(0, math.floor(box.top - y)),
        right=min(width, math.ceil(right + x)),
        bottom=min(height, math.ceil(bottom + y)),
    )


def visible(box: Box, size: tuple[int, int]) -> float:
    """The share of a box's area that is in the picture, in [0, 1].

    Args:
        box: width and height > 0.
        size: height and width of the picture.
    """
    height, width = size
    across = min(width, box.left + box.width) - max(0.0, box.left)
    down = min(height, box.top + box.height) - max(0.0, box.top)
    shares = (across / box.width, down / box.height)
    # The difference of two edges can be longer than the side by a rounding.
    return math.prod(min(max(share, 0.0), 1.0) for share in shares)


def write_crop(image_HW3: UInt8[np.ndarray, "H W 3"], region: Region, file: Path) -> None:
    """Write the pixels of a region as JPEG, nothing else with them.

    Raises:
        UserError: if the disk is full or the folder cannot be written.
    """
    left, top, right, bottom = region
    crop = Image.fromarray(image_HW3[top:bottom, left:right])
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        crop.save(file, "JPEG", quality=QUALITY)
    except OSError as error:
        raise UserError(
            f"out must be a writable place with free space, got {file}: {error.strerror} (what is "
            "finished is kept: repeat the command to go on)"
        ) from error
