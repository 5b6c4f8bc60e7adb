"""From the answers of overlapping windows to probabilities of pixels, tile by tile.

Legend: R = rows of windows, C = columns of windows, K = classes, Y, X = pixels; y, x = pixels that
stand for the rectangle from them to the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from likeness_apps.remote_sensing.mapping.answers import Part
from likeness_apps.remote_sensing.mapping.windows import (
    Blend,
    Grid,
    blend_weights,
    blended,
    samples,
)


@dataclass(frozen=True, eq=False)
class Tile:
    """A rectangle of the map.

    Attributes:
        top, left: its first pixel.
        probabilities_yxK: float32; nan where no window has an answer.
        valid_YX: where the scene has data.
        tall_y, wide_x: pixels that each of `probabilities_yxK` stands for, downwards and to the
            right.
    """

    top: int
    left: int
    probabilities_yxK: Float[np.ndarray, "y x K"]
    valid_YX: Bool[np.ndarray, "Y X"]
    tall_y: Int[np.ndarray, " y"]
    wide_x: Int[np.ndarray, " x"]

    def spread(self, values_yx: Shaped[np.ndarray, "y x *any"]) -> Shaped[np.ndarray, "Y X *any"]:
        """One value for each pixel, in an array of its own."""
        if values_yx.shape[:2] == self.valid_YX.shape:
            return values_yx.copy()
        return values_yx.repeat(self.tall_y, axis=0).repeat(self.wide_x, axis=1)


def tiles(parts: Iterable[Part], grid: Grid, blend: Blend, size: int) -> Iterator[Tile]:
    """Cut the scene into tiles of `size` pixels, row by row; those at the border are smaller.

    Only rows of windows that reach into the row of tiles are held.

    Args:
        parts: all parts in order; each is asked for when the tiles need it.
        grid: the windows that they answer.
        blend: how overlapping answers are weighted.
        size: of a tile.
    """
    stream, weights_S = iter(parts), blend_weights(grid.side, blend)
    answers_RCK = np.empty((0, grid.columns, 0), np.float32)
    valid_YX = np.empty((0, grid.width), bool)
    first_row = 0
    for top in range(0, grid.height, size):
        stop = min(top + size, grid.height)
        needed = int(np.searchsorted(grid.tops_R, stop))  # rows of windows that begin above `stop`
        while first_row + len(answers_RCK) < needed:
            part = next(stream)
            held = answers_RCK.reshape(-1, *part.answers_RCK.shape[1:])
            answers_RCK = np.concatenate([held, part.answers_RCK])
            valid_YX = np.concatenate([valid_YX, part.valid_YX])
        tops_R = grid.tops_R[first_row : first_row + len(answers_RCK)]
        rows_y, tall_y = samples(top, stop, tops_R, grid.side, blend)
        for left in range(0, grid.width, size):
            right = min(left + size, grid.width)
            columns = _reaching(grid.lefts_C, left, right, grid.side)
            lefts_C = grid.lefts_C[columns]
            columns_x, wide_x = samples(left, right, lefts_C, grid.side, blend)
            mixed_yxK = blended(
                answers_RCK[:, columns], tops_R, lefts_C, rows_y, columns_x, weights_S
            )
            here_YX = valid_YX[: stop - top, left:right]
            yield Tile(top, left, mixed_yxK, here_YX, tall_y, wide_x)
        past = int(np.searchsorted(tops_R, stop - grid.side, side="right"))
        answers_RCK, first_row = answers_RCK[past:], first_row + past
        valid_YX = valid_YX[stop - top :]


def _reaching(starts_C: Int[np.ndarray, " C"], first: int, stop: int, side: int) -> slice:
    """The windows that hold a pixel of [first, stop)."""
    low = np.searchsorted(starts_C, first - side, side="right")
    return slice(int(low), int(np.searchsorted(starts_C, stop)))
