"""What is written and said about a map and its reference."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import shapely

from fixtures.reference_maps import NAMES, UTM, counts_of, patches, polygons_file, write_map
from likeness_apps.remote_sensing.domain import DOMAIN
from likeness_apps.remote_sensing.geopackage import write_geopackage
from likeness_apps.remote_sensing.reference import evaluate_map

pytestmark = pytest.mark.usefixtures("small_windows")


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
