"""Small sets are decoded and resized once and then kept in memory.

Legend: N images, S side, C bands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Int64, Shaped

from likeness.data.decode import DecodeError, decode
from likeness.data.transforms import Augmentation, Preprocessing, match_bands, resize_image
from likeness.errors import require
from likeness.threads import prefetched

Progress = Callable[[int, int], None]  # (done, total)
CACHE_BYTES = 2 * 2**30
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, eq=False)
class ImageCache:
    """Decoded, resized images.

    Attributes:
        images_NSSC: the pixels of the rows that could be kept, in the order of the rows.
        slots: for each row its place in `images_NSSC`, or -1.
        failed: row -> reason, for rows that cannot be decoded.
    """

    images_NSSC: Shaped[np.ndarray, "N S S C"]
    slots: Int64[np.ndarray, " R"]
    failed: dict[int, str]

    @property
    def side(self) -> int:
        """Height and width of the images in pixels."""
        return int(self.images_NSSC.shape[1])

    def get(self, row: int) -> Shaped[np.ndarray, "S S C"] | None:
        """The image of a row, or None if it is not kept."""
        slot = int(self.slots[row])
        return self.images_NSSC[slot] if slot >= 0 else None


def load_side(preprocessing: Preprocessing, augmentation: Augmentation | None) -> int:
    """The side at which images are loaded for training.

    With random crops it is larger than `size`, so that the smallest crop need not be enlarged, but
    by no more than a quarter.
    """
    size = preprocessing.size
    if augmentation is None:
        return size
    return min(math.ceil(size / math.sqrt(augmentation.crop_scale_min)), math.ceil(1.25 * size))


def load_image(
    path: Path | str | bytes, preprocessing: Preprocessing, *, side: int | None = None
) -> Shaped[np.ndarray, "S S C"]:
    """Decode, match the bands and resize: the one way from a file to a square.

    Args:
        path: the file, or its bytes.
        preprocessing: bands, size and how to resize.
        side: default `preprocessing.size`.

    Raises:
        DecodeError: naming the file, if it cannot be decoded or has other bands.
    """
    side = preprocessing.size if side is None else side
    image_HWC = decode(path, min_side=side)
    try:
        image_HWC = match_bands(image_HWC, preprocessing.bands)
    except DecodeError as error:
        raise DecodeError(error.reason, None if isinstance(path, bytes) else path) from None
    return resize_image(image_HWC, preprocessing, side=side)


def fill_cache(
    root: Path,
    paths: Sequence[str],
    preprocessing: Preprocessing,
    *,
    side: int | None = None,
    limit_bytes: int = CACHE_BYTES,
    threads: int = 2,
    on_progress: Progress | None = None,
) -> ImageCache | None:
    """Decode and resize every image into one array.

    The result does not depend on `threads`. A bad file is noted in `failed` and stops nothing. All
    images in the array have the dtype of the first good one; images of another dtype are not kept.

    Args:
        root: the folder that `paths` are relative to.
        paths: one per row.
        preprocessing: bands, size and how to resize.
        side: at which side, default `preprocessing.size`; for training use `load_side`.
        limit_bytes: the array may not be larger.
        threads: threads that decode.
        on_progress: called with (done, total) after each image.

    Returns:
        The cache, or None if the array would be larger than `limit_bytes`.
    """
    side = preprocessing.size if side is None else side
    require(limit_bytes >= 0, "limit_bytes", ">= 0", limit_bytes)

    def load(path: str) -> np.ndarray | DecodeError:
        try:
            return load_image(root / path, preprocessing, side=side)
        except DecodeError as error:
            return error

    rows, bands = len(paths), preprocessing.bands
    if rows * side * side * bands > limit_bytes:  # a byte per pixel is the least
        return None
    images: np.ndarray | None = None
    slots, failed, filled = np.full(rows, -1, np.int64), dict[int, str](), 0
    for row, result in enumerate(prefetched(paths, load, threads=threads)):
        if isinstance(result, DecodeError):
            failed[row] = result.reason
        else:
            if images is None:
                if rows * result.nbytes > limit_bytes:
                    return None
                images = np.empty((rows, side, side, bands), result.dtype)
            if result.dtype == images.dtype:
                images[filled], slots[row] = result, filled
                filled += 1
        if on_progress is not None:
            on_progress(row + 1, rows)
    kept = np.empty((0, side, side, bands), np.uint8) if images is None else images[:filled]
    return ImageCache(kept, slots, failed)
