"""TIFF with any number of bands, and 16-bit PNG, by rasterio.

Legend: H height, W width, C bands.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Shaped

from likeness.data import band_folder
from likeness.data.decoded import (
    MAX_PIXELS,
    Decoded,
    DecodeError,
    check_size,
    equal,
    first_line,
    indices_of,
    unnamed,
)
from likeness.data.place import place_of

_MEMORY_NAME = "image"  # else a random name gets into the messages
_RASTERIO_LOCK = threading.Lock()


def by_rasterio(data: bytes, bands: Sequence[int] | None) -> Decoded:
    """As `decode_full`, of the bytes of a TIFF or PNG."""
    with _opened(data) as dataset:
        check_size(dataset.width, dataset.height)
        return _from_dataset(dataset, bands)


def raster_names(data: bytes) -> tuple[str, ...]:
    """What the file calls its bands, from its header; the three colours of a palette have none."""
    from rasterio.enums import ColorInterp

    with _opened(data) as dataset:
        if dataset.colorinterp[0] == ColorInterp.palette:
            return ("",) * 3
        return tuple(name or "" for name in dataset.descriptions)


@contextmanager
def _opened(data: bytes) -> Iterator[Any]:
    """The rasterio dataset in these bytes; what goes wrong in the body is a DecodeError, too."""
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
                yield dataset
    except DecodeError:
        raise
    except (RasterioError, ValueError, OSError, MemoryError) as error:
        cause = error.__cause__ or error  # rasterio's own text is "see previous exception"
        raise DecodeError(f"broken or truncated: {first_line(cause)}") from error


def _from_dataset(dataset: Any, bands: Sequence[int] | None) -> Decoded:
    from rasterio.enums import ColorInterp

    kinds, form = list(dataset.colorinterp), str(dataset.driver)
    if kinds[0] == ColorInterp.palette:
        colours_HWC = _painted(dataset)
        names = unnamed(colours_HWC)
        whole = Decoded(colours_HWC, None, form, "uint8", names, place_of(dataset))
        return whole if bands is None else whole.chosen(bands)
    wanted = [place for place, kind in enumerate(kinds) if kind != ColorInterp.alpha]
    if bands is not None:
        wanted = indices_of(bands, dataset.count)
    if not wanted:
        raise DecodeError("no band but alpha")
    if len(wanted) * dataset.width * dataset.height > 4 * MAX_PIXELS:
        raise DecodeError(f"{len(wanted)} bands of {dataset.width} x {dataset.height} are too many")
    array_HWC = np.moveaxis(dataset.read([place + 1 for place in wanted]), 0, -1)
    if np.iscomplexobj(array_HWC):
        raise DecodeError("complex numbers are no image")
    nodata = None if dataset.nodata is None else float(dataset.nodata)
    return Decoded(
        _as_kept(array_HWC, nodata),
        nodata,
        form,
        array_HWC.dtype.name,
        tuple(dataset.descriptions[place] or "" for place in wanted),
        place_of(dataset),
    )


def by_folder(data: bytes, bands: Sequence[int] | None) -> Decoded:
    """As `decode_full`, of a folder of single-band TIFFs as `band_folder.pack` gives it."""
    try:
        members = band_folder.unpack(data)
    except ValueError as error:
        raise DecodeError(str(error)) from error
    if bands is not None:
        members = [members[place] for place in indices_of(bands, len(members))]
    parts = []
    for name, body in members:
        try:
            part = by_rasterio(body, None)
        except DecodeError as error:
            raise DecodeError(f"band {name}: {error.reason}") from error
        if part.pixels_HWC.shape[2] != 1:
            raise DecodeError(f"file {name} of a folder of bands holds more than one")
        parts.append(part)
    finest = max(parts, key=lambda part: part.pixels_HWC.size)
    if len(parts) * finest.pixels_HWC.size > 4 * MAX_PIXELS:
        raise DecodeError(f"{len(parts)} bands of this size are too many")
    alike = all(part.nodata == finest.nodata for part in parts)
    pixels = [part.pixels_HWC if alike else part.measured_HWC for part in parts]
    names = tuple(name for name, _ in members)
    nodata = finest.nodata if alike else None
    together_HWC = band_folder.to_finest(pixels)
    return Decoded(together_HWC, nodata, finest.format, finest.dtype, names, finest.place)


def _painted(dataset: Any) -> Shaped[np.ndarray, "H W 3"]:
    """The colours of a palette image."""
    colours = np.zeros((65536, 3), np.uint8)
    for index, colour in dataset.colormap(1).items():
        colours[index] = colour[:3]
    painted: np.ndarray = colours[dataset.read(1)]
    return painted


def _as_kept(
    array_HWC: Shaped[np.ndarray, "H W C"], nodata: float | None
) -> Shaped[np.ndarray, "H W C"]:
    """Contiguous, in one of the kept types, with NaN for no-data among floats."""
    if array_HWC.dtype.name in ("uint8", "uint16"):
        return np.ascontiguousarray(array_HWC)
    missing_HWC = equal(array_HWC, nodata)
    with np.errstate(over="ignore"):  # doubles beyond float32 become infinite, which is no-data too
        kept_HWC = np.array(array_HWC, dtype=np.float32, order="C")
    np.copyto(kept_HWC, np.nan, where=missing_HWC)
    return kept_HWC
