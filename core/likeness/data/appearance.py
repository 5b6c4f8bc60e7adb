"""What an image looks like, in a few dozen numbers that need no network and no training.

They describe the prepared input, so whatever the network sees is judged, and nothing is read again.

Legend: N images, C bands, H height, W width, F numbers.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from likeness.data.transforms import Preprocessing

SIDE = 64  # longer sides are averaged down: finer detail says more of a file's encoding
SCALES = 4  # the first at `SIDE`, each further one half as large
QUANTILES = (0.05, 0.25, 0.75, 0.95)
RINGS = (0.0, 0.4, 0.7, 1.0, 2.0)  # radii between which a ring lies; 1 is half of either side
PATCHES = 6  # along the shorter side
FAINT = 0.003  # of the range of the pixels; logarithms of less say nothing: about one of 255 levels


def appearance(
    images_NCHW: Float32[Tensor, "N C H W"], preprocessing: Preprocessing
) -> Float[Tensor, "N F"]:
    """Light, tint, layout and detail of prepared images; F depends on bands and size only.

    The light of a pixel is the mean of its bands, its tint what each band has beyond that (an
    opponent space for any number of bands; zero everywhere in a grey picture). Spreads and energies
    are logarithms. Our own choice of classic image statistics, from no paper; their weight is left
    to whoever compares them (`likeness.inference.scope`).

    Args:
        images_NCHW: as `to_tensor` gives them, H and W >= 8.
        preprocessing: how they were normalised, which is undone here.

    Returns:
        Finite numbers for finite images, float32.
    """
    std = torch.tensor(preprocessing.std)[:, None, None]
    mean = torch.tensor(preprocessing.mean)[:, None, None]
    pixels_NCHW = images_NCHW * std + mean
    height, width = pixels_NCHW.shape[2:]
    if max(height, width) > SIDE:
        pixels_NCHW = adaptive_avg_pool2d(pixels_NCHW, (min(height, SIDE), min(width, SIDE)))
    light_NHW = pixels_NCHW.mean(dim=1)
    tint_NCHW = pixels_NCHW - light_NHW[:, None]
    parts = [*_palette(light_NHW, tint_NCHW), *_layout(light_NHW), *_detail(light_NHW, tint_NCHW)]
    return torch.cat(parts, dim=1)


def _palette(light_NHW: Tensor, tint_NCHW: Tensor) -> list[Tensor]:
    """Which colours there are, wherever they are."""
    light_NP, tint_NCP = light_NHW.flatten(1), tint_NCHW.flatten(2)
    mean_N1 = light_NP.mean(dim=1, keepdim=True)
    strength_NP = tint_NCP.square().sum(dim=1).sqrt()
    places = torch.tensor([round(share * (light_NP.shape[1] - 1)) for share in QUANTILES])
    return [
        mean_N1,
        tint_NCP.mean(dim=2),
        light_NP.sort(dim=1).values[:, places] - mean_N1,
        _log(light_NP.std(dim=1, keepdim=True)),
        _log(tint_NCP.std(dim=2)),
        _log(strength_NP.mean(dim=1, keepdim=True)),
        _log(strength_NP.std(dim=1, keepdim=True)),
    ]


def _layout(light_NHW: Tensor) -> list[Tensor]:
    """How light and its spread change from the middle to the corners."""
    down_H, across_W = ((torch.arange(side) + 0.5) / side * 2 - 1 for side in light_NHW.shape[1:])
    radius_P = torch.hypot(down_H[:, None], across_W[None]).flatten()
    inner_R, outer_R = torch.tensor(RINGS[:-1]), torch.tensor(RINGS[1:])
    ring_PR = ((radius_P[:, None] >= inner_R) & (radius_P[:, None] < outer_R)).float()
    ring_PR /= ring_PR.sum(dim=0)
    gap_NP = light_NHW.flatten(1) - light_NHW.flatten(1).mean(dim=1, keepdim=True)
    mean_NR = gap_NP @ ring_PR
    spread_NR = (gap_NP.square() @ ring_PR - mean_NR.square()).clamp_min(0).sqrt()
    return [mean_NR, _log(spread_NR)]


def _detail(light_NHW: Tensor, tint_NCHW: Tensor) -> list[Tensor]:
    """Strength, sparseness and direction of edges at several scales, and how even texture is."""
    numbers: list[Tensor] = []
    light_N1HW = light_NHW[:, None]
    scales = min(SCALES, min(light_NHW.shape[1:]).bit_length() - 2)  # the smallest side is 4
    for scale in range(scales):
        across_NP = light_N1HW[:, 0, :-1].diff(dim=2).flatten(1)
        down_NP = light_N1HW[:, 0, :, :-1].diff(dim=1).flatten(1)
        edge_NP = torch.hypot(across_NP, down_NP)
        mean_N = _log(edge_NP.mean(dim=1))
        sparse_N = _log(edge_NP.square().mean(dim=1).sqrt()) - mean_N
        lean_N = _log(across_NP.abs().mean(dim=1)) - _log(down_NP.abs().mean(dim=1))
        numbers += [mean_N, sparse_N, lean_N.abs()]
        if scale:  # the finest tint is what the encoding of a file left of it
            tint_edge_NCHW = tint_NCHW[..., 1:, 1:] - tint_NCHW[..., :-1, :-1]
            numbers.append(_log(tint_edge_NCHW.square().sum(dim=1).sqrt().mean(dim=(1, 2))))
        light_N1HW, tint_NCHW = avg_pool2d(light_N1HW, 2), avg_pool2d(tint_NCHW, 2)
    return [torch.stack(numbers, dim=1), _patches(light_NHW)]


def _patches(light_NHW: Tensor) -> Tensor:
    """Mean, spread and ends of the logarithmic spreads of light within small squares."""
    side = max(2, min(light_NHW.shape[1:]) // PATCHES)
    squares_NGP = light_NHW.unfold(1, side, side).unfold(2, side, side).flatten(3).flatten(1, 2)
    spread_NG = _log(squares_NGP.std(dim=2)).sort(dim=1).values
    last = spread_NG.shape[1] - 1
    ends_N2 = spread_NG[:, [round(0.1 * last), round(0.9 * last)]]
    return torch.cat([spread_NG.mean(1, keepdim=True), spread_NG.std(1, keepdim=True), ends_N2], 1)


def _log(numbers: Tensor) -> Tensor:
    return torch.log(numbers + FAINT)
