import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.warp import transform_geom
from shapely.geometry import shape

from likeness.data.blocks import blocks_of, geographic_blocks, overlapping
from likeness.errors import UserError

UTM = "EPSG:32632"


def table(rows, crs=UTM):
    """Rows (left, bottom, side) of images of 100 x 100 pixels."""
    frame = pd.DataFrame(rows, columns=["left", "bottom", "side"], dtype=float)
    frame["right"], frame["top"] = frame["left"] + frame["side"], frame["bottom"] + frame["side"]
    frame["crs"] = crs
    return frame.assign(path=[f"{n}.tif" for n in range(len(frame))], width=100, height=100)


def partition(names):
    """The sets of equal names, as a set of sets of rows."""
    rows = pd.Series(range(len(names)))
    return {frozenset(group) for _, group in rows.groupby(np.asarray(names))}


def components(edges_NE):
    """Sets of rectangles that overlap, from comparing all with all."""
    left, bottom, right, top = edges_NE
    count = len(left)
    sets = [{row} for row in range(count)]
    for i in range(count):
        for j in range(i):
            x = min(right[i], right[j]) - max(left[i], left[j])
            y = min(top[i], top[j]) - max(bottom[i], bottom[j])
            if x > 0 and y > 0 and sets[i] is not sets[j]:
                both = sets[i] | sets[j]
                for row in both:
                    sets[row] = both
    return {frozenset(group) for group in sets}


whole = st.integers(0, 12)


@settings(max_examples=300)
@given(st.lists(st.tuples(whole, whole, st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_overlapping_equals_comparing_all_with_all(rows):
    corners = np.array(rows, float).reshape(-1, 4).T
    edges = (corners[0], corners[1], corners[0] + corners[2], corners[1] + corners[3])
    assert partition(overlapping(*edges)) == components(edges)


@pytest.mark.parametrize("sides", [(1.0, 1.0), (0.01, 3.0)])
def test_overlapping_of_many_rectangles(sides):
    generator = np.random.default_rng(0)
    left, bottom = generator.uniform(0, 14, (2, 150))
    wide, tall = generator.uniform(*sides, (2, 150))
    edges = (left, bottom, left + wide, bottom + tall)
    assert partition(overlapping(*edges)) == components(edges)
    assert 1 < len(components(edges)) < 150


def test_overlapping_stays_near_linear():
    """All at one place, all in a chain, all apart: 8,000 each; all pairs would be 3e7."""
    count = 8_000
    place, ones = np.arange(count, dtype=float), np.ones(count)
    assert set(overlapping(0 * place, 0 * place, ones, ones)) == {0}
    assert set(overlapping(place, 0 * place, place + 1.5, ones)) == {0}
    assert len(set(overlapping(place, 0 * place, place + 1, ones))) == count
    generator = np.random.default_rng(0)
    left, bottom = generator.uniform(0, 50, (2, count))
    assert len(set(overlapping(left, bottom, left + 1, bottom + 1))) < 50


def test_an_image_of_nothing_overlaps_nothing():
    nan = math.nan
    left, right = np.array([0.0, 0.0, nan, 0.2]), np.array([1.0, 0.0, nan, 0.5])
    assert overlapping(left, left, right, right).tolist() == [0, 1, 2, 0]


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e7, 1e7)), min_size=1, max_size=20))
@settings(max_examples=50)
def test_cells_of_a_projected_crs_are_a_square_grid_at_its_origin(points):
    x, y = (np.array(values) for values in zip(*points, strict=True))
    names = geographic_blocks([UTM] * len(x), x, y, 2.5)
    columns, rows = np.floor(x / 2500).astype(int), np.floor(y / 2500).astype(int)
    assert names == [f"{UTM} ({c}, {r})" for c, r in zip(columns, rows, strict=True)]


def test_other_units_are_converted():
    foot = 1200 / 3937
    x = np.array([999.0, 1001.0]) / foot
    names = geographic_blocks(["EPSG:2263"] * 2, x, np.zeros(2), 1.0)
    assert names == ["EPSG:2263 (0, 0)", "EPSG:2263 (1, 0)"]


@pytest.mark.parametrize("lat", [0.3, -38.0, 64.0])
def test_cells_in_degrees_have_nearly_the_same_area_everywhere(lat):
    """The cell's extent in degrees is found by asking along lines, its area by projecting it."""
    side = 20.0

    def cell(lon, lat):
        return geographic_blocks(["EPSG:4326"], np.array([lon]), np.array([lat]), side)[0]

    home, step = cell(9.0, lat), 1e-3
    west, east, south, north = 9.0, 9.0, lat, lat
    while cell(west - step, lat) == home:
        west -= step
    while cell(east + step, lat) == home:
        east += step
    while cell(9.0, south - step) == home:
        south -= step
    while cell(9.0, north + step) == home:
        north += step
    ring = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    equal_area = transform_geom(
        "EPSG:4326", "EPSG:6933", {"type": "Polygon", "coordinates": [ring]}
    )
    assert shape(equal_area).area == pytest.approx((1000 * side) ** 2, rel=0.03)
    assert (east - west) * math.cos(math.radians(lat)) == pytest.approx(north - south, rel=0.03)


def test_images_in_different_crs_never_share_a_block():
    rows = [(100.0, 100.0, 10.0)] * 3
    mixed = table(rows).assign(crs=[UTM, "EPSG:32633", UTM])
    assert partition(blocks_of(mixed, 1.0)) == {frozenset({0, 2}), frozenset({1})}


def test_images_are_grouped_by_their_centre():
    rows = [(0, 0, 100), (800, 0, 100), (960, 0, 100), (900, 950, 60)]
    names = blocks_of(table(rows), 1.0)
    assert names == [f"{UTM} (0, 0)", f"{UTM} (0, 0)", f"{UTM} (1, 0)", f"{UTM} (0, 0)"]


def test_overlap_merges_whole_cells():
    """Rows 1 and 2 overlap across the border of two cells, so everything in both is one group."""
    rows = [(100, 100, 100), (850, 100, 200), (990, 150, 200), (1700, 700, 100), (5000, 0, 100)]
    names = blocks_of(table(rows), 1.0)
    assert partition(names) == {frozenset({0, 1, 2, 3}), frozenset({4})}
    assert names[0] == f"{UTM} (0, 0)"


def test_an_image_larger_than_the_cell():
    rows = [(0, 0, 5000), (4500, 4500, 100), (6500, 100, 100)]
    assert partition(blocks_of(table(rows), 1.0)) == {frozenset({0, 1}), frozenset({2})}


def test_images_that_touch_stay_apart():
    tiles = [(640.0 * n, 640.0 * m, 640.0) for n in range(6) for m in range(6)]
    assert len(set(blocks_of(table(tiles), 0.64))) == 36
    wide = [(left, bottom, side + 2e-3 * side) for left, bottom, side in tiles]  # 0.2 pixel more
    assert len(set(blocks_of(table(wide), 0.64))) == 36
    over = [(left, bottom, side + 2e-2 * side) for left, bottom, side in tiles]  # 2 pixels more
    assert len(set(blocks_of(table(over), 0.64))) == 1


def test_images_without_a_crs_are_refused_and_counted():
    rows = table([(0, 0, 10)] * 5).assign(crs=["", UTM, "", UTM, UTM])
    with pytest.raises(UserError, match=r"block_km.*got 2 such images of 5, the first '0.tif'"):
        blocks_of(rows, 1.0)
    with pytest.raises(UserError, match="CRS must be projected or geographic"):
        blocks_of(rows.assign(crs='LOCAL_CS["mine",UNIT["metre",1]]'), 1.0)


@pytest.mark.plain
@pytest.mark.parametrize("side", [0.0, -1.0, math.nan, math.inf])
def test_sides_out_of_range(side):
    with pytest.raises(UserError, match="side_km must be > 0"):
        geographic_blocks([UTM], np.zeros(1), np.zeros(1), side)
