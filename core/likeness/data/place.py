"""Where on the ground an image lies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

Point = tuple[float, float]
Transform = tuple[float, float, float, float, float, float]
EQUATOR_M = 6_378_137.0  # WGS 84: equatorial radius and squared eccentricity
_ECCENTRICITY_2 = 0.00669437999014


@dataclass(frozen=True)
class Place:
    """The position of an image in a coordinate reference system (CRS).

    Attributes:
        crs: `EPSG:32632`, or WKT where there is no such number; "" = unknown.
        transform: a, b, c, d, e, f: pixel corner (column, row) lies at x = a column + b row + c,
            y = d column + e row + f (the order of rasterio's Affine; x is east or longitude).
        width: in pixels.
        height: in pixels.
    """

    crs: str
    transform: Transform
    width: int
    height: int

    def at(self, column: float, row: float) -> Point:
        """The coordinates of a pixel corner; (0, 0) is the upper left one of the image."""
        a, b, c, d, e, f = self.transform
        return a * column + b * row + c, d * column + e * row + f

    def footprint(self) -> tuple[Point, Point, Point, Point]:
        """The corners: upper left, upper right, lower right, lower left as the image is stored."""
        wide, tall = float(self.width), float(self.height)
        return self.at(0.0, 0.0), self.at(wide, 0.0), self.at(wide, tall), self.at(0.0, tall)

    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top of the smallest upright rectangle around the footprint."""
        xs, ys = zip(*self.footprint(), strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    def resolution_m(self) -> float | None:
        """The side of the square with the ground area of the central pixel, in metres.

        Of a CRS in degrees at the latitude of the image's centre on the WGS 84 ellipsoid; Web
        Mercator's stretching by 1 / cos(latitude) is undone; of other projected CRS in their own
        unit, converted. None without a CRS, or with one that says nothing of the ground.
        """
        a, b, _, d, e, _ = self.transform
        side = math.sqrt(abs(a * e - b * d))
        _, y = self.at(self.width / 2, self.height / 2)
        kind, unit = unit_of(self.crs)
        if side == 0 or kind == "unknown":
            return None
        if kind == "geographic":
            along_m, across_m = metres_per_radian(y * unit)
            return side * unit * math.sqrt(along_m * across_m)
        if kind == "web-mercator":
            return side / math.cosh(y / EQUATOR_M)
        return side * unit


@lru_cache(maxsize=1024)
def unit_of(crs: str) -> tuple[str, float]:
    """What the numbers of a CRS mean.

    Args:
        crs: of a `Place`.

    Returns:
        `geographic` and radians per unit, `web-mercator` or `projected` and metres per unit, or
        `unknown` and nan.
    """
    from rasterio.crs import CRS  # here, because most images need no GDAL
    from rasterio.errors import CRSError

    try:
        known = CRS.from_string(crs) if crs else None
        if known is not None and known.is_geographic:
            return "geographic", float(known.units_factor[1])
        if known is not None and known.is_projected:
            kind = "web-mercator" if known.to_epsg() == 3857 else "projected"
            return kind, float(known.linear_units_factor[1])
    except CRSError:
        pass
    return "unknown", math.nan


def metres_per_radian(latitude: float) -> Point:
    """Metres per radian to the north and to the east on the WGS 84 ellipsoid.

    Source: the ellipsoid's radii of curvature, M = a (1 - e2) / w^3 and N = a / w with
    w^2 = 1 - e2 sin^2(latitude); to the east N cos(latitude).

    Args:
        latitude: in radians; beyond a pole it counts as the pole.
    """
    latitude = max(-math.pi / 2, min(math.pi / 2, latitude))
    w2 = 1.0 - _ECCENTRICITY_2 * math.sin(latitude) ** 2
    north_m = EQUATOR_M * (1.0 - _ECCENTRICITY_2) / w2**1.5
    return north_m, EQUATOR_M / math.sqrt(w2) * math.cos(latitude)


def place_of(dataset: Any) -> Place | None:
    """The place of an open rasterio dataset; None if the file says nothing of it."""
    transform = dataset.transform
    if dataset.crs is None and transform.is_identity:
        return None
    crs = "" if dataset.crs is None else _name(dataset.crs.to_wkt())
    a, b, c, d, e, f = (float(value) for value in tuple(transform)[:6])
    return Place(crs, (a, b, c, d, e, f), dataset.width, dataset.height)


@lru_cache(maxsize=1024)
def _name(wkt: str) -> str:
    """The short name of a CRS; looking it up takes a millisecond, so each is looked up once."""
    from rasterio.crs import CRS

    return str(CRS.from_wkt(wkt).to_string())
