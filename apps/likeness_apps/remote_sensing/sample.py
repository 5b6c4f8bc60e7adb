"""`sample`: generated scenes as real GeoTIFFs in the UC Merced layout.

The set is calibrated: colours alone do not solve it, a small network does well but not perfectly.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from likeness.files import atomic_path, write_text
from likeness_apps.remote_sensing.classes import PAINTERS
from likeness_apps.remote_sensing.scenes import Canvas, finish

SIZE = 96
PER_CLASS = 90
METRES = 0.6  # ground resolution
CRS = "EPSG:32611"  # UTM zone 11 north
ORIGIN = (400_000.0, 3_800_000.0)

README = """Generated data: these scenes were drawn by `likeness remote-sensing sample`.

No place on Earth looks like them and nothing may be concluded from them about real imagery. Class
names and file names follow the UC Merced Land Use data set (Yang and Newsam 2010), whose pictures
are not in here. The coordinates (UTM zone 11 north) are made up as well.
"""


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
    key = hashlib.sha256(f"{seed}/{name}/{number}".encode()).digest()[:8]
    canvas = Canvas(2 * size, np.random.default_rng(int.from_bytes(key, "big")))
    PAINTERS[name](canvas)
    return finish(canvas, size)


def write_sample(out: Path, *, seed: int = 0, per_class: int = PER_CLASS, size: int = SIZE) -> Path:
    """Write OUT/UCMerced_LandUse/Images/<class>/<class>NN.tif and a readme.

    Args:
        out: the directory to write into.
        seed: of the set.
        per_class: scenes per class, 1 to 100 (the layout numbers them with two digits).
        size: height and width in pixels.

    Returns:
        OUT/UCMerced_LandUse.
    """
    root = out / "UCMerced_LandUse"
    for column, name in enumerate(PAINTERS):
        for number in range(per_class):
            path = root / "Images" / name / f"{name}{number:02d}.tif"
            place = (column, number)
            _write(path, scene(name, number, seed=seed, size=size), place)
    write_text(root / "readme.txt", README)
    return root


def _write(path: Path, image_HWC: np.ndarray, place: tuple[int, int]) -> None:
    """A GeoTIFF whose tile lies apart from all others of the set."""
    import rasterio

    side = image_HWC.shape[0]
    step = side * METRES * 2
    corner = (ORIGIN[0] + place[0] * step, ORIGIN[1] - place[1] * step)
    with (
        atomic_path(path) as temporary,
        rasterio.open(
            temporary,
            "w",
            driver="GTiff",
            width=side,
            height=side,
            count=3,
            dtype="uint8",
            crs=CRS,
            transform=rasterio.Affine(METRES, 0, corner[0], 0, -METRES, corner[1]),
            photometric="RGB",
            compress="deflate",
        ) as target,
    ):
        target.write(image_HWC.transpose(2, 0, 1))
        target.update_tags(TIFFTAG_IMAGEDESCRIPTION="generated data, likeness sample")
