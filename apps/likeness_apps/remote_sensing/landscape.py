"""One large generated scene to be mapped, and its truth: regions of classes side by side.

The regions are the Voronoi cells of scattered sites; each is filled with generated scenes of its
class, one per square cell of a sample image's size, all in the same light. Cells on a border show
both classes, cut along it.

Shapes: R = regions, H and W = height and width of a window in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from likeness.errors import require
from likeness.files import atomic_path
from likeness_apps.remote_sensing.classes import PAINTERS
from likeness_apps.remote_sensing.sample import CRS, METRES, SIZE, generator, paint
from likeness_apps.remote_sensing.scenes import Light, draw_light, finish
from likeness_apps.shell.console import progress, say

CORNER = (420_000.0, 3_810_000.0)  # upper left, apart from the tiles of the sample
REGION = 4  # width of a region in cells, about
_TILE = 2 * SIZE  # of the GeoTIFF; a multiple of 16


@dataclass(frozen=True, eq=False)
class Regions:
    """Where which class is.

    Attributes:
        sites_R2: x and y in pixels; a pixel belongs to the nearest.
        labels: the class of each.
    """

    sites_R2: np.ndarray
    labels: tuple[str, ...]


def draw_regions(seed: int, width: int, height: int) -> Regions:
    """Sites on a shaken grid, and the classes in turn, shuffled.

    Raises:
        UserError: if the scene is smaller than a cell.
    """
    require(width >= SIZE, "width", f">= {SIZE} pixels", width)
    require(height >= SIZE, "height", f">= {SIZE} pixels", height)
    rng, step = generator(seed, "regions"), REGION * SIZE
    columns, rows = math.ceil(width / step), math.ceil(height / step)
    grid_R2 = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    sites_R2 = (grid_R2 + 0.5 + rng.uniform(-0.35, 0.35, grid_R2.shape)) * step
    names = list(PAINTERS)
    labels: list[str] = []
    while len(labels) < len(sites_R2):
        labels += [names[place] for place in rng.permutation(len(names))]
    return Regions(sites_R2, tuple(labels[: len(sites_R2)]))


def draw_scene(
    out: Path, *, width: int, height: int, seed: int = 0, quiet: bool = False
) -> tuple[Path, Path]:
    """Write a scene and, beside it, its truth as `<name>-truth.gpkg`, and say so.

    Returns:
        Both paths.

    Raises:
        UserError: if one of them is there already, the scene has another ending than .tif, or it
            is smaller than 96 pixels.
    """
    truth = out.with_name(f"{out.stem}-truth.gpkg")
    require(out.suffix.lower() == ".tif", "out", "a name that ends in .tif", str(out))
    for path in (out, truth):
        require(not path.exists(), "out", "a new file", str(path))
    with progress("drawing", quiet=quiet) as advance:
        write_scene(out, seed=seed, width=width, height=height, on_progress=advance)
    write_scene_truth(truth, seed=seed, width=width, height=height)
    say(f"Generated data (no real place): {out}, its true regions: {truth}", quiet=quiet)
    return out, truth


def write_scene(
    path: Path,
    *,
    seed: int = 0,
    width: int,
    height: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a scene of the sample's classes at its ground resolution, tile by tile.

    Args:
        path: a GeoTIFF: RGB, uint8, tiled, compressed, in made-up coordinates.
        seed: of the scene.
        width: in pixels, >= 96.
        height: in pixels, >= 96.
        on_progress: called with (done, total) after each tile.

    Returns:
        The path.
    """
    import rasterio
    from rasterio.windows import Window

    regions, light = draw_regions(seed, width, height), draw_light(generator(seed, "light"))
    nearest = cKDTree(regions.sites_R2)
    corners = [(x, y) for y in range(0, height, _TILE) for x in range(0, width, _TILE)]
    with (
        atomic_path(path) as temporary,
        rasterio.open(
            temporary,
            "w",
            driver="GTiff",
            width=width,
            height=height,
            count=3,
            dtype="uint8",
            crs=CRS,
            transform=rasterio.Affine(METRES, 0, CORNER[0], 0, -METRES, CORNER[1]),
            photometric="RGB",
            compress="deflate",
            tiled=True,
            blockxsize=_TILE,
            blockysize=_TILE,
            bigtiff="if_safer",
        ) as target,
    ):
        for done, (x, y) in enumerate(corners, start=1):
            tile_HWC = _tile(x, y, regions, nearest, light, seed)[: height - y, : width - x]
            window = Window(x, y, tile_HWC.shape[1], tile_HWC.shape[0])
            target.write(tile_HWC.transpose(2, 0, 1), window=window)
            if on_progress is not None:
                on_progress(done, len(corners))
        target.update_tags(TIFFTAG_IMAGEDESCRIPTION="generated data, likeness sample")
    return path


def write_scene_truth(path: Path, *, seed: int = 0, width: int, height: int) -> Path:
    """Write the regions of `write_scene` as polygons with a column `label`.

    Args:
        path: ends in `.gpkg`.
        seed: as of the scene.
        width: as of the scene.
        height: as of the scene.

    Returns:
        The path.
    """
    import shapely

    from likeness_apps.remote_sensing.geopackage import write_geopackage

    regions = draw_regions(seed, width, height)
    frame = shapely.box(0, 0, width, height)
    sites = shapely.multipoints(regions.sites_R2)
    cells = shapely.voronoi_polygons(sites, extend_to=frame, ordered=True)
    inside = shapely.intersection(shapely.get_parts(cells), frame)
    scale = np.array([METRES, -METRES])
    polygons = shapely.transform(inside, lambda points: points * scale + np.array(CORNER))
    seen = ~shapely.is_empty(polygons)  # sites may lie beyond the lower and right edges
    columns = {"label": np.array(regions.labels, dtype=object)[seen]}
    write_geopackage(path, polygons[seen], columns, crs=CRS, layer="truth")
    return path


def _tile(
    x: int, y: int, regions: Regions, nearest: cKDTree, light: Light, seed: int
) -> np.ndarray:
    """The pixels from (x, y) on, (H, W, 3) with H = W = `_TILE`."""
    place = np.arange(_TILE) + 0.5
    centres = np.stack(np.meshgrid(x + place, y + place), axis=-1)
    region_HW = nearest.query(centres)[1]
    tile_HWC = np.empty((_TILE, _TILE, 3), dtype=np.uint8)
    for top in range(0, _TILE, SIZE):
        for left in range(0, _TILE, SIZE):
            cell = np.s_[top : top + SIZE, left : left + SIZE]
            for region in np.unique(region_HW[cell]):
                label = regions.labels[region]
                rng = generator(seed, "cell", (y + top) // SIZE, (x + left) // SIZE, label)
                image_SSC = finish(paint(label, rng, SIZE), SIZE, light)
                shown_SS = region_HW[cell] == region
                tile_HWC[cell][shown_SS] = image_SSC[shown_SS]
    return tile_HWC
