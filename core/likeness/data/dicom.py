"""DICOM photographs: the pixels of the first frame, and nothing that names a person.

Only the tags that describe pixels are read, so no text of the file can get into a message. What
pydicom itself warns or logs may quote values and is silenced here.

Legend: H height, W width, C bands.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from typing import Any

import numpy as np
from jaxtyping import Shaped

from likeness.data.decoded import Decoded, DecodeError, Remark, check_size, unnamed

_SIGN, _SIGN_PLACE = b"DICM", 128
_HEAD = 4096  # the file's own description lies in here
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_GREYS = ("MONOCHROME1", "MONOCHROME2")
_PIXEL_TAGS = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("BurnedInAnnotation", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData"),
)
_LOCK = threading.Lock()


def is_dicom(data: bytes) -> bool:
    """Whether these bytes, or the first 132 of a file, are a DICOM file."""
    return data[_SIGN_PLACE : _SIGN_PLACE + len(_SIGN)] == _SIGN


def by_dicom(data: bytes) -> Decoded:
    """The first frame of a DICOM file: RGB, YBR (which becomes RGB) or MONOCHROME (one band).

    Grey values are as stored, without a window; MONOCHROME1 (0 = white) is inverted.

    Raises:
        DecodeError: without pixels, with a palette, a compression that needs a plugin, or if the
            file is broken. The reason quotes no text of the file.
    """
    header = read_header(BytesIO(data), _PIXEL_TAGS)
    if "PixelData" not in header:
        raise DecodeError("a DICOM file without pixels, or cut off before them")
    try:
        size = (int(header.Columns), int(header.Rows))
        frames = int(header.get("NumberOfFrames") or 1)
        kind = str(header.PhotometricInterpretation)
        signed = int(header.get("PixelRepresentation") or 0) == 1
        top = -1 if signed else 2 ** int(header.BitsStored) - 1
        burned = header.get("BurnedInAnnotation") == "YES"
        compressed = header.file_meta.TransferSyntaxUID.is_encapsulated
    except (AttributeError, TypeError, ValueError):
        raise DecodeError("a DICOM file whose description of its pixels is broken") from None
    check_size(*size)
    if kind not in (*_COLOURS, *_GREYS):
        palette = "a palette" if kind == "PALETTE COLOR" else "other colours"
        raise DecodeError(f"DICOM pixels with {palette} where RGB, YBR or MONOCHROME are read")
    image_HWC = _first_frame(header, compressed)
    if kind == "MONOCHROME1":
        image_HWC = (top - image_HWC.astype(np.int64)).astype(image_HWC.dtype)
    dtype = image_HWC.dtype.name
    if dtype not in ("uint8", "uint16"):
        image_HWC = image_HWC.astype(np.float32)
    remarks = _remarks(frames, burned)
    return Decoded(image_HWC, None, "DICOM", dtype, unnamed(image_HWC), remarks=remarks)


def read_header(file: BytesIO | BufferedReader, tags: Sequence[str]) -> Any:
    """The named elements of an open DICOM file, and no others, as a pydicom `Dataset`.

    Raises:
        DecodeError: if it is no whole DICOM file; the reason quotes nothing of it.
    """
    head = file.read(_HEAD)
    file.seek(0)
    if _DEFLATED in head:  # a small file could unfold into any size
        raise DecodeError("a deflated DICOM file, which is not read")
    try:
        with _quiet():
            import pydicom

            return pydicom.dcmread(file, specific_tags=list(tags))
    except Exception:  # broken files make the reader raise almost anything
        raise DecodeError("a broken or truncated DICOM file") from None


def _first_frame(header: Any, compressed: bool) -> Shaped[np.ndarray, "H W C"]:
    try:
        with _quiet():
            from pydicom.pixels.utils import pixel_array

            frame = pixel_array(header, index=0)
    except NotImplementedError:
        raise DecodeError("DICOM pixels in a compression that is not known") from None
    except Exception as error:
        if compressed and "plugin" in str(error) and "missing dependencies" in str(error):
            reason = "DICOM pixels in a compression that needs a plugin of pydicom's"
            raise DecodeError(reason) from None
        raise DecodeError("DICOM pixels that are broken or truncated") from None
    image_HWC: np.ndarray = frame[..., None] if frame.ndim == 2 else frame
    return image_HWC


def _remarks(frames: int, burned: bool) -> tuple[Remark, ...]:
    remarks = []
    if frames > 1:
        advice = "save the others as files of their own if they count"
        remarks.append(Remark("several-frames", f"frame 1 of {frames} is used", advice))
    if burned:
        message = "the file says that text is burned into its pixels"
        advice = "cut it away if it names a person"
        remarks.append(Remark("burned-in-text", message, advice))
    return tuple(remarks)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings and log lines: they quote values of the file."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    # catch_warnings swaps global state: one thread at a time.
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
