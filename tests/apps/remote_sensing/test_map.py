"""The map of a scene equals an average over all windows written with plain loops."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import torch
from rasterio import Affine
from typer.testing import CliRunner

from fixtures.mapping import NORTH_UP, SIDE, LinearModel, by_hand, mosaic, read, write_scene
from likeness.bundle import save_bundle
from likeness.card import SECTIONS
from likeness.data.transforms import Preprocessing
from likeness.inference.predictor import Predictor
from likeness.models import ModelSpec, build_embedder
from likeness_apps.cli import app
from likeness_apps.remote_sensing.geopackage import read_polygons
from likeness_apps.remote_sensing.mapping import rasters
from likeness_apps.remote_sensing.mapping.run import make_map

NONE = 255


def made(tmp_path, model, pixels_BYX, *, nodata=None, transform=NORTH_UP, crs="EPSG:32633", **kw):
    """A map of the pixels with its probabilities; returns (result, classes, bytes)."""
    scene = write_scene(
        tmp_path / "scene.tif", pixels_BYX, nodata=nodata, transform=transform, crs=crs
    )
    bands = tmp_path / "probabilities.tif"
    done = make_map(model, scene, tmp_path / "map.tif", probabilities=bands, **kw)
    return done, read(tmp_path / "map.tif")[0], read(bands)


def assert_equal(classes_YX, bytes_CYX, wanted_YXC, valid_YX=None):
    """Probabilities to the rounding of a byte, classes where the best two differ."""
    valid_YX = np.ones(classes_YX.shape, bool) if valid_YX is None else valid_YX
    assert (classes_YX[~valid_YX] == NONE).all()
    assert (bytes_CYX[:, ~valid_YX] == NONE).all()
    exact = np.moveaxis(wanted_YXC, -1, 0)[:, valid_YX] * 254
    assert np.abs(bytes_CYX[:, valid_YX] - exact).max() <= 0.5 + 1e-3
    ordered = np.sort(wanted_YXC, axis=2)
    clear_YX = valid_YX & (ordered[..., -1] - ordered[..., -2] > 1e-5)
    assert clear_YX.sum() > 0.99 * valid_YX.sum()
    np.testing.assert_array_equal(classes_YX[clear_YX], wanted_YXC.argmax(axis=2)[clear_YX])
    assert len(np.unique(classes_YX[valid_YX])) > 1


@pytest.mark.parametrize("blend", ["mean", "gaussian"])
@pytest.mark.parametrize(("height", "width", "stride"), [(70, 61, None), (33, 50, 5), (16, 37, 16)])
def test_blended_values_are_the_average_over_all_windows(
    tmp_path, monkeypatch, blend, height, width, stride
):
    monkeypatch.setattr(rasters, "TILE", 32)
    model, pixels = LinearModel(), mosaic(height, width)
    done, classes, found = made(tmp_path, model, pixels, blend=blend, stride=stride)
    wanted = by_hand(model, pixels, stride=stride or SIDE // 2, blend=blend)
    assert_equal(classes, found, wanted)
    assert done.answered == done.windows == sum(model.calls)
    assert done.exit_code == 0


def test_tiles_of_the_file_do_not_show(tmp_path, monkeypatch):
    """More than one tile of the size that is really used, in both directions."""
    model, pixels = LinearModel(classes=2), mosaic(300, 280)
    _, classes, found = made(tmp_path, model, pixels, stride=13)
    assert_equal(classes, found, by_hand(model, pixels, stride=13))


def test_a_hole_of_odd_shape(tmp_path):
    """A hole is no data in the map, is not looked at where a window sees nothing else, and counts
    as the mean where a window sees its border."""
    pixels = mosaic(80, 90)
    y, x = np.ogrid[:80, :90]
    hole = ((y - 40) ** 2 + (x - 45) ** 2 < 27**2) & ((y + x) % 7 > 0) | (
        (y - 40) ** 2 + (x - 45) ** 2 < 24**2
    )
    pixels[:, hole] = 7
    pixels[0, 3, 4] = 7  # one band of a pixel: filled with the mean, and still a pixel with data
    model = LinearModel()
    done, classes, found = made(tmp_path, model, pixels, nodata=7)
    filled = np.where(pixels == 7, np.nan, pixels)
    wanted = by_hand(model, filled, stride=SIDE // 2, valid_YX=~hole)
    assert_equal(classes, found, wanted, ~hole)
    assert done.answered == sum(model.calls) < done.windows


def test_a_hole_in_floats_and_in_a_mask(tmp_path):
    """The other ways to say no data: nan, and alpha."""
    pixels = mosaic(40, 40, bands=1, dtype="float32") / np.float32(255)
    hole = np.zeros((40, 40), bool)
    hole[10:20, 5:33] = True
    pixels[0, hole] = np.nan
    model = LinearModel(bands=1, scale=1.0)
    _, classes, found = made(tmp_path / "nan", model, pixels)
    wanted = by_hand(model, pixels, stride=SIDE // 2)
    assert_equal(classes, found, wanted, ~hole)
    rgba = np.concatenate([mosaic(40, 40), np.where(hole, 0, 255)[None].astype("uint8")])
    scene = write_scene(tmp_path / "rgba.tif", rgba, photometric="RGB", alpha="yes")
    make_map(LinearModel(), scene, tmp_path / "alpha.tif")
    np.testing.assert_array_equal(read(tmp_path / "alpha.tif")[0] == NONE, hole)


def test_a_scene_without_data_is_a_map_without_classes(tmp_path):
    model = LinearModel()
    done, classes, _ = made(tmp_path, model, np.zeros((3, 40, 40), "uint8"), nodata=0)
    assert (classes == NONE).all()
    assert model.calls == []
    assert (done.answered, done.exit_code) == (0, 1)


def test_the_map_lies_where_the_scene_lies(tmp_path):
    """Also when it is turned; the chips of the GeoPackage are turned likewise."""
    turned = Affine(0.4, 0.3, 4e5, 0.3, -0.4, 5e6)
    model, gpkg = LinearModel(), tmp_path / "chips.gpkg"
    pixels = mosaic(40, 35)
    made(tmp_path, model, pixels, transform=turned, gpkg=gpkg, stride=16)
    for name in ("map.tif", "probabilities.tif"):
        with rasterio.open(tmp_path / name) as dataset:
            assert dataset.transform.almost_equals(turned)
            assert dataset.crs.to_epsg() == 32633
            assert (dataset.height, dataset.width) == (40, 35)
    polygons, labels, crs = read_polygons(gpkg, "label")
    assert crs == "EPSG:32633"
    windows = [(top, left) for top in (0, 16, 24) for left in (0, 16, 19)]
    assert len(polygons) == len(windows)
    confidence = read_polygons(gpkg, "confidence")[1]
    for (top, left), polygon, label, sure in zip(
        windows, polygons, labels, confidence, strict=True
    ):
        corners = {
            (
                round(4e5 + 0.4 * (left + x) + 0.3 * (top + y), 6),
                round(5e6 + 0.3 * (left + x) - 0.4 * (top + y), 6),
            )
            for x in (0, 16)
            for y in (0, 16)
        }
        assert {tuple(np.round(point, 6)) for point in polygon.exterior.coords} == corners
        answer = model.probabilities(pixels[:, top : top + 16, left : left + 16])
        assert label == model.classes[answer.argmax()]
        assert sure == pytest.approx(answer.max(), abs=1e-5)


def test_the_file_is_tiled_coloured_and_named(tmp_path):
    model = LinearModel()
    model.classes[2] = "forest & <meadow>, ü"
    made(tmp_path, model, mosaic(300, 300))
    with rasterio.open(tmp_path / "map.tif") as dataset:
        assert dataset.profile["tiled"]
        assert dataset.block_shapes == [(256, 256)]
        assert dataset.compression.name == "deflate"
        assert (dataset.dtypes, dataset.nodata) == (("uint8",), NONE)
        colours = dataset.colormap(1)
        assert len({colours[number] for number in range(4)}) == 4
        assert all(colours[number][3] == 255 for number in range(4))
        assert json.loads(dataset.tags()["CLASSES"]) == model.classes
        assert dataset.tags()["DATA_LICENCE"] == "research only"
        assert dataset.tags(1)["CLASS_2"] == model.classes[2]
    with rasterio.open(tmp_path / "probabilities.tif") as dataset:
        assert dataset.descriptions == tuple(model.classes)
        assert dataset.scales[0] == pytest.approx(1 / 254)
        assert dataset.profile["tiled"]


def test_more_classes_than_a_byte_holds(tmp_path):
    model = LinearModel(classes=300)
    _, classes, _ = made(tmp_path, model, mosaic(40, 40))
    assert classes.dtype == np.uint16
    with rasterio.open(tmp_path / "map.tif") as dataset:
        assert dataset.nodata == 65535


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="needs gdalinfo (gdal-bin)")
def test_gdalinfo_shows_tiles_colours_and_names(tmp_path):
    model = LinearModel()
    model.classes[1] = "forest & <meadow>"
    made(tmp_path, model, mosaic(300, 300))
    told = subprocess.run(
        ["gdalinfo", tmp_path / "map.tif"], capture_output=True, text=True, check=True
    )
    assert not told.stderr
    for line in (
        "Block=256x256 Type=Byte, ColorInterp=Palette",
        "COMPRESSION=DEFLATE",
        "NoData Value=255",
        "1: forest & <meadow>",
        "Color Table (RGB with 256 entries)",
        "MODEL_ID=linear",
        'ID["EPSG",32633]]',
    ):
        assert line in told.stdout


def test_resampling_takes_windows_of_the_same_ground(tmp_path):
    """A scene twice as fine, every pixel doubled: the same answers as the coarse one."""
    pixels = mosaic(48, 48)
    model = LinearModel(resolution=1.0)
    coarse = Affine(1, 0, 0, 0, -1, 0)
    _, wanted, _ = made(tmp_path / "coarse", model, pixels, transform=coarse)
    fine = pixels.repeat(2, axis=1).repeat(2, axis=2)
    # A box of two equal pixels has their value: the triangle filter reaches further, so the model
    # must not see detail. It sees one colour per band.
    model.weights = np.repeat(np.random.default_rng(4).normal(size=(3, 4)), SIDE**2, axis=0) / SIDE
    _, wanted, bytes_coarse = made(tmp_path / "again", model, pixels, transform=coarse)
    done, found, bytes_fine = made(
        tmp_path / "fine", model, fine, transform=Affine(0.5, 0, 0, 0, -0.5, 0), resample=True
    )
    assert done.windows == 25
    assert found.shape == (96, 96)
    apart = np.abs(bytes_fine[:, ::2, ::2].astype(int) - bytes_coarse.astype(int))
    assert apart.max() <= 8
    assert np.mean(found[::2, ::2] == wanted) > 0.95


def test_bands_are_chosen_by_the_model(tmp_path):
    """Five bands in the file; the model reads the fourth and the second."""
    pixels = mosaic(40, 40, bands=5, dtype="uint16")
    model = LinearModel(bands=2, band_numbers=[4, 2], dtype="uint16")
    _, classes, found = made(tmp_path, model, pixels)
    assert_equal(classes, found, by_hand(model, pixels[[3, 1]], stride=SIDE // 2))
    grey = LinearModel()
    _, classes, found = made(tmp_path / "grey", grey, pixels[:1].astype("uint8"))
    repeated = pixels[:1].astype("uint8").repeat(3, axis=0)
    assert_equal(classes, found, by_hand(grey, repeated, stride=SIDE // 2))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A network with random weights that takes 24 pixels for 16."""
    torch.manual_seed(5)
    spec = ModelSpec(backbone="resnet18", stem="small", image_size=16, embedding_dim=6)
    target = tmp_path_factory.mktemp("bundle") / "model"
    save_bundle(
        target,
        build_embedder(spec, num_classes=3),
        config={"model": spec.model_dump(mode="json")},
        classes=["beach", "forest", "river"],
        preprocessing=Preprocessing(bands=3, size=16, mean=[0.4] * 3, std=[0.2] * 3, chip=24),
        splits=pd.DataFrame(columns=["path", "label", "split", "group", "sha256"]),
        metrics={},
        provenance={"data_licence": "research only"},
        card="# Card\n\n" + "\n\n".join(f"## {heading}\n\nSaid." for heading in SECTIONS) + "\n",
    )
    return target


def test_a_window_is_answered_as_its_file_would_be(bundle, tmp_path):
    """Cut out, written as a GeoTIFF and given to `predict`, with a hole in it or without."""
    pixels = mosaic(24, 48)
    pixels[:, 5:9, 30:41] = 0
    scene = write_scene(tmp_path / "scene.tif", pixels, nodata=0)
    gpkg, out = tmp_path / "chips.gpkg", tmp_path / "map.tif"
    words = ["remote-sensing", "map", bundle, scene, "--out", out, "--gpkg", gpkg, "--stride", 24]
    ended = CliRunner().invoke(app, list(map(str, words)))
    assert ended.exit_code == 0
    assert "2 of 2 windows hold data" in ended.stdout
    names = ["left.tif", "right.tif"]
    for name, half in zip(names, np.split(pixels, 2, axis=2), strict=True):
        write_scene(tmp_path / name, half, nodata=0)
    columns = Predictor(bundle, root=tmp_path)({"path": names})
    wanted = [
        [columns[f"p_{label}"][row] for label in ("beach", "forest", "river")] for row in (0, 1)
    ]
    _, labels, _ = read_polygons(gpkg, "label")
    _, confidence, _ = read_polygons(gpkg, "confidence")
    assert labels.tolist() == columns["label"].tolist()
    np.testing.assert_allclose(confidence, np.max(wanted, axis=1), atol=1e-5)


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from fixtures.mapping import LinearModel, write_scene
from likeness_apps.remote_sensing.mapping.run import make_map
folder, peaks = Path(sys.argv[1]), {}
model = LinearModel(classes=20, batch_size=16, chip=128)
for height in (1500, 4500):
    pixels = np.broadcast_to(np.uint8(9), (3, height, 1200))
    write_scene(folder / f"{height}.tif", pixels, compress="deflate")
for turn, height in enumerate((1500, 1500, 1500, 4500)):  # the first two fill pools and buffers
    out, bands = folder / f"map-{turn}.tif", folder / f"bands-{turn}.tif"
    Path("/proc/self/clear_refs").write_text("5")
    make_map(model, folder / f"{height}.tif", out, probabilities=bands)
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    peaks[height] = status["VmHWM"].split()[0]
print(*peaks.values())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_scene_three_times_as_high_needs_no_more_memory(tmp_path):
    """3,000 rows more are 10 MiB of pixels and 275 of probabilities in floats."""
    tests = Path(__file__).parents[2]
    paths = [tests, *(tests.parent / root for root in ("core", "apps"))]
    # Few allocator arenas: how many a loaded machine's threads open is not what is measured.
    steady = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "MALLOC_ARENA_MAX": "2"}
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)],
        env={**os.environ, **steady, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    low, high = map(int, done.stdout.split())
    assert high - low < 6 * 1024
