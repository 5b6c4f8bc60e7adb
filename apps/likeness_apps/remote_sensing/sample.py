"""`sample`: generated scenes as real GeoTIFFs in public layouts.

The sets are calibrated: colours or mean spectra alone do not solve them, a small network does well
but not perfectly.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from likeness.errors import require
from likeness.files import atomic_path, write_text
from likeness_apps.remote_sensing.classes import PAINTERS
from likeness_apps.remote_sensing.scenes import LABELS, Canvas, finish
from likeness_apps.remote_sensing.spectral import PLANNERS, SIDE, chip, draw_region

SIZE = 96
METRES = 0.6  # ground resolution
CRS = "EPSG:32611"  # UTM zone 11 north
ORIGIN = (400_000.0, 3_800_000.0)
EUROSAT_CRS = "EPSG:32633"
EUROSAT_METRES = 10.0
REGIONS = 6

README = """Generated data: these scenes were drawn by `likeness remote-sensing sample`.

No place on Earth looks like them and nothing may be concluded from them about real imagery. \
{names} The coordinates ({zone}) are made up as well.
"""
_UC_MERCED = """Class
names and file names follow the UC Merced Land Use data set (Yang and Newsam 2010), whose pictures
are not in here."""
_EUROSAT = """Class
names, file names and bands follow the EuroSAT data set (Helber et al. 2019), whose pictures are not
in here."""


def generator(*key: object) -> np.random.Generator:
    """Random numbers that belong to these words and numbers, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def paint(name: str, rng: np.random.Generator, size: int) -> Canvas:
    """A scene of a class, drawn for an image of `size` pixels, before light and sensor."""
    canvas = Canvas(2 * size, rng)
    PAINTERS[name](canvas)
    return canvas


def scene(name: str, number: int, *, seed: int = 0, size: int = SIZE) -> np.ndarray:
    """One generated scene, the same for the same arguments on every call.

    Args:
        name: a class of `PAINTERS`.
        number: which scene of the class.
        seed: of the set.
        size: height and width in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    return finish(paint(name, generator(seed, name, number), size), size)


def write_sample(
    out: Path,
    *,
    seed: int = 0,
    layout: str = "uc-merced",
    per_class: int | None = None,
    size: int = SIZE,
) -> Path:
    """Write a generated set in a public layout, and a readme.

    Args:
        out: the directory to write into.
        seed: of the set.
        layout: `uc-merced`: `UCMerced_LandUse/Images/<class>/<class>NN.tif`, RGB.
            `multi-label`: the same images with `LandUse_Multilabeled.txt` beside `Images`.
            `eurosat-13`: `EuroSAT_MS/<Class>/<Class>_<n>.tif`, 13 bands, in six regions.
        per_class: scenes per class, 1 to 100 (UC Merced has two digits); None takes 90, 30 or 48.
        size: height and width in pixels; EuroSAT's are always 64.

    Returns:
        The root of the set, as other commands take it.

    Raises:
        UserError: for an unknown layout or another number of scenes.
    """
    require(layout in SAMPLES, "layout", f"one of {', '.join(SAMPLES)}", layout)
    usual, write = SAMPLES[layout]
    count = usual if per_class is None else per_class
    require(1 <= count <= 100, "per_class", "from 1 to 100", count)
    return write(out, seed, count, size)


def _write_uc_merced(out: Path, seed: int, per_class: int, size: int) -> Path:
    root = out / "UCMerced_LandUse"
    _write_scenes(root, seed, per_class, size)
    return root


def _write_multi_label(out: Path, seed: int, per_class: int, size: int) -> Path:
    root = out / "UCMerced_multilabel"
    labels = _write_scenes(root, seed, per_class, size)
    names = LABELS[1:]
    lines = ["IMAGE\\LABEL\t" + "\t".join(names)]
    for stem, there in labels.items():
        lines.append("\t".join([stem, *(str(int(name in there)) for name in names)]))
    write_text(root / "LandUse_Multilabeled.txt", "\n".join([*lines, ""]))
    return root


def _write_scenes(root: Path, seed: int, per_class: int, size: int) -> dict[str, list[str]]:
    """ROOT/Images/<class>/<class>NN.tif and ROOT/readme.txt.

    Returns:
        What can be seen in each image, by its name without ending.
    """
    labels: dict[str, list[str]] = {}
    step = size * METRES * 2  # tiles lie apart
    for column, name in enumerate(PAINTERS):
        for number in range(per_class):
            canvas = paint(name, generator(seed, name, number), size)
            stem = f"{name}{number:02d}"
            corner = (ORIGIN[0] + column * step, ORIGIN[1] - number * step)
            path = root / "Images" / name / f"{stem}.tif"
            _write(path, finish(canvas, size), corner, METRES, CRS)
            labels[stem] = canvas.labels()
    readme = README.format(names=_UC_MERCED, zone="UTM zone 11 north")
    write_text(root / "readme.txt", readme)
    return labels


def _write_eurosat(out: Path, seed: int, per_class: int, size: int) -> Path:
    """Chips side by side in regions of a few km, 40 km and more apart; all classes in each."""
    root = out / "EuroSAT_MS"
    regions = [draw_region(generator(seed, "region", number)) for number in range(REGIONS)]
    rows = math.ceil(math.sqrt(len(PLANNERS) * math.ceil(per_class / REGIONS)))
    cells = [generator(seed, "cells", n).permutation(rows**2).tolist() for n in range(REGIONS)]
    for name in PLANNERS:
        for number in range(per_class):
            place = number % REGIONS
            row, column = divmod(cells[place].pop(), rows)
            pixels_HWB = chip(name, generator(seed, name, number), regions[place])
            corner = (
                380_000.0 + 50_000 * (place % 3) + column * SIDE * EUROSAT_METRES,
                5_420_000.0 - 60_000 * (place // 3) - row * SIDE * EUROSAT_METRES,
            )
            path = root / name / f"{name}_{number + 1}.tif"
            _write(path, pixels_HWB, corner, EUROSAT_METRES, EUROSAT_CRS)
    write_text(root / "readme.txt", README.format(names=_EUROSAT, zone="UTM zone 33 north"))
    return root


# The usual number of scenes per class, and the writer.
SAMPLES: dict[str, tuple[int, Callable[[Path, int, int, int], Path]]] = {
    "uc-merced": (90, _write_uc_merced),
    "eurosat-13": (48, _write_eurosat),
    "multi-label": (30, _write_multi_label),
}


def _write(
    path: Path, image_HWC: np.ndarray, corner: tuple[float, float], metres: float, crs: str
) -> None:
    """A GeoTIFF; `corner` is its upper left one. RGB is compressed, 13 bands are not, as there."""
    import rasterio

    height, width, bands = image_HWC.shape
    colour = {"photometric": "RGB", "compress": "deflate"} if bands == 3 else {}
    with (
        atomic_path(path) as temporary,
        rasterio.open(
            temporary,
            "w",
            driver="GTiff",
            width=width,
            height=height,
            count=bands,
            dtype=image_HWC.dtype.name,
            crs=crs,
            transform=rasterio.Affine(metres, 0, corner[0], 0, -metres, corner[1]),
            **colour,
        ) as target,
    ):
        target.write(image_HWC.transpose(2, 0, 1))
        target.update_tags(TIFFTAG_IMAGEDESCRIPTION="generated data, likeness sample")
