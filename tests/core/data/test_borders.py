import numpy as np
import pytest

from likeness.data.borders import bright_box

USUAL = {"level": 0.25, "tolerance": 0.05}


def field(height=150, width=200, radius=75.0, dark=8):
    """A bright disc in the dark."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    inside = np.hypot(rows - height / 2, columns - width / 2) < radius
    return np.where(inside[..., None], (210, 160, 150), dark).astype(np.uint8)


def sides(box):
    return tuple(part.stop - part.start for part in box)


@pytest.mark.parametrize(("height", "width"), [(150, 200), (200, 150), (120, 120), (90, 160)])
def test_a_round_field_leaves_about_its_inscribed_square(height, width):
    radius = min(height, width) / 2
    image = field(height, width, radius)
    box = bright_box(image, **USUAL)
    assert min(sides(box)) >= 1.2 * radius
    assert (image[box] < 20).all(axis=2).mean() < 0.03
    rows, columns = box
    assert abs(rows.start + rows.stop - height) <= 2
    assert abs(columns.start + columns.stop - width) <= 2


def test_without_tolerance_no_border_is_left():
    image = field()
    box = bright_box(image, level=0.25, tolerance=0.0)
    assert image[box].min() > 100
    assert min(sides(box)) >= 0.65 * 150


def test_bars_are_cut_off_to_the_pixel():
    image = np.full((100, 140, 3), 180, np.uint8)
    image[:13], image[-7:], image[:, :21] = 0, 3, 5
    assert bright_box(image, **USUAL) == (slice(13, 93), slice(21, 140))


@pytest.mark.parametrize(
    "image",
    [
        np.full((40, 60, 3), 0, np.uint8),
        np.full((40, 60, 3), 9, np.uint8),
        np.full((40, 60, 3), 255, np.uint8),
        np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8),
        field(100, 100, radius=15),  # a field too small to be one
        np.zeros((1, 1, 3), np.uint8),
    ],
    ids=["black", "dark", "white", "noise", "small field", "one pixel"],
)
def test_without_a_border_all_is_kept(image):
    height, width = image.shape[:2]
    assert bright_box(image, **USUAL) == (slice(0, height), slice(0, width))


def test_a_dark_spot_is_no_border_even_at_a_side():
    image = np.full((100, 140, 3), 180, np.uint8)
    image[30:70, 40:100] = 2
    image[40:80, :30] = 2
    assert bright_box(image, **USUAL) == (slice(0, 100), slice(0, 140))
