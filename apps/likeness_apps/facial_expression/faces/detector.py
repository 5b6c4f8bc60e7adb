"""What finds faces in a picture: any function, and the boxes that it gives.

A better detector than the one that comes with this package is plugged in by a function of a few
lines; here one whose library gives corners, a score and five points, as RetinaFace does:

    def detector(image_HW3):
        for left, top, right, bottom, score, points in library.detect(image_HW3):
            yield Face(left, top, right - left, bottom - top, score, eyes=tuple(points[:2]))

    predict_photos(model, "photographs", "faces.parquet", detector=detector)

Legend: H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import UInt8

from likeness.errors import UserError

Point = tuple[float, float]  # x, y in pixels


class Face(NamedTuple):
    """Where a face is, in pixels of the picture; pixel 0 covers 0 to 1.

    Attributes:
        left: of the box.
        top: of the box.
        width: of the box, > 0.
        height: of the box, > 0.
        score: how sure the detector is, larger is surer; the scale is the detector's own.
        eyes: the two eyes, the one further left in the picture first; None if they are not known.
    """

    left: float
    top: float
    width: float
    height: float
    score: float
    eyes: tuple[Point, Point] | None = None


class Detector(Protocol):
    """Finds faces.

    The answer depends on the picture alone: pictures may come in any order, from several threads,
    and again when a stopped call goes on.
    """

    def __call__(self, image_HW3: UInt8[np.ndarray, "H W 3"], /) -> Iterable[Face]:
        """The faces in an RGB picture, in any order; plain tuples like `Face` do as well."""


def faces_in(image_HW3: UInt8[np.ndarray, "H W 3"], detector: Detector) -> list[Face]:
    """The faces that a detector finds, from left to right.

    Boxes whose centre is outside of the picture are left out.

    Raises:
        UserError: if the detector returns something else than faces. What it raises is passed on.
    """
    height, width = image_HW3.shape[:2]
    found = [_face_of(row) for row in detector(image_HW3)]
    inside = [face for face in found if _is_inside(face, height, width)]
    return sorted(inside, key=lambda face: face[:5])


def described(detector: Detector) -> dict[str, Any]:
    """Plain data that tells a detector from others: its `settings`, or else its name."""
    settings = getattr(detector, "settings", None)
    if isinstance(settings, Mapping):
        return dict(settings)
    named = getattr(detector, "__qualname__", type(detector).__qualname__)
    return {"detector": str(named)}


def _face_of(row: Any) -> Face:
    try:
        *box, eyes = (*row, None) if len(row) == 5 else row
        left, top, width, height, score = (float(value) for value in box)
        if eyes is not None:
            (x1, y1), (x2, y2) = eyes
            first, second = sorted([(float(x1), float(y1)), (float(x2), float(y2))])
            eyes = first, second
        face = Face(left, top, width, height, score, eyes)
        if _is_sound(face):
            return face
    except (TypeError, ValueError):
        pass
    raise UserError(
        "detector must return faces (left, top, width, height, score and perhaps eyes) of finite "
        f"numbers with width and height > 0, got {row!r}"
    )


def _is_sound(face: Face) -> bool:
    points = () if face.eyes is None else (*face.eyes[0], *face.eyes[1])
    return all(map(math.isfinite, (*face[:5], *points))) and face.width > 0 and face.height > 0


def _is_inside(face: Face, height: int, width: int) -> bool:
    x, y = face.left + face.width / 2, face.top + face.height / 2
    return 0 <= x < width and 0 <= y < height
