"""Polygons go into a GeoPackage and come back; equal content is an equal file."""

import shutil
import subprocess
import time

import numpy as np
import pytest
import shapely

from likeness.errors import UserError
from likeness_apps.remote_sensing.geopackage import (
    read_polygons,
    write_geopackage,
    write_geopackage_parts,
)

BOXES = np.array([shapely.box(i, 0, i + 1, 2) for i in range(4)], dtype=object)
COLUMNS = {
    "label": np.array(["ä & b", "", "c", "d"]),
    "confidence": np.array([0.5, np.nan, 1.0, 0.25], np.float32),
    "row": np.arange(4) * 2**40,
    "good": np.array([True, False, True, True]),
}


def write(path, geometries=BOXES, columns=COLUMNS, crs="EPSG:32633"):
    write_geopackage(path, geometries, columns, crs=crs, layer="chips")
    return path


def test_what_is_written_is_read(tmp_path):
    geometries = BOXES.copy()
    geometries[2] = None
    path = write(tmp_path / "a.gpkg", geometries)
    for name, wanted in COLUMNS.items():
        found, values, crs = read_polygons(path, name)
        np.testing.assert_array_equal(values, wanted)
        assert crs == "EPSG:32633"
        assert found[2] is None
        assert all(found[row].equals(BOXES[row]) for row in (0, 1, 3))
    assert [item.name for item in tmp_path.iterdir()] == ["a.gpkg"]


def test_equal_content_is_an_equal_file(tmp_path):
    """A GeoPackage stores when it was written, to the millisecond."""
    first = write(tmp_path / "a.gpkg").read_bytes()
    time.sleep(0.01)
    assert write(tmp_path / "b.gpkg").read_bytes() == first
    assert write(tmp_path / "a.gpkg").read_bytes() == first  # replaced, not appended to


def test_pieces_make_one_layer(tmp_path):
    parts = [
        (BOXES[rows], {name: column[rows] for name, column in COLUMNS.items()})
        for rows in (slice(0, 1), slice(1, 1), slice(1, 4))
    ]
    write_geopackage_parts(tmp_path / "a.gpkg", parts, crs="EPSG:4326", layer="chips")
    found, values, crs = read_polygons(tmp_path / "a.gpkg", "label")
    assert crs == "EPSG:4326"
    assert values.tolist() == COLUMNS["label"].tolist()
    assert all(one.equals(other) for one, other in zip(found, BOXES, strict=True))


@pytest.mark.skipif(shutil.which("ogrinfo") is None, reason="needs ogrinfo (gdal-bin)")
def test_another_program_reads_it(tmp_path):
    path = write(tmp_path / "a.gpkg")
    told = subprocess.run(
        ["ogrinfo", "-al", "-so", path], capture_output=True, text=True, check=True
    )
    assert not told.stderr
    for line in ("Layer name: chips", "Geometry: Polygon", "Feature Count: 4", "row: Integer64"):
        assert line in told.stdout


def test_refusals(tmp_path):
    path = tmp_path / "a.gpkg"
    with pytest.raises(UserError, match=r"gpkg must be a path that ends in \.gpkg, got"):
        write(tmp_path / "a.shp")
    with pytest.raises(UserError, match="crs must be a known reference system, got 'EPSG:999999'"):
        write(path, crs="EPSG:999999")
    with pytest.raises(UserError, match="columns must be of 4 rows, as the geometries"):
        write(path, columns={"label": np.arange(3)})
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="out must be a writable place"):
        write("/proc/nowhere/a.gpkg")
    write(path)
    with pytest.raises(UserError, match="column must be one of label, confidence, row, good"):
        read_polygons(path, "class")
    with pytest.raises(UserError, match="polygons must be a readable vector file"):
        read_polygons(tmp_path / "none.gpkg", "label")
    (tmp_path / "text.gpkg").write_text("no database")
    with pytest.raises(UserError, match="polygons must be a readable vector file"):
        read_polygons(tmp_path / "text.gpkg", "label")
    points = tmp_path / "points.geojson"
    points.write_text(
        '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"label":"a"},'
        '"geometry":{"type":"Point","coordinates":[1,2]}}]}'
    )
    with pytest.raises(UserError, match=r"polygons must be a layer of polygons, got .* with point"):
        read_polygons(points, "label")
