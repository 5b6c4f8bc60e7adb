"""A scene on disk: whether it fits the model, and its pixel rows with what is no data in them.

Legend: B = bands that the model reads, Y = pixel rows, X = the scene's width.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from jaxtyping import Bool, Shaped
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from likeness.data.decoded import pixel_type
from likeness.data.place import Place, place_of
from likeness.data.transforms import Preprocessing
from likeness.errors import UserError, require
from likeness.image_size import in_words

RESOLUTION_TOLERANCE = 1.25  # a scene may be finer or coarser than the training images by this
_KEPT = ("uint8", "uint16", "float32")
_MIB = 2**20
Block = tuple[int, int, int, int]  # column, row, width, height of a block of the file, in pixels


@dataclass(frozen=True, eq=False)
class PixelRows:
    """Some rows of a scene.

    Attributes:
        pixels_YXB: in the file's type; 0 in blocks that cannot be read. Bands last: windows are
            cut from these rows several times, and then lie in memory as images do.
        valid_YX: False where no band holds a measurement: the no-data value or nan in all of them,
            masked, transparent, or not readable.
        whole_YX: True where every band holds one.
        unreadable: the blocks of the file that could not be read.
    """

    pixels_YXB: Shaped[np.ndarray, "Y X B"]
    valid_YX: Bool[np.ndarray, "Y X"]
    whole_YX: Bool[np.ndarray, "Y X"]
    unreadable: tuple[Block, ...] = ()


@dataclass(frozen=True, eq=False)
class Scene:
    """An opened scene; one thread at a time may read it.

    Attributes:
        path: the file.
        bands: 1-based numbers of the bands that the model reads, in its order.
        place: reference system, transform and size.
        nodata: the value that stands for "no measurement", or None.
    """

    path: Path
    bands: list[int]
    place: Place
    nodata: float | None
    _dataset: Any

    @property
    def crs(self) -> str | None:
        """The reference system as `EPSG:32633` or WKT; None if the file names none."""
        return self.place.crs or None

    @property
    def resolution(self) -> float | None:
        """Metres per pixel; None if the file does not say."""
        return self.place.resolution_m()

    def read(self, first: int, stop: int) -> PixelRows:
        """The pixel rows [first, stop); what cannot be read is no data, and named."""
        whole = Window(0, first, self.place.width, stop - first)
        try:
            return self._read_window(whole)
        except RasterioError:
            return self._read_by_blocks(first, stop)

    def _read_by_blocks(self, first: int, stop: int) -> PixelRows:
        """One broken block must not cost its neighbours."""
        tall, wide = self._dataset.block_shapes[self.bands[0] - 1]
        shape = (stop - first, self.place.width)
        pixels_YXB = np.zeros((*shape, len(self.bands)), self._dataset.dtypes[self.bands[0] - 1])
        valid_YX, whole_YX = np.zeros(shape, bool), np.zeros(shape, bool)
        unreadable: list[Block] = []
        for top in range(first // tall * tall, stop, tall):
            low, high = max(top, first), min(top + tall, stop)
            for left in range(0, self.place.width, wide):
                width = min(wide, self.place.width - left)
                inside = np.s_[low - first : high - first, left : left + width]
                try:
                    read = self._read_window(Window(left, low, width, high - low))
                    pixels_YXB[inside] = read.pixels_YXB
                    valid_YX[inside], whole_YX[inside] = read.valid_YX, read.whole_YX
                except RasterioError:
                    height = min(tall, self.place.height - top)
                    unreadable.append((left, top, width, height))
        return PixelRows(pixels_YXB, valid_YX, whole_YX, tuple(unreadable))

    def _read_window(self, window: Window) -> PixelRows:
        pixels_BYX = self._dataset.read(self.bands, window=window)
        missing_BYX = self._missing(pixels_BYX)
        valid_YX = np.asarray(~missing_BYX.all(axis=0))
        whole_YX = np.asarray(~missing_BYX.any(axis=0))
        # Masks of their own, beside the no-data value: alpha, or a mask for all bands.
        flags = self._dataset.mask_flag_enums[self.bands[0] - 1]
        if MaskFlags.alpha in flags or MaskFlags.per_dataset in flags:
            unmasked_YX = self._dataset.read_masks(self.bands[0], window=window) > 0
            valid_YX, whole_YX = valid_YX & unmasked_YX, whole_YX & unmasked_YX
        pixels_YXB = np.ascontiguousarray(np.moveaxis(pixels_BYX, 0, -1))
        return PixelRows(pixels_YXB, valid_YX, whole_YX)

    def image(self, strip: PixelRows, inside: tuple[slice, slice]) -> Shaped[np.ndarray, "H W B"]:
        """A part of some rows as an image file would give it: nan where there is no data.

        A view where nothing is missing; types that the network's preparation does not know become
        float32, as in training.
        """
        image_HWB = strip.pixels_YXB[inside]
        if strip.whole_YX[inside].all():
            kept = image_HWB.dtype.name in _KEPT
            return image_HWB if kept else image_HWB.astype(np.float32)
        missing_HWB = self._missing(image_HWB) | ~strip.valid_YX[inside][..., None]
        return np.where(missing_HWB, np.float32(np.nan), image_HWB.astype(np.float32))

    def _missing(self, pixels: Shaped[np.ndarray, "*any"]) -> Bool[np.ndarray, "*any"]:
        """Where pixels hold the no-data value, or nan."""
        nodata = np.nan if self.nodata is None else self.nodata
        if pixels.dtype.kind == "f":
            return np.asarray(np.isnan(pixels) | (pixels == pixels.dtype.type(nodata)))
        if not float(nodata).is_integer():
            return np.zeros(pixels.shape, bool)
        # An int, not a float: the array is compared in its own type.
        return np.asarray(pixels == int(nodata))


@contextmanager
def open_scene(path: Path, preprocessing: Preprocessing) -> Iterator[Scene]:
    """Open a scene for a model; GDAL's cache holds a row of its blocks, so each is decoded once.

    Args:
        path: any raster that GDAL reads.
        preprocessing: the model's.

    Yields:
        The scene.

    Raises:
        UserError: if the file is no raster, its bands or type are not the model's, or the model
            reads no squares, as windows are.
    """
    require(path.is_file(), "scene", "a file", str(path))
    size = preprocessing.size
    require(isinstance(size, int), "model", "one of square images for scenes", in_words(size))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(path)
    except RasterioError as error:
        raise UserError(f"scene must be a raster that GDAL reads, got {path}: {error}") from error
    with dataset:
        bands = _bands(dataset, preprocessing)
        tall = max(shape[0] for shape in dataset.block_shapes)
        row_bytes = tall * dataset.width * sum(np.dtype(kind).itemsize for kind in dataset.dtypes)
        cache = min(max(2 * row_bytes, 4 * _MIB), 512 * _MIB)
        unplaced = Place("", (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), dataset.width, dataset.height)
        place = place_of(dataset) or unplaced
        with rasterio.Env(GDAL_CACHEMAX=cache):
            yield Scene(path, bands, place, dataset.nodata, dataset)


def window_side(
    scene: Scene, preprocessing: Preprocessing, *, window: int | None, resample: bool
) -> int:
    """The side of a window in pixels of the scene.

    It is the side of the training images where the scene has their ground resolution (within a
    quarter, or if either is unknown). `resample` takes windows that cover the ground of a training
    image whatever the resolution; each is then resized to the network's input like any image.

    Raises:
        UserError: if the resolution is another and nothing was said, or the side is not known.
    """
    if window is not None:
        require(window >= 8, "window", ">= 8 pixels", window)
        require(not resample, "resample", "off where the window is given", resample)
        return window
    chip, wanted, given = preprocessing.chip, preprocessing.resolution, scene.resolution
    rule = "given (--window) for a model that does not know the side of its training images"
    require(chip is not None, "window", rule, None)
    assert chip is not None
    if resample:
        rule = "off where the model or the scene does not state its ground resolution"
        require(wanted is not None and given is not None, "resample", rule, resample)
        assert wanted is not None
        assert given is not None
        side = round(chip * wanted / given)
        rule = f"such that a training image's {chip * wanted:.0f} m are 8 pixels or more"
        require(side >= 8, "resolution of the scene", rule, f"{given:g} m")
        return side
    if wanted is not None and given is not None:
        ratio = max(wanted / given, given / wanted)
        rule = f"about the training images' {wanted:g} m per pixel (or say --resample)"
        require(ratio <= RESOLUTION_TOLERANCE, "resolution of the scene", rule, f"{given:g} m")
    return chip


def _bands(dataset: Any, preprocessing: Preprocessing) -> list[int]:
    kinds = list(dataset.colorinterp)
    palette = kinds[0] == ColorInterp.palette
    require(not palette, "scene", "of measured bands", f"{dataset.name} with a colour palette")
    everything = [band for band, kind in enumerate(kinds, 1) if kind != ColorInterp.alpha]
    chosen = preprocessing.band_numbers or everything
    rule = f"one with the bands {chosen} that the model reads"
    fits = max(chosen, default=0) <= dataset.count
    require(fits, "scene", rule, f"{dataset.name} with {dataset.count} bands")
    fits = len(chosen) == preprocessing.bands or (len(chosen) == 1 and preprocessing.bands == 3)
    rule = f"one with the model's {preprocessing.bands} bands"
    require(fits, "scene", rule, f"{dataset.name} with {len(chosen)}")
    kind = dataset.dtypes[chosen[0] - 1]
    fits = preprocessing.dtype in (None, pixel_type(kind))
    rule = f"{preprocessing.dtype} pixels, as the model's training images"
    require(fits, "scene", rule, f"{kind} in {dataset.name}")
    require(not kind.startswith("complex"), "scene", "of real numbers", kind)
    return chosen
