"""NT-Xent: every positive pair against the negatives of its anchor.

Shapes: N = anchors, M = references, K = slots for the positives of a row.
"""

from __future__ import annotations

import math
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss, floored, weighted_logsumexp
from likeness.pairs import Pairs, Space
from likeness.rows import marked, slots
from likeness.selection import Selection


def nt_xent(logits_NM: Float[Tensor, "N M"], positive_NM: Tensor, negative_NM: Tensor) -> LossTerms:
    """Mean over the positive pairs of -log(exp(z_ap) / (exp(z_ap) + sum over n of exp(z_an))).

    The other positives of the anchor are not in the denominator. Weights of positives weigh the
    mean, those of negatives their exponentials. `n_active` counts positive pairs with a cost.

    Args:
        logits_NM: similarities over a temperature, shape (N, M).
        positive_NM: weights of positive pairs (bool or >= 0), shape (N, M).
        negative_NM: weights of negative pairs, shape (N, M).
    """
    push_N = weighted_logsumexp(logits_NM, negative_NM)
    column_NK, real_NK = slots(marked(positive_NM))
    cost_NK = F.softplus(push_N[:, None] - logits_NM.gather(1, column_NK))
    weight_NK = positive_NM.gather(1, column_NK) * real_NK
    active = ((cost_NK.detach() > 0) & marked(weight_NK)).sum()
    per_anchor_N = (cost_NK * weight_NK).sum(1) / floored(weight_NK.sum())
    return LossTerms(per_anchor_N.sum(), per_anchor_N, real_NK.any(1), active)


class NTXentLoss(PairLoss):
    """The normalised temperature-scaled cross-entropy of SimCLR (Chen et al., ICML 2020, eq. 1).

    With class labels an anchor has several positives, each with a denominator of its own (as in
    pytorch-metric-learning). Without labels, give every
    picture a label of its own and draw it twice: the two views are then the one positive pair, and
    every view of another picture is a negative.

    Args:
        temperature: > 0; 0.07 as in pytorch-metric-learning; the paper tunes it.
        views: whether two draws of one picture are a positive pair; without it a batch of views has
            none.
        space: `cosine` only.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine",)

    def __init__(
        self, *, temperature: float = 0.07, views: bool = True, space: Space | None = None
    ) -> None:
        super().__init__(space)
        require(0 < temperature < math.inf, "temperature", "> 0 and finite", temperature)
        self.temperature, self.allow_views = temperature, views

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `nt_xent`."""
        return nt_xent(pairs.cosine / self.temperature, *selection)
