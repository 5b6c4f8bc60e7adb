"""Text burned into the pixels of a picture: the name that no tag removal takes away.

Ours, by the looks of drawn letters: parts of one tone, brighter or darker than what is around them,
of like height, side by side on a line. Measured on drawn text (five colours, six fonts, 10 pixels
high and more, JPEG): 9 of 10 are found, nearly all in pictures 1,000 pixels wide and more; of
public dermoscopic images without a known text, about 1 in 200 is warned of. Hand-writing, text
that is turned, and fewer than four letters are missed: a person must look all the same.

Legend: H height, W width, C bands; P parts that may be letters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from PIL import Image, ImageChops, ImageFilter
from scipy.ndimage import find_objects, label
from scipy.sparse.csgraph import connected_components

from likeness.data.decoded import Remark

CODE = "burned-in-text"
_SIDE = 800  # larger pictures are looked at in a smaller copy of about so many pixels
_SURROUND = 30  # the neighbourhood of a pixel reaches the longer side / 30 in each direction
_CONTRAST = 40  # grey levels between letters and their surroundings
_LOWEST, _TALLEST = 5, 0.1  # height of a letter in pixels, and as a share of the longer side
_TOO_MANY = 1500  # parts: a texture, not text
_LETTERS, _GLYPHS = 4, 3  # parts on a line, and how many of them must be shaped like letters
_TONE = 40  # grey levels by which letters of one text differ at most


class _Parts(NamedTuple):
    """Connected parts: bounds in pixels, share of the box that is filled, mean grey level."""

    top_P: np.ndarray
    bottom_P: np.ndarray
    left_P: np.ndarray
    right_P: np.ndarray
    filled_P: np.ndarray
    tone_P: np.ndarray


def remarks_on(image_HWC: Shaped[np.ndarray, "H W C"]) -> tuple[Remark, ...]:
    """One remark if text seems to be burned in; none of other pixels than 8-bit grey or RGB."""
    if image_HWC.dtype != np.uint8 or image_HWC.shape[2] not in (1, 3) or not has_text(image_HWC):
        return ()
    message = "text seems to be burned into its pixels"
    return (Remark(CODE, message, "look at it; crop or blank the text if it names a person"),)


def has_text(image_HWC: UInt8[np.ndarray, "H W C"]) -> bool:
    """Whether a line of text seems to be in a picture of one or three bands."""
    image = Image.fromarray(image_HWC[..., 0] if image_HWC.shape[2] == 1 else image_HWC)
    factor = max(1, round(max(image.size) / _SIDE))
    if factor > 1:
        image = image.reduce(factor)
    return any(_is_line(parts) for band in _bands(image) for parts in _parts(band))


def _bands(image: Image.Image) -> list[Image.Image]:
    """On skin, white, yellow and red letters stand out in blue, green and blue ones in red."""
    return [image] if image.mode == "L" else [image.getchannel("R"), image.getchannel("B")]


def _parts(band: Image.Image) -> Iterator[_Parts]:
    """The parts that are brighter than their surroundings, then those that are darker."""
    around = band.filter(ImageFilter.BoxBlur(max(6, max(band.size) / _SURROUND)))
    grey_HW = np.asarray(band)
    for upper, lower in ((band, around), (around, band)):
        marked_HW = np.asarray(ImageChops.subtract(upper, lower)) > _CONTRAST
        found = _of_letter_size(marked_HW, grey_HW)
        if found is not None:
            yield found


def _of_letter_size(
    marked_HW: Bool[np.ndarray, "H W"], grey_HW: UInt8[np.ndarray, "H W"]
) -> _Parts | None:
    """The connected parts that could be letters, from left to right; None if too few or many."""
    numbers_HW, count = label(marked_HW, np.ones((3, 3)))
    boxes = [
        (rows.start, rows.stop, columns.start, columns.stop)
        for rows, columns in find_objects(numbers_HW)
    ]
    if not _LETTERS <= count <= 2 * _TOO_MANY:
        return None
    top, bottom, left, right = np.array(boxes).T
    height, width = bottom - top, right - left
    tall, wide = marked_HW.shape
    inside = (top > 0) & (left > 0) & (bottom < tall) & (right < wide)  # rulers reach the edge
    sized = (height >= _LOWEST) & (height <= _TALLEST * max(tall, wide)) & (width > 1)
    kept = np.flatnonzero(inside & sized & (width <= 2.5 * height))
    if not _LETTERS <= len(kept) <= _TOO_MANY:
        return None
    kept = kept[np.argsort(left[kept], kind="stable")]
    inner = numbers_HW[marked_HW]
    area = np.bincount(inner, minlength=count + 1)[1:]
    tone = np.bincount(inner, grey_HW[marked_HW], minlength=count + 1)[1:] / area
    columns = (top, bottom, left, right, area / (height * width), tone)
    return _Parts(*(column[kept] for column in columns))


def _is_line(parts: _Parts) -> bool:
    """Whether some parts stand side by side on a line, as letters of one text do."""
    height_P, width_P = parts.bottom_P - parts.top_P, parts.right_P - parts.left_P
    middle_P = (parts.top_P + parts.bottom_P) / 2
    taller_PP = np.maximum(height_P[:, None], height_P)
    gap_PP = parts.left_P - parts.right_P[:, None]
    beside_PP = (
        (np.minimum(height_P[:, None], height_P) > 0.55 * taller_PP)
        & (np.abs(middle_P[:, None] - middle_P) < 0.35 * taller_PP)
        & (gap_PP > -0.2 * taller_PP)
        & (gap_PP < taller_PP)
        & (parts.left_P > parts.left_P[:, None])
        & (np.abs(parts.tone_P[:, None] - parts.tone_P) < _TONE)
    )
    count, line_P = connected_components(beside_PP, directed=False)
    strokes_P = (parts.filled_P > 0.15) & (parts.filled_P < 0.8)  # a tick of a ruler is full
    glyph_P = strokes_P & (width_P > 0.28 * height_P) & (width_P < 1.7 * height_P)
    letters = np.bincount(line_P, minlength=count)
    glyphs = np.bincount(line_P, glyph_P, minlength=count)
    return bool(((letters >= _LETTERS) & (glyphs >= _GLYPHS)).any())
