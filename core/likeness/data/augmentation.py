"""Random changes of the images of a training: crops, flips, turns, colours, shifts, erasing.

Legend: H height, W width, C bands. Any number of bands works everywhere.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from jaxtyping import Float32, Shaped
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from likeness.config import Spec
from likeness.data.occlude import PadCrop, PixelRange, RandomErasing, erase_, pad_and_crop
from likeness.data.transforms import Preprocessing, as_type, normalise_, resize_part
from likeness.errors import require
from likeness.image_size import HeightWidth, ImageSize, height_width, in_words

_FIXED_DRAWS = 7  # random numbers per image beside one for each band


class Augmentation(Spec):
    """Random changes in training; the defaults suit scenes seen from above.

    For things that have an upright, such as people: `flips` without `rotate90`, and perhaps a small
    `rotate_degrees`.

    Attributes:
        flips: mirror left and right (never up and down), with probability 1/2.
        rotate90: turn by 0, 90, 180 or 270 degrees; with `flips` all eight symmetries are equally
            likely. For squares only.
        rotate_degrees: turn about the middle by an angle evenly within +- this, in [0, 45]; beyond
            the border the image goes on mirrored. 0 = off.
        crop_scale_min: the share of the area that a random crop keeps at least; it has the aspect
            ratio of what it is cut from. 1 = off.
        brightness: all bands are multiplied by a number within 1 +- this.
        contrast: likewise the distance from the image's mean.
        colour: likewise each band by its own number.
        pad_crop: shift at the network's size; null is off.
        random_erasing: hide a rectangle, last of all; null is off.
    """

    flips: bool = True
    rotate90: bool = True
    rotate_degrees: float = Field(default=0.0, ge=0, le=45)
    crop_scale_min: float = Field(default=0.5, gt=0, le=1)
    brightness: float = Field(default=0.2, ge=0, lt=1)
    contrast: float = Field(default=0.2, ge=0, lt=1)
    colour: float = Field(default=0.05, ge=0, lt=1)
    pad_crop: PadCrop | None = None
    random_erasing: RandomErasing | None = None


def require_fit(spec: Augmentation | None, size: ImageSize) -> None:
    """Refuse random changes that images of a size cannot take.

    Raises:
        UserError: in one sentence, under the option's name in a configuration.
    """
    if spec is None:
        return
    of_size = f"for images of {in_words(size)} pixels"
    rule = f"false {of_size}, which are no squares"
    require(not spec.rotate90 or isinstance(size, int), "data.augmentation.rotate90", rule, True)
    if spec.pad_crop is not None:
        least, pixels = min(height_width(size)), spec.pad_crop.pixels
        rule = f"< {least} {of_size}"
        require(pixels < least, "data.augmentation.pad_crop.pixels", rule, pixels)


def augment(
    image_HWC: Shaped[np.ndarray, "H W C"],
    spec: Augmentation,
    generator: np.random.Generator,
    *,
    size: HeightWidth | None = None,
) -> Shaped[np.ndarray, "tall wide C"]:
    """Crop, resize, flip, turn and recolour at random; see `occlude` for the rest.

    All randomness comes from `generator`, and an image takes the same number of draws whatever
    is switched on, so switching one change off leaves the others as they were. (The small angle
    comes from a child of it, which takes none.)

    Args:
        image_HWC: any dtype; values are clipped to the range of integer types. Values that are
            not finite (no data) stay so and touch no others.
        spec: what may change.
        generator: where the random numbers come from.
        size: height and width of what comes out; None keeps them. `require_fit` says what does not
            fit; here, what is not square is turned by 0 or 180 degrees only.

    Returns:
        The image in the same dtype.
    """
    height, width, bands = image_HWC.shape
    draws = generator.random(_FIXED_DRAWS + bands)
    tall, wide = (height, width) if size is None else size
    factor = math.sqrt(spec.crop_scale_min + draws[0] * (1.0 - spec.crop_scale_min))
    left, top = draws[1] * width * (1.0 - factor), draws[2] * height * (1.0 - factor)
    right, bottom = left + width * factor, top + height * factor
    box = (left, top, min(right, float(width)), min(bottom, float(height)))
    changed_HWC = resize_part(image_HWC, tall, wide, box)
    if spec.rotate_degrees > 0:
        turn = generator.spawn(1)[0].uniform(-1.0, 1.0) * math.radians(spec.rotate_degrees)
        changed_HWC = as_type(rotate(changed_HWC, turn), image_HWC.dtype)
    changed_HWC = _recolour(changed_HWC, spec, draws[5], draws[6], draws[_FIXED_DRAWS:])
    image_HWC = as_type(changed_HWC, image_HWC.dtype)
    if spec.flips and draws[3] < 0.5:
        image_HWC = image_HWC[:, ::-1]
    if not spec.rotate90:
        return image_HWC
    turns = int(draws[4] * 4)
    return np.rot90(image_HWC, turns if tall == wide else turns // 2 * 2)


def rotate(image_HWC: Shaped[np.ndarray, "H W C"], angle: float) -> Float32[np.ndarray, "H W C"]:
    """The image turned about its middle, bilinear, mirrored beyond its border.

    Args:
        image_HWC: any dtype. Values that are not finite (no data) turn with the rest: each pixel is
            the mean of the finite ones about it, and no data where these weigh less than half.
        angle: in radians, counterclockwise as one looks at the image.
    """
    height, width, _ = image_HWC.shape
    cos, sin = math.cos(angle), math.sin(angle)
    # From where each pixel is taken, in halves of the sides: x to the right, y down.
    affine_23 = torch.tensor(
        [[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]], dtype=torch.float32
    )
    values = torch.from_numpy(image_HWC.astype(np.float32).transpose(2, 0, 1))[None]
    is_number = values.isfinite()
    grid = functional.affine_grid(affine_23[None], [1, 1, height, width], align_corners=False)
    sample = partial(
        functional.grid_sample, grid=grid, padding_mode="reflection", align_corners=False
    )
    turned = sample(values.where(is_number, 0.0))
    if not is_number.all():
        weight = sample(is_number.float())
        turned = torch.where(weight >= 0.5, turned / weight, torch.nan)
    return np.ascontiguousarray(turned[0].permute(1, 2, 0).numpy())


def occlude(
    image_CHW: Float32[Tensor, "C H W"],
    spec: Augmentation,
    generator: np.random.Generator,
    preprocessing: Preprocessing,
) -> Float32[Tensor, "C H W"]:
    """Shift and erase at random; the image itself, where both are switched off.

    Args:
        image_CHW: as `to_tensor` gives it, of what `augment` made with the same generator; it may
            be written to.
        spec: what may change.
        generator: where the random numbers come from. Erasing depends neither on whether images
            are shifted nor the other way round.
        preprocessing: how the image was normalised. Where it was by its own pixels, its darkest and
            brightest numbers stand for black and white.
    """
    if spec.pad_crop is None and spec.random_erasing is None:
        return image_CHW
    ends_2C = torch.tensor(
        [[0.0] * preprocessing.bands, [preprocessing.scale] * preprocessing.bands]
    )
    pixels = PixelRange(*normalise_(ends_2C[..., None, None], preprocessing)[..., 0, 0])
    if preprocessing.per_image_standardisation:  # black is another number in every image
        pixels = PixelRange(image_CHW.amin(dim=(1, 2)), image_CHW.amax(dim=(1, 2)))
    shift: list[float] = generator.random(2).tolist()
    if spec.pad_crop is not None:
        image_CHW = pad_and_crop(image_CHW, spec.pad_crop, pixels, shift)
    if spec.random_erasing is not None:
        image_CHW = erase_(image_CHW, spec.random_erasing, pixels, generator)
    return image_CHW


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
