"""The weighted contrastive loss of OSM + CAA: what soft mining and attention weigh.

Shapes: N = anchors, M = references.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss
from likeness.losses.contrastive import contrastive
from likeness.pairs import Pairs, Space
from likeness.rows import marked
from likeness.selection import Selection

WeightedVariant = Literal["paper", "caffe"]

# What the official code adds to a negative pair's distance before it divides by it.
CAFFE_DISTANCE_FLOOR = 1e-4


class WeightedContrastiveLoss(PairLoss):
    """Contrastive loss whose pairs are weighted by the selection (Wang et al., AAAI 2019).

        L_P = 1/2 sum w+ d^2 / sum w+,   L_N = 1/2 sum w- [margin - d]+^2 / sum w-,
        L = (1 - negative_share) L_P + negative_share L_N

    The base loss and the weights come from the authors' poster, the sum and the defaults from a
    third-party port (UNCONFIRMED). The weights w are whatever the selection says
    (`online_soft_mining`, `class_aware_attention`, both, any other); without one every pair weighs
    the same. They are constants unless their miner is `differentiable`, as all weights of the port
    are. A side without pairs, or whose weights are all zero, is an exact zero. Sums of weights are
    floored at 1e-12.

    `variant="caffe"` trains as the official code does, which differs in two ways:

    - The whole is divided by the number of pairs that a batch can have, N (N - 1) / 2 (N M against
      other references): 1431 for 54 images. Learning rates of that code mean this scale; a term
      weight of that number undoes it.
    - The slope of a negative pair is that of the formula times d / (d + 1e-4). `value` is the
      formula's, so there its gradient is not to the last digit the derivative of `value`.

    Its factor 1/2 for each side is `negative_share=0.5`; its 1e-12 is added to the sum of weights,
    which is the same as the floor as long as that sum is not as small itself. It prints the
    *unweighted* contrastive loss and minimises the weighted one: `value` is the latter, so its
    logs and ours do not compare.

    Args:
        margin: distance from which a negative costs nothing, > 0. Rows without negative numbers
            (after a ReLU) are never farther than sqrt(2) in the `cosine` space.
        negative_share: lambda of the formula, in [0, 1].
        variant: `paper` or `caffe`.
        space: `cosine` (chord distance, default) or `euclidean`.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine", "euclidean")

    def __init__(
        self,
        *,
        margin: float = 1.2,
        negative_share: float = 0.5,
        variant: WeightedVariant = "paper",
        space: Space | None = None,
    ) -> None:
        super().__init__(space)
        require(margin > 0, "margin", "> 0", margin)
        require(0 <= negative_share <= 1, "negative_share", "in [0, 1]", negative_share)
        require(variant in ("paper", "caffe"), "variant", "'paper' or 'caffe'", variant)
        self.margin, self.negative_share, self.variant = margin, negative_share, variant

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `contrastive`."""
        distance_NM, factor = pairs.distance, 0.5
        if self.variant == "caffe":
            distance_NM = damped(distance_NM, selection.negative_NM)
            factor /= possible_pairs(pairs)
        return contrastive(
            distance_NM,
            *selection,
            positive_margin=0.0,
            negative_margin=self.margin,
            power=2,
            reduction="all",
            balance=(factor * (1 - self.negative_share), factor * self.negative_share),
        )


def damped(distance_NM: Float[Tensor, "N M"], negative_NM: Tensor) -> Float[Tensor, "N M"]:
    """The same distances; where `negative_NM` is not zero, their slope is d / (d + 1e-4)."""
    same_NM: Tensor = _Damped.apply(distance_NM, marked(negative_NM))
    return same_NM


class _Damped(torch.autograd.Function):
    """See `damped`; keeps no matrix beyond the distances and the mask."""

    @staticmethod
    def forward(ctx: Any, distance_NM: Tensor, is_negative_NM: Tensor) -> Tensor:
        """The distances as they are."""
        ctx.save_for_backward(distance_NM, is_negative_NM)
        return distance_NM.view_as(distance_NM)

    @staticmethod
    def backward(ctx: Any, slope_NM: Tensor) -> tuple[Tensor, None]:
        """The slope, damped where the pair is negative."""
        distance_NM, is_negative_NM = ctx.saved_tensors
        damping_NM = distance_NM / (distance_NM + CAFFE_DISTANCE_FLOOR)
        return torch.where(is_negative_NM, damping_NM * slope_NM, slope_NM), None


def possible_pairs(pairs: Pairs) -> int:
    """Pairs of two rows, whatever their labels, each counted once; at least 1."""
    rows, columns = len(pairs.labels), len(pairs.reference_labels)
    return max(rows * (rows - 1) // 2 if pairs.is_square else rows * columns, 1)
