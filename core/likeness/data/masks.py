"""Masks beside their images: where they are, by the names of public sets, and their pixels.

`ISIC_0000000_segmentation.png` lies beside `ISIC_0000000.jpg` or in a folder of masks beside the
folder of images (`ISIC-2017_Training_Part1_GroundTruth`, `HAM10000_segmentations_...`, `masks`);
PH2 has `IMD003_lesion/IMD003_lesion.bmp` beside `IMD003_Dermoscopic_Image/IMD003.bmp`.

Legend: H, W of a mask and its image.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from likeness.data.decode import decode
from likeness.data.decoded import DecodeError
from likeness.data.listing import IMAGE_SUFFIXES

_MASK = re.compile(r"^(?P<stem>.+)_(?:(?i:segmentation)\.png|lesion\.bmp)$")
_FOLDER = re.compile(r"groundtruth|masks?$|segmentation", re.IGNORECASE)
# Of PH2: a folder for each kind of file.
_PARTS = re.compile(r"^(?P<item>.+)_Dermoscopic_Image$")


def image_of_mask(name: str) -> str | None:
    """The name without ending of the image that a file named so is the mask of, if it is one."""
    match = _MASK.match(name)
    return match["stem"] if match else None


def is_mask(path: Path | str) -> bool:
    """Whether a file is the mask of an image: by its name, and by its folder or the image in it.

    Args:
        path: a file; only one that is named like a mask costs a look at the disk.
    """
    given = Path(path)
    stem = image_of_mask(given.name)
    if stem is None:
        return False
    folder = given.parent
    if _FOLDER.search(folder.name) or folder.name == f"{stem}_lesion":
        return True
    return any((folder / f"{stem}{ending}").is_file() for ending in IMAGE_SUFFIXES)


def mask_beside(path: Path | str) -> Path | None:
    """The mask of an image: in its folder, else in a folder of masks beside that folder.

    A link is looked for in its own place first, then where it leads. Of several masks the first by
    the name of its folder counts.

    Args:
        path: an image file, or a folder that is one image (those have no mask).
    """
    given = Path(path)
    places = dict.fromkeys((given.absolute(), given.resolve()))
    return next((mask for place in places for mask in _masks_of(place)), None)


def read_mask(path: Path) -> Bool[np.ndarray, "H W"]:
    """Where a mask is brighter than half of its brightest pixel; nowhere if it is black.

    Raises:
        DecodeError: if the file cannot be read.
    """
    grey_HW = decode(path).max(axis=2)
    return np.asarray(grey_HW > grey_HW.max() / 2)


def require_size(mask_HW: Bool[np.ndarray, "H W"], size: tuple[int, ...]) -> None:
    """Refuse a mask of another size (height, width) than its image's.

    Raises:
        DecodeError: in one sentence.
    """
    if mask_HW.shape != size:
        (tall, wide), (height, width) = mask_HW.shape, size
        raise DecodeError(f"its mask has {wide} x {tall} pixels, the image {width} x {height}")


def scaled(mask_HW: Bool[np.ndarray, "_ _"], size: tuple[int, int]) -> Bool[np.ndarray, "_ _"]:
    """The mask at another height and width, by the nearest pixel."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for old, new in zip(mask_HW.shape, size, strict=True)
    )
    return np.asarray(mask_HW[rows[:, None], columns])


def _masks_of(image: Path) -> Iterator[Path]:
    folder = image.parent
    yield from _in_folder(folder, image.stem)
    parts = _PARTS.match(folder.name)
    beside = [folder.parent / f"{parts['item']}_lesion"] if parts else _mask_folders(folder.parent)
    for place in beside:
        yield from _in_folder(place, image.stem)


def _in_folder(folder: Path, stem: str) -> Iterator[Path]:
    """A few questions for names instead of a listing: folders hold ten thousands of files."""
    for ending in ("_segmentation.png", "_Segmentation.png", "_lesion.bmp"):
        mask = folder / f"{stem}{ending}"
        if mask.is_file():
            yield mask


def _mask_folders(parent: Path) -> list[Path]:
    try:
        with os.scandir(parent) as entries:
            return sorted(Path(e.path) for e in entries if _FOLDER.search(e.name) and e.is_dir())
    except OSError:  # such as a parent that may not be listed
        return []
