"""Where a network of square images looks in a scene, and how overlapping answers are blended.

Legend: R = rows of windows, C = columns of windows, K = classes, Y, X = pixels, S = window side.

Every window gets one vector of probabilities, so a strip of the map is a product of three small
matrices, weights down x answers x weights across: no array of scene width x classes ever exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from likeness.errors import require

Blend = Literal["mean", "gaussian"]
_SIGMA = 1 / 8  # of the window's side, usual for inference in sliding windows


@dataclass(frozen=True, eq=False)
class Grid:
    """Square windows that together cover every pixel of a scene.

    Attributes:
        height, width: of the scene, pixels.
        side: of a window, pixels.
        stride: from one window to the next; the last row and column are shifted inwards so that
            they end where the scene ends.
        tops_R, lefts_C: first pixel row of each row of windows, first column of each column.
    """

    height: int
    width: int
    side: int
    stride: int
    tops_R: Int[np.ndarray, " R"]
    lefts_C: Int[np.ndarray, " C"]

    @property
    def rows(self) -> int:
        """R."""
        return len(self.tops_R)

    @property
    def columns(self) -> int:
        """C."""
        return len(self.lefts_C)

    def new_pixels(self, row: int) -> tuple[int, int]:
        """Pixel rows [first, stop) that no earlier row of windows covers."""
        first = int(self.tops_R[row - 1]) + self.side if row else 0
        return first, int(self.tops_R[row]) + self.side


def make_grid(height: int, width: int, *, side: int, stride: int | None = None) -> Grid:
    """Lay windows over a scene.

    Args:
        height: of the scene, pixels.
        width: of the scene, pixels.
        side: of a window, pixels.
        stride: 1 <= stride <= side; None is half a window.

    Raises:
        UserError: if the stride is out of range or the scene is smaller than a window.
    """
    stride = max(1, side // 2) if stride is None else stride
    require(1 <= stride <= side, "stride", f"from 1 to the window's {side} pixels", stride)
    shape = f"{height} x {width}"
    require(min(height, width) >= side, "scene", f"at least a window of {side} x {side}", shape)
    return Grid(
        height, width, side, stride, _starts(height, side, stride), _starts(width, side, stride)
    )


def blend_weights(side: int, blend: Blend) -> Float[np.ndarray, " S"]:
    """What an answer counts along one axis of its window; a pixel's weight is the product of two.

    Args:
        side: S.
        blend: `mean` counts every pixel of a window alike; `gaussian` has its peak at the centre
            and a standard deviation of an eighth of the side.

    Returns:
        float32, > 0.
    """
    if blend == "mean":
        return np.ones(side, np.float32)
    offsets_S = np.arange(side) - (side - 1) / 2
    weights_S: np.ndarray = np.exp(-0.5 * np.square(offsets_S / (_SIGMA * side)))
    return weights_S.astype(np.float32)


def samples(
    first: int, stop: int, starts: Int[np.ndarray, " R"], side: int, blend: Blend
) -> tuple[Int[np.ndarray, " Y"], Int[np.ndarray, " Y"]]:
    """The pixels in [first, stop) at which the blend must be worked out, along one axis.

    Between two borders of windows a mean is constant, so one pixel speaks for all.

    Returns:
        (positions, repeats): how many pixels, from the position on, have its value.
    """
    if blend == "gaussian":
        return np.arange(first, stop), np.ones(stop - first, np.int64)
    borders = np.concatenate([starts, starts + side])
    inside = borders[(borders > first) & (borders < stop)]
    positions = np.unique(np.concatenate([[first], inside]))
    return positions, np.diff(positions, append=stop)


def blended(
    answers_RCK: Float[np.ndarray, "R C K"],
    tops_R: Int[np.ndarray, " R"],
    lefts_C: Int[np.ndarray, " C"],
    rows_Y: Int[np.ndarray, " Y"],
    columns_X: Int[np.ndarray, " X"],
    weights_S: Float[np.ndarray, " S"],
) -> Float[np.ndarray, "Y X K"]:
    """The weighted mean of the answers of all windows over each pixel.

    Args:
        answers_RCK: float32; nan where a window has no answer, which then does not count.
        tops_R: first pixel row of each row of windows.
        lefts_C: first pixel column of each column of windows.
        rows_Y: pixel rows.
        columns_X: pixel columns.
        weights_S: see `blend_weights`.

    Returns:
        float32; nan where no window has an answer.
    """
    rows, columns, classes = answers_RCK.shape
    answered_RC = np.isfinite(answers_RCK).all(axis=2)
    known_RCK = np.where(answered_RC[:, :, None], answers_RCK, np.float32(0))
    down_YR = _weight_at(rows_Y, tops_R, weights_S)
    across_XC = _weight_at(columns_X, lefts_C, weights_S)
    strip_YCK = (down_YR @ known_RCK.reshape(rows, columns * classes)).reshape(-1, columns, classes)
    weight_YX = down_YR @ answered_RC.astype(np.float32) @ across_XC.T
    with np.errstate(divide="ignore", invalid="ignore"):
        result: np.ndarray = np.matmul(across_XC, strip_YCK)
        result /= weight_YX[:, :, None]
    return result


def _starts(length: int, side: int, stride: int) -> Int[np.ndarray, " R"]:
    last = length - side
    return np.unique(np.append(np.arange(0, last, stride), last))


def _weight_at(
    pixels_Y: Int[np.ndarray, " Y"],
    starts_R: Int[np.ndarray, " R"],
    weights_S: Float[np.ndarray, " S"],
) -> Float[np.ndarray, "Y R"]:
    offsets_YR = pixels_Y[:, None] - starts_R[None, :]
    inside_YR = (offsets_YR >= 0) & (offsets_YR < len(weights_S))
    return np.where(inside_YR, weights_S[offsets_YR.clip(0, len(weights_S) - 1)], np.float32(0))
