"""An image whose bands lie in several files: a folder of single-band TIFFs, as bytes and back.

As bytes it passes wherever the bytes of a file do: hashing, decoding in memory, caching.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

MAX_BANDS = 512
_SIGN = b"likeness band folder\n"
_SUFFIXES = (".tif", ".tiff")


def band_files(folder: Path) -> list[Path]:
    """The TIFFs of a folder in the order of their names; hidden files do not count."""
    found = [file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES]
    return sorted(file for file in found if not file.name.startswith(".") and file.is_file())


def pack(folder: Path, max_bytes: int) -> bytes:
    """The TIFFs of a folder as one string of bytes; equal files give equal bytes.

    Args:
        folder: an existing folder.
        max_bytes: the most that all files may hold.

    Raises:
        ValueError: if there is no TIFF in it, or too many bands or bytes.
        OSError: if a file cannot be read.
    """
    files = band_files(folder)
    if not files:
        raise ValueError("a folder without a TIFF in it")
    if len(files) > MAX_BANDS:
        raise ValueError(f"a folder of {len(files)} TIFFs, more than {MAX_BANDS} bands")
    if sum(file.stat().st_size for file in files) > max_bytes:
        raise ValueError(f"a folder of TIFFs larger than {max_bytes // 2**20} MiB")
    bodies = [file.read_bytes() for file in files]
    names = zip(_band_names(files), bodies, strict=True)
    header = json.dumps([[name, len(body)] for name, body in names]).encode()
    return b"".join((_SIGN, struct.pack("<I", len(header)), header, *bodies))


def is_pack(data: bytes) -> bool:
    """Whether these bytes come from `pack`."""
    return data.startswith(_SIGN)


def unpack(data: bytes) -> list[tuple[str, bytes]]:
    """Name and bytes of each band, in order.

    Raises:
        ValueError: if the bytes are cut off or changed.
    """
    start = len(_SIGN) + 4
    try:
        (length,) = struct.unpack("<I", data[len(_SIGN) : start])
        header = json.loads(data[start : start + length])
        sizes = [(str(name), int(size)) for name, size in header]
    except (struct.error, TypeError, ValueError) as error:
        raise ValueError("a broken list of bands") from error
    place, bands = start + length, []
    for name, size in sizes:
        bands.append((name, data[place : place + size]))
        place += size
    if place != len(data) or any(size < 0 for _, size in sizes) or len(sizes) > MAX_BANDS:
        raise ValueError("a broken list of bands")
    return bands


def to_finest(bands: list[Shaped[np.ndarray, "_ _ 1"]]) -> Shaped[np.ndarray, "H W C"]:
    """Bands of one place on grids of different fineness, on the finest grid.

    Nearest neighbour: a pixel has the value that was measured there, and no-data values do not mix
    with others.

    Args:
        bands: at least one; all show the same ground.
    """
    height = max(band.shape[0] for band in bands)
    width = max(band.shape[1] for band in bands)
    return np.concatenate([_nearest(band, height, width) for band in bands], axis=2)


def _nearest(
    band_hw1: Shaped[np.ndarray, "h w 1"], height: int, width: int
) -> Shaped[np.ndarray, "H W 1"]:
    rows, columns = band_hw1.shape[:2]
    row_H = (2 * np.arange(height) + 1) * rows // (2 * height)  # the pixel that the centre is in
    column_W = (2 * np.arange(width) + 1) * columns // (2 * width)
    nearest: np.ndarray = band_hw1[row_H][:, column_W]
    return nearest


def _band_names(files: list[Path]) -> list[str]:
    """What follows the words that all names begin with: `..._57_B02.tif` is `B02`."""
    stems = [file.stem for file in files]
    words = [stem.split("_") for stem in stems]
    shared = min(len(parts) for parts in words) - 1
    while len({tuple(parts[:shared]) for parts in words}) > 1:
        shared -= 1
    return ["_".join(parts[shared:]) for parts in words]
