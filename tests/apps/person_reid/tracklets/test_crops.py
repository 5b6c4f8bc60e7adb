"""Regions of boxes, against a count of pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from likeness.errors import UserError
from likeness_apps.person_reid.tracklets.crops import Region, region_of, visible, write_crop
from likeness_apps.person_reid.tracklets.detections import Box

HEIGHT, WIDTH = 9, 13
SIZE = HEIGHT, WIDTH
edges = st.floats(-30, 30, allow_nan=False)
sides = st.floats(0.25, 40)


def touched(box: Box) -> set[tuple[int, int]]:
    """The pixels that overlap a box by more than nothing, one by one."""
    return {
        (x, y)
        for x in range(WIDTH)
        for y in range(HEIGHT)
        if min(x + 1, box.left + box.width) > max(x, box.left)
        and min(y + 1, box.top + box.height) > max(y, box.top)
    }


@given(left=edges, top=edges, width=sides, height=sides)
def test_a_region_holds_just_the_pixels_that_the_box_touches(
    left: float, top: float, width: float, height: float
) -> None:
    box = Box(1, 1, left, top, width, height)
    pixels, region = touched(box), region_of(box, SIZE)
    if not pixels:
        assert region is None
        return
    assert region is not None
    columns, rows = zip(*pixels, strict=True)
    assert region == Region(min(columns), min(rows), max(columns) + 1, max(rows) + 1)


@given(left=edges, top=edges, width=sides, height=sides)
@example(left=0.0, top=1.0, width=1.0, height=0.999)  # (1 + 0.999) - 1 > 0.999
def test_the_visible_share_by_a_grid_of_points(
    left: float, top: float, width: float, height: float
) -> None:
    steps = (np.arange(200) + 0.5) / 200
    across, down = left + width * steps, top + height * steps
    shares = [((at > 0) & (at < end)).mean() for at, end in ((across, WIDTH), (down, HEIGHT))]
    found = visible(Box(1, 1, left, top, width, height), SIZE)
    assert found == pytest.approx(shares[0] * shares[1], abs=0.011)
    assert 0 <= found <= 1


def test_padding_is_a_share_of_the_box_and_ends_at_the_edge() -> None:
    box = Box(1, 1, 4, 2, 4, 2)
    assert region_of(box, SIZE) == (4, 2, 8, 4)
    assert region_of(box, SIZE, 0.5) == (2, 1, 10, 5)
    assert region_of(box, SIZE, 1.0) == (0, 0, 12, 6)


def test_padding_does_not_bring_a_box_into_the_picture() -> None:
    assert region_of(Box(1, 1, -5, 0, 4, 4), SIZE, 1.0) is None
    assert region_of(Box(1, 1, -4, 0, 4, 4), SIZE, 1.0) is None  # it ends where the picture begins


def test_a_crop_is_written_with_nothing_else(tmp_path: Path) -> None:
    image_HW3 = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image_HW3[2:4, 4:8] = 255
    file = tmp_path / "new" / "crop.jpg"
    write_crop(image_HW3, Region(4, 2, 8, 4), file)
    with Image.open(file) as picture:
        assert (picture.format, picture.size) == ("JPEG", (4, 2))
        assert np.asarray(picture).min() > 250
        assert not picture.getexif()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"^out must be a writable place"):
        write_crop(np.zeros((4, 4, 3), np.uint8), Region(0, 0, 2, 2), tmp_path / "file" / "a.jpg")
