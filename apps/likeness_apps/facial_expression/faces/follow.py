"""Faces followed over time: which face of this frame is which of the frames before.

A link says "the same face went on", within one video. It is no identity: a person who leaves and
comes back has a new number, and a cut to another face at the same place may keep the old one. At a
few frames a second, of two who meet and turn back, each may be taken for the other.

Legend: T tracks that may go on, F faces of a frame, P pixels of a patch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from likeness.errors import require
from likeness_apps.facial_expression.faces.boxes import generalised_overlap, overlap
from likeness_apps.facial_expression.faces.detector import Face

_GAIN = 0.2  # share of a wrong prediction by which the speed is mended (alpha-beta filter)
_FRESH = 0.5  # share of the new look in the remembered one
_CROSSING = 0.2  # boxes that overlap more hide each other: what is seen is not remembered


@dataclass(frozen=True)
class Following:
    """How faces are linked.

    Attributes:
        max_gap_s: a face that is missed longer, in seconds, has gone ...
        max_missed: ... if it was missed in more readable frames than this, too.
        max_cost: what a link may cost, in (0, 2]; see `Follower`.
    """

    max_gap_s: float = 1.0
    max_missed: int = 5
    max_cost: float = 0.6

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        require(self.max_gap_s >= 0, "max_gap_s", ">= 0", self.max_gap_s)
        require(self.max_missed >= 0, "max_missed", ">= 0", self.max_missed)
        require(0 < self.max_cost <= 2, "max_cost", "in (0, 2]", self.max_cost)


@dataclass
class _Track:
    """A face that may go on: its number, where it was last seen, and what it looks like."""

    number: int
    time_s: float
    box: list[float]  # left, top, width, height
    patch: list[float]
    speed: list[float] | None = None  # of the box's centre, pixels a second; None = not known
    missed: int = 0


class Follower:
    """Gives the faces of one frame after the other their numbers, from 1.

    Every track foretells its box: it goes on at its speed, in its size. A link of track and face
    costs `(1 - o) / 2 + (1 - c) / 2`, where o is the generalised overlap of foretold and found box
    and c the correlation of remembered and seen patch; 0 is the same face at the foretold place.
    The cheapest links of all are taken together (Hungarian method), but none above `max_cost`; a
    face without a link is a new track. So of two faces that cross, each is where its way leads, and
    of two that meet and turn back, each is where it looks like itself.

    Its `state` is plain data: a Follower that is made of it goes on exactly as this one would.
    """

    def __init__(
        self, rules: Following | None = None, state: Mapping[str, Any] | None = None
    ) -> None:
        self.rules = rules or Following()
        self._next = 1 if state is None else int(state["next"])
        tracks = [] if state is None else state["tracks"]
        self._tracks = [_Track(**track) for track in tracks]

    @property
    def state(self) -> dict[str, Any]:
        """All that it remembers."""
        return {"next": self._next, "tracks": [asdict(track) for track in self._tracks]}

    def update(
        self, time_s: float, faces: Sequence[Face], patches: Sequence[Float[np.ndarray, " P"]]
    ) -> list[int]:
        """The numbers of a frame's faces, in their order.

        Args:
            time_s: of the frame; a time before the last one ends all tracks.
            faces: of the frame.
            patches: what each looks like, see `crop.patch_of`.
        """
        self._tracks = [track for track in self._tracks if self._goes_on(track, time_s)]
        boxes_F4 = np.array([face[:4] for face in faces], dtype=np.float64).reshape(-1, 4)
        links = self._links(time_s, boxes_F4, np.array(patches))
        hidden_F = _hidden(boxes_F4)
        for waiting in self._tracks:
            waiting.missed += 1
        numbers = []
        for index, (box_4, patch_P) in enumerate(zip(boxes_F4, patches, strict=True)):
            track = links.get(index)
            if track is None:
                numbers.append(self._begin(time_s, box_4, patch_P))
                continue
            _see(track, time_s, box_4, None if hidden_F[index] else patch_P)
            numbers.append(track.number)
        return numbers

    def _begin(self, time_s: float, box_4: np.ndarray, patch_P: np.ndarray) -> int:
        """The number of a new track."""
        self._tracks.append(_Track(self._next, time_s, box_4.tolist(), patch_P.tolist()))
        self._next += 1
        return self._next - 1

    def _goes_on(self, track: _Track, time_s: float) -> bool:
        away = time_s - track.time_s
        if away < 0:
            return False
        return away <= self.rules.max_gap_s or track.missed <= self.rules.max_missed

    def _links(
        self, time_s: float, boxes_F4: np.ndarray, patches_FP: np.ndarray
    ) -> dict[int, _Track]:
        """Face -> the track that it continues."""
        if not self._tracks or not len(boxes_F4):
            return {}
        foretold_T4 = np.array([_foretold(track, time_s) for track in self._tracks])
        looks_TP = np.array([track.patch for track in self._tracks])
        apart_TF = 1 - generalised_overlap(foretold_T4, boxes_F4)
        unlike_TF = 1 - looks_TP @ patches_FP.T
        cost_TF = (apart_TF + unlike_TF) / 2
        # A forbidden link costs more than any number of allowed ones could save.
        barred_TF = np.where(cost_TF > self.rules.max_cost, 1e6, cost_TF)
        pairs = zip(*linear_sum_assignment(barred_TF), strict=True)
        return {f: self._tracks[t] for t, f in pairs if cost_TF[t, f] <= self.rules.max_cost}


def _foretold(track: _Track, time_s: float) -> np.ndarray:
    """Where a track's box would be now."""
    box_4 = np.array(track.box)
    if track.speed is not None:
        box_4[:2] += np.array(track.speed) * (time_s - track.time_s)
    return box_4


def _see(track: _Track, time_s: float, box_4: np.ndarray, patch_P: np.ndarray | None) -> None:
    """Note where a track is now, and what it looks like if that can be seen."""
    passed = time_s - track.time_s
    if passed > 0:
        old_4 = np.array(track.box) if track.speed is None else _foretold(track, time_s)
        gain = 1.0 if track.speed is None else _GAIN
        surprise_2 = box_4[:2] + box_4[2:] / 2 - old_4[:2] - old_4[2:] / 2
        before_2 = np.array(track.speed or (0.0, 0.0))
        track.speed = (before_2 + gain * surprise_2 / passed).tolist()
    if patch_P is not None:
        mixed_P = (1 - _FRESH) * np.array(track.patch) + _FRESH * patch_P
        track.patch = (mixed_P / max(float(np.linalg.norm(mixed_P)), 1e-9)).tolist()
    track.time_s, track.box, track.missed = time_s, box_4.tolist(), 0


def _hidden(boxes_F4: np.ndarray) -> np.ndarray:
    """Whether another face of the frame overlaps a face."""
    shared_FF = overlap(boxes_F4, boxes_F4)
    np.fill_diagonal(shared_FF, 0)
    hidden_F: np.ndarray = np.asarray((shared_FF > _CROSSING).any(axis=1))
    return hidden_F
