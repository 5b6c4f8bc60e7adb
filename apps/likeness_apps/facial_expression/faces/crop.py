"""From a box to a square picture of the face, and to the small patch that it is known again by.

Legend: H, W height and width of a picture; S side of a square; P pixels of a patch.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy.ndimage import map_coordinates

from likeness.errors import require
from likeness_apps.facial_expression.faces.detector import Face

PATCH = 16  # pixels a side


def crop_face(
    image_HW3: UInt8[np.ndarray, "H W 3"], face: Face, *, margin: float = 0.0, align: bool = False
) -> UInt8[np.ndarray, "S S 3"]:
    """The square around a face, at the picture's own scale.

    Its side is the longer side of the box and the margins, its centre that of the box. What lies
    outside of the picture is filled with the pixels at the edge.

    Args:
        image_HW3: RGB.
        face: where.
        margin: added on each side, as a share of the longer side, in [0, 1].
        align: turn the picture about the centre of the box until the eyes are level. A face whose
            eyes are not known is cut as it is: nothing is made up.

    Raises:
        UserError: if the margin is out of range, or the box is over twice as long as the picture.
    """
    require(0 <= margin <= 1, "margin", "in [0, 1]", margin)
    longer, limit = max(face.width, face.height), 2 * max(image_HW3.shape[:2])
    require(longer <= limit, "face", f"at most {limit} pixels wide and high here", longer)
    side = max(1, round(longer * (1 + 2 * margin)))
    x, y = face.left + face.width / 2, face.top + face.height / 2
    tilt = 0.0 if face.eyes is None else _tilt(*face.eyes)
    if align and tilt:
        return _turned(image_HW3, x, y, side, tilt)
    height, width = image_HW3.shape[:2]
    columns = np.clip(np.arange(side) + round(x - side / 2), 0, width - 1)
    rows = np.clip(np.arange(side) + round(y - side / 2), 0, height - 1)
    crop_SS3: np.ndarray = image_HW3[np.ix_(rows, columns)]
    return crop_SS3


def patch_of(face_SS3: UInt8[np.ndarray, "S S 3"]) -> Float[np.ndarray, " P"]:
    """A face in 16 x 16 grey pixels with mean 0 and length 1, so that products are correlations.

    All 0 where the picture is flat.
    """
    grey = Image.fromarray(face_SS3).convert("L")
    small = np.asarray(grey.resize((PATCH, PATCH), Image.Resampling.BOX), dtype=np.float64)
    patch_P = (small - small.mean()).ravel()
    length = float(np.linalg.norm(patch_P))
    return patch_P / length if length > 1e-9 else np.zeros_like(patch_P)


def _tilt(first: tuple[float, float], second: tuple[float, float]) -> float:
    """How far the line through the eyes falls to the right, as an angle in radians."""
    return math.atan2(second[1] - first[1], second[0] - first[0])


def _turned(
    image_HW3: np.ndarray, x: float, y: float, side: int, tilt: float
) -> UInt8[np.ndarray, "S S 3"]:
    """A square about (x, y) whose rows run along the tilt (bilinear)."""
    away_S = np.arange(side) - (side - 1) / 2
    columns_SS = x - 0.5 + math.cos(tilt) * away_S - math.sin(tilt) * away_S[:, None]
    rows_SS = y - 0.5 + math.sin(tilt) * away_S + math.cos(tilt) * away_S[:, None]
    places = np.stack([rows_SS, columns_SS])  # counted from the centres of pixels
    bands = [
        map_coordinates(image_HW3[..., band].astype(np.float32), places, order=1, mode="nearest")
        for band in range(3)
    ]
    turned_SS3: np.ndarray = np.rint(np.stack(bands, axis=-1))
    return turned_SS3.astype(np.uint8)
