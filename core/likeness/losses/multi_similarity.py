"""Multi-similarity loss: a pair weighs by itself and by how it stands to the others of its row.

Shapes: N = anchors, M = references, K = slots for the positives of a row.
"""

from __future__ import annotations

import math
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss, weighted_logsumexp
from likeness.pairs import Pairs, Space
from likeness.rows import marked, rank_positives, relatively_hard, row_any, within
from likeness.selection import Selection


def multi_similarity(
    similarity_NM: Float[Tensor, "N M"],
    positive_NM: Tensor,
    negative_NM: Tensor,
    *,
    alpha: float,
    beta: float,
    base: float,
    epsilon: float | None,
) -> LossTerms:
    """The mean over all anchors of a soft maximum over positives plus one over negatives.

    With s the similarity and both sums over the pairs kept:

        1/alpha log(1 + sum over positives of exp(-alpha (s - base)))
        + 1/beta log(1 + sum over negatives of exp(beta (s - base)))

    Anchors that lack a positive or a negative add 0 to the sum and 1 to the count, as in the
    authors' code. Weights weigh the exponentials. `n_active` counts the pairs kept.

    Args:
        similarity_NM: similarities, shape (N, M).
        positive_NM: weights of positive pairs (bool or >= 0), shape (N, M).
        negative_NM: weights of negative pairs, shape (N, M).
        alpha: of the positives, > 0.
        beta: of the negatives, > 0.
        base: lambda of the paper, the similarity that is neither near nor far.
        epsilon: slack of the mining (`rows.relatively_hard`); None keeps every pair.
    """
    kept = (marked(positive_NM), marked(negative_NM))
    valid_N = row_any(kept[0]) & row_any(kept[1])
    if epsilon is not None:
        kept = relatively_hard(similarity_NM, *kept, slack=epsilon)
    else:
        kept = (kept[0] & valid_N[:, None], kept[1] & valid_N[:, None])
    # Few positives: their log-sum-exp is taken in their slots, not along the row.
    ranked = rank_positives(similarity_NM, kept[0])
    weight_NK = positive_NM.gather(1, ranked.column_NK) * ranked.real_NK
    far_NK = alpha * (base - similarity_NM.gather(1, ranked.column_NK))
    pull_N = F.softplus(weighted_logsumexp(far_NK, weight_NK)) / alpha
    near_NM = beta * (similarity_NM - base)
    push_N = F.softplus(weighted_logsumexp(near_NM, within(negative_NM, kept[1]))) / beta
    per_anchor_N = (pull_N + push_N) / len(similarity_NM)
    n_active = kept[0].count_nonzero() + kept[1].count_nonzero()
    return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, n_active)


class MultiSimilarityLoss(PairLoss):
    """The multi-similarity loss of Wang et al., CVPR 2019, mining included.

    Its pair weights in closed form (`losses.pair_weighting` reads them off) depend on the pair's
    own similarity and on those of the other positives (negatives) of the anchor; mining adds how
    it stands to the other kind. With `epsilon=None` it is the weighting alone, as in
    pytorch-metric-learning, and goes with any miner.

    The sources differ: authors' code alpha 2, beta 40, base 0.5, epsilon 0.1; the paper is quoted
    with beta 50 and base 1 (UNCONFIRMED); pytorch-metric-learning has 2, 50, 0.5, the defaults
    here.

    Args:
        alpha: > 0.
        beta: > 0.
        base: in [-1, 1].
        epsilon: >= 0, in units of the cosine; None for no mining.
        space: `cosine` only.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine",)

    def __init__(
        self,
        *,
        alpha: float = 2.0,
        beta: float = 50.0,
        base: float = 0.5,
        epsilon: float | None = 0.1,
        space: Space | None = None,
    ) -> None:
        super().__init__(space)
        require(0 < alpha < math.inf, "alpha", "> 0 and finite", alpha)
        require(0 < beta < math.inf, "beta", "> 0 and finite", beta)
        require(-1 <= base <= 1, "base", "in [-1, 1]", base)
        require(epsilon is None or epsilon >= 0, "epsilon", ">= 0 or none", epsilon)
        self.alpha, self.beta, self.base, self.epsilon = alpha, beta, base, epsilon

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `multi_similarity`."""
        return multi_similarity(
            pairs.cosine,
            *selection,
            alpha=self.alpha,
            beta=self.beta,
            base=self.base,
            epsilon=self.epsilon,
        )
