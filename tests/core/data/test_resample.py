import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from likeness.data.augmentation import Augmentation, augment
from likeness.data.resample import resample, resample_stack
from likeness.data.transforms import Preprocessing, resize_image

NAN = np.float32(np.nan)


def by_pillow(image, tall, wide, box):
    """Each band alone, in Pillow's 32-bit floats."""
    planes = [
        Image.fromarray(np.ascontiguousarray(image[..., band], dtype=np.float32))
        for band in range(image.shape[2])
    ]
    method = Image.Resampling.BILINEAR
    return np.dstack([np.asarray(p.resize((wide, tall), method, box=box)) for p in planes])


def weight(distance, support):
    return max(0.0, 1.0 - abs(distance) / support)


def by_definition(image, tall, wide, box):
    """Every output pixel as the mean of the measured pixels under its triangle, in loops."""
    left, top, right, bottom = box
    high, across = (bottom - top) / tall, (right - left) / wide
    out = np.full((tall, wide, image.shape[2]), np.nan)
    for i, j, band in np.ndindex(*out.shape):
        y, x = top + (i + 0.5) * high, left + (j + 0.5) * across
        total = used = value = 0.0
        for row, column in np.ndindex(*image.shape[:2]):
            share = weight(row + 0.5 - y, max(high, 1)) * weight(column + 0.5 - x, max(across, 1))
            total += share
            if math.isfinite(image[row, column, band]):
                used += share
                value += share * float(image[row, column, band])
        if used >= 0.5 * total:
            out[i, j, band] = value / used
    return out


sides = st.integers(1, 40)
parts = st.tuples(st.floats(0, 0.6), st.floats(0, 0.6), st.floats(0.3, 1), st.floats(0.3, 1))


@settings(max_examples=60)
@given(sides, sides, sides, sides, parts, st.sampled_from(["uint8", "uint16", "float32"]))
def test_it_is_what_pillow_does_in_every_band(height, width, tall, wide, part, dtype):
    image = np.random.default_rng(0).integers(0, 200, (height, width, 5)).astype(dtype)
    left, top = part[0] * width, part[1] * height
    box = (left, top, left + part[2] * (width - left), top + part[3] * (height - top))
    ours = resample(image, tall, wide, box)
    assert (ours.dtype, ours.shape) == (np.float32, (tall, wide, 5))
    np.testing.assert_allclose(ours, by_pillow(image, tall, wide, box), atol=2e-3)


@pytest.mark.parametrize("size", [(5, 4), (9, 11), (16, 12)])
@pytest.mark.parametrize("box", [(0.0, 0.0, 11.0, 9.0), (1.3, 2.2, 9.1, 8.9)])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_no_data_weighs_nothing(size, box, share):
    generator = np.random.default_rng(1)
    image = generator.normal(100, 10, (9, 11, 2)).astype(np.float32)
    image[generator.random(image.shape) < share] = NAN
    ours, wanted = resample(image, *size, box), by_definition(image, *size, box)
    clear = ~_on_the_edge(image, size, box)
    np.testing.assert_allclose(ours[clear], wanted[clear], rtol=1e-5)
    assert clear.mean() > 0.9


def _on_the_edge(image, size, box):
    """Where just half of the weight is measured, up to rounding."""
    measured = resample(np.isfinite(image).astype(np.float32), *size, box)
    return np.abs(measured - 0.5) < 1e-6


def test_a_hole_keeps_its_size():
    image = np.full((40, 40, 3), 7.0, np.float32)
    image[10:30, 10:30, 1] = NAN
    for side in (20, 40, 57):
        small = resample(image, side, side, (0.0, 0.0, 40.0, 40.0))
        missing = np.isnan(small)
        assert not missing[..., [0, 2]].any()
        assert math.sqrt(missing[..., 1].sum()) == pytest.approx(side / 2, abs=1.0)
        np.testing.assert_allclose(small[~missing], 7.0, rtol=1e-6)


def test_infinity_is_no_data_too_and_nothing_measured_stays_nothing():
    image = np.ones((8, 8, 1), np.float32)
    image[0, 0], image[7, 7] = np.inf, -np.inf
    small = resample(image, 4, 4, (0.0, 0.0, 8.0, 8.0))
    assert (small[np.isfinite(small)] == 1).all()
    assert np.isfinite(small).sum() >= 14
    assert np.isnan(resample(np.full((8, 8, 1), NAN), 4, 4, (0.0, 0.0, 8.0, 8.0))).all()


@pytest.mark.parametrize("side", [64, 300])
def test_the_number_of_threads_changes_no_bit(side):
    image = np.random.default_rng(0).normal(size=(side, side, 13)).astype(np.float32)
    box = (3.3, 1.7, side - 2.9, side - 4.1)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(resample(image, 48, 80, box))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_more_bands_are_augmented_as_three_are(dtype):
    """The first three of five bands see the same crop and turn as an image of three."""
    top = 1.0 if dtype == "float32" else np.iinfo(dtype).max
    image = (np.random.default_rng(0).random((40, 40, 5)) * 0.5 * top).astype(dtype)
    spec = Augmentation(colour=0.0, contrast=0.0)
    for seed in range(8):
        five = augment(image, spec, np.random.default_rng(seed), size=(32, 32)).astype(float)
        three = augment(image[..., :3], spec, np.random.default_rng(seed), size=(32, 32)).astype(
            float
        )
        tolerance = 1.5 if dtype == "uint8" else 1e-5 * top + (dtype == "uint16")
        assert np.abs(five[..., :3] - three).max() <= tolerance


def test_augmented_holes_stay_holes():
    image = np.full((40, 40, 4), 0.5, np.float32)
    image[12:28, 12:28] = NAN
    spec = Augmentation(crop_scale_min=0.9)
    changed = augment(image, spec, np.random.default_rng(0), size=(40, 40))
    share = float(np.isnan(changed).mean())
    assert 0.12 < share < 0.25  # 0.16 of the image; a crop of 0.9 makes it 0.18
    assert np.isfinite(changed[0]).all()
    nothing = np.full((20, 20, 4), NAN)
    assert np.isnan(augment(nothing, Augmentation(), np.random.default_rng(0), size=(16, 16))).all()


def test_resizing_does_not_write_into_its_input():
    image = np.random.default_rng(0).random((20, 20, 5)).astype(np.float32)
    image[3, 3] = NAN
    before = image.copy()
    image.flags.writeable = False
    preprocessing = Preprocessing(bands=5, size=8, mean=[0.0] * 5, std=[1.0] * 5)
    resize_image(image, preprocessing)
    augment(image, Augmentation(), np.random.default_rng(0), size=(16, 16))
    np.testing.assert_array_equal(image, before)


def stack_of(image, tall, wide):
    """One image through `resample_stack`, twice beside another one."""
    other = np.zeros_like(image)
    stack = torch.from_numpy(np.stack([image, other, image])).permute(0, 3, 1, 2)
    first, _, last = resample_stack(stack, tall, wide).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(first, last)
    return first


def whole_image_by_pillow(image, tall, wide):
    """In 8-bit steps, each band alone."""
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(image, -1, 0)]
    method = Image.Resampling.BILINEAR
    return np.dstack([np.asarray(plane.resize((wide, tall), method)) for plane in planes])


@pytest.mark.parametrize("bands", [1, 3, 4])
@pytest.mark.parametrize("levels", [256, 2])
@pytest.mark.parametrize(
    ("side", "size"), [(96, 64), (256, 128), (100, 64), (256, 224), (60, 64), (171, 168)]
)
def test_a_stack_is_what_pillow_does_but_for_a_level_now_and_then(side, size, bands, levels):
    image = np.random.default_rng(0).integers(0, levels, (side, side, bands)) * (
        255 // (levels - 1)
    )
    image = image.astype(np.uint8)
    found = stack_of(image, size, size)
    apart = np.abs(found.astype(int) - whole_image_by_pillow(image, size, size))
    assert found.dtype == np.uint8
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.02


@settings(max_examples=60)
@given(sides, sides, sides, sides)
def test_a_stack_of_any_shape_is_never_more_than_a_level_off(height, width, tall, wide):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    apart = stack_of(image, tall, wide).astype(int) - whole_image_by_pillow(image, tall, wide)
    assert np.abs(apart).max() <= 1


@settings(max_examples=40)
@given(sides, sides, sides, sides, st.sampled_from(["uint8", "uint16", "float32"]))
def test_a_stack_of_many_bands_is_filtered_in_floats(height, width, tall, wide, dtype):
    image = np.random.default_rng(0).integers(0, 200, (height, width, 5)).astype(dtype)
    found = stack_of(image, tall, wide)
    wanted = by_pillow(image, tall, wide, (0, 0, width, height))
    if dtype == "float32":
        np.testing.assert_allclose(found, wanted, atol=2e-3)
    else:
        assert (found == np.rint(found)).all()
        assert np.abs(found - wanted).max() <= 0.5 + 2e-3
