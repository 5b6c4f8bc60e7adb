"""What a report of people is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False)
class Result:
    """One ranking, as `score_tracklets` measured it; only the first two are needed.

    Attributes:
        metrics: metrics.json: protocol, retrieval, camera_pairs, `open_set` of `open_set_figures`.
        queries: queries.csv.
        tracklets: one row per tracklet, with label, camera, tracklet, and maybe role.
        features_ND: one row per row of `tracklets`.
        frames: the frames of the tracklets: path, tracklet and, if not in order, frame.
        root: where the paths of the frames begin.
        include_images: put small pictures of people into the page.
        seed: of every choice.
    """

    metrics: Mapping[str, Any]
    queries: pd.DataFrame
    tracklets: pd.DataFrame | None = None
    features_ND: np.ndarray | None = None
    frames: pd.DataFrame | None = None
    root: Path | None = None
    include_images: bool = False
    seed: int = 0

    @property
    def validated(self) -> bool:
        """Whether these are the people that the thresholds were chosen on."""
        return bool(self.metrics.get("split") == "val")

    @property
    def counted(self) -> pd.DataFrame:
        """The queries that figures are means of."""
        return self.queries[self.queries["status"] == "ok"]
