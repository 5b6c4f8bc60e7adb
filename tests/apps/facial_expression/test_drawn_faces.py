"""Drawn faces: repeatable, told apart by expression and variant, and found by a detector."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from likeness.errors import UserError
from likeness_apps.facial_expression.drawn_faces import draw_face, paste_head
from likeness_apps.facial_expression.drawn_looks import LOOKS, subject_of, variants
from likeness_apps.facial_expression.expressions import EXPRESSIONS
from likeness_apps.facial_expression.faces.boxes import overlap
from likeness_apps.facial_expression.faces.cascade import CascadeDetector

KINDS = [(expression, variant) for expression in EXPRESSIONS for variant in variants(expression)]


def face(expression: str, variant: str, subject: int, seed: int, size: int = 48) -> np.ndarray:
    return draw_face(expression, variant, subject, size, np.random.default_rng(seed))


def test_all_expressions_are_drawn_and_some_have_variants() -> None:
    assert set(LOOKS) == set(EXPRESSIONS)
    assert len(variants("happiness")) == 3
    assert sum(len(variants(name)) > 1 for name in EXPRESSIONS) == 4


def test_the_same_arguments_draw_the_same_picture() -> None:
    first = face("fear", "plain", 1, 0)
    assert (first.shape, first.dtype) == ((48, 48), np.uint8)
    np.testing.assert_array_equal(first, face("fear", "plain", 1, 0))
    for other in (face("fear", "plain", 1, 1), face("fear", "plain", 2, 0)):
        assert np.abs(first.astype(int) - other).mean() > 2
    assert subject_of(3) == subject_of(3) != subject_of(4)
    assert face("anger", "pressed", 0, 0, size=16).shape == (16, 16)


def test_expressions_and_variants_can_be_told_apart_across_subjects() -> None:
    """A linear model on pixels, trained on some subjects and tested on others; chance is 1/13."""
    numbers = range(14)
    images = [face(*kind, subject=n, seed=n, size=32).ravel() for kind in KINDS for n in numbers]
    labels = np.repeat(np.arange(len(KINDS)), len(numbers))
    held_out = np.tile(np.arange(len(numbers)) % 3 == 0, len(KINDS))
    table = np.array(images) / 255
    model = LogisticRegression(C=0.1, max_iter=200).fit(table[~held_out], labels[~held_out])
    assert 0.35 < model.score(table[held_out], labels[held_out]) < 0.99


def test_the_detector_finds_most_faces_of_60_pixels_and_more() -> None:
    detector, found = CascadeDetector(min_face=40), []
    for number, (expression, variant) in enumerate(KINDS):
        rng = np.random.default_rng(number)
        grain_HW = rng.normal(120, 8, (150, 180)) + np.linspace(-30, 30, 180)
        photo = grain_HW.clip(0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)
        side, (x, y) = int(rng.integers(60, 101)), rng.uniform((75, 65), (105, 85))
        drawn = photo, expression, variant, number
        paste_head(*drawn, centre=(x, y), side=side, generator=rng)
        box = np.array([[x - side / 2, y - side / 2, side, side]])
        found.append(any(overlap(np.array([f[:4]]), box) > 0.5 for f in detector(photo)))
    assert sum(found) >= 0.9 * len(found)


@pytest.mark.parametrize("bands", [(), (3,)])
def test_heads_may_reach_beyond_the_picture(bands: tuple[int, ...]) -> None:
    for centre in ((0.0, 0.0), (100.0, 30.0), (-500.0, 20.0), (50.0, 900.0)):
        photo = np.full((60, 100, *bands), 77, np.uint8)
        rng = np.random.default_rng(0)
        paste_head(photo, "neutral", "plain", 0, centre=centre, side=40, generator=rng)
        outside = centre in ((-500.0, 20.0), (50.0, 900.0))
        assert (photo == 77).all() == outside
        assert (photo[:, 49:51] == 77).all()  # nothing but the head is touched


@pytest.mark.plain
def test_what_cannot_be_drawn() -> None:
    with pytest.raises(UserError, match=r"expression must be one of neutral, .*, got 'bored'"):
        face("bored", "plain", 0, 0)
    with pytest.raises(UserError, match="variant must be one of open, closed, got 'plain'"):
        face("surprise", "plain", 0, 0)
    with pytest.raises(UserError, match="subject must be >= 0, got -1"):
        face("fear", "plain", -1, 0)
    with pytest.raises(UserError, match="size must be of a face of 16 pixels at least"):
        face("fear", "plain", 0, 0, size=8)
