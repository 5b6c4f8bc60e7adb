import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fixtures.scenes import texture
from likeness.config import parse
from likeness.data.decode import DecodeError
from likeness.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Augmentation,
    Preprocessing,
    augment,
    match_bands,
    resize_image,
    to_tensor,
)
from likeness.errors import UserError

OFF = {"flips": False, "rotate90": False, "crop_scale_min": 1.0}
STILL = {"brightness": 0.0, "contrast": 0.0, "colour": 0.0}


def prepared(bands=3, size=8, **options):
    return Preprocessing(bands=bands, size=size, mean=[0.0] * bands, std=[1.0] * bands, **options)


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 13])
def test_resizing_works_for_any_bands_and_type(dtype, bands):
    image = texture(0, 0, side=24, bands=bands, dtype=dtype)
    small = resize_image(image, prepared(bands, 8))
    assert small.shape == (8, 8, bands)
    assert small.dtype == image.dtype


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(24, 24), (24, 36), (16, 8), (7, 30)])
def test_resizing_is_antialiased_like_torch(dtype, shape):
    scale = 1.0 if dtype == "float32" else np.iinfo(dtype).max
    image = (generator().random((*shape, 4)) * scale).astype(dtype)
    small = resize_image(image, prepared(4, 8)).astype(np.float64)
    channels = torch.from_numpy(image.astype(np.float64)).permute(2, 0, 1)[None]
    wanted = torch.nn.functional.interpolate(
        channels, size=(8, 8), mode="bilinear", antialias=True, align_corners=False
    )[0].permute(1, 2, 0)
    tolerance = 2e-3 * scale if dtype != "uint8" else 1.01
    assert np.abs(small - wanted.numpy()).max() <= tolerance


def test_every_band_is_resized_alike():
    """Pillow takes a fourth band for alpha and weighs the others with it; ours may not."""
    image = texture(0, 0, side=24, bands=3)
    four = np.dstack([image, np.zeros_like(image[..., :1])])
    three_of_four = resize_image(four, prepared(4))[..., :3]
    np.testing.assert_array_equal(three_of_four, resize_image(image, prepared(3)))
    one = resize_image(image[..., 1:2], prepared(1))
    np.testing.assert_array_equal(one, three_of_four[..., 1:2])
    six = np.concatenate([four, image[..., :2]], axis=2)  # beyond Pillow's modes
    three_of_six = resize_image(six, prepared(6))[..., :3]
    assert np.abs(three_of_six.astype(int) - three_of_four).max() <= 1


def test_centre_crop_takes_the_middle_square():
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 8:22] = 200  # the filter reaches a pixel or so beyond the square
    assert (resize_image(image, prepared(resize="centre-crop")) == 200).all()
    assert (resize_image(image.transpose(1, 0, 2), prepared(resize="centre-crop")) == 200).all()
    squashed = resize_image(image, prepared(resize="squash"))
    assert squashed.min() == 0


def test_an_image_of_the_right_size_is_left_alone():
    image = texture(0, 0, side=8)
    np.testing.assert_array_equal(resize_image(image, prepared()), image)


def test_to_tensor_normalises_each_band():
    preprocessing = Preprocessing(size=8, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    image = texture(1, 0, side=8)
    tensor = to_tensor(image, preprocessing)
    wanted = (image.astype(np.float64) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor.permute(1, 2, 0).numpy(), wanted, atol=2e-6)


def test_to_tensor_of_sixteen_bits_and_of_no_data():
    deep = texture(1, 0, side=8, bands=5, dtype="uint16")
    tensor = to_tensor(deep, prepared(5, scale=10_000))
    np.testing.assert_allclose(tensor.permute(1, 2, 0).numpy(), deep / 10_000.0, rtol=1e-6)
    holes = texture(1, 0, side=8, dtype="float32")
    holes[0, 0] = [np.nan, np.inf, -np.inf]
    preprocessing = Preprocessing(size=8, mean=[0.4] * 3, std=[0.2] * 3, scale=1.0)
    tensor = to_tensor(holes, preprocessing)
    assert tensor[:, 0, 0].tolist() == [0.0, 0.0, 0.0]
    assert torch.isfinite(tensor).all()


def test_to_tensor_does_not_touch_or_share_its_input():
    image = texture(1, 0, side=8, bands=1, dtype="float32")
    before = image.copy()
    to_tensor(image, prepared(1)).fill_(9.0)
    np.testing.assert_array_equal(image, before)
    image.flags.writeable = False  # as Pillow's arrays; torch would warn
    to_tensor(image, prepared(1))


def test_grey_is_repeated_and_other_counts_are_refused():
    grey = texture(1, 0, side=8, bands=1)
    assert match_bands(grey, 3).shape == (8, 8, 3)
    assert match_bands(grey, 1) is grey
    with pytest.raises(DecodeError, match="13 bands where 3 are expected"):
        match_bands(texture(1, 0, side=8, bands=13), 3)
    with pytest.raises(DecodeError, match="1 bands where 4 are expected"):
        match_bands(grey, 4)


@pytest.mark.plain
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size": 4}, "preprocessing.size must be greater than or equal to 8, got 4"),
        ({"mean": [0.5]}, "such that mean has one number for each of 3 bands"),
        ({"std": [1.0, 1.0, 0.0]}, "such that every std is > 0"),
        ({"scale": 0.0}, "preprocessing.scale must be greater than 0"),
        ({"resize": "pad"}, "preprocessing.resize must be"),
        ({"sise": 8}, "did you mean 'size'"),
    ],
)
def test_wrong_preprocessing_is_one_sentence(options, sentence):
    whole = {"size": 8, "mean": [0.5] * 3, "std": [0.5] * 3} | options
    with pytest.raises(UserError) as caught:
        parse(Preprocessing, whole, "preprocessing")
    assert sentence in str(caught.value)


def test_preprocessing_survives_json():
    given = Preprocessing(size=64, mean=IMAGENET_MEAN, std=IMAGENET_STD, resize="centre-crop")
    assert Preprocessing.model_validate_json(given.model_dump_json()) == given
    with pytest.raises(ValidationError):
        given.size = 3


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [1, 3, 13])
@pytest.mark.parametrize("size", [None, 16])
def test_augmenting_any_bands_and_type(dtype, bands, size):
    image = texture(0, 0, side=20, bands=bands, dtype=dtype)
    before = image.copy()
    changed = augment(image, Augmentation(), generator(), size=size)
    assert changed.shape == (size or 20, size or 20, bands)
    assert changed.dtype == image.dtype
    assert not np.array_equal(changed, image)
    np.testing.assert_array_equal(image, before)


def test_everything_off_changes_nothing():
    image = texture(0, 0, side=16)
    spec = Augmentation(**OFF, **STILL)
    np.testing.assert_array_equal(augment(image, spec, generator()), image)


def test_randomness_comes_from_the_generator_alone():
    image = texture(0, 0, side=20)
    one = augment(image, Augmentation(), generator(5), size=16)
    two = augment(image, Augmentation(), generator(5), size=16)
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, augment(image, Augmentation(), generator(6), size=16))


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
    spans = [float(np.ptp(augment(ramp, spec, source, size=32))) for _ in range(300)]
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
