"""SoftTriple: softmax over the relaxed similarity to classes of several proxies.

Shapes: N = samples, C = classes, K = proxies per class, D = embedding dimension.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.errors import require
from likeness.losses.base import LossTerms, shares
from likeness.losses.classification import cross_entropy
from likeness.losses.proxy_base import ProxyLoss, ProxyStart, with_own_lowered
from likeness.pairs import Space, project
from likeness.proxies import ProxyBank

# Keeps the slope of a distance finite where two proxies of a class meet; the authors' constant.
MERGE_FLOOR = 1e-5


def relaxed_similarity(cosine_NCK: Float[Tensor, "N C K"], *, gamma: float) -> Float[Tensor, "N C"]:
    """Similarity to a class of several proxies: S_ic = sum_k softmax_k(cos_ick / gamma) cos_ick.

    Near the largest of the K cosines for a small gamma > 0, near their mean for a large one; the
    cosine itself for K = 1.
    """
    # A softmax along the last dimension, as short as K is, takes five times as long.
    cosine_NKC = cosine_NCK.transpose(1, 2).contiguous()
    return ((cosine_NKC / gamma).softmax(1) * cosine_NKC).sum(1)


def merging(proxies_CKD: Float[Tensor, "C K D"]) -> Float[Tensor, ""]:
    """The penalty that draws the unit proxies of a class together, so that few remain.

    Sum over classes and pairs k < k' of sqrt(2 - 2 w_k . w_k' + 1e-5), over C K (K - 1).
    """
    classes, count, _ = proxies_CKD.shape
    cosine_CKK = proxies_CKD @ proxies_CKD.transpose(1, 2)
    first, second = torch.triu_indices(count, count, 1, device=proxies_CKD.device)
    gap = (2 - 2 * cosine_CKK[:, first, second]).relu() + MERGE_FLOOR
    return gap.sqrt().sum() / max(classes * count * (count - 1), 1)


def with_merging(terms: LossTerms, bank: ProxyBank, space: Space, weight: float) -> LossTerms:
    """The terms and `weight` times the penalty, which belongs to no sample: it is shared evenly."""
    if weight == 0:
        return terms
    rows = project(bank.weight.to(terms.value.dtype), space)
    penalty = weight * merging(rows.unflatten(0, (-1, bank.per_class)))
    per_anchor_N = terms.per_anchor + shares(penalty.expand(len(terms.valid)), terms.valid)
    return terms._replace(value=terms.value + penalty, per_anchor=per_anchor_N)


class SoftTripleLoss(ProxyLoss):
    """SoftTriple loss of Qian et al., ICCV 2019: a softmax in which a class has several centres.

        L = mean over i of -log softmax of scale * (S_iy - margin) against scale * S_ic
            + merge_weight * merging

    with S of `relaxed_similarity`. Formula, defaults and penalty as in pytorch-metric-learning and
    the defaults of CBML's code; K = 1 is `CosFaceLoss`. `n_active` counts samples that are not more
    similar to their class by the margin.

    Args:
        num_classes: C, >= 1.
        dim: D, >= 1.
        per_class: K, >= 1; 10 is the paper's, 2 to 5 do for classes of few images.
        scale: lambda, > 0; 20.
        gamma: temperature of the K proxies of a class, > 0; 0.1.
        margin: delta, in [0, 1]; 0.01.
        merge_weight: tau, of the penalty `merging`, >= 0; 0.2, and 0 leaves it out.
        proxy_lr_mult: factor on the learning rate of the proxies, > 0; 100 is our choice.
        start: `random` (about unit length, our choice) or `class_means` (clusters of the class);
            see `ProxyLoss`.
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
        scale: float = 20.0,
        gamma: float = 0.1,
        margin: float = 0.01,
        merge_weight: float = 0.2,
        proxy_lr_mult: float = 100.0,
        start: ProxyStart = "random",
        space: Space | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            dim,
            per_class=per_class,
            proxy_lr_mult=proxy_lr_mult,
            start=start,
            space=space,
        )
        require(0 < scale < math.inf, "scale", "> 0 and finite", scale)
        require(0 < gamma < math.inf, "gamma", "> 0 and finite", gamma)
        require(0 <= margin <= 1, "margin", "in [0, 1]", margin)
        require(0 <= merge_weight < math.inf, "merge_weight", ">= 0 and finite", merge_weight)
        self.scale, self.gamma, self.margin = scale, gamma, margin
        self.merge_weight = merge_weight

    def judge(self, similarity_NK: Float[Tensor, "N CK"], labels_N: Int[Tensor, " N"]) -> LossTerms:
        """Cross-entropy of the relaxed similarities with the margin, and the penalty."""
        cosine_NCK = similarity_NK.unflatten(1, (self.bank.num_classes, self.bank.per_class))
        similarity_NC = self.scale * relaxed_similarity(cosine_NCK, gamma=self.gamma)
        lowered_NC = with_own_lowered(similarity_NC, labels_N, self.scale * self.margin)
        terms = cross_entropy(lowered_NC, labels_N)
        return with_merging(terms, self.bank, self.space, self.merge_weight)
