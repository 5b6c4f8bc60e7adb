"""Squares around faces: what is in them, at edges and tilted."""

from __future__ import annotations

import numpy as np
import pytest

from likeness.errors import UserError
from likeness_apps.facial_expression.faces.crop import PATCH, crop_face, patch_of
from likeness_apps.facial_expression.faces.detector import Face

NOISE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def test_the_square_has_the_longer_side_and_the_boxs_centre() -> None:
    crop = crop_face(NOISE, Face(30, 20, 10, 20, 1))
    assert np.array_equal(crop, NOISE[20:40, 25:45])
    assert np.array_equal(crop_face(NOISE, Face(30, 20, 20, 10, 1)), NOISE[15:35, 30:50])


def test_a_margin_is_a_share_of_the_side() -> None:
    crop = crop_face(NOISE, Face(30, 20, 20, 20, 1), margin=0.25)
    assert np.array_equal(crop, NOISE[15:45, 25:55])


def test_beyond_the_edge_its_pixels_go_on() -> None:
    crop = crop_face(NOISE, Face(-5, 50, 20, 20, 1))
    assert crop.shape == (20, 20, 3)
    assert np.array_equal(crop[:10, 5:], NOISE[50:, :15])
    assert (crop[10:, 5:] == NOISE[59, :15]).all()
    assert (crop[:10, :5] == NOISE[50:, :1]).all()


def test_the_smallest_face_is_a_pixel() -> None:
    assert crop_face(NOISE, Face(5.2, 5.2, 0.1, 0.1, 1)).shape == (1, 1, 3)


def spots(tilt: float) -> tuple[np.ndarray, Face]:
    """Two bright eyes on a dark picture, tilted about (60, 50); and the face."""
    x, y = 15 * np.cos(tilt), 15 * np.sin(tilt)
    eyes = ((60 - x, 50 - y), (60 + x, 50 + y))
    rows, columns = np.mgrid[:100, :120] + 0.5
    image = np.zeros((100, 120, 3), np.uint8)
    for eye_x, eye_y in eyes:
        image[(columns - eye_x) ** 2 + (rows - eye_y) ** 2 < 16] = 255
    return image, Face(35, 25, 50, 50, 1, eyes=eyes)


def centres(image: np.ndarray) -> list[tuple[float, float]]:
    """Mean x and y of the bright pixels in the left and in the right half."""
    half = image.shape[1] // 2
    found = []
    for start, part in ((0, image[:, :half]), (half, image[:, half:])):
        rows, columns = np.nonzero(part[..., 0] > 127)
        found.append((columns.mean() + 0.5 + start, rows.mean() + 0.5))
    return found


@pytest.mark.parametrize("tilt", [-0.7, -0.2, 0.3, 0.9])
def test_aligned_eyes_are_level_and_stay_where_they_are(tilt: float) -> None:
    image, face = spots(tilt)
    (x1, y1), (x2, y2) = centres(crop_face(image, face, align=True))
    assert (y1, y2) == pytest.approx((25, 25), abs=0.6)
    assert (x1, x2) == pytest.approx((10, 40), abs=0.6)
    as_is = centres(crop_face(image, face))
    assert abs(as_is[0][1] - as_is[1][1]) > 3


def test_alignment_makes_nothing_up() -> None:
    image, face = spots(0.4)
    blind = face._replace(eyes=None)
    assert np.array_equal(crop_face(image, blind, align=True), crop_face(image, face))
    level = face._replace(eyes=((45, 50), (75, 50)))
    assert np.array_equal(crop_face(image, level, align=True), crop_face(image, face))


@pytest.mark.parametrize(
    ("face", "margin", "said"),
    [
        (Face(0, 0, 10, 10, 1), -0.1, r"margin must be in \[0, 1\], got -0.1"),
        (Face(0, 0, 10, 10, 1), float("nan"), r"margin must be in \[0, 1\], got nan"),
        (Face(-1e9, 0, 2e9, 10, 1), 0.0, "face must be at most 180 pixels wide and high here"),
    ],
)
def test_what_cannot_be_cut(face: Face, margin: float, said: str) -> None:
    with pytest.raises(UserError, match=said):
        crop_face(NOISE, face, margin=margin)


def test_patches_are_correlations() -> None:
    first, other = NOISE[:32, :32], NOISE[20:52, 40:72]
    patch = patch_of(first)
    assert patch.shape == (PATCH**2,)
    assert patch.sum() == pytest.approx(0)
    assert patch @ patch == pytest.approx(1)
    dimmer = (first * 0.5 + 40).astype(np.uint8)
    assert patch @ patch_of(dimmer) > 0.98
    assert patch @ patch_of(255 - first) == pytest.approx(-1, abs=0.02)
    assert abs(patch @ patch_of(other)) < 0.3
    assert not patch_of(np.full((9, 9, 3), 77, np.uint8)).any()
