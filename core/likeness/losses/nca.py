"""Neighbourhood components analysis: the chance that a random neighbour is of the own class.

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
from likeness.rows import marked, slots
from likeness.selection import Selection


def neighbourhood_components(
    logits_NM: Float[Tensor, "N M"], positive_NM: Tensor, negative_NM: Tensor
) -> LossTerms:
    """Mean over the anchors with a positive of -log of the positives' share of the softmax.

        l_i = -log(sum over positives of exp(z_ip) / sum over positives and negatives of exp(z_ia))

    Weights weigh the exponentials. `n_active` counts anchors with a cost above 0.

    Args:
        logits_NM: minus squared distances over a temperature, shape (N, M).
        positive_NM: weights of positive pairs (bool or >= 0), shape (N, M).
        negative_NM: weights of negative pairs, shape (N, M).
    """
    column_NK, real_NK = slots(marked(positive_NM))
    weight_NK = positive_NM.gather(1, column_NK) * real_NK
    pull_N = weighted_logsumexp(logits_NM.gather(1, column_NK), weight_NK)
    push_N = weighted_logsumexp(logits_NM, negative_NM)
    valid_N = real_NK.any(1)
    per_anchor_N = shares(F.softplus(push_N - pull_N), valid_N)
    active = (valid_N & (per_anchor_N.detach() > 0)).sum()
    return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, active)


class NCALoss(PairLoss):
    """Neighbourhood components analysis (Goldberger et al., NIPS 2004), by the log-probability.

    The second of the paper's two aims: the sum of log p_i, here a mean; the first, the sum of p_i,
    hardly moves anchors that are far from their class. Nearest neighbours count most, so a
    class may lie in several places.

    The paper has no temperature, since its linear map has a free scale; in the `cosine` space
    squared distances are at most 4, and 1.0 is soft (ProxyNCA++ takes 1/9 for proxies).

    Args:
        temperature: > 0; squared distances are divided by it.
        space: `cosine` (chord distance, default) or `euclidean` (the paper's).

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine", "euclidean")

    def __init__(self, *, temperature: float = 1.0, space: Space | None = None) -> None:
        super().__init__(space)
        require(0 < temperature < math.inf, "temperature", "> 0 and finite", temperature)
        self.temperature = temperature

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `neighbourhood_components`; between unit rows d^2 = 2 - 2 cos, where 2 cancels."""
        if self.space == "cosine":
            logits_NM = pairs.cosine * (2 / self.temperature)
        else:
            logits_NM = pairs.squared_distance / -self.temperature
        return neighbourhood_components(logits_NM, *selection)
