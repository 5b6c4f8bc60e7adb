"""Contrastive losses: pull positives inside one margin, push negatives outside another.

Shapes: N = anchors, M = references.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss, Reduction, check_reduction, floored
from likeness.pairs import Pairs, Space
from likeness.rows import as_float, marked, row_any, total
from likeness.selection import Selection


def contrastive(
    distance_NM: Float[Tensor, "N M"],
    positive_NM: Tensor,
    negative_NM: Tensor,
    *,
    positive_margin: float,
    negative_margin: float,
    power: int,
    reduction: Reduction,
    balance: tuple[float, float] = (1.0, 1.0),
) -> LossTerms:
    """Weighted mean over positives plus weighted mean over negatives.

    With [z]+ = max(0, z), a positive pair costs [d - positive_margin]+^power and a negative pair
    [negative_margin - d]+^power. Each side has its own normaliser: the weights of its pairs with a
    non-zero cost (`active`) or of all its pairs (`all`). A side without pairs is zero.

    Args:
        distance_NM: distances, shape (N, M), in units of the embedding.
        positive_NM: weights of positive pairs (bool or >= 0), shape (N, M).
        negative_NM: weights of negative pairs, zero wherever `positive_NM` is not.
        positive_margin: distance up to which a positive costs nothing, >= 0.
        negative_margin: distance from which a negative costs nothing, >= 0.
        power: 1 or 2.
        reduction: `active` or `all`.
        balance: factors of the positive and of the negative side.

    Returns:
        The loss; `n_active` counts pairs with a non-zero cost, (i, j) and (j, i) apart.
    """
    kind = distance_NM.dtype
    seen_NM = distance_NM.detach()
    pull_NM = _kept(positive_NM, seen_NM > positive_margin)
    push_NM = _kept(negative_NM, seen_NM < negative_margin)
    n_active = pull_NM.count_nonzero() + push_NM.count_nonzero()  # before they are scaled
    active = reduction == "active"
    pull_scale = balance[0] / floored(total(pull_NM if active else positive_NM)).to(kind)
    push_scale = balance[1] / floored(total(push_NM if active else negative_NM)).to(kind)
    if power == 1:
        # Linear in d: the slopes are constants, and the margins meet only the sums of a row.
        slope_NM, push_NM = _scaled(pull_NM, pull_scale, kind), _scaled(push_NM, push_scale, kind)
        margin_N = negative_margin * push_NM.sum(1) - positive_margin * slope_NM.sum(1)
        per_anchor_N = (slope_NM.sub_(push_NM) * distance_NM).sum(1) + margin_N
    else:
        gap = negative_margin - positive_margin
        margin_NM = as_float(marked(push_NM), kind).mul_(gap).add_(positive_margin)
        scale_NM = _scaled(pull_NM, pull_scale, kind).add_(_scaled(push_NM, push_scale, kind))
        per_anchor_N = ((distance_NM - margin_NM).square() * scale_NM).sum(1)
    valid_N = row_any(marked(positive_NM) | marked(negative_NM))
    return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, n_active)


class ContrastiveLoss(PairLoss):
    """Contrastive loss on distances (Hadsell, Chopra, LeCun 2006), each side averaged on its own.

    `power=2` is the paper's (without its factor 1/2); `power=1` with `reduction="active"` is the
    default of pytorch-metric-learning. The paper sums; the mean is ours.

    Args:
        positive_margin: distance up to which a positive costs nothing, >= 0.
        negative_margin: distance from which a negative costs nothing, >= positive_margin.
        power: exponent of the excess, 1 or 2.
        reduction: `all` divides each side by its pairs, `active` by its pairs of non-zero cost.
        space: `cosine` (chord distance, default) or `euclidean`.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine", "euclidean")

    def __init__(
        self,
        *,
        positive_margin: float = 0.0,
        negative_margin: float = 1.0,
        power: int = 2,
        reduction: Reduction = "all",
        space: Space | None = None,
    ) -> None:
        super().__init__(space)
        require(positive_margin >= 0, "positive_margin", ">= 0", positive_margin)
        require(
            negative_margin >= positive_margin,
            "negative_margin",
            f">= positive_margin ({positive_margin})",
            negative_margin,
        )
        require(power in (1, 2), "power", "1 or 2", power)
        check_reduction(reduction)
        self.positive_margin, self.negative_margin = positive_margin, negative_margin
        self.power, self.reduction = power, reduction

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `contrastive`."""
        return contrastive(
            pairs.distance,
            *selection,
            positive_margin=self.positive_margin,
            negative_margin=self.negative_margin,
            power=self.power,
            reduction=self.reduction,
        )


def _kept(weights_NM: Tensor, inside_NM: Tensor) -> Tensor:
    """The weights inside, zero outside, as a new matrix; bool stays bool."""
    return weights_NM & inside_NM if weights_NM.dtype == torch.bool else weights_NM * inside_NM


def _scaled(kept_NM: Tensor, scale: Tensor, kind: torch.dtype) -> Tensor:
    """What `_kept` made, times a scalar; in place, since nobody else holds it."""
    return as_float(kept_NM, kind).mul_(scale)
