"""GoogLeNet-BN (Inception-v2): its trunk, and its two heads half-way.

Source: the table of layers of Ioffe and Szegedy 2015, "Batch normalization: accelerating deep
network training by reducing internal covariate shift". Its columns disagree in 4c and 4d (576
channels out, but a projection that would make 608); there, and for the heads, the official Caffe
code of Wang et al. 2019 (OSM + CAA) is followed: 576.

Shapes: N = images, F = features, h, w = cells of a map, D = length of a head's vector.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from likeness.data.transforms import IMAGENET_STD
from likeness.errors import UserError, require
from likeness.models.stems import first_convolution

FIRST_STAGE, MIDDLE_STAGE = "inception_3c", "inception_4e"  # what the heads half-way read
STAGE_FEATURES = {FIRST_STAGE: 576, MIDDLE_STAGE: 1024}
NUM_FEATURES = 1024  # of the last map
HEAD_LENGTH = 1024  # of a head half-way
FIRST_LAYER = "conv1.7x7_s2.conv"

_GREY_LEVELS = 255.0
# Caffe's "xavier": uniform with variance 1 / inputs.
_XAVIER = partial(nn.init.kaiming_uniform_, nonlinearity="linear")


class Widths(NamedTuple):
    """Channels of one block; two numbers are the reduction's and those of the 3 x 3 behind it."""

    one: int  # 1 x 1; 0 in the blocks that halve the map
    three: tuple[int, int]
    double: tuple[int, int]  # two 3 x 3 of equal width
    pool: int  # projection behind the pooling; 0: none


_BLOCKS = {
    "inception_3a": Widths(64, (64, 64), (64, 96), 32),
    "inception_3b": Widths(64, (64, 96), (64, 96), 64),
    "inception_3c": Widths(0, (128, 160), (64, 96), 0),
    "inception_4a": Widths(224, (64, 96), (96, 128), 128),
    "inception_4b": Widths(192, (96, 128), (96, 128), 128),
    "inception_4c": Widths(160, (128, 160), (128, 160), 96),
    "inception_4d": Widths(96, (128, 192), (160, 192), 96),
    "inception_4e": Widths(0, (128, 192), (192, 256), 0),
    "inception_5a": Widths(352, (192, 320), (160, 224), 128),
    "inception_5b": Widths(352, (192, 320), (192, 224), 128),
}


class ConvBN(nn.Module):
    """Convolution without a bias, batch normalisation, ReLU; a map keeps its size at stride 1."""

    def __init__(self, inputs: int, outputs: int, *, side: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, bias=False)
        _XAVIER(self.conv.weight)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, map_NFhw: Float[Tensor, "N F h w"]) -> Float[Tensor, "N _ _ _"]:
        """A map that is not negative."""
        return functional.relu(self.bn(self.conv(map_NFhw)), inplace=True)


class HalvingPool(nn.Module):
    """Maximum of 3 x 3 cells in steps of 2, for the maps >= 0 of a network with ReLUs.

    Cells a side are halved and rounded up, as the strided convolutions beside it do. For even
    sides it is Caffe's pooling; an odd side gets a row of zeros first.
    """

    def forward(self, map_NFhw: Float[Tensor, "N F h w"]) -> Float[Tensor, "N F _ _"]:
        """The pooled map."""
        height, width = map_NFhw.shape[2:]
        even = functional.pad(map_NFhw, (0, width % 2, 0, height % 2))
        return functional.max_pool2d(even, 3, 2, ceil_mode=True)


class Inception(nn.Module):
    """Branches side by side: 1 x 1, 3 x 3, twice 3 x 3, pooling; a block without 1 x 1 halves."""

    def __init__(self, inputs: int, widths: Widths, pool: nn.Module) -> None:
        super().__init__()
        stride = 1 if widths.one else 2
        (three_in, three), (double_in, double) = widths.three, widths.double
        branches: dict[str, dict[str, nn.Module]] = {
            "branch_1x1": {"1x1": ConvBN(inputs, widths.one)} if widths.one else {},
            "branch_3x3": {
                "3x3_reduce": ConvBN(inputs, three_in),
                "3x3": ConvBN(three_in, three, side=3, stride=stride),
            },
            "branch_double3x3": {
                "double3x3_reduce": ConvBN(inputs, double_in),
                "double3x3a": ConvBN(double_in, double, side=3),
                "double3x3b": ConvBN(double, double, side=3, stride=stride),
            },
            "branch_pool": {"pool": pool},
        }
        if widths.pool:
            branches["branch_pool"]["pool_proj"] = ConvBN(inputs, widths.pool)
        for name, layers in branches.items():
            if layers:
                self.add_module(name, nn.Sequential(OrderedDict(layers)))
        self.num_features = widths.one + three + double + (widths.pool or inputs)

    def forward(self, map_NFhw: Float[Tensor, "N F h w"]) -> Float[Tensor, "N _ _ _"]:
        """The branches' maps, one behind the other."""
        return torch.cat([branch(map_NFhw) for branch in self.children()], dim=1)


class AuxiliaryHead(nn.Module):
    """Means of 5 x 5 cells in steps of 3, 1 x 1 convolution to 128, dense layer, batch norm, ReLU.

    Source: the heads `loss1` and `loss2` of the official OSM + CAA code. The dense layer has a
    weight for each cell, so the head is made for maps of one size.

    Args:
        features: channels of the map.
        cells: height and width of the map, >= 3 each.
        length: D, >= 1.
    """

    def __init__(self, features: int, cells: tuple[int, int], length: int) -> None:
        super().__init__()
        height, width = (-((5 - side) // 3) + 1 for side in cells)  # (side - 5) / 3, rounded up
        self.pool = nn.AvgPool2d(5, 3, ceil_mode=True)
        self.conv = ConvBN(features, 128)
        self.fc = nn.Linear(128 * height * width, length, bias=False)
        _XAVIER(self.fc.weight)
        self.bn = nn.BatchNorm1d(length)

    def forward(self, map_NFhw: Float[Tensor, "N F h w"]) -> Float[Tensor, "N D"]:
        """A vector that is not negative."""
        cells_NK = self.conv(self.pool(map_NFhw)).flatten(1)
        return functional.relu(self.bn(self.fc(cells_NK)))


def build_trunk(*, bands: int = 3, small: bool = False) -> nn.Sequential:
    """The layers from the image to the last map, 1024 channels at a stride of 32 (8 if small)."""
    stem = ConvBN(3, 64, side=7, stride=2)
    stem.conv = first_convolution(stem.conv, bands=bands, small=small, initialise=_XAVIER)
    layers: dict[str, nn.Module] = {
        "conv1": nn.Sequential(OrderedDict({"7x7_s2": stem})),
        "pool1": nn.Identity() if small else nn.MaxPool2d(3, 2, ceil_mode=True),
        "conv2": nn.Sequential(
            OrderedDict({"3x3_reduce": ConvBN(64, 64), "3x3": ConvBN(64, 192, side=3)})
        ),
        "pool2": nn.MaxPool2d(3, 2, ceil_mode=True),
    }
    features = 192
    for name, widths in _BLOCKS.items():
        pool: nn.Module = nn.AvgPool2d(3, 1, padding=1)
        if not widths.one:
            pool = HalvingPool()
        elif name == "inception_5b":
            pool = nn.MaxPool2d(3, 1, padding=1)
        block = Inception(features, widths, pool)
        layers[name] = block
        features = block.num_features
    return nn.Sequential(OrderedDict(layers))


def build_auxiliary(
    stage: str, size: tuple[int, int], *, small: bool, length: int
) -> AuxiliaryHead:
    """The head that reads the map of `FIRST_STAGE` or `MIDDLE_STAGE`.

    Args:
        stage: whose map.
        size: height and width of the image in pixels.
        small: whether the trunk has the small stem.
        length: D, of its vector.
    """
    height, width = (stage_cells(side, small=small)[stage] for side in size)
    return AuxiliaryHead(STAGE_FEATURES[stage], (height, width), length)


def stage_cells(side: int, *, small: bool) -> dict[str, int]:
    """Cells a side of the maps that the heads half-way read, for a side of the image in pixels."""
    if not small:
        side = (side + 1) // 2 // 2  # conv1 rounds up, Caffe's pooling down
    first = (side // 2 + 1) // 2
    return {FIRST_STAGE: first, MIDDLE_STAGE: (first + 1) // 2}


def from_caffe(blobs: Mapping[str, Sequence[np.ndarray]]) -> dict[str, Tensor]:
    """The trunk's weights from a Caffe model of GoogLeNet-BN, for `safetensors.torch.save_file`.

    Where Caffe is, `{name: [blob.data for blob in part] for name, part in net.params.items()}`
    gives the argument. Such a model reads BGR from 0 to 255 about the mean (104, 117, 123); the
    result reads RGB normalised with ImageNet's mean and deviation, which differs by less than one
    grey level. The heads are left out: they depend on the size of the image.

    Args:
        blobs: layer name -> its arrays: a convolution's kernel, the mean, variance and factor of
            `NAME/bn`, the scale and shift of `NAME/bn/sc`.

    Raises:
        UserError: if a layer is missing or of another shape.
    """
    with torch.device("meta"):
        trunk = build_trunk()
    state: dict[str, Tensor] = {}
    for path, part in trunk.named_modules():
        if not isinstance(part, ConvBN):
            continue
        parts = path.split(".")
        layer = f"{parts[0]}/{parts[-1]}"
        (kernel,) = _blobs(blobs, layer, 1)
        mean, variance, factor = _blobs(blobs, f"{layer}/bn", 3)
        scale, shift = _blobs(blobs, f"{layer}/bn/sc", 2)
        seen = float(factor.reshape(-1)[0]) or float("inf")  # Caffe's sums are divided by it
        found = {
            "conv.weight": kernel,
            "bn.weight": scale,
            "bn.bias": shift,
            "bn.running_mean": mean / seen,
            "bn.running_var": variance / seen,
        }
        for key, value in found.items():
            shape = tuple(part.state_dict()[key].shape)
            require(tuple(value.shape) == shape, layer, f"of shape {shape}", tuple(value.shape))
            state[f"{path}.{key}"] = value
    deviation_O3kk = torch.tensor(IMAGENET_STD).reshape(1, 3, 1, 1)
    first = f"{FIRST_LAYER}.weight"
    state[first] = (state[first].flip(1) * deviation_O3kk * _GREY_LEVELS).contiguous()
    return state


def _blobs(blobs: Mapping[str, Sequence[np.ndarray]], layer: str, count: int) -> list[Tensor]:
    found = blobs.get(layer, ())
    if len(found) != count:
        raise UserError(f"blobs must hold {count} of the layer {layer}, got {len(found)}")
    return [torch.from_numpy(np.array(blob, dtype=np.float32)) for blob in found]
