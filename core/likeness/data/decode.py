"""From a file's bytes to an array, by content and never by ending.

Legend: H height, W width, C bands.
"""

from __future__ import annotations

import re
import threading
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from PIL import Image, Jpeg2KImagePlugin, UnidentifiedImageError, WebPImagePlugin

from likeness.errors import UserError

MAX_PIXELS = 89_478_485  # Pillow's own limit: 256 MiB of RGB; larger scenes are read in windows
MAX_FILE_BYTES = 2**30
# Only raster formats whose decoder is part of Pillow itself; EPS and the like start programs.
_FORMATS = (
    *("JPEG", "PNG", "BMP", "DIB", "GIF", "PPM"),
    # Pillow loads these two only when named; opening by name needs them loaded.
    *(WebPImagePlugin.WebPImageFile.format, Jpeg2KImagePlugin.Jpeg2KImageFile.format),
)
_TIFF_SIGNS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_PNG_SIGN = b"\x89PNG\r\n\x1a\n"
_KEPT = ("uint8", "uint16", "float32")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MEMORY_NAME = "image"  # else a random name gets into the messages
_RASTERIO_LOCK = threading.Lock()


class DecodeError(UserError):
    """An image that cannot be used; `reason` says why, without the path."""

    def __init__(self, reason: str, path: Path | str | None = None) -> None:
        self.reason = reason
        super().__init__(f"image must be readable, got {str(path or 'bytes')!r}: {reason}")


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image and what its file says of it.

    Attributes:
        pixels_HWC: uint8, uint16 or float32; in float images no-data pixels are NaN.
        nodata: the value that stands for "no measurement", or None.
        format: `JPEG`, `PNG`, `GTiff`, ...
    """

    pixels_HWC: Shaped[np.ndarray, "H W C"]
    nodata: float | None
    format: str


def decode(
    source: Path | str | bytes, *, min_side: int | None = None
) -> Shaped[np.ndarray, "H W C"]:
    """Decode an image.

    JPEG, PNG, BMP, GIF (first frame), WebP, PPM and JPEG 2000 by Pillow; TIFF with any number of
    bands and 16-bit PNG by rasterio. Palettes become RGB, EXIF orientation is applied, alpha is
    dropped, grey stays one band.

    Args:
        source: a file or its bytes.
        min_side: neither side is needed larger than this; a JPEG is then decoded at 1/2, 1/4 or
            1/8 scale as long as both sides stay >= `min_side`. None decodes at full scale.

    Returns:
        uint8, uint16 or float32; other numbers become float32.

    Raises:
        DecodeError: if the file is missing, empty, truncated, no image, or has more than
            `MAX_PIXELS` pixels. A truncated file never gives half an image.
    """
    return decode_full(source, min_side=min_side).pixels_HWC


def decode_full(source: Path | str | bytes, *, min_side: int | None = None) -> Decoded:
    """As `decode`, with the no-data value and the format."""
    path = None if isinstance(source, bytes) else Path(source)
    try:
        data = source if isinstance(source, bytes) else read_bytes(source)
        if not data:
            raise DecodeError("the file is empty")
        if data.startswith(_TIFF_SIGNS) or _is_deep_png(data):
            return _by_rasterio(data)
        return _by_pillow(data, min_side)
    except DecodeError as error:
        if path is None:
            raise
        raise DecodeError(error.reason, path) from error


def read_bytes(path: Path | str) -> bytes:
    """A file's bytes.

    Raises:
        DecodeError: if there is no such file, it cannot be read, or it is larger than 1 GiB.
    """
    file = Path(path)
    try:
        if not file.is_file():
            raise DecodeError("no such file", path)
        if file.stat().st_size > MAX_FILE_BYTES:
            raise DecodeError("the file is larger than 1 GiB", path)
        return file.read_bytes()
    except OSError as error:
        raise DecodeError(error.strerror or type(error).__name__, path) from error


def _is_deep_png(data: bytes) -> bool:
    """Pillow halves the depth of 16-bit colour PNG without a word."""
    return data.startswith(_PNG_SIGN) and data[24:25] == b"\x10"


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DecodeError(f"{width} x {height} pixels are more than the {MAX_PIXELS} allowed")


def _by_pillow(data: bytes, min_side: int | None) -> Decoded:
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            _check_size(*image.size)
            form = (
                "JPEG" if image.format == "MPO" else str(image.format)
            )  # several photos: the first
            if min_side is not None and form == "JPEG":
                image.draft(None, (min_side, min_side))
            image.load()
            turn = _TURNS.get(_orientation(image))
            upright = image if turn is None else image.transpose(turn)
            return Decoded(_array(upright), None, form)
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError("no image format that is known, or a broken header") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DecodeError(f"more than the {MAX_PIXELS} pixels allowed") from None
    except Exception as error:  # broken files make the decoders raise almost anything
        raise DecodeError(f"broken or truncated: {_first_line(error)}") from error


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # a broken EXIF block does not spoil the pixels
        return 1


def _array(image: Image.Image) -> Shaped[np.ndarray, "H W C"]:
    mode = image.mode
    if mode.startswith("I;16"):
        array = np.asarray(image).astype(np.uint16)
    elif mode in ("I", "F"):
        array = np.asarray(image).astype(np.float32)
    elif mode in ("1", "L", "LA", "La"):
        array = np.array(image.convert("L"))
    else:
        array = np.array(image if mode == "RGB" else image.convert("RGB"))
    return array[..., None] if array.ndim == 2 else array


def _by_rasterio(data: bytes) -> Decoded:
    import rasterio  # here, because a JPEG needs no GDAL
    from rasterio.errors import NotGeoreferencedWarning, RasterioError
    from rasterio.io import MemoryFile

    try:
        with (
            rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
            MemoryFile(data, filename=_MEMORY_NAME) as memory,
        ):
            # catch_warnings swaps global state: one thread at a time.
            with _RASTERIO_LOCK, warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                dataset = memory.open()
            with dataset:
                _check_size(dataset.width, dataset.height)
                return _from_dataset(dataset)
    except DecodeError:
        raise
    except (RasterioError, ValueError, OSError, MemoryError) as error:
        cause = error.__cause__ or error  # rasterio's own text is "see previous exception"
        raise DecodeError(f"broken or truncated: {_first_line(cause)}") from error


def _from_dataset(dataset: Any) -> Decoded:
    from rasterio.enums import ColorInterp

    kinds = list(dataset.colorinterp)
    wanted = [band for band, kind in enumerate(kinds, start=1) if kind != ColorInterp.alpha]
    if not wanted:
        raise DecodeError("no band but alpha")
    if len(wanted) * dataset.width * dataset.height > 4 * MAX_PIXELS:
        raise DecodeError(f"{len(wanted)} bands of {dataset.width} x {dataset.height} are too many")
    array = np.moveaxis(dataset.read(wanted), 0, -1)
    nodata = None if dataset.nodata is None else float(dataset.nodata)
    if kinds[0] == ColorInterp.palette:
        colours = np.zeros((65536, 3), np.uint8)
        for index, colour in dataset.colormap(1).items():
            colours[index] = colour[:3]
        return Decoded(colours[array[..., 0]], None, dataset.driver)
    if np.iscomplexobj(array):
        raise DecodeError("complex numbers are no image")
    if array.dtype.name not in _KEPT:
        array = array.astype(np.float32)
    if array.dtype == np.float32 and nodata is not None:
        array = np.where(array == np.float32(nodata), np.float32(np.nan), array)
    return Decoded(np.ascontiguousarray(array), nodata, dataset.driver)


def _first_line(error: BaseException) -> str:
    lines = re.sub(r"/vsimem/[^/]*/", "", str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
