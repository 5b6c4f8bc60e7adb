"""Polygons with attributes in a GeoPackage, the vector file that every GIS opens.

Legend: N = polygons.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from jaxtyping import Shaped

from likeness.errors import UserError, require
from likeness.files import atomic_path

Geometries = Shaped[np.ndarray, " N"]
Columns = Mapping[str, Shaped[np.ndarray, " N"]]
_VERSION = "1.3"  # of the standard: programs of before 2024 warn of 1.4
# The standard stores when a layer changed: with a fixed date equal content is an equal file.
_DATE = "2000-01-01T00:00:00.000Z"


def write_geopackage(
    path: Path | str,
    geometries: Geometries,
    columns: Columns,
    *,
    crs: str,
    layer: str,
) -> None:
    """Write one layer of polygons, atomically; equal arguments give equal bytes.

    Args:
        path: ends in `.gpkg`; a file of that name is replaced.
        geometries: shapely polygons; None is a row without a place.
        columns: attributes in order; whole numbers, floats (nan becomes null), booleans or text.
        crs: of the coordinates, as `EPSG:32633` or WKT.
        layer: the layer's name.

    Raises:
        UserError: if `path` has another ending, the columns differ in length, the reference system
            is unknown, or the file cannot be written.
    """
    write_geopackage_parts(path, [(geometries, columns)], crs=crs, layer=layer)


def write_geopackage_parts(
    path: Path | str,
    parts: Iterable[tuple[Geometries, Columns]],
    *,
    crs: str,
    layer: str,
) -> None:
    """As `write_geopackage`, in pieces, so that memory holds one of them.

    Args:
        path: ends in `.gpkg`.
        parts: geometries and columns; at least one, all with the same columns.
        crs: of the coordinates.
        layer: the layer's name.

    Raises:
        UserError: as `write_geopackage`.
    """
    path = Path(path)
    require(path.suffix.lower() == ".gpkg", "gpkg", "a path that ends in .gpkg", str(path))
    with atomic_path(path) as temporary, _fixed_date():
        new = temporary.with_suffix(".gpkg")  # GDAL warns of other endings and of a file in place
        try:
            for number, (geometries, columns) in enumerate(parts):
                _write(new, geometries, columns, crs=crs, layer=layer, append=number > 0)
            new.replace(temporary)
        except pyogrio.errors.CRSError as error:
            raise UserError(f"crs must be a known reference system, got {crs!r}") from error
        except (pyogrio.errors.DataSourceError, pyogrio.errors.FeatureError) as error:
            raise UserError(f"gpkg must be a writable place, got {path}: {error}") from error
        finally:
            new.unlink(missing_ok=True)


def read_polygons(
    path: Path | str, column: str
) -> tuple[Shaped[np.ndarray, " N"], Shaped[np.ndarray, " N"], str | None]:
    """Read the polygons of a vector file's first layer and one of their attributes.

    Args:
        path: a GeoPackage, GeoJSON, shapefile, ...
        column: the attribute.

    Returns:
        Shapely geometries (None where a row has none), the attribute's values, and the reference
        system as `EPSG:32633` or WKT, None if the file names none.

    Raises:
        UserError: if the file cannot be read, has no geometries that are polygons, or no such
            column.
    """
    try:
        about = pyogrio.read_info(str(path))
        fields = [str(name) for name in about["fields"]]
        require(about["features"], "polygons", "a layer of polygons", f"{path} without any")
        require(column in fields, "column", f"one of {', '.join(fields) or 'none'}", column)
        _, _, wkb_N, (values_N,) = pyogrio.raw.read(str(path), columns=[column])
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        reason = str(error).split(".;")[0]  # behind it, advice about drivers
        raise UserError(f"polygons must be a readable vector file, got {path}: {reason}") from error
    geometries_N = shapely.from_wkb(np.full(len(values_N), None) if wkb_N is None else wkb_N)
    kinds = set(shapely.get_type_id(geometries_N)) - {-1}  # -1: a row without a geometry
    wanted = {shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON}
    named = ", ".join(sorted(shapely.GeometryType(kind).name.lower() for kind in kinds))
    found = f"{path} with {named or 'no geometry'}"
    require(kinds and kinds <= wanted, "polygons", "a layer of polygons", found)
    return geometries_N, values_N, about["crs"]


def _write(
    path: Path, geometries: Geometries, columns: Columns, *, crs: str, layer: str, append: bool
) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    fits = all(length == len(geometries) for length in lengths.values())
    require(fits, "columns", f"of {len(geometries)} rows, as the geometries", lengths)
    pyogrio.raw.write(
        str(path),
        shapely.to_wkb(np.asarray(geometries, dtype=object)),
        [_plain(column) for column in columns.values()],
        np.array(list(columns), dtype=object),
        layer=layer,
        driver="GPKG",
        geometry_type="Polygon",
        crs=crs,
        append=append,
        dataset_options={"VERSION": _VERSION},
    )


def _plain(column: np.ndarray) -> np.ndarray:
    """Types that GDAL has: text as objects, half precision widened."""
    if column.dtype.kind == "U":
        return column.astype(object)
    return column.astype(np.float32) if column.dtype == np.float16 else column


@contextmanager
def _fixed_date() -> Iterator[None]:
    before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _DATE})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})
