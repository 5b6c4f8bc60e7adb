"""Mean and variance of every class, brought up to date from time to time; neighbours' variances.

Shapes: N = samples, C = classes, D = embedding dimension, B = classes of a block.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.losses.base import floored

BLOCK = 1024  # classes whose distances to all others are held at once
SMALLEST_RANGE = 1e-12  # under it all distances count as equal


class ClassStatistics(NamedTuple):
    """Means, variances (of the population) and counts of classes; zeros where nothing is known."""

    mean_CD: Tensor
    variance_CD: Tensor
    count_C: Tensor


class Correction(NamedTuple):
    """How far a class's variance gives way to that of others.

    Attributes:
        neighbours: K, classes of the most similar means, >= 1.
        global_share: gamma, share of the variance of all classes beside that of the neighbours.
        distrust: b; larger, and a class is trusted with fewer samples.
        trusted_from: samples from which on a class keeps its own.
    """

    neighbours: int
    global_share: float
    distrust: float
    trusted_from: int


def class_statistics(
    embeddings_ND: Float[Tensor, "N D"], labels_N: Int[Tensor, " N"], num_classes: int
) -> ClassStatistics:
    """The statistics of a set of samples, in float64; O(N D + C D) memory."""
    rows_ND = embeddings_ND.double()
    count_C = torch.bincount(labels_N, minlength=num_classes)
    zeros_CD = rows_ND.new_zeros(num_classes, rows_ND.shape[1])
    size_C1 = count_C.clamp_min(1)[:, None]
    mean_CD = zeros_CD.index_add(0, labels_N, rows_ND) / size_C1
    squares_ND = (rows_ND - mean_CD[labels_N]).square()
    variance_CD = zeros_CD.index_add(0, labels_N, squares_ND) / size_C1
    return ClassStatistics(mean_CD, variance_CD, count_C)


def merged(old: ClassStatistics, new: ClassStatistics, *, momentum: float) -> ClassStatistics:
    """Old and new statistics as one; a class without new samples stays as it was.

    w = max(n / (n + n_old), 1 - momentum) is the weight of the new. With momentum 1 the result is
    that of all samples together; the smaller it is, the sooner old ones are forgotten.
    """
    share_C = new.count_C / (new.count_C + old.count_C).clamp_min(1)
    weight_C = torch.where(new.count_C > 0, share_C.clamp_min(1 - momentum), 0.0)
    weight_C1 = weight_C.to(new.mean_CD)[:, None]
    apart_CD = (old.mean_CD - new.mean_CD).square()
    mean_CD = old.mean_CD.lerp(new.mean_CD, weight_C1)
    variance_CD = old.variance_CD.lerp(new.variance_CD, weight_C1)
    variance_CD = variance_CD + weight_C1 * (1 - weight_C1) * apart_CD
    return ClassStatistics(mean_CD, variance_CD, old.count_C + new.count_C)


def distrust(size_C: Int[Tensor, " C"], how: Correction) -> Float[Tensor, " C"]:
    """phi(n) = 1 / (1 + ln(1 + b (n - 1))), and 0 from `trusted_from` on; 1 for one sample."""
    phi_C = 1 / (1 + torch.log1p(how.distrust * (size_C.double() - 1).clamp_min(0)))
    return torch.where(size_C < how.trusted_from, phi_C, 0.0)


def corrected_variance(
    known: ClassStatistics, size_C: Int[Tensor, " C"], how: Correction
) -> Float[Tensor, "C D"]:
    """Variances of classes with few samples drawn to those of their neighbours and of all classes.

        (1 - phi) own + phi (gamma global + (1 - gamma) mean of the K neighbours)

    Neighbours are the classes of two samples or more whose squared means are nearest; they weigh
    n exp(-(d_mean^2 + d_variance^2) / 2), with distances scaled to [0, 1] over all such classes.

    Args:
        known: statistics of all classes.
        size_C: samples of each class in the training set; a class without any keeps its own.
        how: the options.
    """
    several_C = size_C > 1
    weight_C = torch.where(several_C, size_C, 0).to(known.variance_CD)
    total = floored(weight_C.sum())
    of_all_D = (weight_C[:, None] * known.variance_CD).sum(0) / total
    count = min(how.neighbours, int(several_C.sum()) - 1)
    parts = []
    for block in torch.arange(len(size_C), device=size_C.device).split(BLOCK):
        near_BD = of_all_D.expand(len(block), -1)
        if count >= 1:
            near_BD = _of_neighbours(known, block, several_C, weight_C, count)
        parts.append(torch.lerp(near_BD, of_all_D.expand_as(near_BD), how.global_share))
    phi_C = torch.where(size_C > 0, distrust(size_C, how), 0.0).to(known.variance_CD)
    return known.variance_CD.lerp(torch.cat(parts), phi_C[:, None])


def _of_neighbours(
    known: ClassStatistics, block_B: Tensor, several_C: Tensor, weight_C: Tensor, count: int
) -> Tensor:
    """Weighted mean of the variances of each class's neighbours, shape (B, D)."""
    others = torch.arange(len(several_C), device=block_B.device)
    valid_BC = several_C[None, :] & (others[None, :] != block_B[:, None])
    squares_CD = known.mean_CD.square()
    of_mean_BC = torch.cdist(squares_CD[block_B], squares_CD)
    of_variance_BC = torch.cdist(known.variance_CD[block_B], known.variance_CD)
    nearest_BK = of_mean_BC.masked_fill(~valid_BC, torch.inf).topk(count, 1, largest=False).indices
    penalty_BC = _scaled(of_mean_BC, valid_BC).square() + _scaled(of_variance_BC, valid_BC).square()
    trust_BC = torch.where(valid_BC, weight_C * torch.exp(-penalty_BC / 2), 0.0)
    trust_BK = trust_BC.gather(1, nearest_BK)
    sum_BD = torch.einsum("bk,bkd->bd", trust_BK, known.variance_CD[nearest_BK])
    return sum_BD / floored(trust_BK.sum(1, keepdim=True))


def _scaled(distance_BC: Float[Tensor, "B C"], valid_BC: Bool[Tensor, "B C"]) -> Tensor:
    """Distances as shares of each row's range over the valid entries, others unbounded."""
    low_B1 = distance_BC.masked_fill(~valid_BC, torch.inf).amin(1, keepdim=True)
    high_B1 = distance_BC.masked_fill(~valid_BC, -torch.inf).amax(1, keepdim=True)
    return (distance_BC - low_B1) / (high_B1 - low_B1).clamp_min(SMALLEST_RANGE)
