import numpy as np
import pytest

from fixtures.dark_lines import draw_lines, skin_like
from likeness.config import parse
from likeness.data.decode import DecodeError
from likeness.data.steps import (
    CropDarkBorder,
    CropToMask,
    RemoveDarkLines,
    ShadesOfGrey,
    apply_steps,
    mask_box,
    remove_dark_lines,
    shades_of_grey,
    side_needed,
)
from likeness.data.transforms import Preprocessing
from likeness.errors import UserError

ALL = (ShadesOfGrey(), RemoveDarkLines(), CropDarkBorder(), CropToMask())


def noise(seed=0, shape=(30, 40, 3), low=5, high=200):
    return np.random.default_rng(seed).integers(low, high, shape, dtype=np.uint8)


def mean_of_order(image, p):
    """By the definition, pixel by pixel."""
    return [
        (
            sum((value / 255) ** p for value in image[..., band].ravel().tolist())
            / image[..., 0].size
        )
        ** (1 / p)
        for band in range(3)
    ]


@pytest.mark.parametrize("p", [1.0, 2.5, 6.0])
def test_shades_of_grey_by_the_definition(p):
    image = noise(low=5, high=120) * np.array([1, 1, 2], np.uint8)
    image[..., 1] = image[..., 1] // 2
    light = np.array(mean_of_order(image, p))
    gain = np.sqrt((light**2).sum() / 3) / light
    wanted = np.floor(np.minimum(image * gain, 255) + 0.5)
    assert np.abs(shades_of_grey(image, p=p) - wanted).max() <= 1
    assert (shades_of_grey(image, p=p) == wanted).mean() > 0.999


def test_after_shades_of_grey_the_light_is_grey_and_as_bright():
    image = (noise(high=120) * np.array([1.0, 0.6, 0.4])).astype(np.uint8)
    before, after = (np.array(mean_of_order(i, 6)) for i in (image, shades_of_grey(image)))
    assert np.ptp(before) > 0.2
    assert np.ptp(after) < 0.01
    assert np.linalg.norm(after) == pytest.approx(np.linalg.norm(before), rel=0.01)


def test_grey_light_and_black_borders_change_nothing():
    grey = np.repeat(noise(shape=(30, 40, 1)), 3, axis=2)
    np.testing.assert_array_equal(shades_of_grey(grey), grey)
    image = noise() // np.array([1, 2, 3], np.uint8)
    framed = np.pad(image, ((50, 50), (60, 60), (0, 0)))
    np.testing.assert_array_equal(shades_of_grey(framed)[50:-50, 60:-60], shades_of_grey(image))


@pytest.mark.parametrize("p", [1.0, 6.0, 100.0])
def test_shades_of_grey_without_light(p):
    for image in (np.zeros((4, 5, 3), np.uint8), noise(shape=(1, 1, 3)), noise(low=255, high=256)):
        image[..., 2] = 0
        np.testing.assert_array_equal(shades_of_grey(image, p=p), image)
    full = np.full((4, 5, 3), 255, np.uint8)
    np.testing.assert_array_equal(shades_of_grey(full, p=p), full)


def test_a_box_around_a_mask():
    mask = np.zeros((100, 200), bool)
    mask[40:60, 50:90] = True
    assert mask_box(mask, 0.0) == (slice(40, 60), slice(50, 90))
    assert mask_box(mask, 0.25) == (slice(30, 70), slice(40, 100))
    assert mask_box(mask, 10.0) == (slice(0, 100), slice(0, 200))
    assert mask_box(np.zeros((3, 4), bool), 0.5) == (slice(0, 3), slice(0, 4))


def test_steps_are_done_in_their_order_and_the_mask_is_cut_along():
    rng = np.random.default_rng(0)
    image = draw_lines(skin_like(rng), rng)[0]
    image[:, :40] = 0
    mask = np.zeros((150, 200), bool)
    mask[60:90, 80:120] = True
    border, cut = CropDarkBorder(), CropToMask(margin=0.5)
    np.testing.assert_array_equal(
        apply_steps(image, (border, cut, ShadesOfGrey()), mask),
        shades_of_grey(image[40:110, 60:140]),
    )
    np.testing.assert_array_equal(
        apply_steps(image, (ShadesOfGrey(), cut), mask), shades_of_grey(image)[40:110, 60:140]
    )
    cleaned = remove_dark_lines(image, RemoveDarkLines())
    np.testing.assert_array_equal(
        apply_steps(image, (RemoveDarkLines(), border)), apply_steps(cleaned, (border,))
    )
    np.testing.assert_array_equal(
        apply_steps(image, (border, RemoveDarkLines())),
        remove_dark_lines(image[:, 40:], RemoveDarkLines()),
    )
    assert apply_steps(image, (cut,)) is image
    assert apply_steps(image, ()) is image


def test_the_options_of_line_removal_count():
    rng = np.random.default_rng(0)
    image = draw_lines(skin_like(rng), rng)[0]
    whole = remove_dark_lines(image, RemoveDarkLines())
    assert (whole != image).any()
    for options in ({"width": 0.001, "contrast": 60.0}, {"length": 1.0}, {"contrast": 60.0}):
        other = apply_steps(image, (RemoveDarkLines(**options),))
        assert (other != whole).any()


@pytest.mark.parametrize("step", ALL, ids=lambda step: step.name)
@pytest.mark.parametrize(
    ("shape", "dtype"), [((9, 9, 1), "uint8"), ((9, 9, 13), "uint8"), ((9, 9, 3), "uint16")]
)
def test_other_images_are_refused_by_the_name_of_the_step(step, shape, dtype):
    reason = f"{dtype} pixels of {shape[2]} bands, where {step.name} takes uint8 of 3"
    with pytest.raises(DecodeError, match=reason):
        apply_steps(np.ones(shape, dtype), (step,))


@pytest.mark.parametrize("step", ALL, ids=lambda step: step.name)
@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 50, 3), (64, 7, 3)])
def test_every_step_takes_small_images_and_leaves_some(step, shape):
    image = noise(1, shape)
    before = image.copy()
    done = apply_steps(image, (step,), np.eye(*shape[:2], dtype=bool))
    assert done.size
    assert done.dtype == np.uint8
    np.testing.assert_array_equal(image, before)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(DecodeError, match="its mask has 40 x 31 pixels, the image 40 x 30"):
        apply_steps(noise(), (CropToMask(),), np.ones((31, 40), bool))


def test_what_must_be_decoded_for_a_side_to_remain():
    mask = np.zeros((100, 200), bool)
    mask[40:60, 50:90] = True
    assert side_needed(96, ()) == 96
    assert side_needed(96, (ShadesOfGrey(),)) == 96
    assert side_needed(96, (RemoveDarkLines(),)) == 224
    assert side_needed(300, (RemoveDarkLines(),)) == 300
    assert side_needed(96, (CropDarkBorder(),)) == 240
    assert side_needed(96, (CropToMask(),)) == 96
    assert side_needed(96, (CropToMask(margin=0),), mask) == 480
    assert side_needed(96, (CropToMask(margin=0),), np.zeros((9, 9), bool)) == 96


def test_steps_of_a_configuration():
    plain = {"size": 16, "mean": [0.5] * 3, "std": [0.2] * 3}
    written = [{"name": "shades_of_grey", "p": 4}, {"name": "crop_to_mask"}]
    found = parse(Preprocessing, {**plain, "steps": written})
    assert found.steps == (ShadesOfGrey(p=4), CropToMask(margin=0.2))
    assert parse(Preprocessing, found.model_dump(mode="json")) == found
    assert parse(Preprocessing, plain).steps == ()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"steps": [{"name": "shade_of_grey"}]}, "did you mean 'shades_of_grey'"),
        ({"steps": [{"p": 6}]}, r"steps\.0\.name must be given"),
        ({"steps": [{"name": "shades_of_grey", "p": 0.5}]}, r"steps\.0\.p must be .* 1, got 0.5"),
        ({"steps": [{"name": "crop_to_mask", "p": 1}]}, r"steps\.0\.p must be a known key"),
        ({"steps": [{"name": "crop_to_mask"}], "dtype": "uint16"}, "bands are 3 and of uint8"),
    ],
)
def test_mistakes_in_a_configuration(changed, sentence):
    plain = {"size": 16, "mean": [0.5] * 3, "std": [0.2] * 3}
    with pytest.raises(UserError, match=sentence):
        parse(Preprocessing, {**plain, **changed})
