"""The dark border around a bright field of view: the ring of a lens, bars beside a picture.

Our reconstruction of what is usually done by hand: dark pixels that hang together with a corner of
the picture are border; sides of the box that mostly show border are cut off, worst first.

Legend: H, W of the picture.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

from likeness.data.dark_lines import luminance

Slices = tuple[slice, slice]
LEAST_KEPT = 0.4  # of the shorter side; a field that is smaller yet is not what we look for


def bright_box(image_HW3: UInt8[np.ndarray, "H W 3"], *, level: float, tolerance: float) -> Slices:
    """The box inside the bright field.

    Args:
        image_HW3: the picture.
        level: pixels below this share of the luminance that nine tenths of the picture stay under
            are dark.
        tolerance: share of each side of the box that may show border.

    Returns:
        Rows and columns; all of them where there is no border, or next to nothing else.
    """
    border_HW = _border(luminance(image_HW3), level)
    height, width = border_HW.shape
    top, bottom, left, right = 0, height, 0, width
    while min(bottom - top, right - left) >= max(1, LEAST_KEPT * min(height, width)):
        columns, rows = slice(left, right), slice(top, bottom)
        shares = [
            float(side.mean())
            for side in (
                border_HW[top, columns],
                border_HW[bottom - 1, columns],
                border_HW[rows, left],
                border_HW[rows, right - 1],
            )
        ]
        worst = shares.index(max(shares))
        if shares[worst] <= tolerance:
            return rows, columns
        top, bottom = top + (worst == 0), bottom - (worst == 1)
        left, right = left + (worst == 2), right - (worst == 3)
    return slice(0, height), slice(0, width)


def _border(grey_HW: np.ndarray, level: float) -> Bool[np.ndarray, "H W"]:
    """Dark pixels that hang together with a corner: what is dark in the middle is no border."""
    kind_HW, count = ndimage.label(grey_HW < level * np.percentile(grey_HW, 90))
    is_border = np.zeros(count + 1, bool)
    is_border[kind_HW[[0, 0, -1, -1], [0, -1, 0, -1]]] = True
    is_border[0] = False  # the bright ones
    return np.asarray(is_border[kind_HW])
