"""What an image looks like: numbers worked out again by loops, and what must not change them."""

import math

import numpy as np
import pytest
import torch

from likeness.data.appearance import FAINT, QUANTILES, RINGS, appearance
from likeness.data.transforms import Preprocessing, to_tensor


def prepared(bands=3, side=16, mean=0.3, std=0.2) -> Preprocessing:
    return Preprocessing(bands=bands, size=side, mean=[mean] * bands, std=[std] * bands)


def looks(pictures, preprocessing) -> np.ndarray:
    images = torch.stack([to_tensor(picture, preprocessing) for picture in pictures])
    return appearance(images, preprocessing).numpy()


def draw(count, bands, side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, bands), dtype=np.uint8)


def deviation(values) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def palette_by_loops(picture) -> list[float]:
    side, _, bands = picture.shape
    pixels = [
        [picture[row, column, band] / 255 for band in range(bands)]
        for row in range(side)
        for column in range(side)
    ]
    light = [sum(pixel) / bands for pixel in pixels]
    tints = [[value - own for value in pixel] for pixel, own in zip(pixels, light, strict=True)]
    mean = sum(light) / len(light)
    by_band = [[tint[band] for tint in tints] for band in range(bands)]
    strength = [math.sqrt(sum(value**2 for value in tint)) for tint in tints]
    ordered = sorted(light)
    return [
        mean,
        *(sum(band) / len(band) for band in by_band),
        *(ordered[round(share * (len(ordered) - 1))] - mean for share in QUANTILES),
        math.log(deviation(light) + FAINT),
        *(math.log(deviation(band) + FAINT) for band in by_band),
        math.log(sum(strength) / len(strength) + FAINT),
        math.log(deviation(strength) + FAINT),
    ]


def layout_by_loops(light) -> list[float]:
    side, mean = len(light), float(np.mean(light))
    rings = [[] for _ in RINGS[1:]]
    for row in range(side):
        for column in range(side):
            radius = math.hypot((row + 0.5) / side * 2 - 1, (column + 0.5) / side * 2 - 1)
            place = max(place for place, inner in enumerate(RINGS[:-1]) if radius >= inner)
            rings[place].append(light[row][column])
    means = [sum(ring) / len(ring) - mean for ring in rings]
    spreads = [
        math.sqrt(sum((value - sum(ring) / len(ring)) ** 2 for value in ring) / len(ring))
        for ring in rings
    ]
    return [*means, *(math.log(spread + FAINT) for spread in spreads)]


def finest_by_loops(light) -> list[float]:
    steps = range(len(light) - 1)
    across = [light[row][column + 1] - light[row][column] for row in steps for column in steps]
    down = [light[row + 1][column] - light[row][column] for row in steps for column in steps]
    edges = [math.hypot(a, b) for a, b in zip(across, down, strict=True)]

    def log_mean(values):
        return math.log(sum(values) / len(values) + FAINT)

    strength = log_mean(edges)
    root = math.sqrt(sum(edge**2 for edge in edges) / len(edges))
    lean = log_mean([abs(value) for value in across]) - log_mean([abs(value) for value in down])
    return [strength, math.log(root + FAINT) - strength, abs(lean)]


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_the_numbers_are_those_of_loops(bands):
    (picture,) = draw(1, bands, 16)
    found = looks([picture], prepared(bands))[0]
    light = (picture / 255).mean(axis=2)
    wanted = [*palette_by_loops(picture), *layout_by_loops(light), *finest_by_loops(light)]
    np.testing.assert_allclose(found[: len(wanted)], wanted, atol=2e-5)


@pytest.mark.parametrize("bands", [1, 3, 13])
@pytest.mark.parametrize("side", [8, 20, 32, 96])
def test_any_bands_and_sides_give_finite_numbers(bands, side):
    blank, black = np.full((side, side, bands), 77, np.uint8), np.zeros((side, side, bands), "u1")
    found = looks([*draw(2, bands, side), blank, black], prepared(bands, side))
    assert np.isfinite(found).all()
    scales = {8: 2, 20: 3}.get(side, 4)
    assert found.shape == (4, 1 + bands + 4 + 1 + bands + 2 + 8 + 4 * scales - 1 + 4)


def test_the_normalisation_is_undone():
    pictures = draw(3, 3, 16)
    first, second = (looks(pictures, prepared(mean=mean, std=1 - mean)) for mean in (0.1, 0.6))
    np.testing.assert_allclose(first, second, atol=1e-4)


def test_lying_on_the_side_changes_nothing():
    pictures = draw(3, 3, 32)
    first, second = (looks(them, prepared(side=32)) for them in (pictures, pictures.swapaxes(1, 2)))
    np.testing.assert_allclose(first, second, atol=1e-4)


def test_detail_finer_than_the_working_side_is_averaged():
    small = draw(2, 3, 64)
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    first, second = looks(small, prepared(side=64)), looks(large, prepared(side=128))
    np.testing.assert_allclose(first, second, atol=1e-4)


def test_each_image_is_looked_at_alone():
    pictures = draw(4, 3, 16)
    together = looks(pictures, prepared())
    alone = np.concatenate([looks([picture], prepared()) for picture in pictures])
    np.testing.assert_allclose(together, alone, atol=1e-5)
