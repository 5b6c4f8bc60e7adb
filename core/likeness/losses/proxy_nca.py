"""Proxy-NCA and ProxyNCA++: each sample against one proxy per class, by squared distance.

Shapes: N = samples, C = classes.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.errors import require
from likeness.losses.base import LossTerms, masked_logsumexp, shares
from likeness.losses.classification import cross_entropy
from likeness.losses.proxy_base import ProxyLoss, ProxyStart, misplaced, own_class
from likeness.pairs import Space

ProxyNCAVariant = Literal["prob", "classic"]
PROXY_NCA_VARIANTS: tuple[ProxyNCAVariant, ...] = ("prob", "classic")


def proxy_nca(logits_NC: Float[Tensor, "N C"], labels_N: Int[Tensor, " N"]) -> LossTerms:
    """Proxy-NCA without the own class in the denominator, mean over samples.

        l_i = log sum over c != y_i of exp(z_ic) - z_iy

    Below zero where the own class is well ahead; softplus(l_i) is the cross-entropy. C >= 2.
    """
    own_NC = own_class(labels_N, logits_NC.shape[1])
    cost_N = masked_logsumexp(logits_NC, ~own_NC) - logits_NC.gather(1, labels_N[:, None])[:, 0]
    valid_N = torch.ones_like(labels_N, dtype=torch.bool)
    per_anchor_N = shares(cost_N, valid_N)
    return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, misplaced(logits_NC, labels_N))


class ProxyNCALoss(ProxyLoss):
    """Proxy-NCA (Movshovitz-Attias et al., ICCV 2017) and ProxyNCA++ (Teh et al., ECCV 2020).

    With x and p_c of unit length and D_ic = ||scale x_i - scale p_c||^2:

        prob (++):  l_i = -log(exp(-D_iy) / sum over all c of exp(-D_ic))
        classic:    l_i = -log(exp(-D_iy) / sum over c != y_i of exp(-D_ic))

    and the mean over the batch. Formulas and scale are those of the authors' code of ++
    (`euwern/proxynca_pp`, which has both), taken in logarithms: there exp(-D) underflows. The rest
    of what ++ is made of is not in this loss: max pooling, layer norm, class-balanced batches, a
    slower network in the first epochs.

    Args:
        num_classes: C, >= 1; >= 2 for `classic`.
        dim: D, >= 1.
        variant: `prob` (default, ++) or `classic`.
        scale: length of samples and proxies, > 0; the temperature of ++ is 1 / scale^2, so 3 is its
            1/9. Code that scales both differently (a and b) means scale^2 = a b.
        proxy_lr_mult: factor on the learning rate of the proxies, > 0; 100 with AdamW is our choice
            (UNCONFIRMED; the authors' 1e5 goes with an Adam of eps 1).
        start: `random` (the authors' deviation of 1/8) or `class_means`; see `ProxyLoss`.
        space: `cosine` only.

    Raises:
        UserError: if an argument is out of range.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        variant: ProxyNCAVariant = "prob",
        scale: float = 3.0,
        proxy_lr_mult: float = 100.0,
        start: ProxyStart = "random",
        space: Space | None = None,
    ) -> None:
        super().__init__(
            num_classes, dim, proxy_lr_mult=proxy_lr_mult, start=start, std=1 / 8, space=space
        )
        names = ", ".join(PROXY_NCA_VARIANTS)
        require(variant in PROXY_NCA_VARIANTS, "variant", f"one of {names}", variant)
        require(0 < scale < math.inf, "scale", "> 0 and finite", scale)
        least = 2 if variant == "classic" else 1
        require(num_classes >= least, "num_classes", f">= {least} for {variant}", num_classes)
        self.variant, self.scale = variant, scale
        # -D = 2 scale^2 cos - 2 scale^2, of which the constant cancels in both variants.
        self.factor = 2 * scale**2

    def judge(self, similarity_NK: Float[Tensor, "N C"], labels_N: Int[Tensor, " N"]) -> LossTerms:
        """Cross-entropy (`prob`) or `proxy_nca` (`classic`)."""
        if self.variant == "prob":
            return cross_entropy(similarity_NK, labels_N)
        return proxy_nca(similarity_NK, labels_N)
