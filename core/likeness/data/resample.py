"""Antialiased resizing of images with any number of bands, all bands at once.

Legend: H height, W width, C bands, N or M output pixels, T taps (source pixels that one output
pixel is made of); in a stack, N = images.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float32, Int64, Shaped
from torch import Tensor
from torch.nn.functional import embedding_bag, interpolate

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
EIGHT_BIT_BANDS = (1, 3, 4)  # 8-bit images of these many bands are resized in 8-bit steps


def resample(
    image_HWC: Shaped[np.ndarray, "H W C"], tall: int, wide: int, box: Box
) -> Float32[np.ndarray, "tall wide C"]:
    """Resize the part of an image inside `box` with a triangle filter, as Pillow's BILINEAR does.

    The filter is as wide as an output pixel, at least two source pixels, and may reach beyond the
    box but not beyond the image. Values that are not finite (no data) weigh nothing: an output
    pixel is the mean of what was measured, and NaN where that is less than half of its weight.

    The result does not depend on the number of threads.

    Args:
        image_HWC: any real type.
        tall: height of the result.
        wide: width of the result.
        box: inside the image, not empty.
    """
    pixels_HWC = torch.from_numpy(np.require(image_HWC, np.float32, requirements=["C", "W"]))
    finite_HWC = np.isfinite(image_HWC) if image_HWC.dtype.kind == "f" else np.True_
    if finite_HWC.all():
        return _filtered(pixels_HWC, tall, wide, box).numpy()
    measured_HWC = torch.from_numpy(finite_HWC)
    weight_HWC = _filtered(measured_HWC.float(), tall, wide, box)
    sum_HWC = _filtered(pixels_HWC.where(measured_HWC, 0.0), tall, wide, box)
    return (sum_HWC / weight_HWC).where(weight_HWC >= 0.5, torch.nan).numpy()


def resample_stack(
    pixels_NCHW: Shaped[Tensor, "N C H W"], tall: int, wide: int
) -> Shaped[Tensor, "N C tall wide"]:
    """Resize whole images of one size with the same triangle filter, by torch's own kernels.

    Args:
        pixels_NCHW: uint8, uint16 or float32; finite. Bands last in memory (as images are) is
            fastest.
        tall: height of the result.
        wide: width of the result.

    Returns:
        uint8 of 1, 3 or 4 bands stays uint8, rounded after each of two passes as in Pillow. By one
        level differ fewer than one pixel in fifty where height and width change alike, and up to
        one in three elsewhere (the order of the passes). Else float32, whole numbers if the pixels
        were.
    """
    if pixels_NCHW.shape[2:] == (tall, wide):
        return pixels_NCHW
    fast = pixels_NCHW.dtype == torch.uint8 and pixels_NCHW.shape[1] in EIGHT_BIT_BANDS
    source_NCHW = pixels_NCHW if fast else pixels_NCHW.to(torch.float32)
    resized = interpolate(source_NCHW, (tall, wide), mode="bilinear", antialias=True)
    return resized if fast or pixels_NCHW.is_floating_point() else resized.round_()


def _filtered(pixels_HWC: Tensor, tall: int, wide: int, box: Box) -> Tensor:
    """First all rows, then all columns: weighted sums of a few rows each.

    Just that is what an embedding bag computes, in one pass and in a fixed order of summation.
    """
    height, width, bands = pixels_HWC.shape
    left, top, right, bottom = box
    row_NT, weight_NT = _taps(height, tall, top, bottom)
    flat = pixels_HWC.reshape(height, width * bands)
    rows = embedding_bag(row_NT, flat, per_sample_weights=weight_NT, mode="sum")
    column_MT, weight_MT = _taps(width, wide, left, right)
    turned = rows.view(tall, width, bands).transpose(0, 1).reshape(width, tall * bands)
    columns = embedding_bag(column_MT, turned, per_sample_weights=weight_MT, mode="sum")
    return columns.view(wide, tall, bands).transpose(0, 1)


def _taps(
    length: int, count: int, low: float, high: float
) -> tuple[Int64[Tensor, "count T"], Float32[Tensor, "count T"]]:
    """Which of `length` pixels make up each of `count` pixels between `low` and `high`."""
    scale = (high - low) / count
    support = max(scale, 1.0)
    centre_N1 = low + (np.arange(count) + 0.5)[:, None] * scale
    first_N1 = np.maximum(np.floor(centre_N1 - support + 0.5), 0.0)
    place_NT = first_N1 + np.arange(math.ceil(support) * 2 + 1)
    weight_NT = np.maximum(1.0 - np.abs(place_NT + 0.5 - centre_N1) / support, 0.0)
    weight_NT *= place_NT < length
    weight_NT /= weight_NT.sum(axis=1, keepdims=True)
    inside_NT = np.minimum(place_NT, length - 1).astype(np.int64)
    return torch.from_numpy(inside_NT), torch.from_numpy(weight_NT.astype(np.float32))
