"""Archives of chips: cut, placed, asked, boxed; against slices, loops and the other direction."""

import json
import shutil

import numpy as np
import pandas as pd
import pyogrio
import pytest
import rasterio
import shapely
from rasterio import Affine
from rasterio.warp import transform as to_crs
from typer.testing import CliRunner

from fixtures.scenes import save, texture
from likeness.bundle import load_bundle
from likeness.errors import UserError
from likeness.inference.predictor import Predictor
from likeness.search.index import open_index
from likeness_apps.cli import app
from likeness_apps.remote_sensing import archive as room
from likeness_apps.remote_sensing import chips as chips_room
from likeness_apps.remote_sensing.archive import index_chips, index_images, search_archive
from likeness_apps.remote_sensing.domain import DOMAIN
from likeness_apps.remote_sensing.footprints import (
    footprint_columns,
    parse_box,
    parse_window,
    rows_in_box,
)

UTM = "EPSG:32632"
CORNER = (500_000, 5_000_000)
NORTH_UP = Affine(10, 0, CORNER[0], 0, -10, CORNER[1])
TURNED = NORTH_UP @ Affine.rotation(20)


def mosaic(height, width, seed=0):
    """Textures side by side, so that no two chips are alike."""
    tall, wide = -(-height // 32), -(-width // 32)
    rows = [
        np.concatenate([texture((r + c) % 3, seed + 100 * r + c) for c in range(wide)], axis=1)
        for r in range(tall)
    ]
    return np.concatenate(rows)[:height, :width]


def write_scene(path, image_HWC, *, crs=UTM, transform=NORTH_UP, nodata=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=image_HWC.shape[0],
        width=image_HWC.shape[1],
        count=3,
        dtype=image_HWC.dtype.name,
        crs=crs,
        transform=transform,
        nodata=nodata,
        tiled=True,
        blockxsize=16,
        blockysize=16,
        compress="deflate",
        photometric="RGB",
    ) as target:
        target.write(image_HWC.transpose(2, 0, 1))
    return path


def spoil_tile(path, column, row):
    """Overwrite one tile's bytes; whatever else is in the file stays whole."""
    with rasterio.open(path) as dataset:
        name = f"{column}_{row}"
        offset, size = (
            int(dataset.get_tag_item(f"BLOCK_{what}_{name}", "TIFF", bidx=1))
            for what in ("OFFSET", "SIZE")
        )
    with path.open("r+b") as handle:
        handle.seek(offset)
        handle.write(b"\xff" * size)


@pytest.fixture(scope="module")
def two_scenes(tmp_path_factory):
    """One in the north-up grid of one zone, one turned in the next zone."""
    top = tmp_path_factory.mktemp("scenes") / "scenes"
    write_scene(top / "a.tif", mosaic(100, 140))
    write_scene(top / "b.tif", mosaic(70, 64, seed=7000), crs="EPSG:32633", transform=TURNED)
    return top


@pytest.fixture(scope="module")
def chips(run, two_scenes, tmp_path_factory):
    """An index of both, chips of 32 pixels every 24."""
    out = tmp_path_factory.mktemp("chips") / "index"
    return index_chips(DOMAIN, run, two_scenes, out, chip=32, stride=24, quiet=True)


def ask(archive, query, **options):
    return search_archive(DOMAIN, archive, query, quiet=True, **options)


def test_chips_are_the_windows_that_a_loop_lists(chips, run, two_scenes):
    index = open_index(chips)
    expected = [
        (name, col, row)
        for name, tops, lefts in (
            ("a.tif", (0, 24, 48, 68), (0, 24, 48, 72, 96, 108)),
            ("b.tif", (0, 24, 38), (0, 24, 32)),
        )
        for row in tops
        for col in lefts
    ]
    found = list(zip(index.rows["path"], index.rows["column"], index.rows["row"], strict=True))
    assert found == expected
    assert set(index.rows["width"]) == set(index.rows["height"]) == {32}
    assert set(index.rows["valid"]) == {1.0}
    assert index.facts["chip"] == 32
    assert not chips.with_name("index.parts").exists()
    # And each is embedded as the pixels of its window are.
    predictor = Predictor(load_bundle(run), columns="embed")
    pixels = {"a.tif": mosaic(100, 140), "b.tif": mosaic(70, 64, seed=7000)}
    cut = [pixels[name][row : row + 32, col : col + 32] for name, col, row in expected]
    alone = predictor.predict_images(cut)["embedding"]
    np.testing.assert_allclose(index._gallery_GD, alone, atol=1e-5)


def test_footprints_are_the_windows_corners(chips):
    rows = open_index(chips).rows
    for name, transform, crs in (("a.tif", NORTH_UP, UTM), ("b.tif", TURNED, "EPSG:32633")):
        for row in rows[rows["path"] == name].itertuples():
            ends = ((0, 0), (32, 0), (32, 32), (0, 32))
            corners = [transform @ (row.column + x, row.row + y) for x, y in ends]
            polygon = shapely.from_wkt(row.footprint)
            np.testing.assert_allclose(polygon.exterior.coords[:4], corners, rtol=1e-12)
            bounds = (row.left, row.bottom, row.right, row.top)
            np.testing.assert_allclose(bounds, shapely.Polygon(corners).bounds, rtol=1e-12)
            assert row.crs == crs


def test_a_scene_smaller_than_a_chip_is_one_chip(run, tmp_path):
    write_scene(tmp_path / "s" / "small.tif", mosaic(20, 90))
    out = index_chips(DOMAIN, run, tmp_path / "s", tmp_path / "i", chip=48, quiet=True)
    rows = open_index(out).rows
    windows = rows[["column", "row", "width", "height"]].to_numpy().tolist()
    assert windows == [[0, 0, 48, 20], [42, 0, 48, 20]]


def test_chips_without_data_are_left_out_and_others_say_how_much(run, tmp_path, capsys):
    image = np.maximum(mosaic(64, 64), 1)
    image[:, :40] = 0
    image[50, 50] = (0, 9, 9)  # no data in one band only: a measurement
    path = write_scene(tmp_path / "s.tif", image, nodata=0)
    index_chips(DOMAIN, run, path, tmp_path / "all", chip=32)
    assert "left out: s.tif: 2 chips without data" in capsys.readouterr().out
    rows = open_index(tmp_path / "all").rows
    assert rows[["column", "row", "valid"]].to_numpy().tolist() == [[32, 0, 0.75], [32, 32, 0.75]]
    with pytest.raises(UserError, match="data must be GeoTIFFs with at least one readable chip"):
        index_chips(DOMAIN, run, path, tmp_path / "n", chip=32, min_valid=0.8, quiet=True)
    assert not (tmp_path / "n").exists()


def test_a_broken_tile_costs_its_chips_and_no_more(run, tmp_path, capsys):
    for name in ("bad", "good"):
        write_scene(tmp_path / "s" / f"{name}.tif", mosaic(96, 96))
    spoil_tile(tmp_path / "s" / "bad.tif", 2, 3)  # pixels 32 to 47 across, 48 to 63 down
    index_chips(DOMAIN, run, tmp_path / "s", tmp_path / "i", chip=32)
    told = capsys.readouterr().out
    assert "left out: bad.tif: 1 chips over a part of the file that cannot be read" in told
    rows = open_index(tmp_path / "i").rows
    assert rows["path"].value_counts().to_dict() == {"good.tif": 9, "bad.tif": 8}
    bad = rows[rows["path"] == "bad.tif"]
    assert (32, 32) not in set(zip(bad["column"], bad["row"], strict=True))


def test_files_that_are_no_scenes_are_left_out_and_said_so(run, tmp_path, capsys):
    write_scene(tmp_path / "s" / "good.tif", mosaic(64, 64))
    save(tmp_path / "s" / "photo.jpg", texture(0, 1))
    (tmp_path / "s" / "cut.tif").write_bytes((tmp_path / "s" / "good.tif").read_bytes()[:100])
    (tmp_path / "s" / "text.tif").write_text("no image")
    index_chips(DOMAIN, run, tmp_path / "s", tmp_path / "i", chip=32)
    told = capsys.readouterr().out
    for name in ("photo.jpg", "cut.tif", "text.tif"):
        assert f"left out: {name}: " in told
    assert set(open_index(tmp_path / "i").rows["path"]) == {"good.tif"}


def test_scenes_are_read_in_strips(run, tmp_path, monkeypatch):
    """Never more pixel rows at once than a chip has, however tall the scene."""
    read = []
    before = chips_room.Scene.read

    def spy(scene, first, stop):
        read.append((first, stop))
        return before(scene, first, stop)

    monkeypatch.setattr(chips_room.Scene, "read", spy)
    path = write_scene(tmp_path / "s.tif", mosaic(200, 40))
    index_chips(DOMAIN, run, path, tmp_path / "i", chip=16, quiet=True)
    assert sorted(read) == [(top, top + 16) for top in (*range(0, 192, 16), 184)]


def test_a_stopped_call_goes_on(run, two_scenes, chips, tmp_path, monkeypatch):
    asked = []
    before = room.scene_chips

    def stopped(predictor, path, cut):
        asked.append(path.name)
        if asked == ["a.tif", "b.tif"]:
            raise KeyboardInterrupt
        return before(predictor, path, cut)

    monkeypatch.setattr(room, "scene_chips", stopped)
    options = {"chip": 32, "stride": 24, "quiet": True}
    with pytest.raises(KeyboardInterrupt):
        index_chips(DOMAIN, run, two_scenes, tmp_path / "i", **options)
    assert not (tmp_path / "i").exists()
    index_chips(DOMAIN, run, two_scenes, tmp_path / "i", **options)
    assert asked == ["a.tif", "b.tif", "b.tif"]
    assert [path.name for path in tmp_path.iterdir()] == ["i"]
    one, other = open_index(tmp_path / "i"), open_index(chips)
    pd.testing.assert_frame_equal(one.rows, other.rows)
    np.testing.assert_array_equal(one._gallery_GD, other._gallery_GD)


def test_a_window_never_answers_itself(chips, two_scenes):
    found = ask(chips, two_scenes / "a.tif", window=(24, 48, 32, 32), k=32)
    windows = set(zip(found["path"], found["column"], found["row"], strict=True))
    assert len(windows) == 32
    assert ("a.tif", 24, 48) not in windows
    assert set(found["query"]) == {f"{two_scenes / 'a.tif'}#24,48,32,32"}
    assert (np.diff(found["distance"]) >= 0).all()


def test_a_file_cut_from_a_scene_does_not_find_its_own_pixels(chips, tmp_path):
    chip = mosaic(100, 140)[48:80, 24:56]
    save(tmp_path / "chip.png", chip)
    found = ask(chips, tmp_path / "chip.png", k=32)
    assert (("a.tif", 24, 48)) not in set(
        zip(found["path"], found["column"], found["row"], strict=True)
    )
    changed = chip.copy()
    changed[0, 0] ^= 1
    save(tmp_path / "other.png", changed)
    first = ask(chips, tmp_path / "other.png", k=1).iloc[0]
    assert (first["path"], first["column"], first["row"]) == ("a.tif", 24, 48)
    assert first["distance"] < 0.05


def inside_by_loop(rows, box):
    """The other direction: the box, with densified edges, taken to each chip's own system."""
    west, south, east, north = box
    steps = np.linspace(0, 1, 200)
    x = np.concatenate([west + (east - west) * steps, np.full(200, east),
                        east - (east - west) * steps, np.full(200, west)])  # fmt: skip
    y = np.concatenate([np.full(200, south), south + (north - south) * steps,
                        np.full(200, north), north - (north - south) * steps])  # fmt: skip
    found = []
    for row in rows.itertuples():
        own = shapely.Polygon(np.transpose(to_crs("EPSG:4326", row.crs, x, y)))
        found.append(shapely.intersects(own, shapely.from_wkt(row.footprint)))
    return np.array(found)


def box_around(x, y, crs, half_east, half_north):
    longitude, latitude = (values[0] for values in to_crs(crs, "EPSG:4326", [x], [y]))
    return (
        longitude - half_east, latitude - half_north, longitude + half_east, latitude + half_north
    )  # fmt: skip


def test_a_box_is_applied_before_the_nearest_are_chosen(chips, two_scenes, tmp_path):
    rows = open_index(chips).rows
    box = box_around(500_900, 4_999_500, UTM, 0.004, 0.002)
    inside = inside_by_loop(rows, box)
    np.testing.assert_array_equal(rows_in_box(rows, box), inside)
    count = int(inside.sum())
    assert 4 <= count < len(rows) / 2
    everything = ask(chips, two_scenes / "b.tif", window=(0, 0, 30, 30), k=len(rows))
    found = ask(
        chips, two_scenes / "b.tif", window=(0, 0, 30, 30), k=4, box=box, out=tmp_path / "o.csv"
    )
    allowed = set(zip(*(rows[inside][name] for name in ("path", "column", "row")), strict=True))
    expected = [
        (hit.path, hit.column, hit.row, hit.distance)
        for hit in everything.itertuples()
        if (hit.path, hit.column, hit.row) in allowed
    ]
    columns = ("path", "column", "row", "distance")
    assert list(zip(*(found[name] for name in columns), strict=True)) == expected[:4]
    assert found["rank"].tolist() == [1, 2, 3, 4]
    assert len(pd.read_csv(tmp_path / "o.csv")) == 4
    # Fewer inside than asked for: all of them.
    assert len(ask(chips, two_scenes / "b.tif", window=(0, 0, 30, 30), k=99, box=box)) == count


def test_a_box_in_the_scenes_own_system(chips):
    rows = open_index(chips).rows
    left, top = CORNER
    box = (left + 500.0, top - 300.0, left + 700.0, top - 250.0)
    found = rows[rows_in_box(rows, box, UTM)]
    meets = (rows["left"] <= box[2]) & (rows["right"] >= box[0]) & (rows["path"] == "a.tif")
    meets &= (rows["bottom"] <= box[3]) & (rows["top"] >= box[1])
    assert found.index.tolist() == rows[meets].index.tolist()
    assert 0 < len(found) < 20


def placed(crs, *squares):
    """Rows with footprints of one scene of squares (left, top, side)."""
    tables = []
    for left, top, side in squares:
        place = chips_room.Place(crs, (1.0, 0.0, left, 0.0, -1.0, top), 10, 10)
        window = np.array([[0, 0, side, side]], np.int64)
        tables.append(footprint_columns(place, window))
    return pd.concat(tables, ignore_index=True)


def test_boxes_across_the_antimeridian():
    rows = placed("EPSG:4326", (175.0, 1.0, 2), (178.0, 1.0, 4), (-179.0, 1.0, 2), (0.0, 1.0, 2))
    assert rows_in_box(rows, (179.0, -1.0, -178.5, 1.0)).tolist() == [False, True, True, False]
    assert rows_in_box(rows, (-1.0, -1.0, 1.0, 1.0)).tolist() == [False, False, False, True]
    # A footprint in metres that crosses it: in degrees its corners lie on both sides.
    place = chips_room.Place("EPSG:32660", (5e4, 0.0, 7e5, 0.0, -5e4, 1e6), 10, 10)
    crossing = footprint_columns(place, np.array([[0, 0, 10, 10]], np.int64))
    longitudes, _ = to_crs("EPSG:32660", "EPSG:4326", [7e5, 12e5], [1e6, 1e6])
    assert longitudes[0] > 0 > longitudes[1]
    for box, inside in (((-179.5, 5.0, -179.0, 6.0), True), ((179.2, 5.0, 179.4, 6.0), True),
                        ((0.0, 5.0, 10.0, 6.0), False)):  # fmt: skip
        assert rows_in_box(crossing, box).tolist() == [inside]


def test_edges_are_densified():
    """The straight edge of a huge footprint in metres is an arc in degrees."""
    place = chips_room.Place("EPSG:3035", (1e6, 0.0, 2.5e6, 0.0, -1e6, 4.5e6), 4, 1)
    rows = footprint_columns(place, np.array([[0, 0, 4, 1]], np.int64))
    x, y = to_crs("EPSG:3035", "EPSG:4326", [4.5e6], [4.5e6 - 1e3])  # just under the upper edge
    box = (x[0] - 0.001, y[0] - 0.001, x[0] + 0.001, y[0] + 0.001)
    assert rows_in_box(rows, box).tolist() == [True]
    low = (x[0] - 0.001, y[0] + 0.5, x[0] + 0.001, y[0] + 0.6)
    assert rows_in_box(rows, low).tolist() == [False]


def test_results_for_a_gis(chips, two_scenes, tmp_path):
    query = two_scenes / "a.tif"
    one = ask(chips, query, window=(0, 0, 32, 32), k=5, gpkg=tmp_path / "one.gpkg",
              box=(*CORNER, 502_000, 5_100_000), box_crs=UTM)  # fmt: skip
    about, _, wkb, _ = pyogrio.raw.read(tmp_path / "one.gpkg")
    assert about["crs"] == UTM
    assert about["fields"].tolist()[:5] == ["query", "status", "reason", "rank", "distance"]
    for given, kept in zip(one["footprint"], shapely.from_wkb(wkb), strict=True):
        assert shapely.equals_exact(shapely.from_wkt(given), kept, 1e-6)
    both = ask(chips, query, window=(0, 0, 32, 32), k=32, gpkg=tmp_path / "both.gpkg")
    assert set(both["crs"]) == {UTM, "EPSG:32633"}
    about, _, wkb, fields = pyogrio.raw.read(tmp_path / "both.gpkg")
    assert about["crs"] == "EPSG:4326"
    assert pyogrio.list_layers(tmp_path / "both.gpkg")[:, 0].tolist() == ["results"]
    table = dict(zip(about["fields"], fields, strict=True))
    assert table["rank"].tolist() == both["rank"].tolist()
    for row, polygon in zip(both.itertuples(), shapely.from_wkb(wkb), strict=True):
        corners = np.array(shapely.from_wkt(row.footprint).exterior.coords)
        x, y = to_crs(row.crs, "EPSG:4326", corners[:, 0], corners[:, 1])
        assert polygon.distance(shapely.MultiPoint(np.transpose([x, y]))) < 1e-12
        assert polygon.area == pytest.approx(shapely.Polygon(np.transpose([x, y])).area, rel=1e-5)


def test_a_sheet_reads_windows_and_no_scene(chips, two_scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("likeness_apps.shell.answers.thumbnail", None)
    monkeypatch.setattr("likeness_apps.shell.search.thumbnail", None)
    ask(chips, two_scenes / "a.tif", window=(24, 48, 32, 32), k=3, sheet=tmp_path / "s.png")
    assert (tmp_path / "s.png").stat().st_size > 5_000
    picture = room.window_picture(two_scenes / "a.tif", (24, 48, 32, 32))
    np.testing.assert_array_equal(picture, mosaic(100, 140)[48:80, 24:56])
    assert room.window_picture(tmp_path / "gone.tif", (0, 0, 8, 8)) is None


def test_whole_images_carry_their_footprints(run, two_scenes, tmp_path):
    mixed = tmp_path / "mixed"
    shutil.copytree(two_scenes, mixed)
    save(mixed / "plain.png", texture(1, 3))
    index_images(DOMAIN, run, mixed, tmp_path / "i", quiet=True)
    rows = open_index(tmp_path / "i").rows.set_index("path")
    assert rows.loc[["a.tif", "b.tif", "plain.png"], "crs"].tolist() == [UTM, "EPSG:32633", ""]
    assert rows.loc["a.tif", ["width", "height"]].tolist() == [140, 100]
    right, bottom = NORTH_UP @ (140, 100)
    assert rows.loc["a.tif", ["right", "bottom"]].tolist() == [right, bottom]
    found = ask(tmp_path / "i", mixed / "plain.png", k=2, gpkg=tmp_path / "r.gpkg")
    assert found["path"].tolist() in (["a.tif", "b.tif"], ["b.tif", "a.tif"])
    assert len(pyogrio.raw.read(tmp_path / "r.gpkg")[2]) == 2
    box = box_around(500_500, 4_999_500, UTM, 0.001, 0.001)
    assert ask(tmp_path / "i", mixed / "plain.png", k=2, box=box)["path"].tolist() == ["a.tif"]


def test_images_without_a_place_stay_as_they_were(archive, scenes, tmp_path, run):
    index_images(DOMAIN, run, scenes, tmp_path / "i", quiet=True)
    first, second = open_index(tmp_path / "i"), open_index(archive)
    pd.testing.assert_frame_equal(first.rows, second.rows)
    query = scenes / "Images" / "beach" / "beach05.tif"
    pd.testing.assert_frame_equal(ask(archive, query), ask(tmp_path / "i", query))
    with pytest.raises(UserError, match="index must be of georeferenced images, for a box"):
        ask(archive, query, box=(0.0, 0.0, 1.0, 1.0))
    with pytest.raises(UserError, match="gpkg must be for results with a CRS"):
        ask(archive, query, gpkg=tmp_path / "r.gpkg")


BAD_WINDOW = "window must be column,row,width,height inside the scene's 140 x 100 pixels"
BAD_BOX = "box must be west,south,east,north with west < east and south < north"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": (120, 0, 32, 32)}, BAD_WINDOW),
        ({"window": (-1, 0, 32, 32)}, BAD_WINDOW),
        ({"window": (0, 0, 0, 32)}, BAD_WINDOW),
        ({"box": (0.0, 2.0, 1.0, 1.0)}, BAD_BOX),
        ({"box": (1.0, 0.0, 1.0, 1.0)}, BAD_BOX),
        ({"box": (9.0, 0.0, 1.0, 1.0), "box_crs": UTM}, BAD_BOX),
        ({"box": (0.0, 0.0, 1.0, 1.0)}, "box must be over at least one footprint of the index"),
        ({"box": (0.0, 0.0, 1.0, 1.0), "box_crs": "EPSG:0"}, "box-crs must be a known reference"),
        ({"gpkg": "r.shp"}, "gpkg must be a .gpkg file"),
        ({"out": "r.txt"}, "out must be a .csv or .parquet file"),
        ({"k": 33, "window": (0, 0, 32, 32)}, "k must be between 1 and 32"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(chips, two_scenes, options, message):
    paths = {name: room.Path(options[name]) for name in ("gpkg", "out") if name in options}
    with pytest.raises(UserError) as refused:
        ask(chips, two_scenes / "a.tif", **{**options, **paths})
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chip": 4}, "chip must be >= 8 pixels, got 4"),
        ({"chip": 32, "stride": 0}, "stride must be >= 1, got 0"),
        ({"chip": 32, "min_valid": 1.5}, "min_valid must be in [0, 1], got 1.5"),
    ],
)
def test_cuts_that_make_no_sense_are_refused(run, two_scenes, tmp_path, options, message):
    with pytest.raises(UserError) as refused:
        index_chips(DOMAIN, run, two_scenes, tmp_path / "i", quiet=True, **options)
    assert str(refused.value) == message


def test_numbers_of_the_command_line():
    assert parse_box("1,2,3.5,-4") == (1.0, 2.0, 3.5, -4.0)
    assert parse_window("0, 8,32,32") == (0, 8, 32, 32)
    for text in ("", "1,2,3", "1,2,3,x", "1,2,3,nan", "1,2,3,4,5"):
        with pytest.raises(UserError, match="box must be four numbers, west,south,east,north, got"):
            parse_box(text)
        with pytest.raises(UserError, match="window must be four whole numbers"):
            parse_window(text)
    with pytest.raises(UserError, match="window must be four whole numbers"):
        parse_window("1,2,3,4.5")


def test_the_command_line_says_one_sentence(chips, two_scenes):
    words = ["remote-sensing", "search", str(chips), str(two_scenes / "a.tif"), "-k", "3"]
    words += ["--window", "0,0,32,32"]
    ended = CliRunner().invoke(app, [*words, "--box", "1,2,3"])
    assert ended.exit_code == 2
    assert ended.stderr.count("\n") == 1
    around = ",".join(map(str, box_around(500_500, 4_999_500, UTM, 0.1, 0.1)))
    ended = CliRunner().invoke(app, [*words, "--box", around])
    assert ended.exit_code == 0
    assert "24 of 33 rows are inside the box" in ended.stdout
    for col, row in ask(chips, two_scenes / "a.tif", window=(0, 0, 32, 32), k=3,
                        box=parse_box(around))[["column", "row"]].to_numpy():  # fmt: skip
        assert f"a.tif {col},{row}" in ended.stdout
    assert json.loads((chips / "index.json").read_text())["facts"]["stride"] == 24
