"""Proxy-Anchor: every proxy against the samples of the batch, the hardest of them most.

Shapes: N = samples, C = classes.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from likeness.errors import require
from likeness.losses.base import LossTerms
from likeness.losses.proxy_base import ProxyLoss, ProxyStart, misplaced
from likeness.pairs import Space


def proxy_anchor(
    similarity_NC: Float[Tensor, "N C"],
    labels_N: Int[Tensor, " N"],
    *,
    alpha: float,
    margin: float,
) -> LossTerms:
    """The Proxy-Anchor loss of similarities between samples and classes.

        L = 1/|C+| sum over c in C+ of log(1 + sum over i of class c of exp(-alpha (s_ic - margin)))
          + 1/C    sum over all c   of log(1 + sum over the others  of exp( alpha (s_ic + margin)))

    C+ are the classes of the batch. A sample's share of a logarithm is that of its exponential in
    the sum inside.

    Args:
        similarity_NC: similarities, shape (N, C).
        labels_N: class indices in [0, C), shape (N,).
        alpha: how much the hardest counts before the others, > 0.
        margin: delta of the paper.
    """
    own_N1 = labels_N[:, None]
    nearest_N = -alpha * (similarity_NC.gather(1, own_N1)[:, 0] - margin)
    present_C = own_N1.new_zeros(similarity_NC.shape[1]).index_fill(0, labels_N, 1)
    pull_N = _by_own_class(nearest_N, labels_N, present_C.bool()) / present_C.sum()
    # In place on a matrix made here; the own class is taken out of the sum.
    others_NC = similarity_NC.mul(alpha).add_(alpha * margin)
    others_NC.scatter_(1, own_N1, torch.finfo(others_NC.dtype).min / 4)
    total_C = others_NC.logsumexp(0)
    share_NC = (others_NC.detach() - total_C.detach()).exp_()
    push_N = share_NC @ (F.softplus(total_C) / len(total_C))
    per_anchor_N = pull_N + push_N
    valid_N = torch.ones_like(labels_N, dtype=torch.bool)
    return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, misplaced(similarity_NC, labels_N))


def _by_own_class(
    exponent_N: Tensor, labels_N: Tensor, present_C: Bool[Tensor, " C"]
) -> Float[Tensor, " N"]:
    """Sum over the classes present of log(1 + sum over their samples of exp(exponent_i)), by i."""
    lowest_C = exponent_N.new_full(present_C.shape, -math.inf)
    top_C = lowest_C.scatter_reduce(0, labels_N, exponent_N.detach(), "amax")
    raised_N = (exponent_N - top_C[labels_N]).exp()
    sum_C = torch.zeros_like(top_C).index_add(0, labels_N, raised_N)
    total_N = (sum_C[labels_N].log() + top_C[labels_N]).detach()
    term_C = F.softplus(torch.where(present_C, sum_C, 1.0).log() + top_C)
    return (exponent_N.detach() - total_N).exp() * term_C[labels_N]


class ProxyAnchorLoss(ProxyLoss):
    """The Proxy-Anchor loss of Kim et al., CVPR 2020 (eq. 4); see `proxy_anchor`.

    The batch's samples weigh against each other within one proxy's logarithm, so what they are to
    each other shows in the gradient, which is not so in Proxy-NCA. Formula, defaults and the start
    of the proxies are those of the authors' code (`tjddus9597/Proxy-Anchor-CVPR2020`), with the
    log-sum-exp taken safely: exp(32 * 1.1) is beyond half precision.

    Args:
        num_classes: C, >= 1.
        dim: D, >= 1.
        alpha: > 0; 32 in the paper.
        margin: delta, in [0, 1]; 0.1 in the paper.
        proxy_lr_mult: factor on the learning rate of the proxies, > 0; 100 in the authors' code.
        start: `random` (the authors' deviation sqrt(2 / C)) or `class_means`; see `ProxyLoss`.
        space: `cosine` only.

    Raises:
        UserError: if an argument is out of range.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        alpha: float = 32.0,
        margin: float = 0.1,
        proxy_lr_mult: float = 100.0,
        start: ProxyStart = "random",
        space: Space | None = None,
    ) -> None:
        require(num_classes >= 1, "num_classes", ">= 1", num_classes)
        std = math.sqrt(2 / num_classes)
        super().__init__(
            num_classes, dim, proxy_lr_mult=proxy_lr_mult, start=start, std=std, space=space
        )
        require(0 < alpha < math.inf, "alpha", "> 0 and finite", alpha)
        require(0 <= margin <= 1, "margin", "in [0, 1]", margin)
        self.alpha, self.margin = alpha, margin

    def judge(self, similarity_NK: Float[Tensor, "N C"], labels_N: Int[Tensor, " N"]) -> LossTerms:
        """See `proxy_anchor`."""
        return proxy_anchor(similarity_NK, labels_N, alpha=self.alpha, margin=self.margin)
