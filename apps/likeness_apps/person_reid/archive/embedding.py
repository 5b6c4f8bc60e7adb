"""From frames to one embedding per tracklet, with what a table and a sheet need to know of it.

Legend: F frames, T tracklets, N those with an embedding, D embedding dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.data.manifest import Manifest
from likeness.errors import require
from likeness.inference.hashed import read_hashed
from likeness.inference.predictor import Predictor
from likeness.inference.sets import embed_sets
from likeness_apps.person_reid.archive.inputs import empty_tracklets
from likeness_apps.person_reid.archive.pictures import evenly, strip
from likeness_apps.person_reid.grouping import by_tracklet
from likeness_apps.shell.console import progress
from likeness_apps.shell.report.data import Picture

COLUMNS = ("tracklet", "label", "camera", "path", "frames", "sha256")
FAILED = ("tracklet", "label", "camera", "reason")
NO_FRAME = "no frame"


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

    def counts(self) -> dict[str, int]:
        """What was there, as numbers, for records that name nobody."""
        return {
            "tracklets": len(self.rows),
            "tracklets_without_a_frame": len(self.failed),
            "frames": int(self.rows["frames"].sum()),
            "unreadable_frames": self.unreadable,
        }


def embed_tracklets(
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
    frames, root = manifest.table, manifest.root
    grouped = by_tracklet(frames)
    content = [0] * len(grouped.table)
    paths = frames["path"].tolist()
    with progress(f"embedding {name}", quiet=quiet) as advance:
        found = embed_sets(
            predictor,
            _prepared(predictor, paths, root, grouped.tracklet_F, content),
            grouped.tracklet_F,
            sets=len(content),
            on_progress=advance,
        )
    ok_T = found.ok_S
    require(ok_T.any(), name, "people in frames that can be read", _first(found.failures))
    table = grouped.table.assign(
        frames=found.used_S, sha256=[_hexadecimal(sum_) for sum_ in content]
    )
    shown = _shown(frames, grouped.tracklet_F, list(found.failures))
    shown = [files for files, ok in zip(shown, ok_T, strict=True) if ok]
    return Embedded(
        rows=table.loc[ok_T, list(COLUMNS)].reset_index(drop=True),
        embeddings_ND=found.embeddings_SD[ok_T],
        failed=_failed(table[~ok_T], grouped.tracklet_F, found.failures, empty_tracklets(manifest)),
        unreadable=len(found.failures),
        picture=lambda row: strip([root / paths[place] for place in shown[row]]),
    )


def _prepared(
    predictor: Predictor,
    paths: Sequence[str],
    root: Path,
    tracklet_F: np.ndarray,
    content: list[int],
) -> Iterator[Any]:
    """The frames as the network takes them; the hashes of a tracklet are added up in `content`.

    A sum does not depend on the order of the frames, and of one frame it is the file's own hash.
    """
    with closing(read_hashed(predictor, paths, root)) as reads:  # type: ignore[type-var]
        for read in reads:
            if read.sha256:
                content[tracklet_F[read.row]] += int(read.sha256, 16)
            yield read.prepared


def _hexadecimal(total: int) -> str:
    return f"{total % (1 << 256):064x}"


def _first(failures: dict[int, str]) -> str:
    return next(iter(failures.values()), NO_FRAME)


def _shown(frames: pd.DataFrame, tracklet_F: np.ndarray, bad: list[int]) -> list[list[int]]:
    """The places of a few usable frames of each tracklet, from its first to its last."""
    order_F = frames["frame"].to_numpy() if "frame" in frames else np.arange(len(frames))
    place_F = np.lexsort((order_F, tracklet_F))
    place_F = place_F[~np.isin(place_F, bad)]
    ends = np.searchsorted(tracklet_F[place_F], np.arange(1, tracklet_F.max() + 1))
    return [[int(part[place]) for place in evenly(len(part))] for part in np.split(place_F, ends)]


def _failed(
    table: pd.DataFrame, tracklet_F: np.ndarray, failures: dict[int, str], empty: list[str]
) -> pd.DataFrame:
    """Tracklets without a usable frame, each with the reason of its first frame."""
    first = {int(tracklet_F[place]): reason for place, reason in reversed(failures.items())}
    reasons = [first.get(int(row), "its embedding has no direction") for row in table.index]
    unusable = table.assign(reason=reasons)[list(FAILED)]
    bare = pd.DataFrame({"tracklet": empty, "label": "", "camera": "", "reason": NO_FRAME})
    return pd.concat([unusable, bare.astype(unusable.dtypes)], ignore_index=True)
