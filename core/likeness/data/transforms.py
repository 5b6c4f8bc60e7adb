"""From a decoded image to what the network sees: resizing and normalising.

Legend: H height, W width, C bands. Any number of bands works everywhere.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float32, Shaped
from PIL import Image
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor

from likeness.config import Spec
from likeness.data.decode import DecodeError
from likeness.data.resample import Box, resample
from likeness.data.steps import Step
from likeness.image_size import HeightWidth, ImageSize, height_width, read_image_size

PixelType = Literal["uint8", "uint16", "int16", "float32"]
IMAGENET_MEAN = [0.485, 0.456, 0.406]
IMAGENET_STD = [0.229, 0.224, 0.225]
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}  # of four bands, the mode that takes none for alpha
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow has it


class Preprocessing(Spec):
    """How every image is made ready, in training and for ever after; travels with the model.

    Attributes:
        bands: how many bands the network takes; a one-band image is repeated for three.
        size: what the network sees, in pixels: the side of a square, or (height, width).
        resize: `squash` takes the whole image, whatever becomes of its aspect ratio; `centre-crop`
            the largest part in its middle that has the aspect ratio of `size`.
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
        grey: three bands are taken for red, green and blue and become one of luminance, behind the
            steps; one band stays what it is.
        per_image_standardisation: every image is shifted and scaled by its own pixels to mean 0 and
            variance 1, see `standardise_`; `mean` is 0 then, and `std` 1.
    """

    bands: int = Field(default=3, ge=1)
    size: Annotated[ImageSize, BeforeValidator(partial(read_image_size, least=8))]
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
    grey: bool = False
    per_image_standardisation: bool = False

    @property
    def height_width(self) -> HeightWidth:
        """What the network sees, in pixels."""
        return height_width(self.size)

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
        if self.grey and self.bands not in (1, 3):
            raise ValueError("such that bands are 1 or 3 where images become grey")
        if self.per_image_standardisation and (any(self.mean) or set(self.std) != {1.0}):
            raise ValueError("such that mean is 0 and std 1 with per_image_standardisation")
        return self


def match_bands(
    image_HWC: Shaped[np.ndarray, "H W C"], bands: int, *, grey: bool = False
) -> Shaped[np.ndarray, "H W B"]:
    """The image with `bands` bands: as it is, or grey repeated three times.

    Args:
        image_HWC: any type.
        bands: how many the network takes.
        grey: whether an image of three bands becomes one of luminance first.

    Raises:
        DecodeError: if the image has another number of bands.
    """
    if grey and image_HWC.shape[2] == 3:
        image_HWC = luminance(image_HWC)
    have = image_HWC.shape[2]
    if have == 1 and bands == 3:
        return np.repeat(image_HWC, 3, axis=2)
    if have != bands:
        raise DecodeError(f"{have} bands where {bands} are expected")
    return image_HWC


def luminance(image_HW3: Shaped[np.ndarray, "H W 3"]) -> Shaped[np.ndarray, "H W 1"]:
    """0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601), in the same type.

    The same numbers three times give the number itself.
    """
    if image_HW3.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(image_HW3)).convert("L"))[..., None]
    light_HW = image_HW3.astype(np.float64) @ np.array(_LUMINANCE)
    return as_type(light_HW[..., None], image_HW3.dtype)


def resize_image(
    image_HWC: Shaped[np.ndarray, "H W C"],
    preprocessing: Preprocessing,
    *,
    size: HeightWidth | None = None,
) -> Shaped[np.ndarray, "tall wide C"]:
    """Bring an image to the network's size, antialiased (bilinear), in the same dtype.

    Args:
        image_HWC: uint8, uint16 or float32.
        preprocessing: says whether to squash or to crop.
        size: height and width; default `preprocessing.height_width`.
    """
    tall, wide = preprocessing.height_width if size is None else size
    height, width = image_HWC.shape[:2]
    box = (0.0, 0.0, float(width), float(height))
    if preprocessing.resize == "centre-crop":
        box = central_box((height, width), (tall, wide))
    return as_type(resize_part(image_HWC, tall, wide, box), image_HWC.dtype)


def central_box(image: HeightWidth, shape: HeightWidth) -> Box:
    """The largest part in the middle of an image that has the aspect ratio of `shape`.

    Args:
        image: height and width in pixels.
        shape: only the ratio of these two counts.

    Returns:
        Left, top, right and bottom in pixels, fractions among them.
    """
    (height, width), (tall, wide) = image, shape
    left = max(0.0, (width - height * wide / tall) / 2)
    top = max(0.0, (height - width * tall / wide) / 2)
    return left, top, width - left, height - top


def to_tensor(
    image_HWC: Shaped[np.ndarray, "H W C"], preprocessing: Preprocessing
) -> Float32[Tensor, "C H W"]:
    """`(x / scale - mean) / std` per band; NaN and infinity (no data) become 0, the mean.

    With `per_image_standardisation` what comes of it is standardised by itself.
    """
    # torch warns of arrays that cannot be written to, such as Pillow's
    pixels = torch.from_numpy(np.require(image_HWC.transpose(2, 0, 1), requirements=["C", "W"]))
    scaled = normalise_(pixels.to(torch.float32, copy=True), preprocessing)
    if preprocessing.per_image_standardisation:
        standardise_(scaled)
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


def standardise_(pixels: Float32[Tensor, "*N C H W"]) -> Float32[Tensor, "*N C H W"]:
    """Each image minus its mean and divided by its standard deviation, over all bands, in place.

    As `tf.image.per_image_standardization` has it: the deviation counts at least 1 / sqrt(numbers
    of the image), so that an even image becomes 0. Values that are not finite count for nothing and
    stay.
    """
    is_number = pixels.isfinite()
    numbers = is_number.sum(dim=(-3, -2, -1), keepdim=True).clamp_min(1)
    mean = pixels.where(is_number, 0.0).sum(dim=(-3, -2, -1), keepdim=True) / numbers
    centred = pixels.sub_(mean).where(is_number, 0.0)
    variance = centred.square().sum(dim=(-3, -2, -1), keepdim=True) / numbers
    return pixels.div_(torch.maximum(variance.sqrt(), numbers.rsqrt()))


def resize_part(
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


def as_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Rounded and clipped where `dtype` is an integer type and `values` are not of it."""
    if dtype.kind == "f" or values.dtype == dtype:
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    rounded: np.ndarray = np.rint(values)
    np.clip(rounded, limits.min, limits.max, out=rounded)
    return rounded.astype(dtype)
