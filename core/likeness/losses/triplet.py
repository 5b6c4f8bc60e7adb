"""Triplet losses on distances: all triplets by counting, batch-hard, semi-hard.

Shapes: N = anchors, M = references, K = slots for the positives of a row, T = triplets.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss, Reduction, check_reduction, floored
from likeness.pairs import Pairs, Space
from likeness.rows import as_float, extreme, facenet_negatives, marked, rank_positives
from likeness.selection import Selection, Triplets

Variant = Literal["hinge", "soft"]
VARIANTS: tuple[Variant, ...] = ("hinge", "soft")


class TripletCounts(NamedTuple):
    """In how many active triplets each pair takes part.

    Attributes:
        slope_NM: d(sum of hinges) / d(distance): + for positives, - for negatives.
        active_N: (weighted) number of active triplets of each anchor.
        total_N: (weighted) number of all triplets of each anchor.
        n_active: number of active triplets, int64 scalar.
    """

    slope_NM: Tensor
    active_N: Tensor
    total_N: Tensor
    n_active: Tensor


def count_triplets(
    distance_NM: Float[Tensor, "N M"], positive_NM: Tensor, negative_NM: Tensor, *, margin: float
) -> TripletCounts:
    """Count the active triplets of every pair without listing one: O(N M log K).

    A triplet (a, p, n) is active when d_an < d_ap + margin. Each distance of a row is searched in
    the row's few sorted values d_ap + margin; a histogram of the places and its cumulative sum
    give each positive its number of active negatives, the place itself gives each negative its
    number of active positives. Float weights give, by the same scheme, the sums of
    positive[a, p] * negative[a, n], with their graph. Bool weights give counts, held in the type
    of the distances: none exceeds M, so they are exact below M = 2^24.
    """
    kind = distance_NM.dtype
    ranked = rank_positives(distance_NM, marked(positive_NM))
    place_NM = torch.searchsorted(ranked.distance_NK + margin, distance_NM.detach(), right=True)
    weight_NK = as_float(positive_NM.gather(1, ranked.column_NK), kind) * ranked.real_NK
    total_N1 = weight_NK.sum(1, keepdim=True)
    # Weight of the positives from each place on: those that a negative found there violates.
    above_NP = total_N1 - F.pad(weight_NK.cumsum(1), (1, 0))
    negative_weight_NM = as_float(negative_NM, kind)
    violated_NM = above_NP.gather(1, place_NM) * negative_weight_NM
    within_NP = torch.zeros_like(above_NP).scatter_add(1, place_NM, negative_weight_NM).cumsum(1)
    active_NK = weight_NK * within_NP[:, :-1]
    slope_NM = violated_NM.neg().scatter_add(1, ranked.column_NK, active_NK)
    listed_NP = within_NP
    if negative_NM.dtype != torch.bool:
        ones_NM = as_float(marked(negative_NM), kind)
        listed_NP = torch.zeros_like(above_NP).scatter_add(1, place_NM, ones_NM).cumsum(1)
    n_active = (listed_NP[:, :-1].detach() * ranked.real_NK).long().sum()
    total_N = total_N1[:, 0] * negative_weight_NM.sum(1)
    return TripletCounts(slope_NM, active_NK.sum(1), total_N, n_active)


def all_triplets(
    distance_NM: Float[Tensor, "N M"],
    positive_NM: Tensor,
    negative_NM: Tensor,
    *,
    margin: float,
    reduction: Reduction,
) -> LossTerms:
    """Mean of [d_ap - d_an + margin]+ over all triplets (a, p, n), exactly, in O(N M) memory.

    sum of hinges = sum(slope * d) + margin * (number of active triplets), where the slopes are
    constants (`count_triplets`): plain autograd gives the exact gradient.

    Args:
        distance_NM: distances, shape (N, M).
        positive_NM: weights of positive pairs (bool or >= 0), shape (N, M).
        negative_NM: weights of negative pairs; a triplet weighs positive[a, p] * negative[a, n].
        margin: >= 0.
        reduction: divide by the weight of the `active` triplets or of `all` triplets.
    """
    counts = count_triplets(distance_NM, positive_NM, negative_NM, margin=margin)
    sum_N = (counts.slope_NM * distance_NM).sum(1) + margin * counts.active_N
    counted_N = counts.active_N if reduction == "active" else counts.total_N
    per_anchor_N = sum_N / floored(counted_N.sum())
    return LossTerms(per_anchor_N.sum(), per_anchor_N, counts.total_N > 0, counts.n_active)


def listed_triplets(
    distance_NM: Float[Tensor, "N M"], triplets: Triplets, *, margin: float, reduction: Reduction
) -> LossTerms:
    """Weighted mean of [d_ap - d_an + margin]+ over the given triplets."""
    anchor_T, positive_T, negative_T, weight_T = triplets
    gap_T = distance_NM[anchor_T, positive_T] - distance_NM[anchor_T, negative_T]
    return _reduce(gap_T, weight_T, anchor_T, len(distance_NM), margin, "hinge", reduction)


def hardest(
    distance_NM: Float[Tensor, "N M"], positive_NM: Tensor, negative_NM: Tensor
) -> tuple[Int[Tensor, "N two"], Tensor]:
    """Each anchor's farthest positive and nearest negative (Hermans et al. 2017).

    A pair of zero weight is no candidate.

    Returns:
        The columns of both, shape (N, 2), and the weight of the triplet, positive[a, p] *
        negative[a, n], shape (N,); 0 where an anchor has not both.
    """
    positive_N, has_positive_N = extreme(distance_NM, marked(positive_NM), farthest=True)
    negative_N, has_negative_N = extreme(distance_NM, marked(negative_NM), farthest=False)
    both_N2 = torch.stack([positive_N, negative_N], 1)
    weight_N = positive_NM.gather(1, both_N2[:, :1]) * negative_NM.gather(1, both_N2[:, 1:])
    return both_N2, weight_N[:, 0] * (has_positive_N & has_negative_N)


def batch_hard(
    distance_N2: Float[Tensor, "N two"],
    weight_N: Tensor,
    *,
    margin: float,
    variant: Variant,
    reduction: Reduction,
) -> LossTerms:
    """The cost of one triplet for each anchor, from its distances to positive and negative."""
    anchor_N = torch.arange(len(weight_N), device=weight_N.device)
    gap_N = distance_N2[:, 0] - distance_N2[:, 1]
    return _reduce(gap_N, weight_N, anchor_N, len(anchor_N), margin, variant, reduction)


def semi_hard(
    distance_NM: Float[Tensor, "N M"],
    positive_NM: Tensor,
    negative_NM: Tensor,
    *,
    margin: float,
    reduction: Reduction,
) -> LossTerms:
    """Each pair (a, p) with its semi-hard negative, by the rule of `rows.facenet_negatives`."""
    ranked = rank_positives(distance_NM, marked(positive_NM))
    negative_NK, exists_N = facenet_negatives(distance_NM, ranked.distance_NK, marked(negative_NM))
    gap_NK = distance_NM.gather(1, ranked.column_NK) - distance_NM.gather(1, negative_NK)
    weight_NK = positive_NM.gather(1, ranked.column_NK) * negative_NM.gather(1, negative_NK)
    weight_NK = weight_NK * (ranked.real_NK & exists_N[:, None])
    rows = torch.arange(len(distance_NM), device=distance_NM.device)
    anchor_NK = rows[:, None].expand_as(gap_NK)
    flat = (gap_NK.flatten(), weight_NK.flatten(), anchor_NK.flatten())
    return _reduce(*flat, len(rows), margin, "hinge", reduction)


class TripletLoss(PairLoss):
    """[d_ap - d_an + margin]+ over every triplet of the batch, or over sampled ones.

    Without a selection this is "batch all" of Hermans et al. 2017; the mean over the active
    triplets is theirs for it, and the default of pytorch-metric-learning. A dense selection is
    read as all its triplets, weighted positive[a, p] * negative[a, n]. All triplets are counted,
    never listed: O(N^2 log K) time, O(N^2) memory.

    Args:
        margin: >= 0, in units of the distance.
        squared: compare squared distances, as FaceNet does (its margin 0.2 is for those).
        reduction: divide by the `active` triplets (non-zero hinge) or by `all`.
        space: `cosine` (chord distance, default) or `euclidean`.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine", "euclidean")
    reads: ClassVar[frozenset[str]] = frozenset({"dense", "triplets"})

    def __init__(
        self,
        *,
        margin: float = 0.2,
        squared: bool = False,
        reduction: Reduction = "active",
        space: Space | None = None,
    ) -> None:
        super().__init__(space)
        _check_margin(margin)
        check_reduction(reduction)
        self.margin, self.squared, self.reduction = margin, squared, reduction

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `all_triplets`."""
        distance_NM = _distance(pairs, self.squared)
        return all_triplets(distance_NM, *selection, margin=self.margin, reduction=self.reduction)

    def on_triplets(self, pairs: Pairs, triplets: Triplets) -> LossTerms:
        """See `listed_triplets`."""
        distance_NM = _distance(pairs, self.squared)
        return listed_triplets(distance_NM, triplets, margin=self.margin, reduction=self.reduction)


class BatchHardTripletLoss(PairLoss):
    """The hardest positive and the hardest negative of every anchor (Hermans et al. 2017).

    Args:
        margin: >= 0; `soft` adds it inside the softplus, and the paper's soft form has none.
        variant: `hinge` [d_ap - d_an + margin]+ or `soft` log(1 + exp(d_ap - d_an + margin)).
        squared: compare squared distances.
        reduction: mean over `all` anchors with a positive and a negative (the paper's), or over
            the `active` ones.
        space: `cosine` (chord distance, default) or `euclidean`.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine", "euclidean")

    def __init__(
        self,
        *,
        margin: float = 0.2,
        variant: Variant = "hinge",
        squared: bool = False,
        reduction: Reduction = "all",
        space: Space | None = None,
    ) -> None:
        super().__init__(space)
        _check_margin(margin)
        require(variant in VARIANTS, "variant", f"one of {', '.join(VARIANTS)}", variant)
        check_reduction(reduction)
        self.margin, self.variant = margin, variant
        self.squared, self.reduction = squared, reduction

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `hardest` and `batch_hard`; the gradient never meets the whole matrix."""
        column_N2, weight_N = hardest(pairs.detach().squared_distance, *selection)
        return batch_hard(
            pairs.distance_to(column_N2, squared=self.squared),
            weight_N,
            margin=self.margin,
            variant=self.variant,
            reduction=self.reduction,
        )


class SemiHardTripletLoss(PairLoss):
    """One semi-hard negative for every positive pair (Schroff et al. 2015, FaceNet).

    Two different rules go by this name. This loss follows TensorFlow's `triplet_semihard_loss`:
    the nearest negative farther than the positive, else the farthest negative; the mean is over
    all positive pairs; there squared distances of unit rows and margin 1.0. The other rule (every
    negative with 0 < d_an - d_ap <= margin, none otherwise; pytorch-metric-learning's miner) is
    `rule="band"` of the semi-hard miner.

    Args:
        margin: >= 0, in units of the distance.
        squared: compare squared distances, as both FaceNet and TensorFlow do.
        reduction: mean over `all` positive pairs (TensorFlow's) or over the `active` ones.
        space: `cosine` (chord distance, default) or `euclidean`.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine", "euclidean")

    def __init__(
        self,
        *,
        margin: float = 0.2,
        squared: bool = True,
        reduction: Reduction = "all",
        space: Space | None = None,
    ) -> None:
        super().__init__(space)
        _check_margin(margin)
        check_reduction(reduction)
        self.margin, self.squared, self.reduction = margin, squared, reduction

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `semi_hard`."""
        distance_NM = _distance(pairs, self.squared)
        return semi_hard(distance_NM, *selection, margin=self.margin, reduction=self.reduction)


def _reduce(
    gap_T: Tensor,
    weight_T: Tensor,
    anchor_T: Tensor,
    anchors: int,
    margin: float,
    variant: Variant,
    reduction: Reduction,
) -> LossTerms:
    """The weighted mean of the triplets' costs, split by anchor."""
    is_real_T = marked(weight_T)
    violation_T = gap_T + margin
    cost_T = violation_T.relu() if variant == "hinge" else F.softplus(violation_T)
    active_T = is_real_T & (cost_T.detach() > 0)
    counted_T = weight_T * active_T if reduction == "active" else weight_T
    weighted_T = cost_T * weight_T
    sum_N = weighted_T.new_zeros(anchors).index_add(0, anchor_T, weighted_T)
    per_anchor_N = sum_N / floored(counted_T.sum())
    real_N = torch.zeros(anchors, dtype=torch.int64, device=gap_T.device)
    valid_N = real_N.index_add(0, anchor_T, is_real_T.long()) > 0
    return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, active_T.sum())


def _distance(pairs: Pairs, squared: bool) -> Tensor:
    return pairs.squared_distance if squared else pairs.distance


def _check_margin(margin: float) -> None:
    require(0 <= margin < math.inf, "margin", ">= 0 and finite", margin)
