"""How well queries of one camera are found in another: matrices of rank-1 and mean AP.

Legend: Q queries, C cameras, B queries of one block, M found true matches.

Cell (a, b) is the mean over the queries of camera a that have a true match in camera b. Only true
matches in b are asked for: those in other cameras are taken out, while everybody else stays in the
gallery, from whatever camera (so the official evaluation of MARS). The diagonal asks for further
items of the query's identity from its own camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from likeness.evaluation import ranking
from likeness.evaluation.ranking import PrecisionCurve, RelevantRanks, without


@dataclass(frozen=True, eq=False)
class CameraPairs:
    """Figures by camera of the query (row) and of the true match (column).

    Attributes:
        cameras: C names, in the order of rows and columns.
        rank1_CC: share of queries whose nearest item is right; nan without queries.
        map_CC: mean AP; nan without queries.
        queries_CC: queries that a cell averages over.
    """

    cameras: tuple[str, ...]
    rank1_CC: Float[np.ndarray, "C C"]
    map_CC: Float[np.ndarray, "C C"]
    queries_CC: Int[np.ndarray, "C C"]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; with the means over pairs of different cameras that have queries."""
        apart_CC = (self.queries_CC > 0) & ~np.eye(len(self.cameras), dtype=bool)
        means = {"rank1": self.rank1_CC[apart_CC], "map": self.map_CC[apart_CC]}
        return {
            "cameras": list(self.cameras),
            "rank1": self.rank1_CC.tolist(),
            "map": self.map_CC.tolist(),
            "queries": self.queries_CC.tolist(),
            "mean_over_different_cameras": {
                name: float(cells.mean()) if len(cells) else None for name, cells in means.items()
            },
        }


def by_camera(
    found: RelevantRanks, camera_M: Int[np.ndarray, " M"], cameras: int, curve: PrecisionCurve
) -> tuple[Float[np.ndarray, "B C"], Float[np.ndarray, "B C"]]:
    """Rank-1 and AP of every query for each camera of the true matches; nan where it has none.

    Args:
        found: the full ranking of all items of the query's identity, of any camera.
        camera_M: number of the camera of each.
        cameras: C.
        curve: how AP is drawn.
    """
    rank1_BC, ap_BC = (np.empty((len(found.relevant_Q), cameras)) for _ in range(2))
    for camera in range(cameras):
        ranks = without(found, camera_M != camera)
        rank1_BC[:, camera] = ranking.recall_at(ranks, 1)
        ap_BC[:, camera] = ranking.average_precision(ranks, curve)
    return rank1_BC, ap_BC


def camera_pairs(
    cameras: tuple[str, ...],
    camera_Q: Int[np.ndarray, " Q"],
    rank1_QC: Float[np.ndarray, "Q C"],
    ap_QC: Float[np.ndarray, "Q C"],
) -> CameraPairs:
    """The matrices from what `by_camera` gave for every query, and the queries' own cameras."""
    asks_CQ = (np.arange(len(cameras))[:, None] == camera_Q).astype(np.float64)
    queries_CC = asks_CQ @ ~np.isnan(ap_QC)
    with np.errstate(invalid="ignore"):
        rank1_CC = asks_CQ @ np.nan_to_num(rank1_QC) / queries_CC
        map_CC = asks_CQ @ np.nan_to_num(ap_QC) / queries_CC
    return CameraPairs(cameras, rank1_CC, map_CC, queries_CC.astype(np.int64))
