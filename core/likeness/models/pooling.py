"""From a feature map to one vector per image.

Shapes: N = images, F = features, h, w = cells of the map.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likeness.errors import require


def global_average(map_NFhw: Float[Tensor, "N F h w"]) -> Float[Tensor, "N F"]:
    """Mean over the cells of the map."""
    return map_NFhw.mean(dim=(2, 3))


def generalised_mean(
    map_NFhw: Float[Tensor, "N F h w"], p: Float[Tensor, ""], *, eps: float = 1e-6
) -> Float[Tensor, "N F"]:
    """Generalised-mean pooling, `(mean(max(x, eps)^p))^(1/p)`, for a non-negative map.

    p = 1 is the mean and p -> infinity the maximum. Computed as a log-sum-exp of `p log x`, in
    float32 or better: the powers themselves underflow (1e-6 ** 8 is 0 in float32, and its root
    has an infinite slope). Values under `eps` count as `eps` and get no gradient.

    Source: Radenovic, Tolias and Chum 2019, "Fine-tuning CNN image retrieval with no human
    annotation".

    Args:
        map_NFhw: the map; values below 0 count as `eps`.
        p: the exponent, > 0.
        eps: the floor, > 0.
    """
    require(eps > 0, "eps", "> 0", eps)
    with torch.autocast(map_NFhw.device.type, enabled=False):
        wide = torch.promote_types(map_NFhw.dtype, torch.float32)
        log_NFs = map_NFhw.to(wide).clamp(min=eps).log().flatten(2)
        log_mean_NF = (p * log_NFs).logsumexp(dim=2) - math.log(log_NFs.shape[2])
        return (log_mean_NF / p).exp()


class GlobalAverage(nn.Module):
    """Mean over the map."""

    def forward(self, map_NFhw: Float[Tensor, "N F h w"]) -> Float[Tensor, "N F"]:
        """See `global_average`."""
        return global_average(map_NFhw)


class GeM(nn.Module):
    """Generalised-mean pooling with one learned exponent; see `generalised_mean`.

    Args:
        p: where the exponent starts, > 0; the paper's 3.
        eps: the floor under the map's values, > 0.
    """

    def __init__(self, *, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        require(p > 0 and math.isfinite(p), "p", "> 0", p)
        require(eps > 0, "eps", "> 0", eps)
        self.p = nn.Parameter(torch.tensor(float(p)))
        self.eps = eps

    def forward(self, map_NFhw: Float[Tensor, "N F h w"]) -> Float[Tensor, "N F"]:
        """See `generalised_mean`."""
        return generalised_mean(map_NFhw, self.p, eps=self.eps)
