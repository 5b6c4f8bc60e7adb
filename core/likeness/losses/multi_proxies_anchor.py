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
from likeness.pairs import Space, project

MPAGradient = Literal["class", "data", "both"]
MPA_GRADIENTS: tuple[MPAGradient, ...] = ("class", "data", "both")

# Keeps the slope of a distance finite where two proxies of a class meet; SoftTriple's constant.
MERGE_FLOOR = 1e-5


def relaxed_similarity(cosine_NCK: Float[Tensor, "N C K"], *, gamma: float) -> Float[Tensor, "N C"]:
    """Similarity to a class of several proxies: S_ic = sum_k softmax_k(cos_ick / gamma) cos_ick.

    The relaxed similarity of SoftTriple (Qian et al., ICCV 2019). Near the largest of the K cosines
    for a small gamma > 0, near their mean for a large one; the cosine itself for K = 1.
    """
    return ((cosine_NCK / gamma).softmax(2) * cosine_NCK).sum(2)


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


def merging(proxies_CKD: Float[Tensor, "C K D"]) -> Float[Tensor, ""]:
    """SoftTriple's penalty that draws the unit proxies of a class together, so that few remain.

    Sum over classes and pairs k < k' of sqrt(2 - 2 w_k . w_k' + 1e-5), over C K (K - 1).
    """
    classes, count, _ = proxies_CKD.shape
    cosine_CKK = proxies_CKD @ proxies_CKD.transpose(1, 2)
    first, second = torch.triu_indices(count, count, 1, device=proxies_CKD.device)
    gap = (2 - 2 * cosine_CKK[:, first, second]).relu() + MERGE_FLOOR
    return gap.sqrt().sum() / max(classes * count * (count - 1), 1)


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
        return terms if self.merge_weight == 0 else self._merged(terms)

    def _merged(self, terms: LossTerms) -> LossTerms:
        """With the penalty on the proxies, which belongs to no sample, shared evenly."""
        rows = project(self.bank.weight.to(terms.value.dtype), self.space)
        penalty = self.merge_weight * merging(rows.unflatten(0, (-1, self.bank.per_class)))
        per_anchor_N = terms.per_anchor + shares(penalty.expand(len(terms.valid)), terms.valid)
        return terms._replace(value=terms.value + penalty, per_anchor=per_anchor_N)
