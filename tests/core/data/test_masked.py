"""Picture and mask go through the same cuts: the picture is drawn from its mask here."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likeness.data.cache import load_image
from likeness.data.decode import DecodeError
from likeness.data.masked import view_of
from likeness.data.steps import CropDarkBorder, CropToMask, ShadesOfGrey
from likeness.data.transforms import Preprocessing


def preprocessing(size=32, resize="squash", steps=()) -> Preprocessing:
    return Preprocessing(size=size, mean=[0.5] * 3, std=[0.2] * 3, resize=resize, steps=list(steps))


def write_pair(folder: Path, *, size=(90, 120), mask_size=None) -> Path:
    """Skin of 190 with a lesion of 90 where the mask is, in a frame of black."""
    picture = np.full((*size, 3), 190, np.uint8)
    mask = np.zeros(size, np.uint8)
    mask[30:70, 20:60] = 255
    picture[mask > 0] = 90
    picture[:, -12:] = 0
    Image.fromarray(picture).save(folder / "a.png")
    shown = Image.fromarray(mask)
    shown = shown if mask_size is None else shown.resize(mask_size, Image.Resampling.NEAREST)
    shown.save(folder / "a_segmentation.png")
    return folder / "a.png"


@pytest.mark.parametrize("resize", ["squash", "centre-crop"])
@pytest.mark.parametrize(
    "steps",
    [(), (CropDarkBorder(),), (CropToMask(margin=0.3),), (CropDarkBorder(), CropToMask())],
)
def test_the_mask_lies_on_the_lesion_whatever_was_cut(tmp_path, steps, resize):
    view = view_of(write_pair(tmp_path), preprocessing(resize=resize, steps=steps), side=90)
    assert view.mask_HW is not None
    assert view.mask_HW.shape == view.image_HWC.shape[:2]
    np.testing.assert_array_equal(view.mask_HW, view.image_HWC[..., 0] == 90)
    height, width = view.mask_HW.shape
    assert (height == width) or resize == "squash"
    assert 0 < view.mask_HW.mean() < 1


def test_it_is_what_the_network_gets(tmp_path):
    """Made small in the same way it is `load_image`, but for the rounding of a scaled edge."""
    path = write_pair(tmp_path)
    given = preprocessing(size=32, steps=[CropDarkBorder(), ShadesOfGrey()])
    view = view_of(path, given, side=32)
    small = Image.fromarray(view.image_HWC).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(small, int) - load_image(path, given).astype(int)).mean() < 3


def test_a_mask_of_a_jpeg_is_scaled_with_it(tmp_path):
    path = write_pair(tmp_path, size=(360, 480))
    Image.open(path).save(tmp_path / "a.jpg", quality=95)
    view = view_of(tmp_path / "a.jpg", preprocessing(), side=80)
    assert view.image_HWC.shape[:2] == (90, 120)  # decoded at a quarter
    assert view.mask_HW is not None
    assert view.mask_HW.shape == (90, 120)
    assert view.mask_HW.mean() == pytest.approx(40 * 40 / (360 * 480), rel=0.05)


def test_no_mask_and_a_mask_of_another_image(tmp_path):
    path = write_pair(tmp_path, mask_size=(50, 40))
    view = view_of(path, preprocessing(), side=90)
    assert view.mask_HW is None
    assert view.mask_reason == "its mask has 50 x 40 pixels, the image 120 x 90"
    (tmp_path / "a_segmentation.png").write_bytes(b"nothing")
    view = view_of(path, preprocessing(), side=90)
    assert view.mask_HW is None
    assert view.mask_reason
    (tmp_path / "a_segmentation.png").unlink()
    assert view_of(path, preprocessing(), side=90)[1:] == (None, "")


def test_a_broken_image_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(DecodeError, match="no image format"):
        view_of(tmp_path / "a.png", preprocessing(), side=90)
