"""Lifted structured losses: every positive pair against the log-sum-exp of its negatives.

Shapes: N = anchors, M = references, K = slots for the positives of a row.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from likeness.errors import require
from likeness.losses.base import (
    LossTerms,
    PairLoss,
    floored,
    shares,
    weighted_logsumexp,
)
from likeness.losses.triplet import VARIANTS, Variant
from likeness.pairs import Pairs, Space
from likeness.rows import marked, rank_positives, row_any
from likeness.selection import Selection


def lifted_structured(
    distance_NM: Float[Tensor, "N M"],
    positive_NM: Tensor,
    negative_NM: Tensor,
    *,
    margin: float,
    square: bool,
) -> LossTerms:
    """The lifted structured loss in O(N M) memory.

        l_i = log sum over negatives k of i of exp(margin - d_ik)
        J_ij = log(exp(l_i) + exp(l_j)) + d_ij
        L = sum over positives (i, j) of [J_ij]+^2 / (2 |P|)

    The log-sum-exps are taken once per row, not once per pair. Ordered and unordered pairs give
    the same mean. Float weights weigh the exponentials and the mean.

    Args:
        distance_NM: distances (not squared), shape (N, M).
        positive_NM: weights of positive pairs (bool or >= 0), shape (N, M).
        negative_NM: weights of negative pairs, shape (N, M).
        margin: alpha of the formula.
        square: whether the references are the anchors, so that l_j is row j's; otherwise l_j runs
            over the anchors that are negative to reference j.
    """
    own_N = weighted_logsumexp(-distance_NM, negative_NM)
    other_M = own_N if square else weighted_logsumexp(-distance_NM.T, negative_NM.T)
    ranked = rank_positives(distance_NM, marked(positive_NM))
    columns_NK = ranked.column_NK
    spread_NK = torch.logaddexp(own_N[:, None], other_M[columns_NK]) + margin
    cost_NK = (spread_NK + distance_NM.gather(1, columns_NK)).relu().square()
    weight_NK = positive_NM.gather(1, columns_NK) * ranked.real_NK
    active_NK = (cost_NK.detach() > 0) & marked(weight_NK)
    per_anchor_N = (cost_NK * weight_NK).sum(1) / (2 * floored(weight_NK.sum()))
    return LossTerms(per_anchor_N.sum(), per_anchor_N, ranked.real_NK.any(1), active_NK.sum())


def generalised_lifted(
    distance_NM: Float[Tensor, "N M"],
    positive_NM: Tensor,
    negative_NM: Tensor,
    *,
    margin: float,
    variant: Variant,
) -> LossTerms:
    """[LSE over positives (d_ap) + LSE over negatives (margin - d_an)]+, mean over anchors.

    `soft` puts softplus in place of the hinge. Anchors without a positive or without a negative
    are left out of the mean.
    """
    # Few positives: their log-sum-exp is taken in their slots, not along the row.
    ranked = rank_positives(distance_NM, marked(positive_NM))
    weight_NK = positive_NM.gather(1, ranked.column_NK) * ranked.real_NK
    pull_N = weighted_logsumexp(distance_NM.gather(1, ranked.column_NK), weight_NK)
    push_N = weighted_logsumexp(-distance_NM, negative_NM) + margin
    both_N = pull_N + push_N
    cost_N = both_N.relu() if variant == "hinge" else F.softplus(both_N)
    valid_N = ranked.real_NK.any(1) & row_any(marked(negative_NM))
    per_anchor_N = shares(cost_N, valid_N)
    active_N = valid_N & (per_anchor_N.detach() > 0)
    return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, active_N.sum())


class LiftedStructuredLoss(PairLoss):
    """The lifted structured loss of Song et al., CVPR 2016, in its smooth form.

    Made for embeddings that are not normalised: on unit rows d <= 2, so for margin 1 and any
    realistic batch the hinge never switches off. The value grows like the squared logarithm of
    the number of negatives; learning rates do not carry over between batch sizes.

    Args:
        margin: alpha of the paper, >= 0; 1.0 in its code.
        space: `euclidean` (default) or `cosine` (chord distance).

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("euclidean", "cosine")

    def __init__(self, *, margin: float = 1.0, space: Space | None = None) -> None:
        super().__init__(space)
        require(0 <= margin < math.inf, "margin", ">= 0 and finite", margin)
        self.margin = margin

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `lifted_structured`."""
        return lifted_structured(
            pairs.distance, *selection, margin=self.margin, square=pairs.is_square
        )


class GeneralisedLiftedLoss(PairLoss):
    """The generalised lifted loss of Hermans et al. 2017 (eq. "LG"); the mean where they sum.

    Args:
        margin: m of the paper, >= 0.
        variant: `hinge` (the paper's) or `soft` (softplus; ours).
        space: `cosine` (chord distance, default) or `euclidean`.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine", "euclidean")

    def __init__(
        self, *, margin: float = 1.0, variant: Variant = "hinge", space: Space | None = None
    ) -> None:
        super().__init__(space)
        require(0 <= margin < math.inf, "margin", ">= 0 and finite", margin)
        require(variant in VARIANTS, "variant", f"one of {', '.join(VARIANTS)}", variant)
        self.margin, self.variant = margin, variant

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `generalised_lifted`."""
        return generalised_lifted(
            pairs.distance, *selection, margin=self.margin, variant=self.variant
        )
