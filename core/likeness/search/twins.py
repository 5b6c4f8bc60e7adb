"""Identical gallery rows: equally far from every query, so that their index alone orders them.

Legend: G gallery rows, D embedding dimension, U groups of identical rows.

A collapsed model or a set with many copies makes thousands of exact ties. Knowing the copies, a
search looks at no more of them than can matter, and measures one distance for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Twins:
    """Which gallery rows are identical.

    Attributes:
        first_G: the first row that is identical to each row; its own index if it is the first.
        before_G: how many identical rows come before each row.
    """

    first_G: Int[np.ndarray, " G"]
    before_G: Int[np.ndarray, " G"]


def find_twins(rows_GD: Float[np.ndarray, "G D"]) -> Twins | None:
    """Find identical rows by their bytes; None if there are none."""
    row_type = np.dtype((np.void, rows_GD.itemsize * rows_GD.shape[1]))
    keys_G = np.ascontiguousarray(rows_GD).view(row_type)[:, 0]
    _, first_U, group_G = np.unique(keys_G, return_index=True, return_inverse=True)
    if len(first_U) == len(rows_GD):
        return None
    order_G = np.argsort(group_G, kind="stable")
    count_U = np.bincount(group_G)
    start_U = np.cumsum(count_U) - count_U
    before_G = np.empty(len(rows_GD), np.int64)
    before_G[order_G] = np.arange(len(rows_GD)) - start_U[group_G[order_G]]
    return Twins(first_U[group_G], before_G)
