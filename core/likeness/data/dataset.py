"""Images by row number, for training and for everything after it.

Legend: N images, C bands, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Shaped
from torch import Tensor
from torch.utils.data import Dataset

from likeness.data.augmentation import Augmentation, augment, occlude, require_fit
from likeness.data.cache import ImageCache, load_image, load_size
from likeness.data.decode import DecodeError
from likeness.data.transforms import Preprocessing, to_tensor
from likeness.errors import require
from likeness.image_size import HeightWidth
from likeness.threads import prefetched

Item = int | tuple[int, int, int]


class ImageRows(Dataset[tuple[Tensor, int]]):
    """The images of a table's rows.

    `rows[row]` is the image exactly as the finished model will see it. `rows[row, step, slot]` is
    an augmented one, whose random numbers depend on (seed, step, slot in the batch) only: not on
    the worker, nor on what was loaded before. Whether there is a cache changes no pixel.
    """

    def __init__(
        self,
        root: Path | str,
        paths: Sequence[str],
        preprocessing: Preprocessing,
        *,
        augmentation: Augmentation | None = None,
        cache: ImageCache | None = None,
        seed: int = 0,
    ) -> None:
        """Describe the rows; nothing is read yet.

        Args:
            root: the folder that `paths` are relative to.
            paths: one image per row.
            preprocessing: as the model takes it.
            augmentation: for items with a step and a slot; None leaves these images clean too.
            cache: from `fill_cache` for the same paths and preprocessing.
            seed: of the run, >= 0.

        Raises:
            UserError: if the cache has other rows, or another size than the preprocessing's and
                `load_size(preprocessing, augmentation)`, or the augmentation does not fit images
                of this size.
        """
        require(seed >= 0, "seed", ">= 0", seed)
        require_fit(augmentation, preprocessing.size)
        self.root = Path(root)
        self.paths = list(paths)
        self.preprocessing = preprocessing
        self.augmentation = augmentation
        self.cache = cache
        self.seed = seed
        self.train_size = load_size(preprocessing, augmentation)
        if cache is not None:
            sizes = (preprocessing.height_width, self.train_size)
            found = cache.height_width
            require(len(cache.slots) == len(self.paths), "cache", "of these rows", len(cache.slots))
            require(found in sizes, "cache size", f"one of {sizes}", found)

    def __len__(self) -> int:
        """How many rows."""
        return len(self.paths)

    def __getitem__(self, item: Item) -> tuple[Float32[Tensor, "C H W"], int]:
        """An image as the network takes it, and its row.

        Raises:
            DecodeError: naming the file, if it cannot be decoded.
        """
        if isinstance(item, tuple):
            row, step, slot = (int(part) for part in item)
        else:
            row, step, slot = int(item), 0, 0
        size = self.preprocessing.height_width
        if not isinstance(item, tuple) or self.augmentation is None:
            return to_tensor(self._load(row, size), self.preprocessing), row
        generator = np.random.default_rng((self.seed, step, slot))
        image_HWC = self._load(row, self.train_size)
        changed_HWC = augment(image_HWC, self.augmentation, generator, size=size)
        changed_CHW = to_tensor(changed_HWC, self.preprocessing)
        return occlude(changed_CHW, self.augmentation, generator, self.preprocessing), row

    def _load(self, row: int, size: HeightWidth) -> Shaped[np.ndarray, "H W C"]:
        if self.cache is not None and self.cache.height_width == size:
            kept = self.cache.get(row)
            if kept is not None:
                return kept
        return load_image(self.root / self.paths[row], self.preprocessing, size=size)


class ImageBatch(NamedTuple):
    """Some clean images, in row order.

    Attributes:
        images_NCHW: the images that could be read.
        rows: their row numbers.
        failed: row -> reason, for rows of this batch that could not be read.
    """

    images_NCHW: Float32[Tensor, "N C H W"]
    rows: list[int]
    failed: dict[int, str]


def clean_batches(rows: ImageRows, *, batch_size: int, threads: int = 2) -> Iterator[ImageBatch]:
    """All rows in order, not augmented, decoded by threads a little ahead; bad files stop nothing.

    Args:
        rows: what to read.
        batch_size: rows per batch, >= 1; failed rows leave a batch smaller, at worst empty.
        threads: threads that decode.
    """
    require(batch_size >= 1, "batch_size", ">= 1", batch_size)

    def load(row: int) -> Tensor | DecodeError:
        try:
            return rows[row][0]
        except DecodeError as error:
            return error

    bands, size = rows.preprocessing.bands, rows.preprocessing.height_width
    results = prefetched(range(len(rows)), load, threads=threads)
    for start in range(0, len(rows), batch_size):
        batch = range(start, min(start + batch_size, len(rows)))
        good: dict[int, Tensor] = {}
        failed: dict[int, str] = {}
        for row, result in zip(batch, results, strict=False):
            if isinstance(result, DecodeError):
                failed[row] = result.reason
            else:
                good[row] = result
        empty = torch.empty((0, bands, *size))
        yield ImageBatch(torch.stack(list(good.values())) if good else empty, list(good), failed)
