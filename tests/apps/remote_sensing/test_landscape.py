"""The large generated scene and its truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.features
import shapely
from rasterio.features import geometry_mask

from likeness.errors import UserError
from likeness_apps.remote_sensing.classes import PAINTERS
from likeness_apps.remote_sensing.landscape import draw_regions, write_scene, write_scene_truth

WIDTH, HEIGHT, SEED = 700, 500, 4  # neither a multiple of the tiles


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("scene")
    sizes = {"seed": SEED, "width": WIDTH, "height": HEIGHT}
    image = write_scene(folder / "scene.tif", **sizes)
    return image, write_scene_truth(folder / "truth.gpkg", **sizes)


def read_truth(path: Path) -> tuple[str, np.ndarray, np.ndarray]:
    meta, _, polygons, (labels,) = pyogrio.raw.read(path)
    return meta["crs"], shapely.from_wkb(polygons), labels


def test_the_scene_is_a_tiled_compressed_geotiff(written: tuple[Path, Path]) -> None:
    with rasterio.open(written[0]) as scene:
        assert (scene.width, scene.height, scene.count) == (WIDTH, HEIGHT, 3)
        assert scene.dtypes == ("uint8",) * 3
        assert scene.crs.to_epsg() == 32611
        assert scene.res == pytest.approx((0.6, 0.6))
        assert scene.profile["tiled"]
        assert scene.compression.name == "deflate"
        pixels = scene.read()
    for y in range(0, HEIGHT - 20, 100):  # drawn everywhere, to the last row and column
        for x in range(0, WIDTH - 20, 100):
            assert pixels[:, y : y + 20, x : x + 20].std() > 1
    assert pixels[:, -4:].std() > 1
    assert pixels[..., -4:].std() > 1


def test_the_truth_covers_the_scene_once(written: tuple[Path, Path]) -> None:
    crs, polygons, labels = read_truth(written[1])
    assert crs == "EPSG:32611"
    assert set(labels) <= set(PAINTERS)
    assert len(set(labels)) > 2
    with rasterio.open(written[0]) as scene:
        frame = shapely.box(*scene.bounds)
    assert shapely.area(polygons).sum() == pytest.approx(frame.area)
    assert shapely.union_all(polygons).symmetric_difference(frame).area < 1e-3


def test_the_truth_is_where_the_nearest_site_is(written: tuple[Path, Path]) -> None:
    _, polygons, labels = read_truth(written[1])
    regions = draw_regions(SEED, WIDTH, HEIGHT)
    with rasterio.open(written[0]) as scene:
        shapes = zip(polygons, range(len(polygons)), strict=True)
        drawn = rasterio.features.rasterize(shapes, scene.shape, transform=scene.transform, fill=99)
    rows, columns = np.mgrid[0:HEIGHT:7, 0:WIDTH:7]
    x, y = columns[..., None] + 0.5, rows[..., None] + 0.5
    far = (x - regions.sites_R2[:, 0]) ** 2 + (y - regions.sites_R2[:, 1]) ** 2
    wanted = np.array(regions.labels)[far.argmin(axis=2)]
    assert (labels[drawn[::7, ::7]] == wanted).mean() > 0.999  # but for centres on a border


def test_the_picture_shows_what_the_truth_says(written: tuple[Path, Path]) -> None:
    """Rows of cars are rougher than fields and beaches, up to their borders."""
    _, polygons, labels = read_truth(written[1])
    with rasterio.open(written[0]) as scene:
        grey = scene.read().astype(float).mean(axis=0)
        rough = np.abs(np.diff(grey, axis=1, prepend=grey[:, :1]))
        mean = {
            label: rough[geometry_mask([polygon], scene.shape, scene.transform, invert=True)].mean()
            for polygon, label in zip(polygons, labels, strict=True)
        }
    assert set(labels) == {"agricultural", "beach", "harbor", "parkinglot"}
    assert mean["parkinglot"] > 1.5 * mean["agricultural"]
    assert mean["parkinglot"] > 1.5 * mean["beach"]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    done = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        path = tmp_path / f"{name}.tif"
        write_scene(
            path, seed=seed, width=200, height=96, on_progress=lambda *step: done.append(step)
        )
    first, second, other = ((tmp_path / f"{name}.tif").read_bytes() for name in "abc")
    assert first == second != other
    assert done == [(1, 2), (2, 2)] * 3


@pytest.mark.plain
def test_scenes_smaller_than_a_cell_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="width must be >= 96 pixels, got 95"):
        write_scene(tmp_path / "s.tif", width=95, height=200)
    with pytest.raises(UserError, match="height must be >= 96 pixels, got 0"):
        write_scene_truth(tmp_path / "t.gpkg", width=96, height=0)
    assert not list(tmp_path.iterdir())
