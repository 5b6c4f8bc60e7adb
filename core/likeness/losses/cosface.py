"""CosFace: softmax over cosines with a margin taken off the own class's cosine.

Shapes: N = samples, C = classes.
"""

from __future__ import annotations

import math

from jaxtyping import Float, Int
from torch import Tensor

from likeness.errors import require
from likeness.losses.base import LossTerms
from likeness.losses.classification import cross_entropy
from likeness.losses.proxy_base import ProxyLoss, ProxyStart, with_own_lowered
from likeness.pairs import Space


class CosFaceLoss(ProxyLoss):
    """The large margin cosine loss of Wang et al., CVPR 2018 ("CosFace"; "AM-Softmax" likewise).

        L = mean over i of -log softmax of scale * (cos_iy - margin) against scale * cos_ic

    Where ArcFace turns the angle, this lowers its cosine, whose slope stays. `n_active` counts
    samples that are not nearer to their class's vector by the margin.

    Args:
        num_classes: C, >= 1.
        dim: D, >= 1.
        scale: s, > 0; 64 in the paper.
        margin: m, in [0, 1]; 0.35 in the paper. 0 is normalised softmax at temperature 1 / scale.
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
        margin: float = 0.35,
        proxy_lr_mult: float = 10.0,
        start: ProxyStart = "random",
        space: Space | None = None,
    ) -> None:
        super().__init__(num_classes, dim, proxy_lr_mult=proxy_lr_mult, start=start, space=space)
        require(0 < scale < math.inf, "scale", "> 0 and finite", scale)
        require(0 <= margin <= 1, "margin", "in [0, 1]", margin)
        self.scale, self.factor, self.margin = scale, scale, margin

    def judge(self, similarity_NK: Float[Tensor, "N C"], labels_N: Int[Tensor, " N"]) -> LossTerms:
        """Cross-entropy after the margin was taken off the own class's cosine."""
        lowered_NK = with_own_lowered(similarity_NK, labels_N, self.scale * self.margin)
        return cross_entropy(lowered_NK, labels_N)
