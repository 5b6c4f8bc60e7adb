"""Multi-proxies anchor (MPA): Proxy-Anchor with several local centres for each class.

Shapes: N = samples, C = classes, K = proxies per class, D = embedding dimension.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from likeness.errors import require
from likeness.losses.base import LossTerms, masked_logsumexp, shares
from likeness.losses.proxy_anchor import proxy_anchor
from likeness.losses.proxy_base import ProxyLoss, ProxyStart, misplaced, own_class
from likeness.losses.soft_triple import relaxed_similarity, with_merging
from likeness.pairs import Space

MPAGradient = Literal["class", "data", "both"]
MPA_GRADIENTS: tuple[MPAGradient, ...] = ("class", "data", "both")


def data_anchor(
    similarity_NC: Float[Tensor, "N C"],
    labels_N: Int[Tensor, " N"],
    *,
    alpha: float,
    margin: float,
) -> LossTerms:
    """The terms of Proxy-Anchor with the sum inside the logarithm over classes, mean over samples.

    l_i = log(1 + exp(-alpha (s_iy - margin))) + log(1 + sum over c != y of exp(alpha (s_ic +
    margin))).
    """
    own_NC = own_class(labels_N, similarity_NC.shape[1])
    own_N = similarity_NC.gather(1, labels_N[:, None])[:, 0]
    push_N = masked_logsumexp(alpha * (similarity_NC + margin), ~own_NC)
    valid_N = torch.ones_like(labels_N, dtype=torch.bool)
    cost_N = F.softplus(-alpha * (own_N - margin)) + F.softplus(push_N)
    per_anchor_N = shares(cost_N, valid_N)
    return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, misplaced(similarity_NC, labels_N))


class MultiProxiesAnchorLoss(ProxyLoss):
    """MPA-style loss, our reconstruction of Saeki et al. 2021 (arXiv 2110.03997).

    Confirmed by the abstract: several proxies for each class, the gradient of earlier proxy losses
    mended, and a family of three whose gradients go by samples or by classes. Every formula and
    default below is UNCONFIRMED, our choice: the relaxed similarity of SoftTriple under
    `proxy_anchor` (K = 1 is that loss exactly).

    Several proxies find the modes of a class only if they start apart and the embedding keeps the
    modes: with a small gamma one proxy soon takes all samples of its class, `start: class_means`
    (clusters of the class) helps.

    Args:
        num_classes: C, >= 1.
        dim: D, >= 1.
        per_class: K, >= 1; 10 is SoftTriple's, 2 to 5 do for classes of few images.
        gamma: temperature of the K proxies of a class, > 0; 0.1 is SoftTriple's.
        alpha: as in `ProxyAnchorLoss`, > 0.
        margin: likewise, in [0, 1].
        gradient: which sum is inside the logarithm: `class` (over the batch's samples, as in
            Proxy-Anchor, default), `data` (over classes, as in Proxy-NCA), `both` (their mean).
        merge_weight: of the penalty `merging`, >= 0; 0.2 is SoftTriple's tau, 0 leaves it out.
        proxy_lr_mult: factor on the learning rate of the proxies, > 0.
        start: `random` or `class_means`; see `ProxyLoss`.
        space: `cosine` only.

    Raises:
        UserError: if an argument is out of range.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        per_class: int = 10,
        gamma: float = 0.1,
        alpha: float = 32.0,
        margin: float = 0.1,
        gradient: MPAGradient = "class",
        merge_weight: float = 0.0,
        proxy_lr_mult: float = 100.0,
        start: ProxyStart = "random",
        space: Space | None = None,
    ) -> None:
        require(num_classes >= 1, "num_classes", ">= 1", num_classes)
        require(per_class >= 1, "per_class", ">= 1", per_class)
        super().__init__(
            num_classes,
            dim,
            per_class=per_class,
            proxy_lr_mult=proxy_lr_mult,
            start=start,
            std=math.sqrt(2 / (num_classes * per_class)),
            space=space,
        )
        require(0 < gamma < math.inf, "gamma", "> 0 and finite", gamma)
        require(0 < alpha < math.inf, "alpha", "> 0 and finite", alpha)
        require(0 <= margin <= 1, "margin", "in [0, 1]", margin)
        names = ", ".join(MPA_GRADIENTS)
        require(gradient in MPA_GRADIENTS, "gradient", f"one of {names}", gradient)
        require(0 <= merge_weight < math.inf, "merge_weight", ">= 0 and finite", merge_weight)
        self.gamma, self.alpha, self.margin = gamma, alpha, margin
        self.gradient, self.merge_weight = gradient, merge_weight

    def judge(self, similarity_NK: Float[Tensor, "N CK"], labels_N: Int[Tensor, " N"]) -> LossTerms:
        """Proxy-Anchor of the relaxed similarities, by classes, by samples or both."""
        cosine_NCK = similarity_NK.unflatten(1, (self.bank.num_classes, self.bank.per_class))
        similarity_NC = relaxed_similarity(cosine_NCK, gamma=self.gamma)
        options = {"alpha": self.alpha, "margin": self.margin}
        if self.gradient == "class":
            terms = proxy_anchor(similarity_NC, labels_N, **options)
        elif self.gradient == "data":
            terms = data_anchor(similarity_NC, labels_N, **options)
        else:
            first = proxy_anchor(similarity_NC, labels_N, **options)
            second = data_anchor(similarity_NC, labels_N, **options)
            terms = first._replace(
                value=(first.value + second.value) / 2,
                per_anchor=(first.per_anchor + second.per_anchor) / 2,
            )
        return with_merging(terms, self.bank, self.space, self.merge_weight)
