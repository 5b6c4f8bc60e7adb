"""What one file tells before training: whether it can be used, what it shows, where it lies.

Legend: H height, W width, C bands, T side of a thumbnail.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from PIL import Image

from likeness.data.decode import Decoded, DecodeError, decode_full, read_bytes
from likeness.data.decoded import Remark, pixel_type

RemarksOn = Callable[[np.ndarray], Sequence[Remark]]  # of pixels, height x width x bands
THUMB = 16  # side of the thumbnails that confirm a near duplicate, in pixels


@dataclass(frozen=True)
class Examined:
    """One file; the fields down to `resolution` are columns of the checked table.

    Attributes:
        sha256: of the file's bytes; "" if it cannot be read.
        width: in pixels, 0 if it cannot be decoded.
        height: likewise.
        bands: likewise.
        dtype: `pixel_type` of the numbers in the file.
        status: `ok`, `unreadable` or `unusable`.
        reason: why it is not ok.
        pixels: hash of the decoded array.
        crs: of its `Place`; "" = unknown.
        left: with `bottom`, `right` and `top` the place's bounds; nan without a place.
        resolution: metres per pixel; nan = unknown.
        fingerprint: 64-bit difference hash.
        thumb: `THUMB` x `THUMB` grey values.
        constant: whether every pixel has the same value.
        empty_share: share of the values that are no measurement, in [0, 1].
        remarks: what else to know of how it was read.
    """

    sha256: str = ""
    width: int = 0
    height: int = 0
    bands: int = 0
    dtype: str = ""
    status: str = "ok"
    reason: str = ""
    pixels: str = ""
    crs: str = ""
    left: float = math.nan
    bottom: float = math.nan
    right: float = math.nan
    top: float = math.nan
    resolution: float = math.nan
    fingerprint: int = 0
    thumb: bytes = bytes(THUMB * THUMB)
    constant: bool = False
    empty_share: float = 0.0
    remarks: tuple[Remark, ...] = ()


def examine(
    path: Path, bands: Sequence[int] | None = None, remarks_on: RemarksOn | None = None
) -> Examined:
    """Read a file once: hash of the bytes, decoded shape, hash of the pixels, thumbnail, place.

    Args:
        path: the file.
        bands: numbers of the bands that count, as `decode` takes them.
        remarks_on: what else to tell of the decoded pixels.
    """
    sha = ""
    try:
        data = read_bytes(path)
        sha = hashlib.sha256(data).hexdigest()
        decoded = decode_full(data, bands=bands)
    except DecodeError as error:
        return Examined(sha256=sha, status="unreadable", reason=error.reason)
    image_HWC = decoded.pixels_HWC
    height, width, count = image_HWC.shape
    head = f"{image_HWC.shape} {image_HWC.dtype} ".encode()
    valid_HWC = _valid(image_HWC, decoded.nodata)
    empty = 0.0 if valid_HWC is None else 1.0 - float(valid_HWC.mean())
    values = image_HWC if valid_HWC is None else image_HWC[valid_HWC]
    thumb, fingerprint = _fingerprint(
        image_HWC if valid_HWC is None else np.where(valid_HWC, image_HWC, 0)
    )
    crs, bounds, resolution = _where(decoded)
    return Examined(
        sha,
        width,
        height,
        count,
        pixel_type(decoded.dtype),
        "ok" if values.size else "unusable",
        "" if values.size else "no valid pixel",
        hashlib.sha256(head + image_HWC.tobytes()).hexdigest(),
        crs,
        *bounds,
        resolution,
        fingerprint,
        thumb.tobytes(),
        bool(values.size and values.min() == values.max()),
        empty,
        (*decoded.remarks, *(remarks_on(image_HWC) if remarks_on is not None else ())),
    )


def _where(decoded: Decoded) -> tuple[str, tuple[float, float, float, float], float]:
    """CRS, bounds and resolution."""
    place = decoded.place
    if place is None:
        return "", (math.nan,) * 4, math.nan
    return place.crs, place.bounds(), place.resolution_m() or math.nan


def _valid(
    image_HWC: Shaped[np.ndarray, "H W C"], nodata: float | None
) -> Bool[np.ndarray, "H W C"] | None:
    """Which values are measurements; None = all."""
    if image_HWC.dtype.kind != "f" and nodata is None:
        return None
    # In float images the declared no-data value is NaN by now.
    measured: np.ndarray = np.isfinite(image_HWC)
    if nodata is not None:
        measured &= image_HWC != nodata
    return measured


def _fingerprint(image_HWC: Shaped[np.ndarray, "H W C"]) -> tuple[UInt8[np.ndarray, "T T"], int]:
    """A grey thumbnail and the 64-bit difference hash (signs of 8 x 8 horizontal differences)."""
    grey_HW = image_HWC.mean(axis=2, dtype=np.float64)
    if image_HWC.dtype != np.uint8:
        low, high = float(grey_HW.min()), float(grey_HW.max())
        grey_HW = (grey_HW - low) * (255.0 / max(high - low, 1e-12))
    grey = Image.fromarray(grey_HW.astype(np.float32))
    cells = np.asarray(grey.resize((9, 8), Image.Resampling.BOX))
    bits = (cells[:, 1:] > cells[:, :-1]).ravel()
    thumb = np.asarray(grey.resize((THUMB, THUMB), Image.Resampling.BOX))
    hashed = int.from_bytes(np.packbits(bits).tobytes(), "big")
    return np.rint(thumb).clip(0, 255).astype(np.uint8), hashed
