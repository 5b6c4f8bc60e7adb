"""The map as GeoTIFFs: class numbers with colours and names, and probabilities where asked for.

Legend: K = classes, Y, X = pixels; y, x = pixels that stand for a rectangle, see `mosaic.Tile`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from jaxtyping import Shaped, UInt8
from rasterio import Affine
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from likeness.data.place import Place
from likeness.errors import UserError
from likeness.files import write_text
from likeness_apps.remote_sensing.mapping.mosaic import Tile
from likeness_apps.shell.report.colours import class_colours

TILE = 256  # side of the tiles in the files that we write
SCALE = 254  # a byte b stands for the probability b / 254
NO_PROBABILITY = 255


@dataclass(frozen=True)
class Legend:
    """What the numbers in a map mean.

    Attributes:
        classes: names; pixel value k stands for the k-th, from 0.
        tags: text about the model and the map, stored in the files.
    """

    classes: Sequence[str]
    tags: Mapping[str, str]

    @property
    def dtype(self) -> str:
        """uint8 if the classes and the no-data value fit, else uint16."""
        return "uint8" if len(self.classes) < 256 else "uint16"

    @property
    def nodata(self) -> int:
        """255 or 65535."""
        return int(np.iinfo(self.dtype).max)


def write_rasters(
    tiles: Iterable[Tile], place: Place, legend: Legend, map_path: Path, bands_path: Path | None
) -> None:
    """Write tiles as they come.

    Args:
        tiles: of side `TILE`, all, in order.
        place: reference system, transform and size of the scene: also those of the map.
        legend: names, and text for the tags.
        map_path: class numbers (the most probable, the first of equals); `legend.nodata` where
            the scene has no data or no window an answer.
        bands_path: one band of bytes per class, p = byte / 254, 255 = no data; or None.

    Raises:
        UserError: if a file cannot be written.
    """
    with ExitStack() as stack:
        numbers = stack.enter_context(_created(map_path, place, legend.dtype, 1, legend.nodata))
        _describe_classes(numbers, legend)
        bands = None
        if bands_path is not None:
            count = len(legend.classes)
            bands = stack.enter_context(_created(bands_path, place, "uint8", count, NO_PROBABILITY))
            _describe_bands(bands, legend)
        for tile in tiles:
            tall, wide = tile.valid_YX.shape
            window = Window(tile.left, tile.top, wide, tall)
            with _disk_errors(map_path):
                numbers.write(class_numbers(tile, legend), 1, window=window)
                if bands is not None:
                    bands.write(probability_bytes(tile), window=window)


def write_names(path: Path, legend: Legend) -> None:
    """Write the class names where GDAL looks for them: in `MAP.tif.aux.xml`, beside the map.

    A GeoTIFF has no place for names of categories; GIS programs show these in their legends.
    """
    names = "".join(f"<Category>{escape(name)}</Category>" for name in legend.classes)
    band = f'<PAMRasterBand band="1"><CategoryNames>{names}</CategoryNames></PAMRasterBand>'
    write_text(path, f"<PAMDataset>{band}</PAMDataset>\n")


def class_numbers(tile: Tile, legend: Legend) -> Shaped[np.ndarray, "Y X"]:
    """The most probable class of each pixel."""
    answered_yx = np.isfinite(tile.probabilities_yxK).all(axis=2)
    best_yx = np.where(answered_yx, tile.probabilities_yxK.argmax(axis=2), legend.nodata)
    spread_YX = tile.spread(best_yx.astype(legend.dtype))
    spread_YX[~tile.valid_YX] = legend.nodata
    return spread_YX


def probability_bytes(tile: Tile) -> UInt8[np.ndarray, "K Y X"]:
    """The probabilities of all classes, as bytes."""
    scaled_yxK = np.rint(tile.probabilities_yxK * SCALE)
    bytes_yxK = np.nan_to_num(scaled_yxK, copy=False, nan=NO_PROBABILITY).astype(np.uint8)
    spread_YXK = tile.spread(bytes_yxK)
    spread_YXK[~tile.valid_YX] = NO_PROBABILITY
    return np.moveaxis(spread_YXK, -1, 0)


@contextmanager
def _created(path: Path, place: Place, dtype: str, count: int, nodata: int) -> Iterator[Any]:
    profile = {
        "driver": "GTiff",
        "width": place.width,
        "height": place.height,
        "count": count,
        "dtype": dtype,
        "nodata": nodata,
        "crs": place.crs or None,
        "transform": Affine(*place.transform),
        "tiled": True,
        "blockxsize": TILE,
        "blockysize": TILE,
        "compress": "deflate",
        "zlevel": 6 if count == 1 else 1,  # probabilities hardly shrink further
        "interleave": "band",
        "bigtiff": "if_safer",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with _disk_errors(path):
            dataset = rasterio.open(path, "w", **profile)
    try:
        yield dataset
    finally:
        with _disk_errors(path):
            dataset.close()  # writes what is still in GDAL's cache


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except RasterioError as error:
        rule = "on a disk with free space (finished parts are kept: repeat the command to go on)"
        raise UserError(f"out must be {rule}, got {path}: {error}") from error


def _describe_classes(dataset: Any, legend: Legend) -> None:
    colours = [_rgba(light) for light, _ in class_colours(len(legend.classes))]
    dataset.write_colormap(1, {**dict(enumerate(colours)), legend.nodata: (0, 0, 0, 0)})
    dataset.set_band_description(1, "class")
    dataset.update_tags(**legend.tags, CLASSES=json.dumps(list(legend.classes), ensure_ascii=False))
    dataset.update_tags(1, **{f"CLASS_{k}": name for k, name in enumerate(legend.classes)})


def _describe_bands(dataset: Any, legend: Legend) -> None:
    dataset.descriptions = tuple(legend.classes)
    dataset.scales = (1 / SCALE,) * len(legend.classes)
    dataset.update_tags(**legend.tags, PROBABILITY=f"byte / {SCALE}")


def _rgba(colour: str) -> tuple[int, int, int, int]:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue, 255
