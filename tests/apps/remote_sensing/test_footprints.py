"""Footprints: which lie in a box, against loops in the other direction, and what a GIS gets."""

import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from rasterio.warp import transform as to_crs

from fixtures.placed_scenes import CORNER, UTM, ask, box_around
from likeness.errors import UserError
from likeness.search.index import open_index
from likeness_apps.remote_sensing import chips as chips_room
from likeness_apps.remote_sensing.footprints import (
    footprint_columns,
    parse_box,
    parse_window,
    rows_in_box,
)


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


def placed(crs, *squares):
    """Rows with footprints of one scene of squares (left, top, side)."""
    tables = []
    for left, top, side in squares:
        place = chips_room.Place(crs, (1.0, 0.0, left, 0.0, -1.0, top), 10, 10)
        window = np.array([[0, 0, side, side]], np.int64)
        tables.append(footprint_columns(place, window))
    return pd.concat(tables, ignore_index=True)


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
