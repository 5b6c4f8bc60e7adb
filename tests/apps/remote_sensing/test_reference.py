"""A map against its reference: counted by hand, reprojected, estimated, refused."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from rasterio import Affine
from rasterio.warp import transform as to_crs
from typer.testing import CliRunner

from fixtures.front_door import assert_refused, likeness
from likeness.errors import UserError
from likeness.evaluation.area import area_accuracy
from likeness_apps.cli import app
from likeness_apps.remote_sensing import reference_pixels
from likeness_apps.remote_sensing.domain import DOMAIN
from likeness_apps.remote_sensing.geopackage import write_geopackage
from likeness_apps.remote_sensing.reference import evaluate_map
from likeness_apps.remote_sensing.reference_pixels import class_names

NAMES = ["field", "forest", "lake"]
UTM = "EPSG:32632"
NORTH_UP = Affine(10, 0, 500_000, 0, -10, 5_000_000)
TURNED = NORTH_UP @ Affine.rotation(30)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """So that even small maps are read in several windows."""
    monkeypatch.setattr(reference_pixels, "BLOCK", 32)


def write_map(path, numbers, names=NAMES, *, crs=UTM, transform=NORTH_UP, nodata=255):
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=numbers.shape[0],
        width=numbers.shape[1],
        count=1,
        dtype="uint8",
        crs=crs,
        transform=transform,
        nodata=nodata,
    ) as target:
        target.write(numbers.astype(np.uint8), 1)
        if names is not None:
            target.update_tags(CLASSES=json.dumps(names))
    return path


def patches(shape, seed=0, classes=3, patch=8):
    """A map of square patches with some pixels changed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (shape[0] // patch + 1, shape[1] // patch + 1))
    fine = coarse.repeat(patch, 0).repeat(patch, 1)[: shape[0], : shape[1]]
    noise = rng.random(shape) < 0.2
    return np.where(noise, rng.integers(0, classes, shape), fine)


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


def counts_of(metrics):
    """The matrix of metrics.json with map classes as rows."""
    return np.array(metrics["confusion"]["counts"]).T


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


def test_what_is_written(tmp_path):
    numbers = patches((64, 64))
    numbers[:, :20] = 2
    write_map(tmp_path / "map.tif", numbers)
    polygons = np.array([shapely.box(500_000 + 10 * c, 4_999_400, 500_000 + 10 * c + 80, 4_999_900)
                         for c in (24, 36, 48)], dtype=object)  # fmt: skip
    labels = np.array(["field", "forest", "field"], dtype=object)
    numbers_inside = numbers[:, 24:]
    assert (numbers_inside == 2).any()
    write_geopackage(tmp_path / "r.gpkg", polygons, {"label": labels}, crs=UTM, layer="r")
    out = tmp_path / "out"
    metrics = evaluate_map(DOMAIN, tmp_path / "map.tif", tmp_path / "r.gpkg", out, quiet=True)
    assert {path.name for path in out.iterdir()} == {
        *("metrics.json", "error_matrix.csv", "areas.csv", "report.html"),
    }
    assert json.loads((out / "metrics.json").read_text())["classes"] == NAMES
    matrix = pd.read_csv(out / "error_matrix.csv")
    pixels = matrix[matrix["unit"] == "pixels"]
    np.testing.assert_array_equal(pixels[NAMES].astype(int).to_numpy(), counts_of(metrics))
    shares = matrix[matrix["unit"] == "area share"][NAMES].to_numpy(float)
    assert shares.sum() == pytest.approx(1.0)
    areas = pd.read_csv(out / "areas.csv")
    assert areas["hectares"].sum() == pytest.approx(metrics["map_area"]["hectares"])
    assert (areas["hectares_analytical_low"] <= areas["hectares"]).all()
    page = (out / "report.html").read_text()
    assert page.count("data:image/webp") == 2
    assert f"{100 * metrics['overall_accuracy']['value']:.1f}" in page
    for name in (*NAMES, "stratified by its classes"):
        assert name in page


@pytest.mark.parametrize("of_each", [1, 4, 5, 8])
def test_intervals_draw_whole_polygons_where_there_are_enough(tmp_path, capsys, of_each):
    """With few, a draw may miss the only one of a class: its interval would lie below the value."""
    numbers = np.zeros((100, 100), int)
    numbers[:, 50:] = 1
    numbers[::7, ::3] = 1 - numbers[::7, ::3]  # some errors
    write_map(tmp_path / "map.tif", numbers)
    tops = 5_000_000 - 110 * np.arange(of_each)
    polygons = [
        shapely.box(500_000 + x, top - 80, 500_000 + x + 200, top)
        for x in (100, 700)
        for top in tops
    ]
    labels = np.array(["field"] * of_each + ["forest"] * of_each, dtype=object)
    columns = {"label": labels}
    write_geopackage(tmp_path / "r.gpkg", np.array(polygons), columns, crs=UTM, layer="r")
    metrics = evaluate_map(DOMAIN, tmp_path / "map.tif", tmp_path / "r.gpkg", tmp_path / "out")
    overall = metrics["overall_accuracy"]
    told = f"a class has reference in {of_each} polygons, where 5 are needed"
    if of_each < 5:
        assert np.isnan([overall["low"], overall["high"]]).all()
        assert overall["reason"] == told
        assert (
            json.loads((tmp_path / "out" / "metrics.json").read_text())["overall_accuracy"]["low"]
            is None
        )
    else:
        for entry in (overall, *(row["users"] for row in metrics["per_class"][:2])):
            assert entry["low"] <= entry["value"] <= entry["high"]
        assert overall["reason"] == ""
    assert (told in capsys.readouterr().out) == (of_each < 5)


def test_a_class_without_reference_is_named_and_left_out(tmp_path, capsys):
    numbers = np.zeros((40, 40), int)
    numbers[:, 20:] = 1
    numbers[:4] = 2
    write_map(tmp_path / "map.tif", numbers)
    polygon = shapely.box(500_100, 4_999_700, 500_300, 4_999_900)  # rows 10 to 30, columns 10 to 30
    write_geopackage(
        tmp_path / "r.gpkg", [polygon], {"label": np.array(["field"])}, crs=UTM, layer="r"
    )
    metrics = evaluate_map(DOMAIN, tmp_path / "map.tif", tmp_path / "r.gpkg", tmp_path / "out")
    assert metrics["map_area"]["classes_without_reference"] == ["lake"]
    assert metrics["map_area"]["share_of_sampled_classes"] == pytest.approx(0.9)
    assert metrics["overall_accuracy"]["value"] == pytest.approx(0.5)
    assert math.isnan(metrics["per_class"][2]["users"]["value"])
    assert metrics["overall_accuracy"]["reason"] != ""  # one polygon only
    assert "no reference for lake: all figures hold for 90% of the map" in capsys.readouterr().out
    assert "No reference for lake" in (tmp_path / "out" / "report.html").read_text()


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


def polygons_file(path, *, crs=UTM, label="field", at=(500_100, 4_999_700)):
    square = shapely.box(at[0], at[1], at[0] + 100, at[1] + 100)
    if crs is None:  # a GeoJSON has a system by definition, a shapefile may lack one
        import pyogrio

        pyogrio.raw.write(
            path, shapely.to_wkb(np.array([square])), [np.array([label], dtype=object)],
            np.array(["label"], dtype=object), geometry_type="Polygon", crs=None,
        )  # fmt: skip
        return path
    write_geopackage(path, [square], {"label": np.array([label])}, crs=crs, layer="r")
    return path


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda t: polygons_file(t / "r.shp", crs=None),
            "reference must be with a reference system",
        ),
        (
            lambda t: polygons_file(t / "r.gpkg", at=(600_000, 4_000_000)),
            "reference must be over pixels that the map has a class for",
        ),
        (
            lambda t: polygons_file(t / "r.gpkg", label="town"),
            "reference must be of classes that the map has (field, forest, lake), got \"'town'\"",
        ),
        (lambda t: t / "none.gpkg", "reference must be an existing file"),
        (
            lambda t: write_map(t / "r.tif", np.zeros((4, 4)), ["field", "town"]),
            "reference must be of classes that the map has",
        ),
        (
            lambda t: write_map(t / "r.tif", np.zeros((40, 40)), crs=None),
            "reference must be with a reference system",
        ),
    ],
    ids=["no-crs", "apart", "unknown-class", "missing", "unknown-in-raster", "raster-no-crs"],
)
def test_a_reference_that_does_not_fit_is_refused(tmp_path, make, message):
    write_map(tmp_path / "map.tif", patches((40, 40)))
    reference = make(tmp_path)
    with pytest.raises(UserError) as refused:
        evaluate_map(DOMAIN, tmp_path / "map.tif", reference, tmp_path / "out", quiet=True)
    assert str(refused.value).startswith(message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: t / "none.tif", "map must be an existing file"),
        (lambda t: write_map(t / "m.tif", np.zeros((9, 9)), None), "map must be a class map that"),
        (
            lambda t: write_map(t / "m.tif", np.zeros((9, 9)), crs=None),
            "map must be with a reference system",
        ),
        (
            lambda t: write_map(t / "m.tif", np.full((90, 90), 7)),
            "map must be of the class numbers 0 to 2, got 7",
        ),
    ],
    ids=["missing", "none-of-ours", "no-crs", "unknown-number"],
)
def test_a_map_that_is_none_of_ours_is_refused(tmp_path, make, message):
    polygons_file(tmp_path / "r.gpkg")
    with pytest.raises(UserError) as refused:
        evaluate_map(DOMAIN, make(tmp_path), tmp_path / "r.gpkg", tmp_path / "out", quiet=True)
    assert str(refused.value).startswith(message)


def test_a_wrong_column_is_one_sentence_on_the_command_line(tmp_path):
    write_map(tmp_path / "map.tif", patches((40, 40)))
    polygons_file(tmp_path / "r.gpkg")
    words = ["evaluate", "map.tif", "--reference", "r.gpkg", "--out", "out"]
    words = [str(tmp_path / word) if "." in word or word == "out" else word for word in words]
    ended = CliRunner().invoke(app, ["remote-sensing", *words, "--column", "kind"])
    assert ended.exit_code == 2
    assert ended.stderr.splitlines() == ["Error: column must be one of label, got 'kind'"]
    ended = CliRunner().invoke(app, ["remote-sensing", *words])
    assert ended.exit_code == 0
    assert "Overall accuracy" in ended.stdout


def test_a_map_that_the_map_command_made(run, tmp_path):
    """Names and numbers are read as `remote-sensing map` writes them."""
    from fixtures.scenes import texture

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


def test_a_file_without_polygons_is_one_sentence(tmp_path):
    write_map(tmp_path / "map.tif", patches((40, 40)))
    for content, sentence in (
        ("no vectors", "polygons must be a readable vector file, got"),
        ('{"type": "FeatureCollection", "features": []}', "polygons must be a layer of polygons"),
    ):
        (tmp_path / "r.geojson").write_text(content)
        words = (tmp_path / "map.tif", "--reference", tmp_path / "r.geojson")
        ended = likeness("evaluate", *words, "--out", tmp_path / "out")
        assert_refused(ended, sentence, left=tmp_path / "out")
        assert "driver" not in ended.err  # advice for programmers
    words = (tmp_path / "map.tif", tmp_path, "--reference", tmp_path / "r.geojson")
    ended = likeness("evaluate", *words, "--out", tmp_path / "out")
    assert_refused(ended, f"DATA must be left out with --reference, got '{tmp_path}'")


def test_classes_that_occur_nowhere_are_named_once_and_fill_no_tables(tmp_path, capsys):
    numbers = np.zeros((40, 40), int)
    numbers[:, 20:] = 1
    write_map(tmp_path / "map.tif", numbers)
    polygons_file(tmp_path / "r.gpkg")
    evaluate_map(DOMAIN, tmp_path / "map.tif", tmp_path / "r.gpkg", tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("lake") == 1
    assert "Neither holds lake." in page
    assert "lake" not in capsys.readouterr().out
