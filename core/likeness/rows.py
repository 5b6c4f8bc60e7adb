"""Row operations that losses and miners share: who is hardest, who comes next, in what order.

Everything on distances is O(N M log M) at most, reads detached matrices and never enumerates
triplets.

Shapes: N = anchors (rows), M = references (columns), K = slots for the positives of a row,
E = negatives per positive, C = classes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

# Up to so many positives per row, one masked minimum for each is faster than sorting the row.
FEW = 16


class Ranked(NamedTuple):
    """The positives of every row, nearest first, padded to one width.

    Attributes:
        distance_NK: their distances; inf in the padding.
        column_NK: their columns; some other column of the row in the padding.
        real_NK: whether the slot holds a positive.
    """

    distance_NK: Float[Tensor, "N K"]
    column_NK: Int[Tensor, "N K"]
    real_NK: Bool[Tensor, "N K"]


class Farther(NamedTuple):
    """For every row and threshold the nearest columns beyond the threshold, nearest first.

    Attributes:
        column_NKE: the columns; any column where there is none.
        real_NKE: whether there is such a column.
    """

    column_NKE: Int[Tensor, "N K E"]
    real_NKE: Bool[Tensor, "N K E"]


def marked(weights: Tensor) -> Tensor:
    """Where weights are not zero; bool weights as they are."""
    return weights if weights.dtype == torch.bool else weights != 0


def as_float(weights: Tensor, kind: torch.dtype) -> Tensor:
    """Weights in the given type, bool as 0 and 1.

    Bool goes by way of int8: on the CPU that conversion is vectorised, the direct one is not.
    """
    plain = weights.view(torch.int8) if weights.dtype == torch.bool else weights
    return plain.to(kind)


def raised(rows: Tensor) -> Tensor:
    """Half precision as float32; float64 stays."""
    return rows if rows.dtype == torch.float64 else rows.float()


def within(weights_NM: Tensor, mask_NM: Bool[Tensor, "N M"]) -> Tensor:
    """The weights inside the mask, zero outside; bool weights stay bool."""
    return weights_NM & mask_NM if weights_NM.dtype == torch.bool else weights_NM * mask_NM


def total(weights: Tensor) -> Tensor:
    """Sum of all weights; of bool weights the int64 count, without a matrix of integers."""
    return weights.count_nonzero() if weights.dtype == torch.bool else weights.sum()


def row_any(mask_NM: Bool[Tensor, "N M"]) -> Bool[Tensor, " N"]:
    """Whether a row has a marked column, M >= 1; by way of int8 as in `as_float`."""
    return mask_NM.view(torch.int8).amax(1).bool()


def row_count(mask_NM: Bool[Tensor, "N M"]) -> Int[Tensor, " N"]:
    """Marked columns of every row, shape (N,)."""
    return mask_NM.sum(1, dtype=torch.int32).long()


def label_probability(
    logits_NC: Float[Tensor, "N C"], labels_N: Int[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """Softmax probability of each row's own class, in [0, 1]; in float32 at least.

    Differentiable; detach the logits for a constant.
    """
    return F.cross_entropy(raised(logits_NC), labels_N, reduction="none").neg().exp()


def width(count_N: Int[Tensor, " N"], columns: int) -> int:
    """Slots for the marked columns of any row: the largest count on the CPU.

    On an accelerator reading it would stop the queue, so there the answer is the safe one, M.
    """
    if count_N.device.type != "cpu" or not len(count_N):
        return columns
    return int(count_N.max())


def slots(mask_NM: Bool[Tensor, "N M"]) -> tuple[Int[Tensor, "N K"], Bool[Tensor, "N K"]]:
    """The few marked columns of every row, in any order, padded to one width.

    Returns:
        Columns, some other column of the row in the padding; and whether the slot holds a mark.
    """
    count = width(row_count(mask_NM), mask_NM.shape[1])
    found = as_float(mask_NM, torch.float32).topk(count, dim=1, sorted=False)
    return found.indices, found.values > 0


def rank_positives(distance_NM: Float[Tensor, "N M"], positive_NM: Bool[Tensor, "N M"]) -> Ranked:
    """Sort the few positives of every row by distance, without sorting the row."""
    count_N = row_count(positive_NM)
    slots = width(count_N, positive_NM.shape[1])
    masked_NM = distance_NM.detach().masked_fill(~positive_NM, math.inf)
    nearest = masked_NM.topk(slots, dim=1, largest=False, sorted=True)
    slot_K = torch.arange(slots, device=distance_NM.device)
    real_NK = slot_K < count_N[:, None]
    return Ranked(nearest.values, nearest.indices, real_NK)


def extreme(
    distance_NM: Float[Tensor, "N M"], mask_NM: Bool[Tensor, "N M"], *, farthest: bool
) -> tuple[Int[Tensor, " N"], Bool[Tensor, " N"]]:
    """The farthest (or nearest) marked column of every row, M >= 1; the first of equals.

    Returns:
        Column of shape (N,), 0 in a row without a mark; whether the row has a mark, shape (N,).
    """
    fill = -math.inf if farthest else math.inf
    masked_NM = torch.where(mask_NM, distance_NM.detach(), fill)
    column_N = masked_NM.argmax(1) if farthest else masked_NM.argmin(1)
    return column_N, row_any(mask_NM)


def next_farther(
    distance_NM: Float[Tensor, "N M"],
    mask_NM: Bool[Tensor, "N M"],
    threshold_NK: Float[Tensor, "N K"],
    *,
    count: int = 1,
) -> Farther:
    """The `count` nearest marked columns that are strictly farther than each threshold.

    Equal distances come in the order of their columns.
    """
    masked_NM = distance_NM.detach().masked_fill(~mask_NM, math.inf)
    if count == 1 and threshold_NK.shape[1] <= FEW:
        return _by_minimum(masked_NM, threshold_NK)
    return _by_sorting(masked_NM, threshold_NK, row_count(mask_NM), count)


def _by_minimum(masked_NM: Tensor, threshold_NK: Tensor) -> Farther:
    columns, reals = [], []
    for threshold_N in threshold_NK.unbind(1):
        beyond_NM = masked_NM > threshold_N[:, None]
        nearest = masked_NM.masked_fill(~beyond_NM, math.inf).min(1)
        columns.append(nearest.indices)
        reals.append(nearest.values < math.inf)
    if not columns:
        empty = threshold_NK.new_zeros((len(threshold_NK), 0, 1))
        return Farther(empty.long(), empty.bool())
    return Farther(torch.stack(columns, 1)[..., None], torch.stack(reals, 1)[..., None])


def _by_sorting(masked_NM: Tensor, threshold_NK: Tensor, marked_N: Tensor, count: int) -> Farther:
    ordered = masked_NM.sort(dim=1, stable=True)
    first_NK = torch.searchsorted(ordered.values, threshold_NK.contiguous(), right=True)
    offset_E = torch.arange(count, device=masked_NM.device)
    place_NKE = first_NK[..., None] + offset_E
    real_NKE = place_NKE < marked_N[:, None, None]
    flat = place_NKE.clamp_max(masked_NM.shape[1] - 1).flatten(1)
    return Farther(ordered.indices.gather(1, flat).view_as(place_NKE), real_NKE)


def relatively_hard(
    similarity_NM: Float[Tensor, "N M"],
    positive_NM: Bool[Tensor, "N M"],
    negative_NM: Bool[Tensor, "N M"],
    *,
    slack: float,
) -> tuple[Bool[Tensor, "N M"], Bool[Tensor, "N M"]]:
    """The pairs that multi-similarity mining keeps (Wang et al., CVPR 2019): those near the border.

    Positives less similar than the row's most similar negative plus the slack, and negatives more
    similar than its least similar positive minus the slack; nothing in a row that lacks either
    kind. A row keeps pairs of both kinds or of none. A nan is kept, so that it stays visible.
    """
    seen_NM = similarity_NM.detach()
    nearest_N1 = seen_NM.masked_fill(~negative_NM, -math.inf).amax(1, keepdim=True)
    farthest_N1 = seen_NM.masked_fill(~positive_NM, math.inf).amin(1, keepdim=True)
    easy_positive_NM = seen_NM >= nearest_N1 + slack
    easy_negative_NM = seen_NM <= farthest_N1 - slack
    return positive_NM & ~easy_positive_NM, negative_NM & ~easy_negative_NM


def most_similar(
    similarity_NM: Float[Tensor, "N M"], mask_NM: Bool[Tensor, "N M"], count: int
) -> Bool[Tensor, "N M"]:
    """The `count` >= 1 most similar marked columns of every row, and those that equal the last."""
    seen_NM = similarity_NM.detach().masked_fill(~mask_NM, -math.inf)
    least_N1 = seen_NM.topk(min(count, seen_NM.shape[1]), dim=1).values[:, -1:]
    return mask_NM & ~(seen_NM < least_N1)  # a nan is kept, so that it stays visible


def facenet_negatives(
    distance_NM: Float[Tensor, "N M"],
    positive_distance_NK: Float[Tensor, "N K"],
    negative_NM: Bool[Tensor, "N M"],
) -> tuple[Int[Tensor, "N K"], Bool[Tensor, " N"]]:
    """The semi-hard negative of every positive, by the rule of FaceNet's TensorFlow code.

    The nearest negative that is strictly farther than the positive; if there is none, the farthest
    negative (tf.contrib `triplet_semihard_loss`: "largest negative distance").

    Returns:
        Column of shape (N, K); whether the row has any negative, shape (N,).
    """
    beyond = next_farther(distance_NM, negative_NM, positive_distance_NK)
    farthest_N, exists_N = extreme(distance_NM, negative_NM, farthest=True)
    column_NK = torch.where(beyond.real_NKE[..., 0], beyond.column_NKE[..., 0], farthest_N[:, None])
    return column_NK, exists_N
