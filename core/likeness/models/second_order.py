"""Second-order attention, and the network with a global and a local head around it.

Ebrahimpour, Qian, Beach, WACV 2022 (arXiv 2112.14327), "Multi-head deep metric learning using
global and local representations". Its abstract confirms both heads, second-order attention and a
hybrid of a loss of pairs and a loss of proxies; no code was found. The block is that of SOLAR (Ng
et al., ECCV 2020; `tonyngjichun/SOLAR`). How the parts are wired is UNCONFIRMED, our choice.

Shapes: N = images, F = features, h, w = cells of the map, P = h w places, M = F / k inner
features, D = length of a head's vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from likeness.errors import require
from likeness.models.pooling import GeM
from likeness.models.spec import TwoHeadsSpec
from likeness.pairs import unit_rows

GLOBAL, LOCAL = "global", "local"  # the heads
LOCAL_STAGE, GLOBAL_STAGE = "layer3", "layer4"  # stages 4 and 5 of the papers


class SecondOrderAttention(nn.Module):
    """Every place of a map, corrected by the places that it agrees with (Ng et al., ECCV 2020).

        out = X + v( A h(X) ),    A = softmax over places of f(X) g(X)^T / sqrt(M)

    f, g, h and v are 1 x 1 convolutions, f and g with batch norm and ReLU. v starts at 0: the block
    starts as the identity, bit for bit, and only v moves in the first step. The P x P attention is
    never kept: time is O(P^2 M), memory O(P M).

    Args:
        features: F of the map.
        reduction: k, 1 <= k <= F.

    Raises:
        UserError: if the reduction is out of range.
    """

    def __init__(self, features: int, *, reduction: int) -> None:
        super().__init__()
        require(1 <= reduction <= features, "reduction", f"in [1, {features}]", reduction)
        inner = features // reduction
        self.f, self.g = _normalised(features, inner), _normalised(features, inner)
        self.h = nn.Conv2d(features, inner, 1)
        self.v = nn.Conv2d(inner, features, 1)
        nn.init.zeros_(self.v.weight)
        assert self.v.bias is not None
        nn.init.zeros_(self.v.bias)

    def forward(self, map_NFhw: Float[Tensor, "N F h w"]) -> Float[Tensor, "N F h w"]:
        """The corrected map, of the same shape; of any sign."""
        query, key, value = (_places(part(map_NFhw)) for part in (self.f, self.g, self.h))
        mixed_N1PM = functional.scaled_dot_product_attention(query, key, value)
        mixed_NMhw = mixed_N1PM[:, 0].transpose(1, 2).unflatten(2, map_NFhw.shape[2:])
        correction_NFhw: Tensor = self.v(mixed_NMhw)
        return map_NFhw + correction_NFhw


class AverageAndMaximum(nn.Module):
    """The sum of the mean and the maximum over the places of a map."""

    def forward(self, map_NFhw: Float[Tensor, "N F h w"]) -> Float[Tensor, "N F"]:
        """One vector for each image, whatever the size of its map."""
        return map_NFhw.mean(dim=(2, 3)) + map_NFhw.amax(dim=(2, 3))


def build_attentions(num_features: int, options: TwoHeadsSpec) -> nn.ModuleDict:
    """Second-order attention behind each of both stages; none where `options` switches it off.

    torch's generator is left as it was found, so that under one seed everything else of a model
    starts as it would without attention.

    Args:
        num_features: F of the last map, twice that of the stage before.
        options: the reductions.
    """
    if not options.second_order:
        return nn.ModuleDict()
    with torch.random.fork_rng(devices=[]):
        of_local = SecondOrderAttention(num_features // 2, reduction=options.local_reduction)
        of_global = SecondOrderAttention(num_features, reduction=options.global_reduction)
    return nn.ModuleDict({LOCAL_STAGE: of_local, GLOBAL_STAGE: of_global})


def build_two_heads(num_features: int, lengths: Mapping[str, int]) -> nn.ModuleDict:
    """Mean plus maximum of the last map, generalised mean of the one before, a linear layer each.

    Args:
        num_features: F of the last map; the stage before has half of it, in every ResNet.
        lengths: D of each head.
    """
    of_global = nn.Linear(num_features, lengths[GLOBAL])
    of_local = nn.Linear(num_features // 2, lengths[LOCAL])
    heads = {GLOBAL: nn.Sequential(AverageAndMaximum(), of_global)}
    return nn.ModuleDict(heads | {LOCAL: nn.Sequential(GeM(), of_local)})


def joined(vectors: Sequence[Float[Tensor, "N _"]]) -> Float[Tensor, "N D"]:
    """The vectors' directions, one behind the other, again of unit length; in float32 at least.

    Every head counts the same: the cosine of two joined vectors is the mean of the heads' cosines.
    """
    with torch.autocast(vectors[0].device.type, enabled=False):
        wide = [item.to(torch.promote_types(item.dtype, torch.float32)) for item in vectors]
        return unit_rows(torch.cat([unit_rows(item) for item in wide], dim=1))


def _normalised(features: int, inner: int) -> nn.Sequential:
    convolution = nn.Conv2d(features, inner, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(inner), nn.ReLU())


def _places(map_NMhw: Tensor) -> Tensor:
    """Places as rows, (N, 1, P, M), in the form that torch's attention without a P x P wants."""
    return map_NMhw.flatten(2).transpose(1, 2).contiguous()[:, None]
