"""Shifting and erasing: random changes of an image that is ready for the network.

What comes in from outside and what is put over a rectangle is a band's mean, which is 0 there, or
numbers within the range of the pixels.

Legend: C bands, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from pydantic import Field, model_validator
from torch import Tensor

from likeness.config import Spec

_ATTEMPTS = 100  # rectangles drawn before an image is left whole


class PadCrop(Spec):
    """Padding on all four sides, then a random crop at the old size: a shift of the image.

    The default is that of Luo et al. 2019 ("Bag of Tricks and a Strong Baseline for Deep Person
    Re-identification", CVPR workshops): 10 pixels of zeros at 256 x 128.

    Attributes:
        pixels: the padding of each side, in pixels of the network's input, so that half the size
            wants half the number; the shift is even in [-pixels, pixels] both ways.
        fill: what comes in: `zero` (black) or each band's `mean`.
    """

    pixels: int = Field(default=10, ge=1)
    fill: Literal["zero", "mean"] = "zero"


class RandomErasing(Spec):
    """A random rectangle is painted over (Zhong et al., AAAI 2020; their defaults for re-ID).

    Area and aspect are each drawn evenly, again until the rectangle fits; its place is even among
    those where it lies inside. (Their algorithm draws the place with them, and all three again;
    that favours small rectangles. Most published code does as we do.)

    Attributes:
        probability: that an image is changed at all.
        area: least and largest share of the image's area.
        aspect: least and largest height of the rectangle over its width.
        fill: `mean` of each band, as re-identification has it since Luo et al. 2019, or `random`,
            numbers drawn for every pixel and band evenly in [0, `scale`], as in the paper.
    """

    probability: float = Field(default=0.5, ge=0, le=1)
    area: tuple[float, float] = (0.02, 0.4)
    aspect: tuple[float, float] = (0.3, 1 / 0.3)
    fill: Literal["mean", "random"] = "mean"

    @model_validator(mode="after")
    def _ranges(self) -> RandomErasing:
        if not 0 < self.area[0] <= self.area[1] < 1:
            raise ValueError("such that 0 < area[0] <= area[1] < 1")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise ValueError("such that 0 < aspect[0] <= aspect[1]")
        return self


class PixelRange(NamedTuple):
    """What pixels of 0 and of `scale` are after normalisation, per band."""

    low_C: Float32[Tensor, " C"]
    high_C: Float32[Tensor, " C"]


def pad_and_crop(
    image_CHW: Float32[Tensor, "C H W"],
    spec: PadCrop,
    pixels: PixelRange,
    draws: Sequence[float],
) -> Float32[Tensor, "C H W"]:
    """The image shifted down and right, as the two draws say, each in [0, 1).

    Args:
        image_CHW: normalised.
        spec: how far, and what comes in.
        pixels: what black is.
        draws: 0 shifts by -`spec.pixels`, almost 1 by +`spec.pixels`.
    """
    height, width = image_CHW.shape[1:]
    down, right = (int(draw * (2 * spec.pixels + 1)) - spec.pixels for draw in draws)
    tall, wide = height - abs(down), width - abs(right)
    top, left = max(down, 0), max(right, 0)
    if spec.fill == "zero":
        shifted_CHW = pixels.low_C[:, None, None].repeat(1, height, width)
    else:
        shifted_CHW = torch.zeros_like(image_CHW)
    shifted_CHW[:, top : top + tall, left : left + wide] = image_CHW[
        :, top - down : top - down + tall, left - right : left - right + wide
    ]
    return shifted_CHW


def erase_(
    image_CHW: Float32[Tensor, "C H W"],
    spec: RandomErasing,
    pixels: PixelRange,
    generator: np.random.Generator,
) -> Float32[Tensor, "C H W"]:
    """Paint over a rectangle in place, or leave the image as it is, as `generator` says.

    Args:
        image_CHW: normalised.
        spec: how often, how large, and with what.
        pixels: between what random numbers are drawn.
        generator: where the random numbers come from; how many are taken differs.
    """
    if generator.random() >= spec.probability:
        return image_CHW
    height, width = image_CHW.shape[1:]
    for _ in range(_ATTEMPTS):
        area = height * width * generator.uniform(*spec.area)
        aspect = generator.uniform(*spec.aspect)
        tall, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < tall <= height and 0 < wide <= width:
            top = int(generator.integers(height - tall + 1))
            left = int(generator.integers(width - wide + 1))
            hole_Chw = image_CHW[:, top : top + tall, left : left + wide]
            hole_Chw.copy_(_filling(hole_Chw.shape, spec, pixels, generator))
            return image_CHW
    return image_CHW


def _filling(
    shape: torch.Size, spec: RandomErasing, pixels: PixelRange, generator: np.random.Generator
) -> Tensor:
    if spec.fill == "mean":
        return torch.zeros(())
    noise_Chw = torch.from_numpy(generator.random(tuple(shape), dtype=np.float32))
    low_C11, high_C11 = (value_C[:, None, None] for value_C in pixels)
    return low_C11 + noise_Chw * (high_C11 - low_C11)
