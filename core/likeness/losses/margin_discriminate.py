"""Margin-based discriminate loss: every positive nearer than every negative, by a margin.

Shapes: N = anchors, M = references.
"""

from __future__ import annotations

import math
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss
from likeness.losses.lifted import generalised_lifted
from likeness.losses.triplet import VARIANTS, Variant
from likeness.pairs import Pairs, Space
from likeness.selection import Selection


def margin_discriminate(
    distance_NM: Float[Tensor, "N M"],
    positive_NM: Tensor,
    negative_NM: Tensor,
    *,
    margin: float,
    sharpness: float,
    variant: Variant,
) -> LossTerms:
    """1/g log(1 + sum over p and n of exp(g (d_ap - d_an + margin))), g the sharpness.

    That is the generalised lifted loss of g times the distances, over g: O(N M), no triplets. Mean
    over the anchors with a positive and a negative; `hinge` puts [.]+ in place of log(1 + exp(.)).
    """
    terms = generalised_lifted(
        distance_NM * sharpness,
        positive_NM,
        negative_NM,
        margin=margin * sharpness,
        variant=variant,
    )
    return terms._replace(value=terms.value / sharpness, per_anchor=terms.per_anchor / sharpness)


class MarginDiscriminateLoss(PairLoss):
    """Margin-based discriminate loss, after Sun, Tang, Bai, S+SSPR 2018: our RECONSTRUCTION.

    UNCONFIRMED: only the abstract is public. It fixes a strict discrimination of similar from
    dissimilar examples by a margin, with several positives and several negatives in each update
    and no sampling. We take strict to mean max d_ap + margin <= min d_an, and smooth it: for large
    sharpness this is the batch-hard triplet loss, for sharpness 1 the generalised lifted loss. No
    figure of the paper should be compared with it.

    Args:
        margin: >= 0, in units of the distance; 0.2 is ours.
        sharpness: > 0; 16 is ours.
        variant: `soft` (default) or `hinge`.
        space: `cosine` (chord distance, default) or `euclidean`.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine", "euclidean")

    def __init__(
        self,
        *,
        margin: float = 0.2,
        sharpness: float = 16.0,
        variant: Variant = "soft",
        space: Space | None = None,
    ) -> None:
        super().__init__(space)
        require(0 <= margin < math.inf, "margin", ">= 0 and finite", margin)
        require(0 < sharpness < math.inf, "sharpness", "> 0 and finite", sharpness)
        require(variant in VARIANTS, "variant", f"one of {', '.join(VARIANTS)}", variant)
        self.margin, self.sharpness, self.variant = margin, sharpness, variant

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `margin_discriminate`."""
        return margin_discriminate(
            pairs.distance,
            *selection,
            margin=self.margin,
            sharpness=self.sharpness,
            variant=self.variant,
        )
