"""Where the rows of an archive lie on the ground: columns of the index, boxes, and a GIS layer.

Legend: N = rows, P = points.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import shapely
from jaxtyping import Bool, Int, Shaped

from likeness.data.manifest import Manifest
from likeness.data.place import Place, place_of
from likeness.errors import UserError, require
from likeness_apps.remote_sensing.geopackage import write_geopackage
from likeness_apps.shell.console import say

LONGITUDES = "EPSG:4326"
LAYER = "results"
Box = tuple[float, float, float, float]  # west, south, east, north
_TIFF_SIGNS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_POINTS_PER_EDGE = 5  # an edge that is straight in one reference system is bent in another
_BLOCK = 1 << 16  # rows that are transformed together


def footprint_columns(place: Place | None, windows_N4: Int[np.ndarray, "N 4"]) -> pd.DataFrame:
    """What an index keeps of where windows of one scene lie.

    Args:
        place: of the scene; None: unknown.
        windows_N4: first column, first row, width and height of each window, in pixels.

    Returns:
        column, row, width, height (pixels); crs ("" = unknown); left, bottom, right, top: upright
        rectangle around the window in that system (nan = unknown); footprint: the window's corners
        as a WKT polygon, which a rotated scene turns ("" = unknown).
    """
    table = pd.DataFrame(windows_N4, columns=["column", "row", "width", "height"])
    if place is None:
        return table.assign(
            crs="", left=np.nan, bottom=np.nan, right=np.nan, top=np.nan, footprint=""
        )
    left_N, top_N, wide_N, tall_N = windows_N4.T.astype(np.float64)
    columns_N4 = np.stack([left_N, left_N + wide_N, left_N + wide_N, left_N], axis=1)
    rows_N4 = np.stack([top_N, top_N, top_N + tall_N, top_N + tall_N], axis=1)
    a, b, c, d, e, f = place.transform
    x_N4, y_N4 = a * columns_N4 + b * rows_N4 + c, d * columns_N4 + e * rows_N4 + f
    polygons_N = shapely.polygons(np.stack([x_N4, y_N4], axis=-1))
    return table.assign(
        crs=place.crs,
        left=x_N4.min(axis=1),
        bottom=y_N4.min(axis=1),
        right=x_N4.max(axis=1),
        top=y_N4.max(axis=1),
        footprint=shapely.to_wkt(polygons_N, rounding_precision=-1),
    )


def image_footprints(manifest: Manifest) -> pd.DataFrame:
    """`footprint_columns` of whole images; no column at all if none of them has a place."""
    tables = [_image_footprint(manifest.file(path)) for path in manifest.table["path"]]
    if all(table["footprint"].iloc[0] == "" for table in tables):
        return pd.DataFrame(index=manifest.table.index)
    return pd.concat(tables, ignore_index=True)


def _image_footprint(path: Path) -> pd.DataFrame:
    """One row; what rasterio does not open is read by another decoder, and has no place."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    place, size = None, (0, 0)
    if is_tiff(path):
        with warnings.catch_warnings(), suppress(RasterioError):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as dataset:
                place, size = place_of(dataset), (dataset.width, dataset.height)
    return footprint_columns(place, np.array([[0, 0, *size]], np.int64))


def is_tiff(path: Path) -> bool:
    """Whether a file begins as a TIFF does.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        with path.open("rb") as handle:
            return handle.read(4) in _TIFF_SIGNS
    except OSError as error:
        raise UserError(f"image must be readable, got {path}: {error.strerror}") from error


def transformed(
    polygons_N: Shaped[np.ndarray, " N"], crs: str, target: str
) -> Shaped[np.ndarray, " N"]:
    """Polygons in another reference system, edges densified; None where it has no such place.

    A polygon across the antimeridian goes on beyond 180 degrees east.

    Args:
        polygons_N: shapely polygons.
        crs: of their coordinates.
        target: of the result.

    Raises:
        UserError: if a reference system is unknown.
    """
    from rasterio.errors import CRSError
    from rasterio.warp import transform

    if crs == target:
        return polygons_N
    edges_N = shapely.length(polygons_N) / (4 * _POINTS_PER_EDGE)
    dense_N = shapely.segmentize(polygons_N, edges_N)
    points_P2, owner_P = shapely.get_coordinates(dense_N, return_index=True)
    try:
        x, y = transform(crs, target, points_P2[:, 0], points_P2[:, 1])
    except CRSError as error:
        raise UserError(
            f"crs must be a known reference system, got {crs!r} to {target!r}"
        ) from error
    moved_P2 = np.stack([np.asarray(x), np.asarray(y)], axis=1)
    good_N = np.bincount(owner_P[~np.isfinite(moved_P2).all(axis=1)], minlength=len(dense_N)) == 0
    if _in_degrees(target):
        moved_P2[:, 0] += 360.0 * _beyond_180(moved_P2[:, 0], owner_P, len(dense_N))
    finite_P2 = np.nan_to_num(moved_P2, posinf=0.0, neginf=0.0)
    moved_N: np.ndarray = shapely.set_coordinates(dense_N.copy(), finite_P2)
    moved_N[~good_N] = None
    return moved_N


def rows_in_box(rows: pd.DataFrame, box: Box, box_crs: str = LONGITUDES) -> Bool[np.ndarray, " N"]:
    """Which rows of an index have a footprint that meets a box.

    Footprints are taken to the box's system, where the box is exactly a rectangle; rows of unknown
    place are never inside.

    Args:
        rows: with `footprint_columns`.
        box: west, south, east, north; in degrees west may be larger than east: a box across the
            antimeridian.
        box_crs: of the box.

    Raises:
        UserError: if the box is empty, its system unknown, or no row has a place.
    """
    west, south, east, north = box
    degrees = _in_degrees(box_crs, "box-crs")
    rule = "west,south,east,north with west < east and south < north"
    require(np.isfinite(box).all() and south < north, "box", rule, box)
    require(west < east or (degrees and west != east), "box", rule, box)
    known_N = _placed(rows)
    require(known_N.any(), "index", "of georeferenced images, for a box", "none with a CRS")
    shifts = (-360.0, 0.0, 360.0) if degrees else (0.0,)
    east += 360.0 * (east < west)
    boxes = [shapely.box(west + shift, south, east + shift, north) for shift in shifts]
    inside_N = np.zeros(len(rows), dtype=bool)
    for crs, places in pd.Series(np.flatnonzero(known_N)).groupby(rows["crs"][known_N].to_numpy()):
        for start in range(0, len(places), _BLOCK):
            block = places.iloc[start : start + _BLOCK].to_numpy()
            polygons = shapely.from_wkt(rows["footprint"].iloc[block].to_numpy(dtype=object))
            moved = transformed(polygons, str(crs), box_crs)
            for rectangle in boxes:
                inside_N[block] |= shapely.intersects(moved, rectangle)
    return inside_N


def write_footprints(path: Path, found: pd.DataFrame, *, quiet: bool = False) -> None:
    """Write the footprints of results as one layer, `results`, of a GeoPackage.

    A layer has one reference system: the results' own if they share one, else longitude and
    latitude (EPSG:4326), to which the footprints are transformed with densified edges.

    Args:
        path: ends in .gpkg.
        found: what `search` found, with `footprint_columns`; all other columns become attributes.
        quiet: say nothing.

    Raises:
        UserError: if no result has a place.
    """
    known_N = _placed(found)
    require(known_N.any(), "gpkg", "for results with a CRS", "none that has one")
    if not known_N.all():
        say(f"{path}: {int((~known_N).sum())} results without a CRS are left out", quiet=quiet)
    found = found[known_N].reset_index(drop=True)
    systems = sorted(set(found["crs"]))
    crs = systems[0] if len(systems) == 1 else LONGITUDES
    polygons_N = shapely.from_wkt(found["footprint"].to_numpy(dtype=object))
    for system in systems:
        of_it = (found["crs"] == system).to_numpy()
        polygons_N[of_it] = transformed(polygons_N[of_it], system, crs)
    columns = {
        str(name): found[name].to_numpy(
            dtype=object if found[name].dtype.kind not in "iufb" else None
        )
        for name in found
        if name != "footprint"
    }
    write_geopackage(path, polygons_N, columns, crs=crs, layer=LAYER)
    say(f"{path}: {len(found)} footprints, {crs}", quiet=quiet)


def parse_box(text: str) -> Box:
    """`W,S,E,N` as four numbers.

    Raises:
        UserError: if they are not four numbers.
    """
    west, south, east, north = _numbers(text, "box", "four numbers, west,south,east,north")
    return west, south, east, north


def parse_window(text: str) -> tuple[int, int, int, int]:
    """`COL,ROW,WIDTH,HEIGHT` as four whole numbers.

    Raises:
        UserError: if they are not four whole numbers.
    """
    rule = "four whole numbers of pixels, column,row,width,height"
    numbers = _numbers(text, "window", rule)
    require(all(number == int(number) for number in numbers), "window", rule, text)
    column, row, width, height = (int(number) for number in numbers)
    return column, row, width, height


def _numbers(text: str, name: str, rule: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    require(len(numbers) == 4 and np.isfinite(numbers).all(), name, rule, text)
    return numbers


def _placed(rows: pd.DataFrame) -> np.ndarray:
    if "footprint" not in rows:
        return np.zeros(len(rows), dtype=bool)
    return np.asarray((rows["crs"] != "") & (rows["footprint"] != ""), dtype=bool)


def _in_degrees(crs: str, name: str = "crs") -> bool:
    from rasterio import Env
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        with Env():  # else PROJ writes a sentence of its own
            return bool(CRS.from_string(crs).is_geographic)
    except CRSError as error:
        raise UserError(f"{name} must be a known reference system, got {crs!r}") from error


def _beyond_180(longitude_P: np.ndarray, owner_P: np.ndarray, count: int) -> np.ndarray:
    """Points in the west of polygons that, by their longitudes, would go round the Earth."""
    low_N, high_N = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low_N, owner_P, longitude_P)
    np.maximum.at(high_N, owner_P, longitude_P)
    return np.asarray(((high_N - low_N) > 180.0)[owner_P] & (longitude_P < 0))
