"""What may be done to an image before it is resized: colours, dark lines, borders, cutting out.

Steps are part of a model's preprocessing: they are recorded with it and done in the same order
wherever an image is read. Each is a spec here, a function of pixels, and nothing else. All take
8-bit images of three bands.

Legend: H, W of the image; h, w of what is left of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from pydantic import Field

from likeness.config import Spec
from likeness.data.borders import LEAST_KEPT, Slices, bright_box
from likeness.data.dark_lines import find_dark_lines, paint_over
from likeness.data.decoded import DecodeError
from likeness.data.masks import require_size

LINE_SIDE = 224  # pixels of the shorter side at which thin lines still show


class ShadesOfGrey(Spec):
    """Colour constancy: the light that fell on the scene is made grey.

    Attributes:
        p: order of the mean that is taken for the colour of the light, >= 1: 1 is grey-world, a
            large one white-patch. 6 is best in Finlayson and Trezzi, Color Imaging Conference 2004.
    """

    name: Literal["shades_of_grey"] = "shades_of_grey"
    p: float = Field(default=6.0, ge=1, le=100)


class RemoveDarkLines(Spec):
    """Thin dark lines over the scene are painted over from their sides.

    The defaults are ours, set by looking at a hundred images of HAM10000 and ISIC 2017.

    Attributes:
        width: of the widest line, as a share of the image's shorter side.
        length: of the shortest line, likewise.
        contrast: grey levels (of 255) by which a line must be darker than both of its sides.
    """

    name: Literal["remove_dark_lines"] = "remove_dark_lines"
    width: float = Field(default=0.03, gt=0, le=0.2)
    length: float = Field(default=0.15, gt=0, le=1)
    contrast: float = Field(default=12.0, ge=1, le=60)


class CropDarkBorder(Spec):
    """The dark ring or bars around a bright field of view are cut off.

    Attributes:
        level: pixels below this share of the bright field's luminance are dark (ours).
        tolerance: share of each side of what is left that may show border (ours).
    """

    name: Literal["crop_dark_border"] = "crop_dark_border"
    level: float = Field(default=0.25, gt=0, lt=1)
    tolerance: float = Field(default=0.05, ge=0, lt=1)


class CropToMask(Spec):
    """What a mask marks is cut out, with some of its surroundings; without a mask all is kept.

    The mask lies beside the image, see `likeness.data.masks`.

    Attributes:
        margin: added on every side, as a share of the longer side of the mask's box (ours).
    """

    name: Literal["crop_to_mask"] = "crop_to_mask"
    margin: float = Field(default=0.2, ge=0, le=10)


Step = Annotated[
    ShadesOfGrey | RemoveDarkLines | CropDarkBorder | CropToMask, Field(discriminator="name")
]


def apply_steps(
    image_HWC: Shaped[np.ndarray, "H W C"],
    steps: Sequence[Step],
    mask_HW: Bool[np.ndarray, "_ _"] | None = None,
) -> Shaped[np.ndarray, "h w C"]:
    """Do the steps in their order.

    Args:
        image_HWC: uint8 with three bands, if there is any step.
        steps: what to do.
        mask_HW: of the same height and width, for `crop_to_mask`; None keeps the whole image.

    Raises:
        DecodeError: naming the step, if the image is of another type or the mask of another size.
    """
    return apply_to_both(image_HWC, steps, mask_HW)[0]


def apply_to_both(
    image_HWC: Shaped[np.ndarray, "H W C"],
    steps: Sequence[Step],
    mask_HW: Bool[np.ndarray, "_ _"] | None = None,
) -> tuple[Shaped[np.ndarray, "h w C"], Bool[np.ndarray, "h w"] | None]:
    """`apply_steps`, and what is left of the mask where the steps cut."""
    for step in steps:
        require_fit(image_HWC, step.name)
        if mask_HW is not None:
            require_size(mask_HW, image_HWC.shape[:2])
        match step:
            case ShadesOfGrey():
                image_HWC = shades_of_grey(image_HWC, p=step.p)
            case RemoveDarkLines():
                image_HWC = remove_dark_lines(image_HWC, step)
            case CropDarkBorder():
                box = bright_box(image_HWC, level=step.level, tolerance=step.tolerance)
                image_HWC, mask_HW = _cut(image_HWC, mask_HW, box)
            case CropToMask() if mask_HW is not None:
                image_HWC, mask_HW = _cut(image_HWC, mask_HW, mask_box(mask_HW, step.margin))
    return image_HWC, mask_HW


def shades_of_grey(
    image_HW3: UInt8[np.ndarray, "H W 3"], *, p: float = 6.0
) -> UInt8[np.ndarray, "H W 3"]:
    """Scale the bands so that their Minkowski means of order `p` are equal.

    The length of the vector of the three means stays the same, and with it the brightness; values
    are rounded and cut at 255. A black border changes nothing: it divides all three means by the
    same number. An image with an empty band is returned as it is, since no gain makes it grey.
    """
    levels = np.arange(256, dtype=np.float64)
    counts = np.stack([np.bincount(band.ravel(), minlength=256) for band in _bands(image_HW3)])
    if not counts[:, 1:].any(axis=1).all():
        return image_HW3
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean_3 = ((levels / 255) ** p * shares).sum(axis=1) ** (1 / p)
    gain_3 = np.linalg.norm(mean_3) / (np.sqrt(3) * mean_3)
    table_3L = np.rint(np.minimum(gain_3[:, None] * levels, 255)).astype(np.uint8)
    bands = _bands(image_HW3)
    return np.stack([row[band] for row, band in zip(table_3L, bands, strict=True)], axis=-1)


def remove_dark_lines(
    image_HW3: UInt8[np.ndarray, "H W 3"], step: RemoveDarkLines
) -> UInt8[np.ndarray, "H W 3"]:
    """Paint over all lines that are found; see `likeness.data.dark_lines`."""
    mask_HW = find_dark_lines(
        image_HW3, width=step.width, length=step.length, contrast=step.contrast
    )
    return paint_over(image_HW3, mask_HW)


def mask_box(mask_HW: Bool[np.ndarray, "H W"], margin: float) -> Slices:
    """Rows and columns of all marked pixels, with a margin; everything where none is marked."""
    if not mask_HW.any():
        return slice(0, mask_HW.shape[0]), slice(0, mask_HW.shape[1])
    spans = [np.flatnonzero(mask_HW.any(axis=axis))[[0, -1]].tolist() for axis in (1, 0)]
    room = round(margin * max(last + 1 - first for first, last in spans))
    sides = zip(spans, mask_HW.shape, strict=True)
    rows, columns = (
        slice(max(0, first - room), min(size, last + 1 + room)) for (first, last), size in sides
    )
    return rows, columns


def side_needed(
    side: int, steps: Sequence[Step], mask_HW: Bool[np.ndarray, "H W"] | None = None
) -> int:
    """How large the shorter side must be decoded, so that what the steps leave has `side` pixels.

    Without steps `side`. A crop by a mask is known beforehand; one of a border is taken for the
    strongest that there may be. Thin lines need `LINE_SIDE` pixels to be seen.
    """
    needed = [float(side)]
    for step in steps:
        match step:
            case RemoveDarkLines():
                needed.append(LINE_SIDE)
            case CropDarkBorder():
                needed.append(side / LEAST_KEPT)
            case CropToMask() if mask_HW is not None:
                rows, columns = mask_box(mask_HW, step.margin)
                left = min(rows.stop - rows.start, columns.stop - columns.start)
                needed.append(side * min(mask_HW.shape) / left)
    return math.ceil(max(needed))


def require_fit(image_HWC: Shaped[np.ndarray, "H W C"], name: str) -> None:
    """Refuse what the step of this name cannot take.

    Raises:
        DecodeError: in one sentence.
    """
    bands, kind = image_HWC.shape[2], image_HWC.dtype.name
    if (bands, kind) != (3, "uint8"):
        raise DecodeError(f"{kind} pixels of {bands} bands, where {name} takes uint8 of 3")


def _bands(image_HW3: np.ndarray) -> list[np.ndarray]:
    return [image_HW3[..., band] for band in range(3)]


def _cut(
    image_HWC: np.ndarray, mask_HW: np.ndarray | None, box: Slices
) -> tuple[np.ndarray, np.ndarray | None]:
    return image_HWC[box], None if mask_HW is None else mask_HW[box]
