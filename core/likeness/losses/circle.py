"""Circle loss: every similarity is pushed the harder, the farther it is from its optimum.

Shapes: N = anchors, M = references, K = slots for the positives of a row.
"""

from __future__ import annotations

import math
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss, shares, weighted_logsumexp
from likeness.pairs import Pairs, Space
from likeness.rows import marked, rank_positives, row_any
from likeness.selection import Selection


def circle(
    similarity_NM: Float[Tensor, "N M"],
    positive_NM: Tensor,
    negative_NM: Tensor,
    *,
    margin: float,
    scale: float,
) -> LossTerms:
    """log(1 + sum over p of exp(scale * pull_p) * sum over n of exp(scale * push_n)).

        pull_p = -[1 + margin - s_p]+ (s_p - (1 - margin))
        push_n = [s_n + margin]+ (s_n - margin)

    The brackets, how far a similarity is from its optimum, are constants of the gradient. Mean over
    the anchors with a positive and a negative. Weights weigh the exponentials. `n_active` counts
    anchors with a cost above 0.

    Args:
        similarity_NM: cosines, shape (N, M).
        positive_NM: weights of positive pairs (bool or >= 0), shape (N, M).
        negative_NM: weights of negative pairs, shape (N, M).
        margin: m of the paper, in (0, 1).
        scale: gamma of the paper, > 0.
    """
    # Few positives: their log-sum-exp is taken in their slots, not along the row.
    ranked = rank_positives(similarity_NM, marked(positive_NM))
    weight_NK = positive_NM.gather(1, ranked.column_NK) * ranked.real_NK
    own_NK = similarity_NM.gather(1, ranked.column_NK)
    pull_NK = pace(1 + margin - own_NK) * (own_NK - (1 - margin)) * -scale
    push_NM = pace(similarity_NM + margin).mul_(scale) * (similarity_NM - margin)
    both_N = weighted_logsumexp(pull_NK, weight_NK) + weighted_logsumexp(push_NM, negative_NM)
    valid_N = ranked.real_NK.any(1) & row_any(marked(negative_NM))
    per_anchor_N = shares(F.softplus(both_N), valid_N)
    n_active = (valid_N & (per_anchor_N.detach() > 0)).sum()
    return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, n_active)


def pace(distance_from_optimum: Tensor) -> Tensor:
    """The weight alpha of the paper's self-paced similarities: >= 0, without a gradient."""
    return distance_from_optimum.detach().relu()


class CircleLoss(PairLoss):
    """Circle loss of Sun et al., CVPR 2020, for class labels.

    Its decision border is a circle around (s_p, s_n) = (1, 0), so a batch cannot rest where both
    similarities are low, or both high, and only their difference is right.

    The paper writes the loss of one anchor; the mean over anchors is ours, as it is
    pytorch-metric-learning's (some code takes all pairs of the batch into one sum).

    Args:
        margin: in (0, 1); 0.4 for fine-grained retrieval, 0.25 for people and faces.
        scale: > 0; 80 for fine-grained retrieval, 128 for people, 256 for faces.
        space: `cosine` only.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine",)

    def __init__(
        self, *, margin: float = 0.4, scale: float = 80.0, space: Space | None = None
    ) -> None:
        super().__init__(space)
        require(0 < margin < 1, "margin", "in (0, 1)", margin)
        require(0 < scale < math.inf, "scale", "> 0 and finite", scale)
        self.margin, self.scale = margin, scale

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `circle`."""
        return circle(pairs.cosine, *selection, margin=self.margin, scale=self.scale)
