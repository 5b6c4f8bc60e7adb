"""Thin dark lines that lie over a picture: found by a black top-hat, painted over from their sides.

After DullRazor (Lee et al., Computers in Biology and Medicine 1997), which closes the picture with
lines of several directions and checks that what it finds is long and thin. Our reconstruction: one
square closing, then the mean along short straight pieces in 16 directions, compared with the mean
over all directions. A line has one direction in which it goes on; a net, a dot or a grain has none.

Legend: H, W of the picture; h, w of a coarser grid; K kinds of pixels found (components).
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy import ndimage

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_DIRECTIONS = 16
_DEEPEST = 60  # grey levels: darker lines count as much, so that none outshines its surroundings
_GRID_SIDE = 200  # directions are looked for at about this shorter side, in pixels
_TEXTURE = 1.3  # how far a line must stand out from dark pixels that go in all directions
_FLANK = 0.6  # a pixel beside the middle of a line needs this share of its response
_MOST = 0.6  # share of the picture: beyond it there is nothing left to paint from


def luminance(image_HW3: UInt8[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "H W"]:
    """Weighted sum of red, green and blue, 0..255."""
    return image_HW3 @ _LUMINANCE


def find_dark_lines(
    image_HW3: UInt8[np.ndarray, "H W 3"], *, width: float, length: float, contrast: float
) -> Bool[np.ndarray, "H W"]:
    """Where lines are that are darker than both of their sides.

    Args:
        image_HW3: the picture.
        width: of the widest line, as a share of the shorter side.
        length: of the shortest line, likewise.
        contrast: grey levels (of 255) by which a line must stand out.
    """
    height, wide = image_HW3.shape[:2]
    side = min(height, wide)
    size = max(3, 2 * round(width * side / 2) + 1)
    top_hat_HW = _black_top_hat(luminance(image_HW3), size)
    factor = max(1, round(side / _GRID_SIDE))
    response_HW = _response(_coarser(top_hat_HW, factor), length * side / factor, contrast)
    response_HW = response_HW.repeat(factor, axis=0).repeat(factor, axis=1)[:height, :wide]
    found_HW = (response_HW > _FLANK) & (top_hat_HW > _FLANK * contrast)
    found_HW = _lasting(found_HW, response_HW, length * side)
    rim = 2 * max(1, side // 200) + 1
    return np.asarray(ndimage.maximum_filter(found_HW.view(np.uint8), rim).view(bool))


def paint_over(
    image_HW3: UInt8[np.ndarray, "H W 3"], mask_HW: Bool[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """The picture with the marked pixels filled from their neighbours, from the rim inwards.

    Each ring of pixels takes the Gaussian mean of those that are known by then, so that an edge
    goes on through a line instead of being smeared along it. Where most of the picture is marked,
    it is returned as it is.
    """
    if not mask_HW.any() or mask_HW.mean() > _MOST:
        return image_HW3
    sigma = max(1.0, min(mask_HW.shape) / 200)
    known_HW = (~mask_HW).astype(np.float32)
    values_HW3 = image_HW3.astype(np.float32) * known_HW[..., None]
    while not known_HW.all():
        weight_HW = ndimage.gaussian_filter(known_HW, sigma, truncate=2)
        ring_HW = (weight_HW > 0.25) & (known_HW == 0)
        if not ring_HW.any():  # such as the tip of a wedge, which sees little of its sides
            sigma *= 2
            continue
        blurred_HW3 = ndimage.gaussian_filter(values_HW3, (sigma, sigma, 0), truncate=2)
        values_HW3[ring_HW] = blurred_HW3[ring_HW] / weight_HW[ring_HW, None]
        known_HW[ring_HW] = 1
    filled_HW3 = image_HW3.copy()
    filled_HW3[mask_HW] = np.rint(values_HW3[mask_HW])
    return filled_HW3


def _black_top_hat(grey_HW: np.ndarray, size: int) -> UInt8[np.ndarray, "H W"]:
    """How much darker a pixel is than what a square closing makes of it; at most `_DEEPEST`."""
    # Dark outside: a strip along the edge of the picture is no line.
    padded_HW = np.pad(np.rint(grey_HW).astype(np.uint8), size)
    hat_HW = ndimage.grey_closing(padded_HW, size=(size, size)) - padded_HW
    return np.asarray(np.minimum(hat_HW, _DEEPEST)[size:-size, size:-size])


def _coarser(plane_HW: UInt8[np.ndarray, "H W"], factor: int) -> UInt8[np.ndarray, "h w"]:
    """Means of blocks of `factor` x `factor`; the last ones are filled up by repetition."""
    if factor == 1:
        return plane_HW
    below, right = (-size % factor for size in plane_HW.shape)
    padded_HW = np.pad(plane_HW, ((0, below), (0, right)), mode="edge")
    height, width = (size // factor for size in padded_HW.shape)
    blocks = padded_HW.reshape(height, factor, width, factor)
    return np.asarray(blocks.mean((1, 3)).astype(np.uint8))


def _response(
    hat_HW: UInt8[np.ndarray, "H W"], length: float, contrast: float
) -> Float32[np.ndarray, "H W"]:
    """How far the mean along the best direction lies above that over all, 1 = a line.

    The measure is the contrast asked for or, where that is more, `_TEXTURE` times the mean over all
    directions: in a coarse texture a line must stand out from the texture.
    """
    height, width = hat_HW.shape
    reach = max(3, round(length / 3))  # to both sides: two thirds of the shortest line
    padded_HW = np.pad(hat_HW, reach, mode="symmetric").astype(np.uint16)
    best_HW = np.zeros(hat_HW.shape, np.uint16)
    total_HW = np.zeros(hat_HW.shape, np.uint32)
    for angle in np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS:
        along_HW = np.zeros(hat_HW.shape, np.uint16)
        for step in range(-reach, reach + 1):
            top, left = (reach + round(step * part) for part in (math.sin(angle), math.cos(angle)))
            along_HW += padded_HW[top : top + height, left : left + width]
        np.maximum(best_HW, along_HW, out=best_HW)
        total_HW += along_HW
    pixels = 2 * reach + 1
    mean_HW = total_HW.astype(np.float32) / (_DIRECTIONS * pixels)
    above_HW = best_HW.astype(np.float32) / pixels - mean_HW
    return np.asarray(above_HW / np.maximum(_TEXTURE * mean_HW, np.float32(contrast)))


def _lasting(
    found_HW: Bool[np.ndarray, "H W"], response_HW: Float32[np.ndarray, "H W"], length: float
) -> Bool[np.ndarray, "H W"]:
    """Those connected pixels that reach `length` from end to end and a response of 1 somewhere."""
    kind_HW, count = ndimage.label(found_HW, np.ones((3, 3)))
    kept_K = np.zeros(count + 1, bool)
    kept_K[kind_HW[response_HW > 1]] = True
    kept_K[0] = False  # what was not found
    for kind, box in enumerate(ndimage.find_objects(kind_HW), start=1):
        kept_K[kind] &= math.hypot(*(part.stop - part.start for part in box)) >= length
    return np.asarray(kept_K[kind_HW])
