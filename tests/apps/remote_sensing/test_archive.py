"""Archives of scenes: asked with a window, a file or a box, through the front door, refused."""

import json
import shutil

import numpy as np
import pandas as pd
import pyogrio
import pytest
from typer.testing import CliRunner

from fixtures.placed_scenes import NORTH_UP, UTM, ask, box_around, mosaic
from fixtures.scenes import save, texture
from likeness.errors import UserError
from likeness.search.index import open_index
from likeness_apps.cli import app
from likeness_apps.remote_sensing import archive as room
from likeness_apps.remote_sensing.archive import index_images
from likeness_apps.remote_sensing.domain import DOMAIN
from likeness_apps.remote_sensing.footprints import parse_box


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
