"""ArcFace: softmax over cosines with a margin added to the own class's angle.

Shapes: N = samples, C = classes.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from likeness.errors import require
from likeness.losses.base import LossTerms
from likeness.losses.classification import cross_entropy
from likeness.losses.proxy_base import ProxyLoss, ProxyStart
from likeness.pairs import Space

# Below this squared sine a sample counts as on its class's axis, where the sine gets no slope.
SQUARED_SINE_FLOOR = 1e-7


def with_angular_margin(cosine: Tensor, margin: float) -> Tensor:
    """cos(theta + margin) from cos(theta), without arccosine, whose slope is infinite at 0 and pi.

    Beyond theta = pi - margin the cosine would rise again; there it goes on as cos(theta) - margin
    sin(margin), as in the authors' code, so that a larger angle never costs less.

    Args:
        cosine: cos(theta), any shape.
        margin: in radians, in [0, pi / 2].
    """
    squared = F.threshold(1 - cosine.square(), SQUARED_SINE_FLOOR, SQUARED_SINE_FLOOR)
    turned = cosine * math.cos(margin) - squared.sqrt() * math.sin(margin)
    beyond = cosine <= -math.cos(margin)
    return torch.where(beyond, cosine - margin * math.sin(margin), turned)


class ArcFaceLoss(ProxyLoss):
    """The additive angular margin of Deng et al., CVPR 2019 ("ArcFace"); one centre a class.

        L = mean over i of -log softmax of scale * cos(theta_iy + margin) against scale * cos(theta)

    `n_active` counts samples that are not nearer to their class's vector by the margin.

    Args:
        num_classes: C, >= 1.
        dim: D, >= 1.
        scale: s, > 0; 64 in the paper.
        margin: m in radians, in [0, pi / 2]; 0.5 in the paper. 0 is normalised softmax at
            temperature 1 / scale.
        proxy_lr_mult: factor on the learning rate of the class vectors, > 0; 10 is our choice.
        start: `random` (about unit length, our choice) or `class_means`; see `ProxyLoss`.
        space: `cosine` only.

    Raises:
        UserError: if an argument is out of range.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        scale: float = 64.0,
        margin: float = 0.5,
        proxy_lr_mult: float = 10.0,
        start: ProxyStart = "random",
        space: Space | None = None,
    ) -> None:
        super().__init__(num_classes, dim, proxy_lr_mult=proxy_lr_mult, start=start, space=space)
        require(0 < scale < math.inf, "scale", "> 0 and finite", scale)
        require(0 <= margin <= math.pi / 2, "margin", "in [0, pi / 2]", margin)
        self.scale, self.factor, self.margin = scale, scale, margin

    def judge(self, similarity_NK: Float[Tensor, "N C"], labels_N: Int[Tensor, " N"]) -> LossTerms:
        """Cross-entropy after the own class's cosine was turned by the margin."""
        own_N1 = labels_N[:, None]
        cosine_N1 = similarity_NK.gather(1, own_N1) / self.scale
        turned_N1 = self.scale * with_angular_margin(cosine_N1, self.margin)
        return cross_entropy(similarity_NK.scatter(1, own_N1, turned_N1), labels_N)
