"""What a detector may return, and what is said of one that returns something else."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from likeness.errors import UserError
from likeness_apps.facial_expression.faces.cascade import CascadeDetector
from likeness_apps.facial_expression.faces.detector import Face, described, faces_in

PICTURE = np.zeros((60, 80, 3), np.uint8)


def finding(*rows: Any) -> Any:
    return lambda image: iter(rows)


def test_faces_come_from_left_to_right_in_any_form() -> None:
    rows = [np.array([40, 5, 10, 10, 0.5]), (3, 9, 8.5, 7, 2), Face(20, 1, 4, 4, 1)]
    found = faces_in(PICTURE, finding(*rows))
    assert found == [(3, 9, 8.5, 7, 2, None), (20, 1, 4, 4, 1, None), (40, 5, 10, 10, 0.5, None)]
    assert all(type(value) is float for face in found for value in face[:5])


def test_eyes_are_put_in_the_pictures_order() -> None:
    (face,) = faces_in(PICTURE, finding((5, 5, 20, 20, 1, ((22, 9), (8, 10)))))
    assert face.eyes == ((8, 10), (22, 9))


def test_boxes_outside_of_the_picture_are_no_faces() -> None:
    inside = [(-9, -9, 20, 20, 1), (70, 50, 18, 18, 1)]
    outside = [(-11, 5, 20, 20, 1), (70, 5, 20, 20, 1), (5, 55, 10, 10, 1)]
    found = faces_in(PICTURE, finding(*inside, *outside))
    assert [face[:2] for face in found] == [(-9, -9), (70, 50)]


@pytest.mark.parametrize(
    "row",
    [
        *((1, 2, 3, 4), (1, 2, 3, 4, 5, 6, 7), (1, 2, 0, 4, 5), (1, 2, 3, -4, 5)),
        *((1, 2, 3, float("nan"), 5), (1, float("inf"), 3, 4, 5), (1, 2, 3, 4, None)),
        *("box", 5, None, (1, 2, 3, 4, 5, (1, 2)), (1, 2, 3, 4, 5, ((1, 2), (3, float("nan"))))),
    ],
)
def test_what_is_no_face_is_refused(row: Any) -> None:
    with pytest.raises(UserError, match="detector must return faces"):
        faces_in(PICTURE, finding(row))


def test_what_a_detector_raises_is_passed_on() -> None:
    def broken(image: np.ndarray) -> list[Face]:
        raise RuntimeError("no device")

    with pytest.raises(RuntimeError, match="no device"):
        faces_in(PICTURE, broken)


def test_detectors_are_told_apart() -> None:
    class Mine:
        def __call__(self, image: np.ndarray) -> list[Face]:
            return []

    assert described(lambda image: [])["detector"].endswith("<lambda>")
    assert described(Mine())["detector"].endswith("Mine")
    assert described(partial(finding, 1)) == {"detector": "partial"}
    assert described(CascadeDetector(min_face=30)) != described(CascadeDetector(min_face=31))
