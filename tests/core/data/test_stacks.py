"""Many images at once are what each is alone."""

import numpy as np
import pytest
import torch

from likeness.data.decode import DecodeError
from likeness.data.stacks import prepare_images
from likeness.data.transforms import Preprocessing, match_bands, resize_image, to_tensor

LEVEL = 1 / (255 * 0.2)  # of an 8-bit pixel, in the network's input


def settings(bands, size=16, **kw):
    """As of training: means and deviations differ from band to band."""
    mean, std = [0.1 * (band + 1) for band in range(bands)], [0.2 + band for band in range(bands)]
    return Preprocessing(bands=bands, size=size, mean=mean, std=std, **kw)


def noise(*shape, dtype="uint8", seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


def alone(image, preprocessing):
    matched = match_bands(image, preprocessing.bands, grey=preprocessing.grey)
    return to_tensor(resize_image(matched, preprocessing), preprocessing)


def assert_as_alone(images, preprocessing, tolerance):
    found = prepare_images(images, preprocessing)
    assert len(found) == len(images)
    for image, one in zip(images, found, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, alone(image, preprocessing), atol=tolerance, rtol=0)


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("side", [11, 16, 24, 41])
def test_every_image_is_at_its_place(bands, dtype, side):
    images = [noise(side, side, bands, dtype=dtype, seed=seed) for seed in range(5)]
    exact = 1e-4 * LEVEL if dtype == "float32" or side == 16 else 1.001 * LEVEL
    assert_as_alone(images, settings(bands), exact)


def test_sizes_types_and_holes_may_be_mixed():
    holed = noise(24, 24, 3, dtype="float32")
    holed[3:9, 5:7, 1] = np.nan
    endless = noise(24, 24, 3, dtype="float32", seed=1)
    endless[0, 0] = np.inf
    images = [
        noise(24, 24, 3),
        holed,
        noise(30, 24, 3),
        noise(24, 24, 3, dtype="uint16"),
        noise(31, 31, 3),
        endless,
        noise(24, 24, 3, seed=2),
        noise(24, 24, 3, dtype="float32", seed=3),
    ]
    assert_as_alone(images, settings(3), 1.001 * LEVEL)
    assert_as_alone(images, settings(3, resize="centre-crop"), 1.001 * LEVEL)
    assert all(torch.isfinite(one).all() for one in prepare_images(images, settings(3)))


def test_grey_is_repeated_for_three_bands():
    (found,) = prepare_images([noise(24, 24, 1)], settings(3))
    assert found.shape == (3, 16, 16)
    assert_as_alone([noise(24, 24, 1)], settings(3), 1.001 * LEVEL)


@pytest.mark.parametrize("bands", [1, 3])
def test_colour_becomes_grey_and_each_image_is_standardised(bands):
    options = {"mean": [0.0] * bands, "std": [1.0] * bands, "bands": bands, "size": 16}
    preprocessing = Preprocessing(**options, grey=True, per_image_standardisation=True)
    images = [noise(24, 24, 3), noise(24, 24, 1, seed=1), noise(16, 16, 3, seed=2) // 2]
    images.append(noise(18, 23, 1, seed=3))  # made alone
    assert_as_alone(images, preprocessing, 0.02)
    for one in prepare_images(images, preprocessing):
        assert one.mean().item() == pytest.approx(0, abs=1e-5)
        assert one.square().mean().item() == pytest.approx(1, abs=1e-4)  # none is nearly even


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_company_changes_no_bit(dtype):
    images = [noise(37, 37, 3, dtype=dtype, seed=seed) for seed in range(6)]
    together = prepare_images(images, settings(3))
    for image, one in zip(images, together, strict=True):
        np.testing.assert_array_equal(one, prepare_images([image], settings(3))[0])


@pytest.mark.parametrize("side", [16, 24])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_images_are_only_read(side, dtype):
    """Windows are views of a scene's rows, shared with their neighbours."""
    rows = noise(side, side + 8, 3, dtype=dtype)
    before = rows.copy()
    prepare_images([rows[:, left : left + side] for left in (0, 4, 8)], settings(3))
    prepare_images([rows[:, :side]], settings(3))
    np.testing.assert_array_equal(rows, before)


def test_none_and_too_many_bands():
    assert prepare_images([], settings(3)) == []
    with pytest.raises(DecodeError, match="4 bands where 3 are expected"):
        prepare_images([noise(24, 24, 3), noise(24, 24, 4)], settings(3))
