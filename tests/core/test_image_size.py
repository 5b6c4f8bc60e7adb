"""One number or two: how the size of a network's input is written."""

import pytest

from likeness.image_size import LARGEST_SIDE, height_width, in_words, read_image_size


def test_a_square_is_one_number_however_it_is_written():
    assert read_image_size(64, least=8) == read_image_size([64, 64], least=8) == 64
    assert read_image_size((256, 128), least=8) == (256, 128)
    assert read_image_size([8, LARGEST_SIDE], least=8) == (8, LARGEST_SIDE)


@pytest.mark.parametrize(
    "value",
    [7, LARGEST_SIDE + 1, [64], [], [64, 7], [64, 64, 64], 64.0, True, "64", None, [64, "8"]],
)
def test_anything_else_is_refused(value):
    with pytest.raises(ValueError, match=r"a side in \[8, 4096\] pixels, or \[height, width\]"):
        read_image_size(value, least=8)


def test_height_comes_first():
    assert height_width(64) == (64, 64)
    assert height_width((256, 128)) == (256, 128)
    assert (in_words(64), in_words((256, 128))) == ("64", "256 x 128")
