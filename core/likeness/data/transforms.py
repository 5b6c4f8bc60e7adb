"""From a decoded image to what the network sees: resizing, normalising, augmenting.

Legend: H height, W width, C bands, S side of a square. Any number of bands works everywhere.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float32, Shaped
from PIL import Image
from pydantic import Field, model_validator
from torch import Tensor

from likeness.config import Spec
from likeness.data.decode import DecodeError
from likeness.data.resample import Box, resample
from likeness.data.steps import Step

PixelType = Literal["uint8", "uint16", "int16", "float32"]
IMAGENET_MEAN = [0.485, 0.456, 0.406]
IMAGENET_STD = [0.229, 0.224, 0.225]
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}  # of four bands, the mode that takes none for alpha
_FIXED_DRAWS = 7  # random numbers per image beside one for each band


class Preprocessing(Spec):
    """How every image is made ready, in training and for ever after; travels with the model.

    Attributes:
        bands: how many bands the network takes; a one-band image is repeated for three.
        size: side of the square that the network sees, in pixels.
        resize: `squash` ignores the aspect ratio; `centre-crop` cuts the largest central square.
        mean: per band, subtracted after division by `scale`.
        std: per band, divided by after that.
        scale: 255 for 8-bit images, 10000 for Sentinel-2 reflectances, ...
        band_numbers: which bands of a file are read, in this order, from 1; null reads all but
            alpha.
        band_names: what the training images call them.
        dtype: type of the pixels in the files; others are refused. null takes any.
        resolution: ground size of a pixel of the training images in metres (the median); null is
            unknown.
        chip: side of the training images in pixels (the median); null is unknown.
        steps: what is done to the pixels before they are resized, in this order.
    """

    bands: int = Field(default=3, ge=1)
    size: int = Field(ge=8, le=4096)
    resize: Literal["squash", "centre-crop"] = "squash"
    mean: list[float]
    std: list[float]
    scale: float = Field(default=255.0, gt=0)
    band_numbers: list[Annotated[int, Field(ge=1)]] | None = None
    band_names: list[str] | None = None
    dtype: PixelType | None = None
    resolution: float | None = Field(default=None, gt=0)
    chip: int | None = Field(default=None, ge=1)
    steps: tuple[Step, ...] = ()

    @model_validator(mode="after")
    def _one_number_per_band(self) -> Preprocessing:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.bands:
                raise ValueError(f"such that {name} has one number for each of {self.bands} bands")
        if min(self.std) <= 0:
            raise ValueError("such that every std is > 0")
        for name, chosen in (("band_numbers", self.band_numbers), ("band_names", self.band_names)):
            repeated = chosen is not None and len(chosen) == 1 and self.bands == 3
            if chosen is not None and len(chosen) != self.bands and not repeated:
                raise ValueError(f"such that {name} has one entry for each of {self.bands} bands")
        if self.steps and (self.bands != 3 or self.dtype not in (None, "uint8")):
            raise ValueError("such that bands are 3 and of uint8 where there are steps")
        return self


class Augmentation(Spec):
    """Random changes in training; the defaults suit scenes seen from above.

    Attributes:
        flips: mirror left and right, with probability 1/2.
        rotate90: turn by 0, 90, 180 or 270 degrees; with `flips` all eight symmetries are equally
            likely.
        crop_scale_min: the share of the area that a random square crop keeps at least; 1 = off.
        brightness: all bands are multiplied by a number within 1 +- this.
        contrast: likewise the distance from the image's mean.
        colour: likewise each band by its own number.
    """

    flips: bool = True
    rotate90: bool = True
    crop_scale_min: float = Field(default=0.5, gt=0, le=1)
    brightness: float = Field(default=0.2, ge=0, lt=1)
    contrast: float = Field(default=0.2, ge=0, lt=1)
    colour: float = Field(default=0.05, ge=0, lt=1)


def match_bands(image_HWC: Shaped[np.ndarray, "H W C"], bands: int) -> Shaped[np.ndarray, "H W B"]:
    """The image with `bands` bands: as it is, or grey repeated three times.

    Raises:
        DecodeError: if the image has another number of bands.
    """
    have = image_HWC.shape[2]
    if have == 1 and bands == 3:
        return np.repeat(image_HWC, 3, axis=2)
    if have != bands:
        raise DecodeError(f"{have} bands where {bands} are expected")
    return image_HWC


def resize_image(
    image_HWC: Shaped[np.ndarray, "H W C"],
    preprocessing: Preprocessing,
    *,
    side: int | None = None,
) -> Shaped[np.ndarray, "S S C"]:
    """Make a square of `side` pixels, antialiased (bilinear), in the same dtype.

    Args:
        image_HWC: uint8, uint16 or float32.
        preprocessing: says whether to squash or to crop.
        side: default `preprocessing.size`.
    """
    side = preprocessing.size if side is None else side
    height, width = image_HWC.shape[:2]
    left = top = 0.0
    if preprocessing.resize == "centre-crop":
        left, top = max(0.0, (width - height) / 2), max(0.0, (height - width) / 2)
    box = (left, top, width - left, height - top)
    return _cast(_resample(image_HWC, side, side, box), image_HWC.dtype)


def to_tensor(
    image_HWC: Shaped[np.ndarray, "H W C"], preprocessing: Preprocessing
) -> Float32[Tensor, "C H W"]:
    """`(x / scale - mean) / std` per band; NaN and infinity (no data) become 0, the mean."""
    # torch warns of arrays that cannot be written to, such as Pillow's
    pixels = torch.from_numpy(np.require(image_HWC.transpose(2, 0, 1), requirements=["C", "W"]))
    scaled = normalise_(pixels.to(torch.float32, copy=True), preprocessing)
    if image_HWC.dtype.kind == "f":
        torch.nan_to_num_(scaled, nan=0.0, posinf=0.0, neginf=0.0)
    return scaled


def normalise_(
    pixels: Float32[Tensor, "*N C H W"], preprocessing: Preprocessing
) -> Float32[Tensor, "*N C H W"]:
    """`(x / scale - mean) / std` per band, in place."""
    std = torch.tensor(preprocessing.std, dtype=torch.float32)[:, None, None]
    mean = torch.tensor(preprocessing.mean, dtype=torch.float32)[:, None, None]
    return pixels.mul_(1.0 / (preprocessing.scale * std)).sub_(mean / std)


def augment(
    image_HWC: Shaped[np.ndarray, "H W C"],
    spec: Augmentation,
    generator: np.random.Generator,
    *,
    size: int | None = None,
) -> Shaped[np.ndarray, "H2 W2 C"]:
    """Crop, resize, flip, turn and recolour at random.

    All randomness comes from `generator`, and an image takes the same number of draws whatever
    is switched on, so switching one change off leaves the others as they were.

    Args:
        image_HWC: any dtype; values are clipped to the range of integer types. Values that are
            not finite (no data) stay so and touch no others.
        spec: what may change.
        generator: where the random numbers come from.
        size: side of the square that comes out; None keeps the height and width. An image that is
            not square is turned by 0 or 180 degrees only.

    Returns:
        The image in the same dtype.
    """
    height, width, bands = image_HWC.shape
    draws = generator.random(_FIXED_DRAWS + bands)
    tall, wide = (height, width) if size is None else (size, size)
    factor = math.sqrt(spec.crop_scale_min + draws[0] * (1.0 - spec.crop_scale_min))
    left, top = draws[1] * width * (1.0 - factor), draws[2] * height * (1.0 - factor)
    right, bottom = left + width * factor, top + height * factor
    box = (left, top, min(right, float(width)), min(bottom, float(height)))
    changed_HWC = _resample(image_HWC, tall, wide, box)
    changed_HWC = _recolour(changed_HWC, spec, draws[5], draws[6], draws[_FIXED_DRAWS:])
    image_HWC = _cast(changed_HWC, image_HWC.dtype)
    if spec.flips and draws[3] < 0.5:
        image_HWC = image_HWC[:, ::-1]
    if not spec.rotate90:
        return image_HWC
    turns = int(draws[4] * 4)
    return np.rot90(image_HWC, turns if tall == wide else turns // 2 * 2)


def _recolour(
    image_HWC: Shaped[np.ndarray, "H W C"],
    spec: Augmentation,
    bright: float,
    contrast: float,
    colours_C: np.ndarray,
) -> Shaped[np.ndarray, "H W C"]:
    """Brightness, contrast and colour at once: `gain * x + offset` in each band."""
    if spec.brightness == spec.contrast == spec.colour == 0:
        return image_HWC
    light = 1.0 + spec.brightness * (2.0 * bright - 1.0)
    spread = 1.0 + spec.contrast * (2.0 * contrast - 1.0)
    gains_C = light * spread * (1.0 + spec.colour * (2.0 * colours_C - 1.0))
    # Of two draws that cancel, the mean decides: contrast turns about it.
    offset = (1.0 - spread) * light * _mean(image_HWC)
    if image_HWC.dtype == np.uint8:
        # A table of 256 entries per band is four times as fast as arithmetic on the pixels.
        entries = np.clip(np.arange(256) * gains_C[:, None] + (offset + 0.5), 0, 255)
        tables = entries.astype(np.uint8)
        planes_CHW = image_HWC.transpose(2, 0, 1)
        mapped = [
            plane.tobytes().translate(table.tobytes())
            for plane, table in zip(planes_CHW, tables, strict=True)
        ]
        out_CHW = np.frombuffer(bytearray().join(mapped), np.uint8).reshape(planes_CHW.shape)
        return out_CHW.transpose(1, 2, 0)
    changed_HWC: np.ndarray = image_HWC * gains_C.astype(np.float32)
    changed_HWC += np.float32(offset)
    return changed_HWC


def _mean(image_HWC: Shaped[np.ndarray, "H W C"]) -> float:
    """Of the finite values; 0 if there is none."""
    mean = float(image_HWC.mean(dtype=np.float64))
    if math.isfinite(mean):
        return mean
    finite = image_HWC[np.isfinite(image_HWC)]
    return float(finite.mean(dtype=np.float64)) if finite.size else 0.0


def _resample(
    image_HWC: Shaped[np.ndarray, "H W C"], tall: int, wide: int, box: Box
) -> Shaped[np.ndarray, "tall wide C"]:
    """Resize the part of an image inside `box`, antialiased.

    8-bit images of one, three or four bands by Pillow, which is fastest there; everything else in
    float32, not yet rounded.
    """
    height, width, bands = image_HWC.shape
    if (height, width) == (tall, wide) and box == (0, 0, width, height):
        return image_HWC
    if image_HWC.dtype == np.uint8 and bands in _MODES:
        image = Image.frombytes(_MODES[bands], (width, height), image_HWC.tobytes())
        resized = image.resize((wide, tall), Image.Resampling.BILINEAR, box=box)
        return np.asarray(resized).reshape(tall, wide, bands)
    return resample(image_HWC, tall, wide, box)


def _cast(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Rounded and clipped where `dtype` is an integer type and `values` are not of it."""
    if dtype.kind == "f" or values.dtype == dtype:
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    rounded: np.ndarray = np.rint(values)
    np.clip(rounded, limits.min, limits.max, out=rounded)
    return rounded.astype(dtype)
