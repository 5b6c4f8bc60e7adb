"""The detector that needs no download: the cascade that comes with scikit-image.

It knows upright frontal faces, by local binary patterns (Viola and Jones 2001; Zhang et al. 2007),
and has been overtaken by networks: faces in profile, tilted, dark or half hidden are missed, and
some textures are taken for faces. Any other detector can take its place, see `detector`.

Legend: H, W height and width of a picture; N windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy.sparse.csgraph import connected_components

from likeness.errors import require
from likeness_apps.facial_expression.faces.boxes import overlap
from likeness_apps.facial_expression.faces.detector import Face

WINDOW = 24  # pixels: side of the smallest face that the cascade can tell
LONGEST = 2048  # no picture is searched at more pixels a side
_GROWTH = 1.1  # of the window from one pass to the next
_SAME = 0.4  # windows that overlap more see the same face


class CascadeDetector:
    """Finds upright frontal faces; a `detector.Detector`.

    A face answers in many windows, shifted and scaled a little. Windows that overlap are one face
    (connected components of intersection over union > 0.4): its box is their mean and its score
    their number, which is no probability. A box inside a larger one is part of the same face.

    Of 300 pictures of FER2013's training part, put into plain surroundings, it finds 69 % and takes
    nothing else for a face (`benchmarks/faces.py`). The box is the frame of the original picture,
    to within 2 % in the median: for a model that was trained on FER2013 or FER+, faces are cut
    without a margin.
    """

    def __init__(
        self, *, min_face: float | None = None, share: float = 0.05, min_votes: int = 4
    ) -> None:
        """Choose what is searched for.

        Args:
            min_face: side of the smallest face in pixels of the picture, > 0. The picture is
                shrunk until such a face has the 24 pixels of the cascade's window, and at least to
                2048 pixels a side; twice the side takes a quarter of the time. None: `share`.
            share: side of the smallest face as a share of the picture's longer side, in (0, 1].
            min_votes: windows that a face needs, >= 1.

        Raises:
            UserError: if a number is out of range.
        """
        require(min_face is None or min_face > 0, "min_face", "> 0", min_face)
        require(0 < share <= 1, "share", "in (0, 1]", share)
        require(min_votes >= 1, "min_votes", ">= 1", min_votes)
        self._min_face, self._share, self._min_votes = min_face, share, min_votes

    @property
    def settings(self) -> dict[str, Any]:
        """What changes the answers, as plain data."""
        smallest = {"share": self._share} if self._min_face is None else {"px": self._min_face}
        return {
            "detector": "scikit-image LBP frontal face cascade",
            "smallest_face": smallest,
            "min_votes": self._min_votes,
        }

    def __call__(self, image_HW3: UInt8[np.ndarray, "H W 3"], /) -> Iterator[Face]:
        """The faces, the surest first."""
        high, wide = image_HW3.shape[:2]
        longer = max(high, wide)
        smallest = self._share * longer if self._min_face is None else self._min_face
        scale = min(1.0, WINDOW / smallest, LONGEST / longer)
        small = Image.fromarray(image_HW3).convert("L")
        if scale < 1:
            sides = max(1, round(wide * scale)), max(1, round(high * scale))
            small = small.resize(sides, Image.Resampling.BILINEAR, reducing_gap=2.0)
        least = max(WINDOW, round(smallest * scale))
        for box_4, votes in merged(self._windows(np.asarray(small), least)):
            if votes >= self._min_votes:
                left, top, width, height = (box_4 / scale).tolist()
                yield Face(left, top, width, height, float(votes))

    @cached_property
    def _cascade(self) -> Any:
        from skimage import data, feature

        files: Any = data  # scikit-image has no types
        return feature.Cascade(files.lbp_frontal_face_cascade_filename())

    def _windows(self, grey_HW: UInt8[np.ndarray, "H W"], least: int) -> Float[np.ndarray, "N 4"]:
        """Every window that the cascade takes for a face; scikit-image merges none of them."""
        if min(grey_HW.shape) < least:
            return np.empty((0, 4))
        found = self._cascade.detect_multi_scale(
            img=grey_HW,
            scale_factor=_GROWTH,
            step_ratio=1,
            min_size=(least, least),
            max_size=(min(grey_HW.shape),) * 2,
            min_neighbor_number=1,
            intersection_score_threshold=2.0,  # more than there can be
        )
        boxes = [(w["c"], w["r"], w["width"], w["height"]) for w in found]
        return np.array(boxes, dtype=np.float64).reshape(-1, 4)

    def __getstate__(self) -> dict[str, Any]:
        """All but the cascade, which cannot be pickled and is read again."""
        return {name: value for name, value in vars(self).items() if name != "_cascade"}


def merged(windows_N4: Float[np.ndarray, "N 4"]) -> list[tuple[Float[np.ndarray, " 4"], int]]:
    """Mean box and number of windows of each group, the largest group first.

    A group whose centre is in the box of a larger group is left out.
    """
    if not len(windows_N4):
        return []
    count, group_N = connected_components(overlap(windows_N4, windows_N4) > _SAME, directed=False)
    votes = np.bincount(group_N)
    boxes = [windows_N4[group_N == group].mean(axis=0) for group in range(count)]
    kept: list[tuple[np.ndarray, int]] = []
    for group in np.argsort(-votes, kind="stable").tolist():
        if not any(_holds(larger, boxes[group]) for larger, _ in kept):
            kept.append((boxes[group], int(votes[group])))
    return kept


def _holds(outer_4: np.ndarray, inner_4: np.ndarray) -> bool:
    """Whether the centre of a box is in another."""
    away_2 = inner_4[:2] + inner_4[2:] / 2 - outer_4[:2]
    return bool((away_2 >= 0).all() and (away_2 < outer_4[2:]).all())
