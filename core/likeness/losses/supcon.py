"""Supervised contrastive loss: every positive of an anchor against all other samples.

Shapes: N = anchors, M = references.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.errors import require
from likeness.losses.base import (
    LossTerms,
    PairLoss,
    floored,
    masked_logsumexp,
    shares,
    weighted_logsumexp,
)
from likeness.pairs import Pairs, Space
from likeness.rows import as_float, marked, row_any
from likeness.selection import Selection


def supervised_contrastive(
    logits_NM: Float[Tensor, "N M"], positive_NM: Tensor, negative_NM: Tensor
) -> LossTerms:
    """Mean over the anchors with a positive of the mean over their positives of -log softmax.

        l_i = 1/|P(i)| sum over p of (log sum over positives and negatives a of exp(z_ia) - z_ip)

    A weight of a positive weighs the mean over P(i), one of a negative its exponential; where the
    weight is 0 the pair is not there. `n_active` counts positive pairs with a cost above 0.

    Args:
        logits_NM: similarities over a temperature, shape (N, M).
        positive_NM: weights of positive pairs (bool or >= 0), shape (N, M).
        negative_NM: weights of negative pairs, shape (N, M).
    """
    is_positive_NM = marked(positive_NM)
    if negative_NM.dtype == torch.bool:
        all_N = masked_logsumexp(logits_NM, is_positive_NM | negative_NM)
    else:
        all_N = weighted_logsumexp(logits_NM, torch.where(is_positive_NM, 1.0, negative_NM))
    weight_NM = as_float(positive_NM, logits_NM.dtype)
    mean_N = (weight_NM * logits_NM).sum(1) / floored(weight_NM.sum(1))
    valid_N = row_any(is_positive_NM)
    per_anchor_N = shares(all_N - mean_N, valid_N)
    active = (is_positive_NM & (logits_NM.detach() < all_N.detach()[:, None])).count_nonzero()
    return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, active)


class SupConLoss(PairLoss):
    """The supervised contrastive loss of Khosla et al., NeurIPS 2020 ("L_out", eq. 2).

    See `supervised_contrastive`, with z = cosine / temperature. The authors' code multiplies the
    value by temperature / 0.07, a second constant of the learning rate; here there is none. Anchors
    without a positive are left out (there they give nan).

    Args:
        temperature: > 0; 0.1 in the paper, 0.07 in the authors' code.
        views: whether two draws of one picture are a positive pair, as the paper's two views are;
            otherwise they are the same sample and not compared.
        space: `cosine` only.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine",)

    def __init__(
        self, *, temperature: float = 0.1, views: bool = True, space: Space | None = None
    ) -> None:
        super().__init__(space)
        require(0 < temperature < math.inf, "temperature", "> 0 and finite", temperature)
        self.temperature, self.allow_views = temperature, views

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `supervised_contrastive`."""
        return supervised_contrastive(pairs.cosine / self.temperature, *selection)
