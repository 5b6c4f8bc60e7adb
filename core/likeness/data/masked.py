"""A picture as the network gets to see it, for people, with the mask that lies beside its file.

Legend: H height, W width, C bands of what the steps leave.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from likeness.data.decode import DecodeError, decode_full
from likeness.data.decoded import Decoded
from likeness.data.masks import mask_beside, read_mask, require_size
from likeness.data.stepped import step_image
from likeness.data.steps import side_needed
from likeness.data.transforms import Preprocessing, central_box
from likeness.image_size import HeightWidth


class View(NamedTuple):
    """What the network sees of a file, before it is brought to the network's size.

    Attributes:
        image_HWC: after the steps, and cut to the network's aspect ratio where the preprocessing
            cuts.
        mask_HW: the mask, cut likewise; None without one.
        mask_reason: why the mask that is there cannot be used; "" if it can, or there is none.
    """

    image_HWC: Shaped[np.ndarray, "H W C"]
    mask_HW: Bool[np.ndarray, "H W"] | None
    mask_reason: str = ""


def view_of(path: Path, preprocessing: Preprocessing, *, side: int) -> View:
    """Decode a file at about `side` pixels or more, with its mask.

    Args:
        path: the image.
        preprocessing: which bands, the steps, and whether the centre is cut out.
        side: neither side is needed larger.

    Raises:
        DecodeError: if the image cannot be decoded or a step does not take it. A mask that cannot
            be used is no error.
    """
    mask_HW, reason = _mask_of(path)
    steps = preprocessing.steps
    needed = side_needed(side, steps, mask_HW)
    decoded = decode_full(path, min_side=needed, bands=preprocessing.band_numbers)
    mask_HW, reason = _of_its_size(decoded, mask_HW, reason)
    image_HWC, mask_HW = step_image(decoded.measured_HWC, steps, side=side, mask_HW=mask_HW)
    if preprocessing.resize == "centre-crop":
        centre = _central(image_HWC.shape[:2], preprocessing.height_width)
        image_HWC, mask_HW = image_HWC[centre], None if mask_HW is None else mask_HW[centre]
    return View(image_HWC, mask_HW, reason)


def _central(image: HeightWidth, shape: HeightWidth) -> tuple[slice, slice]:
    """Rows and columns of the largest central part of an image with the aspect ratio of `shape`."""
    left, top, right, bottom = central_box(image, shape)
    lengths = max(1, int(bottom - top)), max(1, int(right - left))
    starts = [(side - length) // 2 for side, length in zip(image, lengths, strict=True)]
    rows, columns = (slice(at, at + length) for at, length in zip(starts, lengths, strict=True))
    return rows, columns


def _mask_of(path: Path) -> tuple[np.ndarray | None, str]:
    file = mask_beside(path)
    try:
        return (None, "") if file is None else (read_mask(file), "")
    except DecodeError as error:
        return None, error.reason


def _of_its_size(
    decoded: Decoded, mask_HW: np.ndarray | None, reason: str
) -> tuple[np.ndarray | None, str]:
    """The mask, unless it was made for an image of another size."""
    if mask_HW is None:
        return None, reason
    try:
        require_size(mask_HW, decoded.whole or decoded.pixels_HWC.shape[:2])
    except DecodeError as error:
        return None, error.reason
    return mask_HW, ""
