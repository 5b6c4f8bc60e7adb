"""Ranked list loss: classes as balls that stay apart, not as points.

Shapes: N = anchors, M = references.
"""

from __future__ import annotations

import math
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss, floored, shares
from likeness.pairs import Pairs, Space
from likeness.rows import marked, row_any
from likeness.selection import Selection


def ranked_list(
    distance_NM: Float[Tensor, "N M"],
    positive_NM: Tensor,
    negative_NM: Tensor,
    *,
    boundary: float,
    margin: float,
    positive_temperature: float,
    negative_temperature: float,
    negative_share: float,
) -> LossTerms:
    """Two weighted means of each anchor, over the pairs on the wrong side of their border.

        (1 - share) * mean of d - (boundary - margin) over positives farther than boundary - margin
        + share * mean of boundary - d over negatives nearer than boundary

    A pair weighs exp(temperature * excess), a constant of the gradient. Mean over the anchors with
    any pair. Weights of the selection multiply the pair's own. `n_active` counts the pairs on the
    wrong side.

    Args:
        distance_NM: distances, shape (N, M).
        positive_NM: weights of positive pairs (bool or >= 0), shape (N, M).
        negative_NM: weights of negative pairs, shape (N, M).
        boundary: alpha of the paper, > margin.
        margin: m of the paper, >= 0.
        positive_temperature: T_p, >= 0; 0 weighs all positives alike.
        negative_temperature: T_n, >= 0.
        negative_share: lambda, in [0, 1].
    """
    far_NM = (distance_NM - (boundary - margin)).relu()
    near_NM = (boundary - distance_NM).relu()
    pull_N, pulled = _mean_excess(far_NM, positive_NM, positive_temperature)
    push_N, pushed = _mean_excess(near_NM, negative_NM, negative_temperature)
    both_N = (1 - negative_share) * pull_N + negative_share * push_N
    valid_N = row_any(marked(positive_NM) | marked(negative_NM))
    per_anchor_N = shares(both_N, valid_N)
    return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, pulled + pushed)


def _mean_excess(
    excess_NM: Tensor, weights_NM: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Weighted mean excess of each row over the pairs that have one, and their number."""
    seen_NM = excess_NM.detach() * marked(weights_NM)
    largest_N1 = seen_NM.amax(1, keepdim=True)  # cancels in the mean; keeps exp in range
    own_NM = seen_NM.sub(largest_N1).mul_(temperature).exp_().mul_(seen_NM != 0)
    weight_NM = own_NM * weights_NM
    mean_N = (weight_NM * excess_NM).sum(1) / floored(weight_NM.sum(1))
    return mean_N, (seen_NM > 0).count_nonzero()


class RankedListLoss(PairLoss):
    """Ranked list loss of Wang et al., CVPR 2019.

    A class need only fit into a ball of diameter boundary - margin, so what sets its images apart
    is not lost; near negatives weigh most, positives alike (T_p = 0, as in the authors' settings).

    Where sources differ: the mean over anchors is the paper's; the authors' Caffe code of 2020
    ("RLL-Simpler") gives an anchor a share in proportion to the sum of its weights. Weights are
    constants in the authors' code, and here; pytorch-metric-learning lets the gradient through
    them and adds 1e-5 to each, so it differs for temperatures above 0.

    Args:
        boundary: > margin, in units of the distance; 1.2 (the authors' 1 + margin / 2).
        margin: >= 0; 0.4 (Stanford Online Products, In-Shop), 0.2 for CUB in the authors' code.
        positive_temperature: >= 0.
        negative_temperature: >= 0; 10.
        negative_share: in [0, 1]; 0.5.
        space: `cosine` (chord distance, default) or `euclidean`.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine", "euclidean")

    def __init__(
        self,
        *,
        boundary: float = 1.2,
        margin: float = 0.4,
        positive_temperature: float = 0.0,
        negative_temperature: float = 10.0,
        negative_share: float = 0.5,
        space: Space | None = None,
    ) -> None:
        super().__init__(space)
        require(0 <= margin < math.inf, "margin", ">= 0 and finite", margin)
        require(margin < boundary < math.inf, "boundary", f"> margin ({margin})", boundary)
        for name, value in (
            ("positive_temperature", positive_temperature),
            ("negative_temperature", negative_temperature),
        ):
            require(0 <= value < math.inf, name, ">= 0 and finite", value)
        require(0 <= negative_share <= 1, "negative_share", "in [0, 1]", negative_share)
        self.boundary, self.margin = boundary, margin
        self.positive_temperature = positive_temperature
        self.negative_temperature = negative_temperature
        self.negative_share = negative_share

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `ranked_list`."""
        return ranked_list(
            pairs.distance,
            *selection,
            boundary=self.boundary,
            margin=self.margin,
            positive_temperature=self.positive_temperature,
            negative_temperature=self.negative_temperature,
            negative_share=self.negative_share,
        )
