"""What decoding gives: an image, what its file says of it, or the reason why there is none.

Legend: H height, W width, C bands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from likeness.data.place import Place
from likeness.errors import UserError

MAX_PIXELS = 89_478_485  # Pillow's own limit: 256 MiB of RGB; larger scenes are read in windows
_TYPES = ("uint8", "uint16", "int16")  # whose scale differs; every other type is a `float32`


class DecodeError(UserError):
    """An image that cannot be used; `reason` says why, without the path."""

    def __init__(self, reason: str, path: Path | str | None = None) -> None:
        self.reason = reason
        super().__init__(f"image must be readable, got {str(path or 'bytes')!r}: {reason}")


class Remark(NamedTuple):
    """What a person should know of how a file was read: kind in kebab-case, what, and advice."""

    code: str
    message: str
    advice: str


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image and what its file says of it.

    Attributes:
        pixels_HWC: uint8, uint16 or float32; in float images no-data pixels are NaN.
        nodata: the value that stands for "no measurement", or None.
        format: `JPEG`, `PNG`, `GTiff`, ...
        dtype: the type of the numbers in the file, `uint8`, `int16`, `float64`, ...
        names: what the file calls each band that was read, "" where it has no name.
        place: where the image lies; None if the file does not say.
        remarks: what else to know of it, such as frames that were left out.
        whole: height and width that it has at full scale; None = those of the pixels.
    """

    pixels_HWC: Shaped[np.ndarray, "H W C"]
    nodata: float | None
    format: str
    dtype: str
    names: tuple[str, ...]
    place: Place | None = None
    remarks: tuple[Remark, ...] = ()
    whole: tuple[int, int] | None = None

    @property
    def measured_HWC(self) -> Shaped[np.ndarray, "H W C"]:
        """The pixels with NaN for no-data; float32 where there is any, else as they are."""
        missing_HWC = equal(self.pixels_HWC, self.nodata)
        if self.pixels_HWC.dtype.kind == "f" or not missing_HWC.any():
            return self.pixels_HWC
        return np.where(missing_HWC, np.float32(np.nan), self.pixels_HWC.astype(np.float32))

    def chosen(self, bands: Sequence[int]) -> Decoded:
        """With these bands only, in this order, numbered from 1.

        Raises:
            DecodeError: if there is no such band.
        """
        places = indices_of(bands, self.pixels_HWC.shape[2])
        names = tuple(self.names[place] for place in places)
        return replace(self, pixels_HWC=self.pixels_HWC[..., places], names=names)


def pixel_type(dtype: str) -> str:
    """The types that cannot be mixed in a set: uint8, uint16, int16, and float32 for the rest."""
    return dtype if dtype in _TYPES else "float32"


def check_size(width: int, height: int) -> None:
    """Raises DecodeError for an image of more than `MAX_PIXELS` pixels."""
    if width * height > MAX_PIXELS:
        raise DecodeError(f"{width} x {height} pixels are more than the {MAX_PIXELS} allowed")


def unnamed(image_HWC: np.ndarray) -> tuple[str, ...]:
    """An empty name for each band."""
    return ("",) * int(image_HWC.shape[2])


def indices_of(bands: Sequence[int], have: int) -> list[int]:
    """Band numbers, counted from 1, as places in an array of `have` bands."""
    for number in bands:
        if not 1 <= number <= have:
            raise DecodeError(f"band {number} where the file has {have}")
    return [number - 1 for number in bands]


def equal(
    array_HWC: Shaped[np.ndarray, "H W C"], nodata: float | None
) -> Bool[np.ndarray, "#H #W #C"]:
    """Where the values are `nodata`; one False if none can be."""
    nowhere: np.ndarray = np.zeros((1, 1, 1), dtype=bool)
    if nodata is None:
        return nowhere
    if array_HWC.dtype.kind == "f":
        with np.errstate(over="ignore"):
            value = array_HWC.dtype.type(nodata)
    elif nodata.is_integer() and _fits(int(nodata), array_HWC.dtype):
        value = int(nodata)
    else:
        return nowhere  # such as -9999 declared for unsigned numbers
    there: np.ndarray = array_HWC == value
    return there


def _fits(value: int, dtype: np.dtype) -> bool:
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max)


def first_line(error: BaseException) -> str:
    """Of an error's text, without GDAL's name for files in memory."""
    lines = re.sub(r"/vsimem/[^/]*/", "", str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
