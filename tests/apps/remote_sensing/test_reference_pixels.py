"""A map's pixels against its reference: counted by hand, reprojected, in hectares."""

import json

import numpy as np
import pytest
import rasterio
import shapely
from rasterio import Affine
from rasterio.warp import transform as to_crs
from typer.testing import CliRunner

from fixtures.reference_maps import NAMES, NORTH_UP, TURNED, UTM, counts_of, patches, write_map
from fixtures.scenes import texture
from likeness.errors import UserError
from likeness.evaluation.area import area_accuracy
from likeness_apps.cli import app
from likeness_apps.remote_sensing.domain import DOMAIN
from likeness_apps.remote_sensing.geopackage import write_geopackage
from likeness_apps.remote_sensing.reference import evaluate_map
from likeness_apps.remote_sensing.reference_pixels import class_names

pytestmark = pytest.mark.usefixtures("small_windows")


def random_polygons(count, shape, transform, seed=1):
    """Triangles in the coordinates of a map, some of them over its edge."""
    rng = np.random.default_rng(seed)
    polygons = []
    for _ in range(count):
        middle = rng.uniform((0, 0), (shape[1], shape[0]))
        corners = middle + rng.uniform(-14, 14, (3, 2))
        polygons.append(shapely.Polygon([transform @ tuple(corner) for corner in corners]))
    labels = np.array(NAMES, dtype=object)[rng.integers(0, 3, count)]
    return np.array(polygons, dtype=object), labels


def by_loops(numbers, polygons, labels, transform, nodata=255):
    """Every pixel centre against every polygon."""
    counts, disputed, off_map = np.zeros((3, 3), int), 0, 0
    for row in range(numbers.shape[0]):
        for column in range(numbers.shape[1]):
            x, y = transform @ (column + 0.5, row + 0.5)
            found = {
                label
                for polygon, label in zip(polygons, labels, strict=True)
                if shapely.contains_xy(polygon, x, y)
            }
            if len(found) > 1:
                disputed += 1
            elif found and numbers[row, column] == nodata:
                off_map += 1
            elif found:
                counts[numbers[row, column], NAMES.index(found.pop())] += 1
    return counts, disputed, off_map


@pytest.mark.parametrize("transform", [NORTH_UP, TURNED], ids=["north-up", "turned"])
def test_polygons_are_counted_as_a_loop_counts_them(tmp_path, transform):
    numbers = patches((70, 90))
    numbers[::7] = 255
    write_map(tmp_path / "map.tif", numbers, transform=transform)
    polygons, labels = random_polygons(9, numbers.shape, transform)
    write_geopackage(tmp_path / "r.gpkg", polygons, {"label": labels}, crs=UTM, layer="r")
    metrics = evaluate_map(
        DOMAIN, tmp_path / "map.tif", tmp_path / "r.gpkg", tmp_path / "out", quiet=True
    )
    counts, disputed, off_map = by_loops(numbers, polygons, labels, transform)
    np.testing.assert_array_equal(counts_of(metrics), counts)
    assert disputed > 0
    assert off_map > 0
    assert list(metrics["sampling"]["skipped"].values()) == [disputed, off_map]
    mapped = np.bincount(numbers[numbers != 255], minlength=3)
    assert [row["mapped_pixels"] for row in metrics["per_class"]] == mapped.tolist()
    np.testing.assert_allclose(
        [row["mapped_hectares"] for row in metrics["per_class"]], mapped * 0.01, rtol=1e-9
    )
    expected = area_accuracy(counts, mapped * 0.01)
    assert metrics["overall_accuracy"]["value"] == pytest.approx(float(expected.overall.values))
    analytical = metrics["overall_accuracy"]["analytical"]
    assert analytical["low"] == pytest.approx(float(expected.overall.low))
    for number, row in enumerate(metrics["per_class"]):
        assert row["hectares"]["value"] == pytest.approx(expected.areas.values[number])
        assert row["users"]["analytical"]["high"] == pytest.approx(expected.users.high[number])
        assert row["producers"]["standard_error"] == pytest.approx(
            expected.producers.errors[number]
        )


def test_polygons_in_another_reference_system_tell_the_same(tmp_path):
    numbers = patches((64, 64))
    write_map(tmp_path / "map.tif", numbers)
    polygons, labels = random_polygons(6, numbers.shape, NORTH_UP)

    def in_degrees(points):
        x, y = to_crs(UTM, "EPSG:4326", points[:, 0], points[:, 1])
        return np.stack([x, y], axis=1)

    moved = shapely.transform(polygons, in_degrees)
    write_geopackage(tmp_path / "a.gpkg", polygons, {"name": labels}, crs=UTM, layer="r")
    write_geopackage(tmp_path / "b.gpkg", moved, {"name": labels}, crs="EPSG:4326", layer="r")
    first, second = (
        evaluate_map(
            DOMAIN,
            tmp_path / "map.tif",
            tmp_path / f"{name}.gpkg",
            tmp_path / name,
            column="name",
            quiet=True,
        )
        for name in "ab"
    )
    assert np.abs(counts_of(first) - counts_of(second)).sum() <= 2  # centres that edges touch
    assert counts_of(first).sum() > 300


def test_a_raster_names_its_own_classes_on_a_grid_of_its_own(tmp_path):
    """The same truth at half the pixel size, numbered otherwise, and shifted by a few pixels."""
    numbers, truth = patches((64, 96)), patches((64, 96), seed=5)
    write_map(tmp_path / "map.tif", numbers)
    order = ["lake", "field", "forest"]
    own = np.array([order.index(name) for name in NAMES])[truth].repeat(2, 0).repeat(2, 1)
    fine = NORTH_UP @ Affine.scale(0.5) @ Affine.translation(20, 0)
    write_map(tmp_path / "truth.tif", own[:, 20:], order, transform=fine)
    metrics = evaluate_map(
        DOMAIN, tmp_path / "map.tif", tmp_path / "truth.tif", tmp_path / "out", quiet=True
    )
    expected = np.zeros((3, 3), int)
    np.add.at(expected, (numbers[:, 10:].ravel(), truth[:, 10:].ravel()), 1)
    np.testing.assert_array_equal(counts_of(metrics), expected)
    assert metrics["sampling"]["groups"] == 6  # 64 x 96 pixels in windows of 32


def test_a_raster_without_names_has_the_maps_numbers(tmp_path):
    numbers, truth = patches((40, 40)), patches((40, 40), seed=5)
    truth[:, :10] = 99
    write_map(tmp_path / "map.tif", numbers)
    write_map(tmp_path / "truth.tif", truth, None, nodata=99)
    metrics = evaluate_map(
        DOMAIN, tmp_path / "map.tif", tmp_path / "truth.tif", tmp_path / "out", quiet=True
    )
    assert counts_of(metrics).sum() == 40 * 30
    write_map(tmp_path / "bad.tif", truth, None, nodata=None)
    with pytest.raises(UserError, match=r"reference must be of the map's class numbers 0 to 2.*99"):
        evaluate_map(DOMAIN, tmp_path / "map.tif", tmp_path / "bad.tif", tmp_path / "b", quiet=True)
    assert not (tmp_path / "b").exists()


def test_areas_in_degrees_are_taken_on_the_ellipsoid(tmp_path):
    """One column of pixels from the equator to the pole: an eighth of half the Earth."""
    step = 0.5
    write_map(
        tmp_path / "map.tif",
        np.zeros((180, 90), int),
        crs="EPSG:4326",
        transform=Affine(step, 0, 0, 0, -step, 90),
    )
    square = shapely.box(1, 1, 9, 9)
    write_geopackage(
        tmp_path / "r.gpkg", [square], {"label": np.array(["field"])}, crs="EPSG:4326", layer="r"
    )
    metrics = evaluate_map(
        DOMAIN, tmp_path / "map.tif", tmp_path / "r.gpkg", tmp_path / "out", quiet=True
    )
    earth = 510_065_621.7  # km2 of the WGS 84 ellipsoid
    width = 90 * step / 360
    assert metrics["map_area"]["hectares"] / 100 == pytest.approx(earth / 2 * width, rel=1e-4)
    assert metrics["per_class"][0]["hectares"]["value"] == metrics["map_area"]["hectares"]


def test_names_come_from_the_tag_of_our_maps(tmp_path):
    for tag, expected in (
        (json.dumps(NAMES), NAMES),
        (None, None),
        ("{", None),
        ("[]", None),
        ("[1]", None),
        ('"a"', None),
    ):
        path = write_map(tmp_path / "m.tif", np.zeros((4, 4)), None)
        with rasterio.open(path, "r+") as dataset:
            if tag is not None:
                dataset.update_tags(CLASSES=tag)
            assert class_names(dataset) == expected


def test_a_map_that_the_map_command_made(run, tmp_path):
    """Names and numbers are read as `remote-sensing map` writes them."""
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", height=64, width=96, count=3, dtype="uint8",
        crs=UTM, transform=NORTH_UP, photometric="RGB",
    ) as target:  # fmt: skip
        target.write(texture(0, 5, side=96)[:64].transpose(2, 0, 1))
    words = ["map", run, tmp_path / "scene.tif", "--out", tmp_path / "map.tif", "--window", 32]
    ended = CliRunner().invoke(app, ["remote-sensing", *map(str, words)])
    assert ended.exit_code == 0, ended.output
    with rasterio.open(tmp_path / "map.tif") as dataset:
        names, numbers = class_names(dataset), dataset.read(1)
    assert names == ["agricultural", "airplane", "beach"]
    square = shapely.box(500_000, 4_999_360, 500_960, 5_000_000)
    write_geopackage(
        tmp_path / "r.gpkg", [square], {"label": np.array(["airplane"])}, crs=UTM, layer="r"
    )
    metrics = evaluate_map(
        DOMAIN, tmp_path / "map.tif", tmp_path / "r.gpkg", tmp_path / "out", quiet=True
    )
    assert counts_of(metrics)[:, 1].tolist() == np.bincount(numbers.ravel(), minlength=3).tolist()
    assert counts_of(metrics).sum() == 64 * 96
