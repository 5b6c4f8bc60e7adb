"""From frames to tracklets: one row for each.

Legend: F frames, T tracklets.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int

KEPT = ("tracklet", "label", "camera", "role", "split", "group", "tested_in")


class Tracklets(NamedTuple):
    """Frames, grouped.

    Attributes:
        table: one row per tracklet, in order of appearance: those of `KEPT` that the frames have,
            `path` (of the first frame) and `frames` (how many).
        tracklet_F: the row in `table` of each frame.
    """

    table: pd.DataFrame
    tracklet_F: Int[np.ndarray, " F"]


def by_tracklet(frames: pd.DataFrame) -> Tracklets:
    """Group frames by their column `tracklet`.

    Args:
        frames: F rows of a manifest with `path` and `tracklet`; what else is kept of a tracklet is
            that of its first frame.
    """
    tracklet_F, names = pd.factorize(frames["tracklet"])
    first_T = np.full(len(names), len(frames), dtype=np.int64)
    np.minimum.at(first_T, tracklet_F, np.arange(len(frames)))
    columns = [name for name in KEPT if name in frames.columns]
    table = frames[[*columns, "path"]].iloc[first_T].reset_index(drop=True)
    counts_T = np.bincount(tracklet_F, minlength=len(names))
    return Tracklets(table.assign(frames=counts_T), tracklet_F)
