"""A map against its reference: how sure its figures are, and what is refused."""

import json

import numpy as np
import pytest
import shapely
from typer.testing import CliRunner

from fixtures.front_door import assert_refused, likeness
from fixtures.reference_maps import UTM, patches, polygons_file, write_map
from likeness.errors import UserError
from likeness_apps.cli import app
from likeness_apps.remote_sensing.domain import DOMAIN
from likeness_apps.remote_sensing.geopackage import write_geopackage
from likeness_apps.remote_sensing.reference import evaluate_map

pytestmark = pytest.mark.usefixtures("small_windows")


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
