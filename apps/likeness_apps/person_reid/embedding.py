"""From frames to one embedding per tracklet; each file is read once and leaves nothing but sums.

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

from likeness.errors import require
from likeness.inference.hashed import read_hashed
from likeness.inference.predictor import Predictor
from likeness.inference.sets import POOLINGS, SetPooling, embed_sets
from likeness_apps.person_reid.grouping import by_tracklet
from likeness_apps.shell.console import progress

OK, ERROR = "ok", "error"
NO_DIRECTION = "its embedding has no direction"
OnFrame = Callable[[int, str], None]


@dataclass(frozen=True, eq=False)
class EmbeddedTracklets:
    """What the model made of T tracklets.

    Attributes:
        table: the rows of `by_tracklet`, with `used` (frames behind the embedding), `status` (ok or
            error), `reason` (of a tracklet with an error: that of its first frame) and `sha256` (of
            its content; a lone frame's own).
        embeddings_TD: as the model's space compares them; nan where the status is error.
        tracklet_F: the row in `table` of each frame.
        failures: place of a frame -> why it could not be used.
    """

    table: pd.DataFrame
    embeddings_TD: np.ndarray
    tracklet_F: np.ndarray
    failures: dict[int, str]

    @property
    def ok_T(self) -> np.ndarray:
        """Which tracklets have an embedding; at least one."""
        return np.asarray(self.table["status"] == OK)

    @property
    def good(self) -> pd.DataFrame:
        """The rows of these."""
        return self.table[self.ok_T].reset_index(drop=True)

    @property
    def embeddings_ND(self) -> np.ndarray:
        """The embeddings of these."""
        return np.asarray(self.embeddings_TD[self.ok_T])


def embed_tracklets(
    predictor: Predictor,
    frames: pd.DataFrame,
    root: Path,
    *,
    name: str = "data",
    how: SetPooling = "mean",
    on_frame: OnFrame = lambda place, sha256: None,
    quiet: bool = False,
) -> EmbeddedTracklets:
    """Embed frames as a stream and pool those of a tracklet.

    Args:
        predictor: the model.
        frames: F rows of a manifest with `path` and `tracklet`.
        root: where the paths begin.
        name: what the frames are called, for the progress bar and in an error.
        how: see `embed_sets`.
        on_frame: called with the place and the SHA-256 of every readable file; may refuse it.
        quiet: no progress.

    Raises:
        UserError: if not one tracklet has an embedding, or `how` is unknown. What `on_frame` raises
            is passed on.
    """
    require(how in POOLINGS, "frames", f"one of {', '.join(POOLINGS)}", how)
    grouped = by_tracklet(frames)
    content = [0] * len(grouped.table)

    def note(place: int, sha256: str) -> None:
        on_frame(place, sha256)
        # A sum does not depend on the order of the frames, and of one frame it is the file's own.
        content[grouped.tracklet_F[place]] += int(sha256, 16)

    with progress(f"embedding {name}", quiet=quiet) as advance:
        found = embed_sets(
            predictor,
            _prepared(predictor, frames["path"].tolist(), root, note),
            grouped.tracklet_F,
            sets=len(content),
            how=how,
            on_progress=advance,
        )
    first = next(iter(found.failures.values()), NO_DIRECTION)
    require(found.ok_S.any(), name, "people in frames that can be read", first)
    table = grouped.table.assign(
        used=found.used_S,
        status=np.where(found.ok_S, OK, ERROR),
        reason=_reasons(found.ok_S, grouped.tracklet_F, found.failures),
        sha256=[f"{total % (1 << 256):064x}" for total in content],
    )
    return EmbeddedTracklets(table, found.embeddings_SD, grouped.tracklet_F, found.failures)


def _prepared(
    predictor: Predictor, paths: Sequence[str], root: Path, note: OnFrame
) -> Iterator[Any]:
    """The frames as the network takes them."""
    with closing(read_hashed(predictor, paths, root)) as reads:  # type: ignore[type-var]
        for read in reads:
            if read.sha256:
                note(read.row, read.sha256)
            yield read.prepared


def _reasons(ok_T: np.ndarray, tracklet_F: np.ndarray, failures: dict[int, str]) -> list[str]:
    """Of each tracklet without an embedding the reason of its first frame; "" of the others."""
    first = {int(tracklet_F[place]): why for place, why in reversed(failures.items())}
    return ["" if ok else first.get(row, NO_DIRECTION) for row, ok in enumerate(ok_T)]
