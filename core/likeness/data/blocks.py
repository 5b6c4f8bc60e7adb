"""Groups of images that lie close together on the ground: neighbours must not straddle a split.

Shapes: N images.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from likeness.data.place import metres_per_radian, unit_of
from likeness.errors import UserError, require

_TOUCH = 0.25  # of a pixel at each edge: images that only touch do not overlap


def blocks_of(table: pd.DataFrame, side_km: float) -> list[str]:
    """The block of every image: its cell of a grid, or a merged one where images overlap.

    Images belong to the cell that their centre is in; then all images of a CRS that share ground
    (whose upright bounding rectangles overlap by more than half a pixel), directly or through
    others, get one group with everything else in their cells. Overlap between images in different
    CRS is not looked for.

    Args:
        table: with the columns that `check` adds (crs, left, bottom, right, top, width, height).
        side_km: of the cells, > 0.

    Returns:
        One name per row.

    Raises:
        UserError: if an image has no CRS, saying how many.
    """
    bare = table["path"][(table["crs"] == "").to_numpy()]
    if len(bare):
        raise UserError(
            f"data.block_km must be null where images have no CRS, got {len(bare)} such images of "
            f"{len(table)}, the first {bare.iloc[0]!r}"
        )
    left_N, bottom_N, right_N, top_N = (
        table[name].to_numpy(np.float64) for name in ("left", "bottom", "right", "top")
    )
    crs = table["crs"].tolist()
    cells = geographic_blocks(crs, (left_N + right_N) / 2, (bottom_N + top_N) / 2, side_km)
    cut_x_N = _TOUCH * (right_N - left_N) / table["width"].to_numpy()
    cut_y_N = _TOUCH * (top_N - bottom_N) / table["height"].to_numpy()
    parts_N = np.empty(len(table), np.int64)
    for rows in pd.Series(np.arange(len(table))).groupby(crs).groups.values():
        at = np.asarray(rows)
        edges = (left_N + cut_x_N, bottom_N + cut_y_N, right_N - cut_x_N, top_N - cut_y_N)
        parts_N[at] = at[overlapping(*(edge_N[at] for edge_N in edges))]
    return _joined(cells, parts_N)


def geographic_blocks(
    crs: Sequence[str],
    x: Float[np.ndarray, " N"],
    y: Float[np.ndarray, " N"],
    side_km: float,
) -> list[str]:
    """The cell of a square grid that each point lies in; images in different CRS never share one.

    The grid starts at the origin of the CRS. Of a projected CRS, cells are squares in its own
    unit, converted (in Web Mercator they shrink with the cosine of the latitude on the ground). Of
    a CRS in degrees, rows are `side_km` high along the meridian of a sphere of mean radius, and
    each row is cut from longitude 0 into cells that are `side_km` wide in the middle of the row: so
    all cells have nearly the same area at any latitude.

    Args:
        crs: of each point.
        x: east, or longitude.
        y: north, or latitude.
        side_km: > 0.

    Returns:
        A name for each point, such as `EPSG:32632 (12, -3)`.

    Raises:
        UserError: if a CRS says nothing of the ground.
    """
    require(math.isfinite(side_km) and side_km > 0, "side_km", "> 0", side_km)
    names: list[str] = []
    for system, east, north in zip(crs, x.tolist(), y.tolist(), strict=True):
        kind, unit = unit_of(system)
        require(kind != "unknown", "CRS", "projected or geographic", system)
        side = 1000.0 * side_km
        if kind == "geographic":
            along_m, _ = metres_per_radian(math.pi / 4)  # close to the mean over all latitudes
            row = math.floor(north * unit * along_m / side)
            _, across_m = metres_per_radian((row + 0.5) * side / along_m)
            column = math.floor(east * unit * across_m / side)
        else:
            metres = 1.0 if kind == "web-mercator" else unit
            column, row = (math.floor(value * metres / side) for value in (east, north))
        names.append(f"{system} ({column}, {row})")
    return names


def overlapping(
    left_N: Float[np.ndarray, " N"],
    bottom_N: Float[np.ndarray, " N"],
    right_N: Float[np.ndarray, " N"],
    top_N: Float[np.ndarray, " N"],
) -> np.ndarray:
    """Connected sets of upright rectangles that overlap; edges that touch do not count.

    A line sweeps from left to right. It carries pieces, stretches of y each with the rectangle that
    covers it and reaches farthest right: all that can still meet a rectangle further on. O(N log N)
    for rectangles of like size.

    Returns:
        For each rectangle the first row of its set, int64.
    """
    parent = list(range(len(left_N)))
    starts: list[float] = [-math.inf]  # of the pieces; each ends where the next one starts
    owners: list[int] = [-1]  # the row of the rectangle, -1 for none
    lefts, lows, rights, highs = (edge.tolist() for edge in (left_N, bottom_N, right_N, top_N))
    for row in np.argsort(left_N, kind="stable").tolist():
        left, low, right, high = lefts[row], lows[row], rights[row], highs[row]
        if not (right > left and high > low):
            continue  # nothing inside, also where it is nan
        first = _split_at(starts, owners, low)
        last = _split_at(starts, owners, high)
        kept_starts: list[float] = []
        kept_owners: list[int] = []
        for start, owner in zip(starts[first:last], owners[first:last], strict=True):
            if owner >= 0 and rights[owner] > left:
                _join(parent, owner, row)
            farther = owner if owner >= 0 and rights[owner] > right else row
            if not kept_owners or kept_owners[-1] != farther:
                kept_starts.append(start)
                kept_owners.append(farther)
        starts[first:last], owners[first:last] = kept_starts, kept_owners
    return np.array([_root(parent, row) for row in range(len(parent))], dtype=np.int64)


def _split_at(starts: list[float], owners: list[int], at: float) -> int:
    """The index of the piece that starts at `at`, made if there is none."""
    index = bisect_left(starts, at)
    if index == len(starts) or starts[index] != at:
        starts.insert(index, at)
        owners.insert(index, owners[index - 1])
    return index


def _root(parent: list[int], row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row


def _join(parent: list[int], one: int, other: int) -> None:
    low, high = sorted((_root(parent, one), _root(parent, other)))
    parent[high] = low


def _joined(cells: Sequence[str], parts_N: np.ndarray) -> list[str]:
    """The first cell of each set of cells that overlapping images tie together."""
    code_of = {cell: code for code, cell in enumerate(sorted(set(cells)))}
    names = list(code_of)
    parent = list(range(len(names)))
    first: dict[int, int] = {}
    for cell, part in zip(cells, parts_N.tolist(), strict=True):
        _join(parent, first.setdefault(part, code_of[cell]), code_of[cell])
    return [names[_root(parent, code_of[cell])] for cell in cells]
