"""One side of a match: tracklets with their embeddings, and what a table and a sheet need of them.

Legend: F frames, T tracklets, N those with an embedding, D embedding dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from likeness.data.manifest import Manifest
from likeness.inference.predictor import Predictor
from likeness_apps.person_reid.archive.inputs import NO_FRAME, empty_tracklets
from likeness_apps.person_reid.embedding import EmbeddedTracklets, embed_tracklets
from likeness_apps.person_reid.strips import evenly, strip
from likeness_apps.shell.report.data import Picture

COLUMNS = ("tracklet", "label", "camera", "path", "frames", "sha256")
FAILED = ("tracklet", "label", "camera", "reason")
STRIP = 3  # frames of a small picture


@dataclass(frozen=True, eq=False)
class Embedded:
    """Tracklets with their embeddings: one side of a match.

    Attributes:
        rows: N rows with `COLUMNS`: `path` is that of the first frame, `frames` how many could be
            used, `sha256` of a tracklet's content (a lone frame's own).
        embeddings_ND: as the model's space compares them.
        failed: tracklets without a usable frame, with `FAILED`.
        unreadable: frames that could not be used, in all tracklets.
        picture: gives the small picture of a row, or None.
    """

    rows: pd.DataFrame
    embeddings_ND: np.ndarray
    failed: pd.DataFrame
    unreadable: int
    picture: Callable[[int], Picture | None]

    def __len__(self) -> int:
        return len(self.rows)

    def counts(self) -> dict[str, Any]:
        """What was there, as numbers, for records that name nobody."""
        return {
            "tracklets": len(self.rows),
            "tracklets_without_a_frame": len(self.failed),
            "frames": int(self.rows["frames"].sum()),
            "unreadable_frames": self.unreadable,
        }


def embed_people(
    predictor: Predictor, manifest: Manifest, *, name: str, quiet: bool = False
) -> Embedded:
    """Embed frames as a stream and take the mean of each tracklet, as the thresholds presume.

    Args:
        predictor: the model.
        manifest: frames with `tracklet` and `camera`; each file is read once.
        name: of this side, for the progress bar and in an error.
        quiet: no progress.

    Raises:
        UserError: if not one frame can be used.
    """
    root = manifest.root
    found = embed_tracklets(predictor, manifest.table, root, name=name, quiet=quiet)
    paths = manifest.table["path"].tolist()
    shown = _shown(manifest.table, found)
    return Embedded(
        rows=found.good.assign(frames=found.good["used"])[list(COLUMNS)],
        embeddings_ND=found.embeddings_ND,
        failed=_with_empty(found.table.loc[~found.ok_T, list(FAILED)], manifest),
        unreadable=len(found.failures),
        picture=lambda row: strip([root / paths[place] for place in shown[row]]),
    )


def _with_empty(failed: pd.DataFrame, manifest: Manifest) -> pd.DataFrame:
    """Rows with `FAILED`, and one more for each folder of the set that holds no frame."""
    columns = {"tracklet": empty_tracklets(manifest), "label": "", "camera": "", "reason": NO_FRAME}
    return pd.concat([failed, pd.DataFrame(columns).astype(failed.dtypes)], ignore_index=True)


def _shown(frames: pd.DataFrame, found: EmbeddedTracklets) -> list[list[int]]:
    """Of each tracklet with an embedding the places of a few usable frames, in order."""
    order_F = frames["frame"].to_numpy() if "frame" in frames else np.arange(len(frames))
    place_F = np.lexsort((order_F, found.tracklet_F))
    place_F = place_F[~np.isin(place_F, list(found.failures))]
    ends = np.searchsorted(found.tracklet_F[place_F], np.arange(1, len(found.table)))
    parts = np.split(place_F, ends)
    return [
        [int(part[place]) for place in evenly(len(part), STRIP)]
        for part, ok in zip(parts, found.ok_T, strict=True)
        if ok
    ]
