"""A class map and its reference, pixel by pixel: read in windows, counted, never held whole.

Legend: C = classes, G = groups (polygons, or blocks of a reference raster), Y, X = pixels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import rasterio
import shapely
from jaxtyping import Float, Int, Shaped
from rasterio import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.features import rasterize
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from scipy import sparse

from likeness.data.place import Place, place_of
from likeness.errors import UserError, require
from likeness_apps.remote_sensing.footprints import transformed
from likeness_apps.remote_sensing.geopackage import read_polygons
from likeness_apps.shell.console import Advance

BLOCK = 512  # side of the windows, in pixels
PICTURE = 720  # side of the pictures for the report, at most
_CLASSES = "CLASSES"  # the tag in which `likeness remote-sensing map` keeps the names
_RASTERS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_SQUARE_METRES = 10_000.0  # of a hectare


class Labels(NamedTuple):
    """What a reference says of a window: class numbers, -1 where nothing, and groups."""

    classes_YX: Int[np.ndarray, "Y X"]
    groups_YX: Int[np.ndarray, "Y X"]
    disputed: int  # pixels in polygons of different classes, left out


class Reference(Protocol):
    """The truth about some pixels of a map, on the map's grid."""

    kind: str  # what a group is, in the plural

    def read(self, window: Window) -> Labels | None:
        """The truth of a window; None if there is none."""


@dataclass(eq=False)
class Tally:
    """What the windows of a map add up to.

    Attributes:
        pixels_C: mapped pixels of each class.
        hectares_C: their area.
        groups: one error matrix per group, flat: (G, C * C), map class x reference class.
        disputed: reference pixels in polygons of different classes.
        off_map: reference pixels where the map has no class.
        map_picture_YX: the map, thinned out; -1 = no class.
        truth_picture_YX: the reference, likewise.
    """

    pixels_C: Int[np.ndarray, " C"]
    hectares_C: Float[np.ndarray, " C"]
    map_picture_YX: Int[np.ndarray, "Y X"]
    truth_picture_YX: Int[np.ndarray, "Y X"]
    disputed: int = 0
    off_map: int = 0
    groups: Any = None
    _keys: list[np.ndarray] = field(default_factory=list)
    _counts: list[np.ndarray] = field(default_factory=list)


def class_names(dataset: Any) -> list[str] | None:
    """The class names that `likeness remote-sensing map` wrote into a raster, or None.

    The pixel value k stands for the k-th name, from 0.
    """
    try:
        names = json.loads(dataset.tags().get(_CLASSES, "null"))
    except ValueError:
        return None
    good = isinstance(names, list) and names and all(isinstance(name, str) for name in names)
    return list(names) if good else None


@contextmanager
def open_map(path: Path) -> Iterator[tuple[Any, list[str], Place]]:
    """Open a class map.

    Yields:
        The dataset, the class names and the place.

    Raises:
        UserError: if it is no raster, has no class names, or no reference system with a size.
    """
    with _opened(path, "map") as dataset:
        names, place = class_names(dataset), place_of(dataset)
        rule = "a class map that `likeness remote-sensing map` wrote (with a tag CLASSES)"
        require(names is not None and dataset.count == 1, "map", rule, str(path))
        require(place is not None and place.crs, "map", "with a reference system", str(path))
        assert names is not None
        assert place is not None
        measured = place.resolution_m() is not None
        require(measured, "map", "in a reference system of metres or degrees", place.crs)
        yield dataset, names, place


@contextmanager
def open_reference(
    path: Path, dataset: Any, place: Place, names: Sequence[str], column: str
) -> Iterator[Reference]:
    """Open a reference: polygons with a column of class names, or a raster of classes.

    Args:
        path: a vector file that GDAL reads, or a GeoTIFF with class names (tag CLASSES) or with
            the map's own numbers.
        dataset: the opened map, whose grid the reference is brought to: polygons by transforming
            their (densified) edges, rasters by the nearest pixel.
        place: of the map.
        names: classes of the map.
        column: attribute of the polygons that holds the class name.

    Raises:
        UserError: if it cannot be read, has no reference system, no such column, or a class that
            the map does not have.
    """
    require(path.is_file(), "reference", "an existing file", str(path))
    with path.open("rb") as handle:
        is_raster = handle.read(4) in _RASTERS
    if not is_raster:
        yield _Polygons(path, place, names, column)
        return
    with ExitStack() as stack:
        source = stack.enter_context(_opened(path, "reference"))
        require(source.crs is not None, "reference", "with a reference system", str(path))
        options = {"nodata": source.nodata} if source.nodata is not None else {"add_alpha": True}
        grid = {"crs": dataset.crs, "transform": dataset.transform}
        size = {"width": dataset.width, "height": dataset.height}
        vrt = stack.enter_context(
            WarpedVRT(source, resampling=Resampling.nearest, **grid, **size, **options)
        )
        yield _Raster(path, vrt, _numbers(path, class_names(source), names), len(names))


def tally(
    dataset: Any, place: Place, classes: int, reference: Reference, advance: Advance
) -> Tally:
    """Count pixels of the map by class, and by class of map and reference, window by window.

    Args:
        dataset: the opened map.
        place: of the map.
        classes: C.
        reference: the truth.
        advance: told of windows done.

    Raises:
        UserError: if the map holds a number that is no class, or the reference tells nothing of it.
    """
    step = math.ceil(max(place.width, place.height) / PICTURE)
    thin = (math.ceil(place.height / step), math.ceil(place.width / step))
    found = Tally(
        np.zeros(classes, np.int64), np.zeros(classes), np.full(thin, -1), np.full(thin, -1)
    )
    windows = list(_windows(place))
    for done, window in enumerate(windows, start=1):
        _add(found, dataset, place, classes, reference, window, step)
        advance(done, len(windows))
    require(found._keys, "reference", "over pixels that the map has a class for", "none of them")
    keys, owner = np.unique(np.concatenate(found._keys), return_inverse=True)
    counts = np.bincount(owner, np.concatenate(found._counts))
    _, group = np.unique(keys // classes**2, return_inverse=True)
    shape = (int(group.max()) + 1, classes**2)
    found.groups = sparse.coo_array((counts, (group, keys % classes**2)), shape=shape).tocsr()
    return found


def _add(
    found: Tally,
    dataset: Any,
    place: Place,
    classes: int,
    reference: Reference,
    window: Window,
    step: int,
) -> None:
    map_YX = dataset.read(1, window=window).astype(np.int64)
    mapped_YX = np.ones(map_YX.shape, bool) if dataset.nodata is None else map_YX != dataset.nodata
    highest = int(map_YX[mapped_YX].max(initial=0))
    require(highest < classes, "map", f"of the class numbers 0 to {classes - 1}", highest)
    areas_Y = _pixel_hectares(place, window)
    rows_N = np.nonzero(mapped_YX)[0]
    found.pixels_C += np.bincount(map_YX[mapped_YX], minlength=classes)
    found.hectares_C += np.bincount(map_YX[mapped_YX], areas_Y[rows_N], minlength=classes)
    _thin_out(found.map_picture_YX, np.where(mapped_YX, map_YX, -1), window, step)
    labels = reference.read(window)
    if labels is None:
        return
    _thin_out(found.truth_picture_YX, labels.classes_YX, window, step)
    known_YX = labels.classes_YX >= 0
    both_YX = known_YX & mapped_YX
    found.disputed += labels.disputed
    found.off_map += int((known_YX & ~mapped_YX).sum())
    if both_YX.any():
        cells_N = map_YX[both_YX] * classes + labels.classes_YX[both_YX]
        keys, counts = np.unique(
            labels.groups_YX[both_YX] * classes**2 + cells_N, return_counts=True
        )
        found._keys.append(keys)
        found._counts.append(counts)


class _Polygons:
    kind = "polygons"

    def __init__(self, path: Path, place: Place, names: Sequence[str], column: str) -> None:
        shapes_N, values_N, crs = read_polygons(path, column)
        require(crs is not None, "reference", "with a reference system", str(path))
        usable_N = ~(shapely.is_missing(shapes_N) | shapely.is_empty(shapes_N))
        texts = ["" if value is None else str(value) for value in values_N[usable_N]]
        _require_known(sorted(set(texts) - set(names)), names)
        number = {name: place for place, name in enumerate(names)}
        self._classes_N = np.array([number[text] for text in texts], np.int64)
        self._shapes_N = transformed(shapes_N[usable_N], str(crs), place.crs)
        self._tree = shapely.STRtree(self._shapes_N)
        self._place = place

    def read(self, window: Window) -> Labels | None:
        part = _part(self._place, window)
        ground = shapely.Polygon(part.footprint())
        numbers_N = np.sort(self._tree.query(ground, predicate="intersects"))
        if not len(numbers_N):
            return None
        # The later polygon covers the earlier: where the reverse order changes the class, the
        # reference contradicts itself.
        upper_YX = self._painted(numbers_N, part)
        lower_YX = self._painted(numbers_N[::-1], part)
        covered_YX = upper_YX >= 0
        classes_YX = np.where(covered_YX, self._classes_N[upper_YX], -1)
        disputed_YX = covered_YX & (classes_YX != self._classes_N[lower_YX])
        return Labels(np.where(disputed_YX, -1, classes_YX), upper_YX, int(disputed_YX.sum()))

    def _painted(self, numbers: np.ndarray, part: Place) -> np.ndarray:
        """The number of the polygon over each pixel's centre, -1 where there is none."""
        painted: np.ndarray = rasterize(
            [(self._shapes_N[number], int(number) + 1) for number in numbers],
            out_shape=(part.height, part.width),
            transform=Affine(*part.transform),
            fill=0,
            dtype="int32",
        )
        return np.asarray(painted.astype(np.int64) - 1)


class _Raster:
    kind = f"blocks of {BLOCK} x {BLOCK} pixels"

    def __init__(self, path: Path, vrt: Any, lookup: np.ndarray | None, classes: int) -> None:
        self._path, self._vrt, self._lookup, self._classes = path, vrt, lookup, classes
        self._across = math.ceil(vrt.width / BLOCK)

    def read(self, window: Window) -> Labels | None:
        values = self._vrt.read(1, window=window, masked=True)
        known_YX = ~np.ma.getmaskarray(values)
        if not known_YX.any():
            return None
        numbers = values.data[known_YX]
        rule = f"of the map's class numbers 0 to {self._classes - 1}, or with names (tag CLASSES)"
        most = self._classes if self._lookup is None else len(self._lookup)
        wrong = numbers[(numbers < 0) | (numbers >= most) | (numbers != np.floor(numbers))]
        require(not len(wrong), "reference", rule, float(wrong[0]) if len(wrong) else None)
        whole = numbers.astype(np.int64)
        classes_YX = np.full(known_YX.shape, -1)
        classes_YX[known_YX] = whole if self._lookup is None else self._lookup[whole]
        block = int(window.row_off // BLOCK * self._across + window.col_off // BLOCK)
        return Labels(classes_YX, np.full(known_YX.shape, block), 0)


def _numbers(path: Path, own: list[str] | None, names: Sequence[str]) -> np.ndarray | None:
    """The map's number of each class of the reference; None if it names none and uses them."""
    if own is None:
        return None
    _require_known(sorted(set(own) - set(names)), names)
    place = {name: number for number, name in enumerate(names)}
    return np.array([place[name] for name in own], np.int64)


def _require_known(unknown: list[str], names: Sequence[str]) -> None:
    rule = f"of classes that the map has ({', '.join(names)})"
    require(not unknown, "reference", rule, ", ".join(map(repr, unknown[:5])))


def _windows(place: Place) -> Iterator[Window]:
    for top in range(0, place.height, BLOCK):
        for left in range(0, place.width, BLOCK):
            size = (min(BLOCK, place.width - left), min(BLOCK, place.height - top))
            yield Window(left, top, *size)


def _pixel_hectares(place: Place, window: Window) -> Float[np.ndarray, " Y"]:
    """The ground area of a pixel in each row of a window, at the row's middle."""
    areas = []
    for row in range(int(window.height)):
        line = Window(window.col_off, window.row_off + row, window.width, 1)
        metres = _part(place, line).resolution_m()
        assert metres is not None
        areas.append(metres**2 / _SQUARE_METRES)
    return np.array(areas)


def _part(place: Place, window: Window) -> Place:
    """The place of a window."""
    a, b, _, d, e, _ = place.transform
    x, y = place.at(float(window.col_off), float(window.row_off))
    return Place(place.crs, (a, b, x, d, e, y), int(window.width), int(window.height))


def _thin_out(
    picture_YX: Shaped[np.ndarray, "Y X"],
    values_YX: Shaped[np.ndarray, "Y X"],
    window: Window,
    step: int,
) -> None:
    """Put every `step`-th pixel of a window into its place in the picture."""
    first = (-int(window.row_off) % step, -int(window.col_off) % step)
    thin_YX = values_YX[first[0] :: step, first[1] :: step]
    top = (int(window.row_off) + first[0]) // step
    left = (int(window.col_off) + first[1]) // step
    picture_YX[top : top + thin_YX.shape[0], left : left + thin_YX.shape[1]] = thin_YX


@contextmanager
def _opened(path: Path, name: str) -> Iterator[Any]:
    require(path.is_file(), name, "an existing file", str(path))
    try:
        dataset = rasterio.open(path)
    except RasterioError as error:
        raise UserError(f"{name} must be a raster that GDAL reads, got {path}: {error}") from error
    with dataset:
        yield dataset
