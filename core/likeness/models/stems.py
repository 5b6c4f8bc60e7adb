"""The first convolution: small-image stems and any number of bands.

Shapes: O = output channels, B = bands, k = kernel side.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from likeness.errors import require

RGB = 3


def inflate_bands(weight_OBkk: Float[Tensor, "O _ k k"], bands: int) -> Float[Tensor, "O B k k"]:
    """A convolution for `bands` channels from one trained on RGB.

    Every band gets the mean of the three colour kernels times 3 / bands, so an image whose bands
    are all equal gives the response that a grey RGB image gave. For 3 bands the weights are kept
    as they are. Source: our reconstruction of the usual practice (timm's and I3D's inflation).

    Args:
        weight_OBkk: kernels over RGB.
        bands: channels wanted, >= 1.

    Raises:
        UserError: if the kernels do not read 3 channels or `bands` < 1.
    """
    require(
        weight_OBkk.shape[1] == RGB,
        "weight_OBkk",
        "kernels over 3 channels",
        tuple(weight_OBkk.shape),
    )
    require(bands >= 1, "bands", ">= 1", bands)
    if bands == RGB:
        return weight_OBkk.clone()
    mean_O1kk = weight_OBkk.mean(dim=1, keepdim=True)
    return (mean_O1kk * (RGB / bands)).repeat(1, bands, 1, 1)


def first_convolution(
    original: nn.Conv2d, *, bands: int, small: bool, initialise: Callable[[Tensor], object]
) -> nn.Conv2d:
    """The first convolution for `bands` channels, `original` itself where nothing changes.

    Args:
        original: torchvision's convolution over RGB.
        bands: channels of the input.
        small: a 3 x 3 kernel of stride 1 instead of the original geometry.
        initialise: fills the new weights in place, as torchvision fills this network's own.
    """
    if bands == original.in_channels and not small:
        return original
    kernel, stride, padding = (
        ((3, 3), (1, 1), (1, 1))
        if small
        else (original.kernel_size, original.stride, original.padding)
    )
    convolution = nn.Conv2d(
        bands,
        original.out_channels,
        kernel_size=kernel,  # type: ignore[arg-type]
        stride=stride,  # type: ignore[arg-type]
        padding=padding,  # type: ignore[arg-type]
        bias=original.bias is not None,
    )
    initialise(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution
