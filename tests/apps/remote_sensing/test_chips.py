"""Scenes cut into chips: which, where they lie, what is left out, and a call that was stopped."""

import numpy as np
import pandas as pd
import pytest
import shapely

from fixtures.placed_scenes import NORTH_UP, TURNED, UTM, mosaic, spoil_tile, write_scene
from fixtures.scenes import save, texture
from likeness.bundle import load_bundle
from likeness.errors import UserError
from likeness.inference.predictor import Predictor
from likeness.search.index import open_index
from likeness_apps.remote_sensing import archive as room
from likeness_apps.remote_sensing import chips as chips_room
from likeness_apps.remote_sensing.archive import index_chips
from likeness_apps.remote_sensing.domain import DOMAIN


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
