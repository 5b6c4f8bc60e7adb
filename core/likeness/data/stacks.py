"""Many images made ready for the network at once: a fraction of the cost of one after the other.

Legend: N = images of one size and type, H height, W width, C bands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, Shaped
from torch import Tensor

from likeness.data.resample import resample_stack
from likeness.data.transforms import (
    Preprocessing,
    match_bands,
    normalise_,
    resize_image,
    standardise_,
    to_tensor,
)
from likeness.errors import require
from likeness.image_size import HeightWidth


def prepare_images(
    images: Sequence[Shaped[np.ndarray, "_ _ _"]], preprocessing: Preprocessing
) -> list[Float32[Tensor, "C H W"]]:
    """What `to_tensor(resize_image(match_bands(image)))` gives for each, in the same order.

    Images of one size and type that have the aspect ratio of the network's input go together;
    `resample_stack` says how little their pixels differ. Others, and those with holes (values that
    are not finite), are made one by one.

    Args:
        images: (H, W, C) each, of uint8, uint16 or float32.
        preprocessing: the model's, without steps: those of it are for whole pictures.

    Raises:
        DecodeError: if an image has another number of bands than the network takes.
        UserError: if there are steps.
    """
    names = [step.name for step in preprocessing.steps]
    require(not names, "preprocessing.steps", "empty where windows of a scene are read", names)
    bands, grey = preprocessing.bands, preprocessing.grey
    matched = [match_bands(image_HWC, bands, grey=grey) for image_HWC in images]
    inputs: dict[int, Tensor] = {}
    alike: dict[tuple[tuple[int, ...], np.dtype], list[int]] = defaultdict(list)
    for place, image_HWC in enumerate(matched):
        if _is_plain(image_HWC, preprocessing.height_width):
            alike[image_HWC.shape, image_HWC.dtype].append(place)
        else:
            inputs[place] = to_tensor(resize_image(image_HWC, preprocessing), preprocessing)
    for places in alike.values():
        stack_NHWC = np.stack([matched[place] for place in places])
        inputs.update(zip(places, _inputs(stack_NHWC, preprocessing), strict=True))
    return [inputs[place] for place in range(len(matched))]


def _is_plain(image_HWC: np.ndarray, shape: HeightWidth) -> bool:
    """Whether it has the aspect ratio of `shape`, so that nothing crops it, and only numbers."""
    (height, width, _), (tall, wide) = image_HWC.shape, shape
    whole = image_HWC.dtype.kind != "f" or bool(np.isfinite(image_HWC).all())
    return height * wide == width * tall and whole


def _inputs(stack_NHWC: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    """Writes to the stack where it is float32 and of the network's size."""
    pixels_NCHW = torch.from_numpy(stack_NHWC).permute(0, 3, 1, 2)
    resized_NCHW = resample_stack(pixels_NCHW, *preprocessing.height_width)
    values_NCHW = resized_NCHW.to(torch.float32, memory_format=torch.contiguous_format)
    normalise_(values_NCHW, preprocessing)
    return standardise_(values_NCHW) if preprocessing.per_image_standardisation else values_NCHW
