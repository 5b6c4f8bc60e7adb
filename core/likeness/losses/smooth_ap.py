"""Smooth-AP: average precision with a sigmoid in place of every comparison.

Shapes: N = anchors, M = references, K = slots for the positives of a row, B = slots at a time.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss, floored, shares
from likeness.pairs import Pairs, Space
from likeness.rows import as_float, marked, rank_positives
from likeness.selection import Selection

SLOTS_AT_ONCE = 2


def smooth_average_precision(
    similarity_NM: Float[Tensor, "N M"],
    positive_NM: Tensor,
    negative_NM: Tensor,
    *,
    temperature: float,
) -> LossTerms:
    """Mean of 1 - AP over the anchors with a positive, ranks being sums of sigmoids.

    For every positive p of an anchor:

        rank among positives  R_p = 1 + sum over other positives j of sigmoid((s_j - s_p) / T)
        rank among all        A_p = R_p + sum over negatives n of sigmoid((s_n - s_p) / T)
        AP = mean over p of R_p / A_p

    Time is O(N M K). Memory is O(N M): a few positives of every row at a time, whose sigmoids are
    computed again for the gradient. Weights of pairs weigh them in the sums and in the mean.
    `n_active` counts positives with any sigmoid of a negative above 0.

    Args:
        similarity_NM: similarities, shape (N, M).
        positive_NM: weights of positive pairs (bool or >= 0), shape (N, M).
        negative_NM: weights of negative pairs, shape (N, M).
        temperature: T, > 0.
    """
    kind = similarity_NM.dtype
    ranked = rank_positives(-similarity_NM, marked(positive_NM))
    own_NK = similarity_NM.gather(1, ranked.column_NK)
    weight_NK = as_float(positive_NM, kind).gather(1, ranked.column_NK) * ranked.real_NK
    weight_NM = as_float(negative_NM, kind)
    precision, active = [], []
    for own_NB, weight_NB in zip(
        own_NK.split(SLOTS_AT_ONCE, 1), weight_NK.split(SLOTS_AT_ONCE, 1), strict=True
    ):
        inputs = (similarity_NM, weight_NM, own_NK, weight_NK, own_NB, weight_NB, temperature)
        among_NB, others_NB = checkpoint(
            _ranks, *inputs, use_reentrant=False, preserve_rng_state=False
        )
        precision.append(weight_NB * among_NB / (among_NB + others_NB))
        active.append((marked(weight_NB) & (others_NB.detach() > 0)).count_nonzero())
    weighted_N = torch.cat([own_NK.new_zeros(len(own_NK), 1), *precision], 1).sum(1)
    valid_N = ranked.real_NK.any(1)
    per_anchor_N = shares(1 - weighted_N / floored(weight_NK.sum(1)), valid_N)
    n_active = torch.stack([valid_N.new_zeros((), dtype=torch.int64), *active]).sum()
    return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, n_active)


def _ranks(
    similarity_NM: Tensor,
    weight_NM: Tensor,
    own_NK: Tensor,
    weight_NK: Tensor,
    own_NB: Tensor,
    weight_NB: Tensor,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Rank of some positives among the positives, and how many negatives come before them."""
    threshold_NB1 = own_NB[..., None]
    before_NBK = (own_NK[:, None] - threshold_NB1).div_(temperature).sigmoid_()
    # A positive is not before itself, where the sigmoid of 0 is a half.
    among_NB = 1 + (before_NBK @ weight_NK[..., None])[..., 0] - weight_NB / 2
    before_NBM = (similarity_NM[:, None] - threshold_NB1).div_(temperature).sigmoid_()
    return among_NB, (before_NBM @ weight_NM[..., None])[..., 0]


def with_query(
    similarity_NM: Tensor, selection: Selection
) -> tuple[Float[Tensor, "N M1"], Selection]:
    """One more column: the query itself, of similarity 1, positive in rows with a positive."""
    positive_NM, negative_NM = selection
    one_N1 = similarity_NM.new_ones(len(similarity_NM), 1)
    found_N1 = marked(positive_NM).any(1, keepdim=True).to(positive_NM.dtype)
    none_N1 = torch.zeros_like(one_N1, dtype=negative_NM.dtype)
    wider = Selection(torch.cat([positive_NM, found_N1], 1), torch.cat([negative_NM, none_N1], 1))
    return torch.cat([similarity_NM, one_N1], 1), wider


class SmoothAPLoss(PairLoss):
    """Smooth-AP of Brown et al., ECCV 2020, in any order of the batch.

    The authors' code wants batches sorted by class with equally many images of each, and counts
    the query as an item of its own list, which the paper's retrieval set does not hold;
    `count_query` does as the code. pytorch-metric-learning accepts a shuffled batch and then
    compares the wrong samples.

    Args:
        temperature: of the sigmoids, > 0, in units of the cosine; 0.01. The smaller, the closer to
            AP itself, and the fewer pairs have a gradient.
        count_query: count the query as the first item that is found.
        space: `cosine` only.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine",)

    def __init__(
        self,
        *,
        temperature: float = 0.01,
        count_query: bool = False,
        space: Space | None = None,
    ) -> None:
        super().__init__(space)
        require(0 < temperature < math.inf, "temperature", "> 0 and finite", temperature)
        self.temperature, self.count_query = temperature, count_query

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `smooth_average_precision`."""
        similarity_NM = pairs.cosine
        if self.count_query:
            similarity_NM, selection = with_query(similarity_NM, selection)
        return smooth_average_precision(similarity_NM, *selection, temperature=self.temperature)
