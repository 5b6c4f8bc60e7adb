"""From a file's bytes to an array, by content and never by ending.

Legend: H height, W width, C bands.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from PIL import Image, Jpeg2KImagePlugin, UnidentifiedImageError, WebPImagePlugin

from likeness.data import band_folder
from likeness.data.decoded import (
    MAX_PIXELS,
    Decoded,
    DecodeError,
    check_size,
    first_line,
    unnamed,
)
from likeness.data.dicom import by_dicom, is_dicom
from likeness.data.raster import by_folder, by_rasterio, raster_names
from likeness.image_size import ImageSize, height_width

__all__ = [
    "MAX_PIXELS",
    "DecodeError",
    "Decoded",
    "band_names",
    "decode",
    "decode_full",
    "read_bytes",
]


logging.getLogger("PIL").setLevel(logging.INFO)  # its debug lines quote the texts in EXIF tags
MAX_FILE_BYTES = 2**30
# Only raster formats whose decoder is part of Pillow itself; EPS and the like start programs.
_FORMATS = (
    *("JPEG", "PNG", "BMP", "DIB", "GIF", "PPM"),
    # Pillow loads these two only when named; opening by name needs them loaded.
    *(WebPImagePlugin.WebPImageFile.format, Jpeg2KImagePlugin.Jpeg2KImageFile.format),
)
_TIFF_SIGNS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_PNG_SIGN = b"\x89PNG\r\n\x1a\n"
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_THE_SIDE = (5, 6, 7, 8)  # orientations that swap height and width
_MODE_TYPES = {"I": "int32", "F": "float32", **dict.fromkeys(("I;16", "I;16B", "I;16L"), "uint16")}


def decode(
    source: Path | str | bytes,
    *,
    min_side: ImageSize | None = None,
    bands: Sequence[int] | None = None,
) -> Shaped[np.ndarray, "H W C"]:
    """Decode an image.

    JPEG, PNG, BMP, GIF (first frame), WebP, PPM and JPEG 2000 by Pillow; TIFF with any number of
    bands and 16-bit PNG by rasterio; DICOM (first frame) by pydicom. Palettes become RGB, EXIF
    orientation is applied, alpha is dropped unless it is asked for by its number, grey stays one
    band. A folder of single-band TIFFs is one image: bands in the order of the file names, on the
    finest grid among those that are read (nearest neighbour).

    Args:
        source: a file, its bytes, or a folder of single-band TIFFs.
        min_side: neither side is needed larger than this, or than this height and width; a JPEG is
            then decoded at 1/2, 1/4 or 1/8 scale as long as both sides stay as large. None decodes
            at full scale.
        bands: which bands to read, in this order, numbered from 1 as in the file; None reads all
            but alpha. (A TIFF of four 8-bit bands written with GDAL's defaults calls the fourth
            alpha, whatever it is.)

    Returns:
        uint8, uint16 or float32; other numbers become float32.

    Raises:
        DecodeError: if the file is missing, empty, truncated, no image, lacks a band, or has more
            than `MAX_PIXELS` pixels. A truncated file never gives half an image.
    """
    return decode_full(source, min_side=min_side, bands=bands).pixels_HWC


def decode_full(
    source: Path | str | bytes,
    *,
    min_side: ImageSize | None = None,
    bands: Sequence[int] | None = None,
) -> Decoded:
    """As `decode`, with all that the file says of the pixels."""
    path = None if isinstance(source, bytes) else Path(source)
    try:
        data = source if isinstance(source, bytes) else read_bytes(source)
        if not data:
            raise DecodeError("the file is empty")
        if _is_raster(data):
            return by_rasterio(data, bands)
        if band_folder.is_pack(data):
            return by_folder(data, bands)
        if is_dicom(data):
            whole = by_dicom(data)
        else:
            whole = _by_pillow(data, min_side, alpha=bands is not None)
        return whole if bands is None else whole.chosen(bands)
    except DecodeError as error:
        if path is None:
            raise
        raise DecodeError(error.reason, path) from error


def band_names(source: Path | str) -> tuple[str, ...]:
    """What the file calls each of its bands, alpha included; "" for a band without a name.

    Raises:
        DecodeError: as `decode`.
    """
    data = read_bytes(source)
    try:
        if _is_raster(data):
            return raster_names(data)
        if band_folder.is_pack(data):
            return tuple(name for name, _ in band_folder.unpack(data))
        if is_dicom(data):
            return by_dicom(data).names
        return _by_pillow(data, 1, alpha=True).names
    except DecodeError as error:
        raise DecodeError(error.reason, source) from error


def read_bytes(path: Path | str) -> bytes:
    """A file's bytes, or those of all bands in a folder of TIFFs.

    Raises:
        DecodeError: if there is no such file, it cannot be read, or it is larger than 1 GiB.
    """
    file = Path(path)
    try:
        if file.is_dir():
            return band_folder.pack(file, MAX_FILE_BYTES)
        if not file.is_file():
            raise DecodeError("no such file", path)
        if file.stat().st_size > MAX_FILE_BYTES:
            raise DecodeError("the file is larger than 1 GiB", path)
        return file.read_bytes()
    except DecodeError:
        raise
    except ValueError as error:  # of a folder
        raise DecodeError(str(error), path) from error
    except OSError as error:
        raise DecodeError(error.strerror or type(error).__name__, path) from error


def _is_raster(data: bytes) -> bool:
    """TIFF, or a 16-bit PNG: Pillow halves the depth of colour ones without a word."""
    deep_png = data.startswith(_PNG_SIGN) and data[24:25] == b"\x10"
    return deep_png or data.startswith(_TIFF_SIGNS)


def _by_pillow(data: bytes, min_side: ImageSize | None, *, alpha: bool) -> Decoded:
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            check_size(*image.size)
            # several photos: the first
            form = "JPEG" if image.format == "MPO" else str(image.format)
            width, height = image.size
            if min_side is not None and form == "JPEG":
                least = height_width(min_side)  # Pillow's sizes are width and height
                on_side = _orientation(image) in _ON_THE_SIDE
                image.draft(None, least if on_side else least[::-1])
            image.load()
            orientation = _orientation(image)
            turn = _TURNS.get(orientation)
            upright = image if turn is None else image.transpose(turn)
            whole = (width, height) if orientation in _ON_THE_SIDE else (height, width)
            array = _array(upright, alpha=alpha)
            dtype = _MODE_TYPES.get(image.mode, "uint8")
            return Decoded(array, None, form, dtype, unnamed(array), whole=whole)
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError("no image format that is known, or a broken header") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DecodeError(f"more than the {MAX_PIXELS} pixels allowed") from None
    except Exception as error:  # broken files make the decoders raise almost anything
        raise DecodeError(f"broken or truncated: {first_line(error)}") from error


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # a broken EXIF block does not spoil the pixels
        return 1


def _array(image: Image.Image, *, alpha: bool) -> Shaped[np.ndarray, "H W C"]:
    mode = image.mode
    if mode.startswith("I;16"):
        array = np.asarray(image).astype(np.uint16)
    elif mode in ("I", "F"):
        array = np.asarray(image).astype(np.float32)
    elif alpha and mode in ("LA", "RGBA"):
        array = np.array(image)
    elif mode in ("1", "L", "LA", "La"):
        array = np.array(image.convert("L"))
    else:
        array = np.array(image if mode == "RGB" else image.convert("RGB"))
    return array[..., None] if array.ndim == 2 else array
