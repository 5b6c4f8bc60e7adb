"""Softmax over cosines: normalised softmax.

Shapes: N = samples, C = classes.
"""

from __future__ import annotations

import math

from jaxtyping import Float, Int
from torch import Tensor

from likeness.errors import require
from likeness.losses.base import LossTerms
from likeness.losses.classification import cross_entropy
from likeness.losses.proxy_base import ProxyLoss, ProxyStart
from likeness.pairs import Space


class NormalisedSoftmaxLoss(ProxyLoss):
    """Cross-entropy of cosines over a temperature (Wang et al., ACM MM 2017; Zhai & Wu, BMVC 2019).

        L = mean over i of -log softmax_c(cos(x_i, w_c) / temperature)[y_i]

    Without the small temperature cosines leave the softmax nearly flat: of C classes the
    probability of the right one cannot exceed 1 / (1 + (C - 1) exp(-C / (C - 1))). ProxyNCA++ is
    this loss at temperature 1/18.

    Args:
        num_classes: C, >= 1.
        dim: D, >= 1.
        temperature: > 0; 0.05 as in Zhai & Wu.
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
        temperature: float = 0.05,
        proxy_lr_mult: float = 10.0,
        start: ProxyStart = "random",
        space: Space | None = None,
    ) -> None:
        super().__init__(num_classes, dim, proxy_lr_mult=proxy_lr_mult, start=start, space=space)
        require(0 < temperature < math.inf, "temperature", "> 0 and finite", temperature)
        self.temperature, self.factor = temperature, 1 / temperature

    def judge(self, similarity_NK: Float[Tensor, "N C"], labels_N: Int[Tensor, " N"]) -> LossTerms:
        """Cross-entropy of the cosines over the temperature."""
        return cross_entropy(similarity_NK, labels_N)
