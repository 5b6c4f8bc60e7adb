"""A plane through an embedding on which ellipses of Gaussians are what they are in the embedding.

The projection is linear and keeps lengths, so that a Gaussian in the embedding is a Gaussian on the
plane, and its ellipse there is the exact marginal. What the plane cannot show is said beside it.

Legend: N rows, D embedding dimension, G groups (classes or sub-classes).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

INSIDE = 0.5  # share of a Gaussian that its ellipse holds
_LEAST = 3  # rows of which a covariance on the plane is drawn
_NOTHING = 1e-9  # of the greatest spread: no direction


@dataclass(frozen=True, eq=False)
class Plane:
    """Two directions and a middle.

    Attributes:
        middle_D: what lies at (0, 0).
        axes_D2: two directions of unit length at right angles.
        shown: share of the squared distances between group means that is along the plane; nan
            for a single group.
    """

    middle_D: Float[np.ndarray, " D"]
    axes_D2: Float[np.ndarray, "D 2"]
    shown: float

    def of(self, rows_ND: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N 2"]:
        """Where rows lie on the plane, in units of the embedding."""
        placed: np.ndarray = (rows_ND - self.middle_D) @ self.axes_D2
        return placed


@dataclass(frozen=True)
class Oval:
    """The ellipse of a group on a plane, in units of the embedding.

    Attributes:
        x: of its centre, the mean of the group.
        y: likewise.
        long: half of its longer axis; 0 for too few rows.
        short: half of its shorter axis.
        turn: angle of the longer axis in degrees, from x towards y.
        inside: share of the group's rows that lie in it; nan for too few rows.
    """

    x: float
    y: float
    long: float
    short: float
    turn: float
    inside: float


def plane_of(rows_ND: Float[np.ndarray, "N D"], group_N: Int[np.ndarray, " N"]) -> Plane:
    """The plane along which the means of the groups are furthest apart.

    Each group counts the same, however many rows it has. Where the means lie on a line (two groups)
    or a point, the rest is the direction in which rows differ most about their means.

    Args:
        rows_ND: as the space compares them, N >= 1, D >= 1.
        group_N: group of each row, any integers.
    """
    rows_ND = rows_ND.astype(np.float64)
    _, place_N, size_G = np.unique(group_N, return_inverse=True, return_counts=True)
    mean_GD = np.zeros((len(size_G), rows_ND.shape[1]))
    np.add.at(mean_GD, place_N, rows_ND)
    mean_GD /= size_G[:, None]
    middle_D = mean_GD.mean(axis=0)
    apart_GD = mean_GD - middle_D
    axes = _directions(apart_GD.T @ apart_GD, 2)
    if axes.shape[1] < 2:
        gap_ND = rows_ND - mean_GD[place_N]
        gap_ND = gap_ND - gap_ND @ axes @ axes.T
        more = _directions(gap_ND.T @ gap_ND, 2 - axes.shape[1])
        axes = np.concatenate([axes, more], axis=1)
    axes_D2 = np.zeros((rows_ND.shape[1], 2))
    axes_D2[:, : axes.shape[1]] = axes
    whole = float(np.square(apart_GD).sum())
    shown = float(np.square(apart_GD @ axes_D2).sum()) / whole if whole > 0 else math.nan
    return Plane(middle_D, axes_D2, shown)


def oval_of(places_N2: Float[np.ndarray, "N 2"]) -> Oval:
    """The ellipse that would hold half of a group if it were Gaussian, by its mean and covariance.

    Args:
        places_N2: of the group's rows on a plane, N >= 1.
    """
    x, y = places_N2.mean(axis=0).tolist()
    if len(places_N2) < _LEAST:
        return Oval(x, y, 0.0, 0.0, 0.0, math.nan)
    gap_N2 = places_N2 - [x, y]
    variance_2, axes_22 = np.linalg.eigh(gap_N2.T @ gap_N2 / len(places_N2))
    variance_2 = variance_2.clip(0)
    radius = math.sqrt(-2 * math.log(1 - INSIDE))
    floor_2 = np.maximum(variance_2, np.finfo(float).tiny)
    within_N = np.square(gap_N2 @ axes_22 / np.sqrt(floor_2)).sum(axis=1) <= radius**2
    short, long = (radius * np.sqrt(variance_2)).tolist()
    turn = math.degrees(math.atan2(axes_22[1, 1], axes_22[0, 1]))
    return Oval(x, y, long, short, turn, float(within_N.mean()))


def _directions(scatter_DD: np.ndarray, count: int) -> np.ndarray:
    """The main directions of a scatter matrix in columns, at most `count`, none without spread."""
    values, vectors = np.linalg.eigh(scatter_DD)
    order = np.argsort(values)[::-1][:count]
    kept = order[values[order] > _NOTHING * max(float(values.max()), np.finfo(float).tiny)]
    chosen = vectors[:, kept]
    heaviest = np.abs(chosen).argmax(axis=0)
    signs = np.sign(chosen[heaviest, np.arange(chosen.shape[1])])
    result: np.ndarray = chosen * signs  # one sign, not the library's choice
    return result
