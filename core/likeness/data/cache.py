"""Small sets are decoded and resized once and then kept in memory.

Legend: N images, H height, W width, C bands, R rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Int64, Shaped

from likeness.data.augmentation import Augmentation
from likeness.data.decode import DecodeError
from likeness.data.decoded import pixel_type
from likeness.data.stepped import read_stepped
from likeness.data.transforms import Preprocessing, match_bands, resize_image
from likeness.errors import require
from likeness.image_size import HeightWidth
from likeness.threads import prefetched

Progress = Callable[[int, int], None]  # (done, total)
CACHE_BYTES = 2 * 2**30
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, eq=False)
class ImageCache:
    """Decoded, resized images.

    Attributes:
        images_NHWC: the pixels of the rows that could be kept, in the order of the rows.
        slots: for each row its place in `images_NHWC`, or -1.
        failed: row -> reason, for rows that cannot be decoded.
        narrow: row -> type, for rows whose own type is narrower than the array's.
    """

    images_NHWC: Shaped[np.ndarray, "N H W C"]
    slots: Int64[np.ndarray, " R"]
    failed: dict[int, str]
    narrow: Mapping[int, np.dtype] = field(default_factory=dict)

    @property
    def height_width(self) -> HeightWidth:
        """Of every image, in pixels."""
        _, height, width, _ = self.images_NHWC.shape
        return height, width

    def get(self, row: int) -> Shaped[np.ndarray, "H W C"] | None:
        """The image of a row as `load_image` gave it, or None if it is not kept."""
        slot = int(self.slots[row])
        if slot < 0:
            return None
        kept_HWC: np.ndarray = self.images_NHWC[slot]
        return kept_HWC.astype(self.narrow[row]) if row in self.narrow else kept_HWC


def load_size(preprocessing: Preprocessing, augmentation: Augmentation | None) -> HeightWidth:
    """Height and width at which images are loaded for training.

    With random crops they are larger than `size`, so that the smallest crop need not be enlarged,
    but by no more than a quarter.
    """
    if augmentation is None:
        return preprocessing.height_width
    shrunk = math.sqrt(augmentation.crop_scale_min)
    tall, wide = (
        min(math.ceil(side / shrunk), math.ceil(1.25 * side)) for side in preprocessing.height_width
    )
    return tall, wide


def load_image(
    path: Path | str | bytes,
    preprocessing: Preprocessing,
    *,
    size: HeightWidth | None = None,
    beside: Path | str | None = None,
) -> Shaped[np.ndarray, "H W C"]:
    """Decode, do the steps, match the bands and resize: the one way from a file to such an image.

    Args:
        path: the file, or its bytes.
        preprocessing: which bands, their type, the steps, size and how to resize.
        size: height and width; default `preprocessing.height_width`.
        beside: the file that bytes were read from, where a step may look for its mask.

    Returns:
        The image in the type of `decode`; float32 with NaN where the file says "no data", if it
        says so of any pixel.

    Raises:
        DecodeError: naming the file, if it cannot be decoded, has other bands, numbers of
            another type than `preprocessing.dtype`, not one valid pixel, or if a step refuses it.
    """
    size = preprocessing.height_width if size is None else size
    steps, numbers = preprocessing.steps, preprocessing.band_numbers
    try:
        read = read_stepped(path, steps, side=size, bands=numbers, beside=beside)
        found, wanted = pixel_type(read.dtype), preprocessing.dtype
        if wanted is not None and found != wanted:
            raise DecodeError(f"{found} pixels where {wanted} are expected")
        image_HWC = match_bands(read.image_HWC, preprocessing.bands, grey=preprocessing.grey)
        if image_HWC.dtype.kind == "f" and not np.isfinite(image_HWC).any():
            raise DecodeError("no valid pixel")
    except DecodeError as error:
        raise DecodeError(error.reason, None if isinstance(path, bytes) else path) from None
    return resize_image(image_HWC, preprocessing, size=size)


def fill_cache(
    root: Path,
    paths: Sequence[str],
    preprocessing: Preprocessing,
    *,
    size: HeightWidth | None = None,
    limit_bytes: int = CACHE_BYTES,
    threads: int = 2,
    on_progress: Progress | None = None,
) -> ImageCache | None:
    """Decode and resize every image into one array.

    The result does not depend on `threads`. A bad file is noted in `failed` and stops nothing.
    Images of several types (one with no-data pixels is float32 among integers) are all held in the
    widest; while the array is widened, the narrow one is there besides.

    Args:
        root: the folder that `paths` are relative to.
        paths: one per row.
        preprocessing: bands, size and how to resize.
        size: height and width, default `preprocessing.height_width`; for training `load_size`.
        limit_bytes: the array may not be larger.
        threads: threads that decode.
        on_progress: called with (done, total) after each image.

    Returns:
        The cache, or None if the array would be larger than `limit_bytes`.
    """
    tall, wide = preprocessing.height_width if size is None else size
    require(limit_bytes >= 0, "limit_bytes", ">= 0", limit_bytes)

    def load(path: str) -> np.ndarray | DecodeError:
        try:
            return load_image(root / path, preprocessing, size=(tall, wide))
        except DecodeError as error:
            return error

    rows, bands = len(paths), preprocessing.bands
    if rows * tall * wide * bands > limit_bytes:  # a byte per pixel is the least
        return None
    images = np.empty((0, tall, wide, bands), np.uint8)
    slots, failed = np.full(rows, -1, np.int64), dict[int, str]()
    own: list[np.dtype] = []  # of each kept image
    for row, result in enumerate(prefetched(paths, load, threads=threads)):
        if isinstance(result, DecodeError):
            failed[row] = result.reason
        else:
            dtype = np.promote_types(images.dtype, result.dtype)
            if not own or dtype != images.dtype:
                if rows * result.size * dtype.itemsize > limit_bytes:
                    return None
                images = _widened(images, len(own), rows, dtype)
            images[len(own)], slots[row] = result, len(own)
            own.append(result.dtype)
        if on_progress is not None:
            on_progress(row + 1, rows)
    kept = images[: len(own)]
    narrow = {row: own[slot] for row, slot in enumerate(slots.tolist()) if slot >= 0}
    narrow = {row: dtype for row, dtype in narrow.items() if dtype != kept.dtype}
    return ImageCache(kept, slots, failed, narrow)


def _widened(
    images_NHWC: Shaped[np.ndarray, "N H W C"], used: int, rows: int, dtype: np.dtype
) -> Shaped[np.ndarray, "R H W C"]:
    """Room for `rows` images of a type, the first `used` filled with those there are."""
    widened = np.empty((rows, *images_NHWC.shape[1:]), dtype)
    widened[:used] = images_NHWC[:used]
    return widened
