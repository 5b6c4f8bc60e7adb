"""General pair weighting: what weight a loss gives each pair, and the loss made of such weights.

Shapes: N = anchors, M = references.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.losses.base import LossTerms, PairLoss
from likeness.pairs import Pairs, Space
from likeness.rows import as_float, marked, row_any
from likeness.selection import Selection, everything


def pair_weights(loss: PairLoss, pairs: Pairs, selection: Selection | None = None) -> Selection:
    """The weight of every pair in a loss, read off its gradient (Wang et al., CVPR 2019).

    Near given embeddings a loss of pairs changes like 1/N (sum over negatives of w s - sum over
    positives of w s), with s the inner product of what the space compares and w = N |dL/ds|. The
    sign is kept: a weight below 0 says that the loss drives the pair the other way, as a constraint
    on variance does with some negatives. What a loss reads of the embeddings themselves (norms,
    centres) is not in the weights.

    Args:
        loss: any loss of pairs that reads dense selections.
        pairs: the geometry, in the loss's space; only its values are read.
        selection: which pairs the loss sees; None means every pair.

    Returns:
        Float weights (N, M), detached, for positive and for negative pairs; 0 for other pairs.
    """
    seen = pairs.detach()
    chosen = everything(seen) if selection is None else selection
    with torch.enable_grad():
        fresh = Pairs(
            seen.embeddings.requires_grad_(),
            seen.labels,
            reference=None if seen.is_square else seen.reference,
            reference_labels=None if seen.is_square else seen.reference_labels,
            space=seen.space,
        ).through_matrix()
        if not len(fresh.embeddings) or not len(fresh.reference):
            empty_NM = torch.zeros_like(seen.positive, dtype=seen.embeddings.dtype)
            return Selection(empty_NM, empty_NM)
        value = loss.on_pairs(fresh, Selection(*(w.detach() for w in chosen))).value
        (slope_NM,) = torch.autograd.grad(value, fresh.gram, materialize_grads=True)
    slope_NM = slope_NM * len(slope_NM)
    return Selection(-slope_NM * seen.positive, slope_NM * seen.negative)


def linear_in_similarity(
    similarity_NM: Float[Tensor, "N M"], positive_NM: Tensor, negative_NM: Tensor
) -> LossTerms:
    """1/N sum over positives of w (1 - s) plus sum over negatives of w (1 + s).

    Up to the constants, which keep it >= 0, the form of general pair weighting: the gradient with
    respect to s is w / N. `n_active` counts the pairs with a cost.
    """
    away_NM, near_NM = (1 - similarity_NM).relu(), (1 + similarity_NM).relu()
    kind = similarity_NM.dtype
    sum_N = (as_float(positive_NM, kind) * away_NM).sum(1)
    sum_N = sum_N + (as_float(negative_NM, kind) * near_NM).sum(1)
    per_anchor_N = sum_N / len(sum_N)
    chosen = (marked(positive_NM), marked(negative_NM))
    n_active = (chosen[0] & (away_NM.detach() > 0)).count_nonzero()
    n_active = n_active + (chosen[1] & (near_NM.detach() > 0)).count_nonzero()
    return LossTerms(per_anchor_N.sum(), per_anchor_N, row_any(chosen[0] | chosen[1]), n_active)


class PairWeightingLoss(PairLoss):
    """The loss of general pair weighting (Wang et al., CVPR 2019): linear in the similarities.

    What it learns is in the weights of its miner: `general_pair_weighting` with a loss gives that
    loss's own gradient; any rule that returns weights of pairs is a loss this way. Without a miner
    all pairs weigh alike, which hardly keeps more than two classes apart.

    Args:
        space: `cosine` only.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine",)

    def __init__(self, *, space: Space | None = None) -> None:
        super().__init__(space)

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `linear_in_similarity`."""
        return linear_in_similarity(pairs.cosine, *selection)
