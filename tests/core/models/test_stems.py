"""Inflation of the first convolution to any number of bands."""

import pytest
import torch
from torch import nn

from likeness.errors import UserError
from likeness.models.stems import first_convolution, inflate_bands


def kernels() -> torch.Tensor:
    return torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_three_bands_keep_the_weights():
    weight = kernels()
    inflated = inflate_bands(weight, 3)
    assert torch.equal(inflated, weight)
    inflated.zero_()
    assert weight.abs().sum() > 0  # a copy, not the same storage


@pytest.mark.parametrize("bands", [1, 2, 4, 13])
def test_every_band_gets_the_scaled_mean_kernel(bands):
    weight = kernels()
    inflated = inflate_bands(weight, bands)
    assert inflated.shape == (4, bands, 5, 5)
    for out in range(4):
        for band in range(bands):
            mean = (weight[out, 0] + weight[out, 1] + weight[out, 2]) / 3
            torch.testing.assert_close(inflated[out, band], mean * 3 / bands)


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 13])
def test_an_image_of_equal_bands_answers_as_a_grey_one(bands):
    weight = kernels()
    grey = torch.randn(1, 1, 9, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before = nn.functional.conv2d(grey.repeat(1, 3, 1, 1), weight)
    after = nn.functional.conv2d(grey.repeat(1, bands, 1, 1), inflate_bands(weight, bands))
    torch.testing.assert_close(after, before)


def test_refusals():
    with pytest.raises(UserError, match=r"weight_OBkk must be kernels over 3 channels, got \(4, 1"):
        inflate_bands(kernels()[:, :1], 3)
    with pytest.raises(UserError, match="bands must be >= 1, got 0"):
        inflate_bands(kernels(), 0)


def test_an_unchanged_convolution_is_returned_as_it_is():
    original = nn.Conv2d(3, 4, 7, stride=2, padding=3, bias=False)
    kept = first_convolution(original, bands=3, small=False, initialise=nn.init.zeros_)
    assert kept is original


@pytest.mark.parametrize(("small", "side"), [(False, 16), (True, 32)])
def test_a_new_convolution_keeps_or_drops_the_stride(small, side):
    original = nn.Conv2d(3, 4, 7, stride=2, padding=3)
    made = first_convolution(original, bands=5, small=small, initialise=nn.init.ones_)
    assert made(torch.zeros(1, 5, 32, 32)).shape == (1, 4, side, side)
    assert torch.equal(made.weight, torch.ones_like(made.weight))
    assert made.bias is not None
    assert torch.equal(made.bias, torch.zeros(4))
