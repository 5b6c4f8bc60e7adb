"""An image after the preprocessing steps: decode (at a reduced scale), then the steps.

Legend: H height, W width, C bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped
from PIL import Image

from likeness.data.decode import DecodeError, decode_full
from likeness.data.masks import mask_beside, read_mask, require_size, scaled
from likeness.data.steps import CropToMask, Step, apply_to_both, require_fit, side_needed
from likeness.data.transforms import match_bands
from likeness.image_size import ImageSize, height_width


class Pixels(NamedTuple):
    """An image as the next stage takes it.

    Attributes:
        image_HWC: after the steps; NaN where the file says "no data".
        dtype: the type of the numbers in the file.
    """

    image_HWC: Shaped[np.ndarray, "H W C"]
    dtype: str


def read_stepped(
    source: Path | str | bytes,
    steps: Sequence[Step],
    *,
    side: ImageSize,
    bands: Sequence[int] | None = None,
    beside: Path | str | None = None,
) -> Pixels:
    """Decode an image and do the steps.

    Args:
        source: the file, or its bytes.
        steps: what to do; without any, the image is as it was decoded.
        side: neither side of what comes out is needed larger, or than this height and width; a JPEG
            is decoded at a reduced scale where that is enough, and before any step other images are
            made smaller likewise (both sides then by the longer of the two).
        bands: numbers of the bands, as `decode` takes them.
        beside: the file that bytes were read from: its mask is looked for there.

    Raises:
        DecodeError: if the image or its mask cannot be decoded, they differ in size, or a step
            does not take such images.
    """
    if not steps:
        decoded = decode_full(source, min_side=side, bands=bands)
        return Pixels(decoded.measured_HWC, decoded.dtype)
    side = max(height_width(side))
    mask_HW = _mask_of(beside if isinstance(source, bytes) else source, steps)
    decoded = decode_full(source, min_side=side_needed(side, steps, mask_HW), bands=bands)
    if mask_HW is not None:
        require_size(mask_HW, decoded.whole or decoded.pixels_HWC.shape[:2])
    image_HWC, _ = step_image(decoded.measured_HWC, steps, side=side, mask_HW=mask_HW)
    return Pixels(image_HWC, decoded.dtype)


def step_image(
    image_HWC: Shaped[np.ndarray, "H W C"],
    steps: Sequence[Step],
    *,
    side: int,
    mask_HW: Bool[np.ndarray, "_ _"] | None = None,
) -> tuple[Shaped[np.ndarray, "_ _ _"], Bool[np.ndarray, "_ _"] | None]:
    """Do the steps on an image in memory, at the scale at which a file would go through them.

    Args:
        image_HWC: uint8 with three bands (or one, which is repeated), if there is any step.
        steps: what to do.
        side: the longer one of what is made of the image later.
        mask_HW: the image's mask at any scale.

    Returns:
        The image, and its mask at the image's scale, cut likewise; None without one.

    Raises:
        DecodeError: if a step does not take such images.
    """
    if steps:
        if image_HWC.shape[2] == 1:
            image_HWC = match_bands(image_HWC, 3)
        require_fit(image_HWC, steps[0].name)
        factor = min(image_HWC.shape[:2]) // side_needed(side, steps, mask_HW)
        if factor > 1:
            image_HWC = np.asarray(Image.fromarray(image_HWC).reduce(factor))
    if mask_HW is not None:
        mask_HW = scaled(mask_HW, image_HWC.shape[:2])
    return apply_to_both(image_HWC, steps, mask_HW)


def _mask_of(path: Path | str | None, steps: Sequence[Step]) -> Bool[np.ndarray, "H W"] | None:
    if path is None or not any(isinstance(step, CropToMask) for step in steps):
        return None
    file = mask_beside(path)
    try:
        return None if file is None else read_mask(file)
    except DecodeError as error:  # without a name: the image's may be one that is kept to itself
        raise DecodeError(f"its mask: {error.reason}") from None
