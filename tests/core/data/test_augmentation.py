"""Random crops, flips, turns and colours."""

import math

import numpy as np
import pytest
from scipy.ndimage import rotate as scipys_rotate

from fixtures.scenes import texture
from likeness.config import parse
from likeness.data.augmentation import Augmentation, augment, rotate
from likeness.errors import UserError

OFF = {"flips": False, "rotate90": False, "crop_scale_min": 1.0}
STILL = {"brightness": 0.0, "contrast": 0.0, "colour": 0.0}


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [1, 3, 13])
@pytest.mark.parametrize("size", [None, (16, 16)])
def test_augmenting_any_bands_and_type(dtype, bands, size):
    image = texture(0, 0, side=20, bands=bands, dtype=dtype)
    before = image.copy()
    changed = augment(image, Augmentation(), generator(), size=size)
    assert changed.shape == (*(size or (20, 20)), bands)
    assert changed.dtype == image.dtype
    assert not np.array_equal(changed, image)
    np.testing.assert_array_equal(image, before)


def test_everything_off_changes_nothing():
    image = texture(0, 0, side=16)
    spec = Augmentation(**OFF, **STILL)
    np.testing.assert_array_equal(augment(image, spec, generator()), image)


def test_randomness_comes_from_the_generator_alone():
    image = texture(0, 0, side=20)
    one = augment(image, Augmentation(), generator(5), size=(16, 16))
    two = augment(image, Augmentation(), generator(5), size=(16, 16))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, augment(image, Augmentation(), generator(6), size=(16, 16)))


@pytest.mark.parametrize(
    "spec",
    [
        Augmentation(),
        Augmentation(**OFF, **STILL),
        Augmentation(flips=False),
        Augmentation(rotate90=False, colour=0.0),
    ],
)
def test_an_image_always_takes_the_same_number_of_draws(spec):
    used = generator()
    augment(texture(0, 0, side=16), spec, used)
    fresh = generator()
    fresh.random(10)  # 7 and one for each of three bands
    assert used.random() == fresh.random()


def test_all_eight_symmetries_are_equally_likely():
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    turned = [np.rot90(image, k) for k in range(4)]
    symmetries = [a.tobytes() for a in turned] + [a[:, ::-1].tobytes() for a in turned]
    assert len(set(symmetries)) == 8
    spec, source = Augmentation(crop_scale_min=1.0, **STILL), generator()
    counts = dict.fromkeys(symmetries, 0)
    for _ in range(1600):
        counts[augment(image, spec, source).tobytes()] += 1
    # 200 expected with a standard deviation of 13
    assert min(counts.values()) > 140
    assert max(counts.values()) < 260


def test_flips_alone_mirror_left_and_right_only():
    image = np.arange(4 * 4, dtype=np.uint8).reshape(4, 4, 1)
    spec, source = Augmentation(rotate90=False, crop_scale_min=1.0, **STILL), generator()
    seen = {augment(image, spec, source).tobytes() for _ in range(60)}
    assert seen == {image.tobytes(), image[:, ::-1].tobytes()}


def test_an_oblong_image_keeps_its_shape():
    image = texture(0, 0, side=20)[:12]
    spec, source = Augmentation(), generator()
    assert {augment(image, spec, source).shape for _ in range(40)} == {(12, 20, 3)}


def test_crops_keep_at_least_the_share_they_promise():
    """On a ramp, the range of values that is left is the side of the crop."""
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32)[None, :, None], (64, 1, 1))
    spec = Augmentation(flips=False, rotate90=False, crop_scale_min=0.25, **STILL)
    source = generator()
    spans = [float(np.ptp(augment(ramp, spec, source, size=(32, 32)))) for _ in range(300)]
    assert min(spans) > 0.5 * 0.9
    assert max(spans) > 0.95
    assert np.std(spans) > 0.05


@pytest.mark.parametrize("name", ["brightness", "contrast", "colour"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_each_recolouring_does_what_its_name_says(name, dtype):
    image = texture(2, 0, side=16, dtype=dtype)
    image = (image * 0.5 + 0.25 * (255 if dtype == "uint8" else 1)).astype(dtype)  # no clipping
    spec, source = Augmentation(**OFF, **{**STILL, name: 0.1}), generator()
    pixels = image.astype(np.float64)
    for _ in range(20):
        changed = augment(image, spec, source).astype(np.float64)
        ratio = changed.mean(axis=(0, 1)) / pixels.mean(axis=(0, 1))
        rounding = 0.006 if dtype == "uint8" else 1e-5
        if name == "brightness":
            assert np.ptp(ratio) < rounding
            assert 0.9 - rounding < ratio.mean() < 1.1 + rounding
        elif name == "contrast":
            assert changed.mean() == pytest.approx(pixels.mean(), rel=rounding)
            assert 0.89 < changed.std() / pixels.std() < 1.11
        else:
            assert (np.abs(ratio - 1) < 0.1 + rounding).all()
            assert np.ptp(ratio) > 1e-4


def test_eight_bits_and_floats_are_recoloured_alike():
    image = texture(2, 0, side=16)
    spec = Augmentation(**OFF, brightness=0.5, contrast=0.5, colour=0.3)
    for seed in range(10):
        whole = augment(image, spec, generator(seed)).astype(np.float64)
        exact = augment(image.astype(np.float32), spec, generator(seed)).astype(np.float64)
        assert np.abs(whole - exact.clip(0, 255)).max() <= 0.501


def test_sixteen_bits_are_clipped_not_wrapped():
    image = np.full((8, 8, 2), 65_000, np.uint16)
    spec, source = Augmentation(**OFF, brightness=0.5, contrast=0.0, colour=0.0), generator()
    values = {int(augment(image, spec, source).max()) for _ in range(30)}
    assert max(values) == 65_535
    assert min(values) > 32_000


# --- small angles -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(24, 24, 3), (20, 31, 1)])
@pytest.mark.parametrize("degrees", [-20.0, 7.0, 45.0])
def test_rotation_is_scipys(shape, degrees):
    """Bilinear, mirrored beyond the border, counterclockwise."""
    image = generator().random(shape, dtype=np.float32)
    found = rotate(image, math.radians(degrees))
    wanted = scipys_rotate(image, degrees, axes=(1, 0), reshape=False, order=1, mode="reflect")
    inner = np.s_[3:-3, 3:-3]
    np.testing.assert_allclose(found[inner], wanted[inner], atol=1e-4)
    np.testing.assert_allclose(rotate(image, 0.0), image, atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [1, 3, 5])
def test_rotating_keeps_type_and_shape(dtype, bands):
    image = texture(0, 0, side=20, bands=bands, dtype=dtype)
    spec = Augmentation(**OFF, **STILL, rotate_degrees=20)
    changed = augment(image, spec, generator())
    assert (changed.shape, changed.dtype) == (image.shape, image.dtype)
    assert not np.array_equal(changed, image)
    assert changed.min() >= image.min()
    assert changed.max() <= image.max()


def test_angles_are_even_within_the_limit():
    """Read off a picture whose value is the angle from the middle."""
    across, down = np.meshgrid(np.arange(33) - 16, np.arange(33) - 16)
    image = np.arctan2(-down, across).astype(np.float32)[..., None]
    spec, source = Augmentation(**OFF, **STILL, rotate_degrees=30), generator()
    turned = [augment(image, spec, source)[16, 28, 0] for _ in range(400)]
    angles = np.degrees(turned)
    assert np.abs(angles).max() <= 30.1
    assert angles.min() < -28 < 28 < angles.max()
    assert abs(np.mean(angles)) < 3  # three and a half standard deviations
    assert np.std(angles) == pytest.approx(60 / math.sqrt(12), rel=0.1)


def test_a_small_angle_leaves_the_other_changes_as_they_were():
    """Flip and light are those of the same seed without it."""
    image = texture(1, 0, side=16)
    image = np.broadcast_to(image[:1, :1], image.shape)  # even: no angle shows
    spec = {"rotate90": False, "brightness": 0.3}
    for seed in range(8):
        turned = augment(image, Augmentation(**spec, rotate_degrees=20), generator(seed))
        plain = augment(image, Augmentation(**spec), generator(seed))
        np.testing.assert_array_equal(turned, plain)
    used, fresh = generator(), generator()
    augment(image, Augmentation(**spec, rotate_degrees=20), used)
    fresh.random(10)
    assert used.random() == fresh.random()


def test_no_data_turns_with_the_picture_and_spoils_no_more():
    image = np.full((21, 21, 2), 5.0, np.float32)
    image[2:8, 8:13, 0] = np.nan
    turned = rotate(image, math.pi / 2)
    assert np.isnan(turned[10, 5, 0])
    assert not np.isnan(turned[..., 1]).any()
    assert np.isnan(turned).sum() == pytest.approx(30, abs=6)
    np.testing.assert_allclose(turned[np.isfinite(turned)], 5.0, rtol=1e-5)


@pytest.mark.parametrize("degrees", [-1, 46])
def test_the_angle_is_checked(degrees):
    with pytest.raises(UserError, match="rotate_degrees must be"):
        parse(Augmentation, {"rotate_degrees": degrees}, "augmentation")
