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
    Preprocessing,
    luminance,
    match_bands,
    resize_image,
    to_tensor,
)
from likeness.errors import UserError


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


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_grey_is_luminance(dtype):
    colour = texture(1, 0, side=8, dtype=dtype)
    light = luminance(colour)
    assert (light.shape, light.dtype) == ((8, 8, 1), colour.dtype)
    wanted = colour.astype(np.float64) @ [0.299, 0.587, 0.114]
    assert np.abs(light[..., 0] - wanted).max() < (0.51 if dtype != "float32" else 1e-6)
    for band in range(3):  # what is grey already keeps its numbers
        one = colour[..., band : band + 1]
        np.testing.assert_array_equal(luminance(one.repeat(3, axis=2)), one)


def test_colour_becomes_grey_only_where_asked():
    colour = texture(1, 0, side=8)
    for bands in (1, 3):
        found = match_bands(colour, bands, grey=True)
        np.testing.assert_array_equal(found, luminance(colour).repeat(bands, axis=2))
        one = luminance(colour)
        np.testing.assert_array_equal(match_bands(one, bands, grey=True), found)
    with pytest.raises(DecodeError, match="3 bands where 1 are expected"):
        match_bands(colour, 1)
    with pytest.raises(DecodeError, match="13 bands where 1 are expected"):
        match_bands(texture(1, 0, side=8, bands=13), 1, grey=True)


# --- per-image standardisation ----------------------------------------------------------------


@pytest.mark.parametrize("bands", [1, 3])
def test_each_image_gets_mean_0_and_variance_1(bands):
    preprocessing = prepared(bands, size=16, per_image_standardisation=True)
    image = generator().integers(0, 256, (16, 16, bands), dtype=np.uint8)
    tensor = to_tensor(image, preprocessing)
    pixels = image.astype(np.float64)
    wanted = (pixels - pixels.mean()) / pixels.std()  # over all bands, as TensorFlow has it
    np.testing.assert_allclose(tensor.permute(1, 2, 0).numpy(), wanted, atol=1e-5)
    darker = (image // 4 * 2).astype(np.uint8)
    twice = (darker * 2).astype(np.uint8)  # light and contrast say nothing any more
    torch.testing.assert_close(
        to_tensor(darker, preprocessing), to_tensor(twice, preprocessing), atol=1e-5, rtol=0
    )


def test_an_even_image_becomes_0_and_faint_noise_is_not_blown_up():
    preprocessing = prepared(1, per_image_standardisation=True)
    even = np.full((8, 8, 1), 200, np.uint8)
    assert to_tensor(even, preprocessing).abs().max() < 1e-5
    even[3, 3] = 201  # 1/255 in one of 64: a deviation of 0.0005, which counts as 1/8
    assert to_tensor(even, preprocessing).abs().max() < 1 / 255 * 8 + 1e-6


def test_no_data_counts_for_nothing():
    preprocessing = prepared(3, scale=1.0, per_image_standardisation=True)
    image = texture(1, 0, side=8, dtype="float32")
    image[0, 0], image[5, 5, 1] = np.nan, np.inf
    tensor = to_tensor(image, preprocessing).permute(1, 2, 0).numpy()
    known = np.isfinite(image)
    wanted = (image[known] - image[known].mean()) / image[known].std()
    np.testing.assert_allclose(tensor[known], wanted, atol=1e-5)
    assert not tensor[~known].any()


@pytest.mark.plain
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"grey": True, "bands": 4, "mean": [0.5] * 4, "std": [1.0] * 4}, "bands are 1 or 3 where"),
        ({"per_image_standardisation": True}, "such that mean is 0 and std 1 with per_image"),
        (
            {"size": 4},
            "preprocessing.size must be a side in [8, 4096] pixels, or [height, width] of",
        ),
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
