import math

import pytest
from rasterio.warp import transform

from fixtures.scenes import texture, write_geotiff
from likeness.data.decode import decode_full
from likeness.data.place import Place, metres_per_radian, unit_of

UTM = "EPSG:32632"


def place(crs, *numbers, width=20, height=10):
    return Place(crs, tuple(float(n) for n in numbers), width, height)


def geodesic_m(lon, lat, lon_2, lat_2):
    """The distance of two close points, as seen in a plane that touches the ellipsoid there."""
    system = f"+proj=laea +lon_0={lon} +lat_0={lat} +ellps=WGS84"
    (x,), (y,) = transform("EPSG:4326", system, [lon_2], [lat_2])
    return math.hypot(x, y)


def test_bounds_and_footprint_of_an_upright_image():
    upright = place(UTM, 10, 0, 500_000, 0, -10, 5_000_000)
    assert upright.bounds() == (500_000, 4_999_900, 500_200, 5_000_000)
    assert upright.footprint() == (
        (500_000, 5_000_000),
        (500_200, 5_000_000),
        (500_200, 4_999_900),
        (500_000, 4_999_900),
    )
    upside_down = place(UTM, 10, 0, 500_000, 0, 10, 4_999_900)
    assert upside_down.bounds() == upright.bounds()


@pytest.mark.parametrize("degrees", [0, 17, 45, 90, 200])
def test_a_turned_image_keeps_its_resolution(degrees):
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned = place(UTM, 10 * cos, 10 * sin, 0, 10 * sin, -10 * cos, 0)
    assert turned.resolution_m() == pytest.approx(10)
    xs, ys = zip(*turned.footprint(), strict=True)
    assert turned.bounds() == (min(xs), min(ys), max(xs), max(ys))
    if degrees == 45:
        assert turned.bounds()[2] == pytest.approx(300 / math.sqrt(2))


def test_resolution_in_other_units():
    feet = place("EPSG:2263", 3, 0, 980_000, 0, -3, 200_000)
    assert feet.resolution_m() == pytest.approx(3 * 1200 / 3937)  # US survey feet
    oblong = place(UTM, 20, 0, 0, 0, -5, 0)
    assert oblong.resolution_m() == pytest.approx(10)


@pytest.mark.parametrize("lat", [-60.0, 0.0, 35.0, 71.0])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:4258"])
def test_degrees_are_measured_where_the_image_lies(crs, lat):
    step = 1e-3
    image = place(crs, step, 0, 9 - 10 * step, 0, -step, lat + 5 * step)  # its centre is 9, lat
    east, north = geodesic_m(9, lat, 9 + step, lat), geodesic_m(9, lat, 9, lat + step)
    assert image.resolution_m() == pytest.approx(math.sqrt(east * north), rel=1e-4)


@pytest.mark.parametrize("lat", [0.0, 48.0, 70.0])
def test_web_mercators_stretching_is_undone(lat):
    (x,), (y,) = transform("EPSG:4326", "EPSG:3857", [9.0], [lat])
    image = place("EPSG:3857", 10, 0, x - 100, 0, -10, y + 50)
    (lon_2,), (lat_2,) = transform("EPSG:3857", "EPSG:4326", [x + 10], [y + 10])
    diagonal = geodesic_m(9, lat, lon_2, lat_2)
    assert image.resolution_m() == pytest.approx(diagonal / math.sqrt(2), rel=0.01)


@pytest.mark.parametrize("crs", ["", "no such thing", 'LOCAL_CS["mine",UNIT["metre",1]]'])
def test_what_is_not_known_is_none(crs):
    assert place(crs, 10, 0, 0, 0, -10, 0).resolution_m() is None
    assert unit_of(crs)[0] == "unknown"


def test_a_transform_without_area_has_no_resolution():
    assert place(UTM, 0, 0, 5, 0, 0, 5).resolution_m() is None


def test_radii_of_the_ellipsoid():
    """A degree at the equator and at a pole, from the tables of WGS 84."""
    degree = math.radians(1)
    north, east = metres_per_radian(0.0)
    assert (north * degree, east * degree) == pytest.approx((110_574.3, 111_319.5), abs=0.1)
    north, east = metres_per_radian(math.radians(90))
    assert (north * degree, east * degree) == pytest.approx((111_693.9, 0.0), abs=0.1)
    assert metres_per_radian(2.0) == metres_per_radian(math.pi / 2)


def test_files_keep_what_they_know(tmp_path):
    image = texture(0, 0)
    bare = write_geotiff(tmp_path / "a.tif", image, crs=None)
    assert decode_full(bare).place == place("", 10, 0, 5e5, 0, -10, 5e6, width=32, height=32)
    own = "+proj=laea +lat_0=52 +lon_0=10 +ellps=GRS80 +units=km"
    found = decode_full(write_geotiff(tmp_path / "b.tif", image, crs=own)).place
    assert found.resolution_m() == pytest.approx(10_000)
    turned = (7.0, 7.0, 500_000.0, 7.0, -7.0, 5_000_000.0)
    found = decode_full(write_geotiff(tmp_path / "c.tif", image, transform=turned)).place
    assert found.transform == turned
