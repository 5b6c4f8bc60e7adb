"""Distance-weighted sampling: negatives of all distances alike, not of the usual one.

Shapes: N = anchors, M = references, K = slots for the positives of a row.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likeness.batch import Batch
from likeness.errors import require
from likeness.mining.balanced import uniform
from likeness.pairs import Pairs
from likeness.rows import rank_positives, row_any
from likeness.selection import Triplets

LEAST_CAP = 1e-8  # of 1 - d^2 / 4: opposite points have the density of nearly opposite ones


def distance_weighted(
    pairs: Pairs, batch: Batch, *, nearest: float = 0.5, farthest: float = 1.4
) -> Triplets:
    """For every positive pair one negative, drawn by 1 / density of its distance (Wu et al. 2017).

    Between random points of the unit sphere in D dimensions the distance d has the density
    d^(D-2) (1 - d^2/4)^((D-3)/2) up to a constant: nearly all are close to sqrt(2). Drawing with
    its inverse makes near and middle distances as likely as that one. Distances below `nearest`
    count as `nearest` (else the nearest negative would take all, and its gradient is noise), those
    from `farthest` on are left out (their loss is 0). Draws are with replacement. Where no negative
    is nearer than `farthest` any negative is as likely; the authors' code then draws from all
    samples, positives among them.

    The weights are a softmax over what may be drawn, row by row: at D = 512 their logarithms span
    2,000, and shifted by the maximum of the whole matrix, as in other code, one close pair leaves
    most rows without any weight.

    Args:
        pairs: the geometry in the `cosine` space.
        batch: its generator draws.
        nearest: cutoff, in (0, 2); 0.5 in the paper.
        farthest: > nearest, <= 2; 1.4 in the authors' code, boundary + margin of the loss.

    Returns:
        N * K triplets with weights 1 or 0, K = positives of the fullest row. Memory O(N M + N K).

    Raises:
        UserError: if an argument is out of range, the space is another, or D < 2.
    """
    check_distance_weighted(nearest, farthest)
    rule = "'cosine' where distance_weighted draws (it knows distances on the sphere)"
    require(pairs.space == "cosine", "space", rule, pairs.space)
    seen = pairs.detach()
    dim = seen.embeddings.shape[1]
    require(dim >= 2, "dimension", ">= 2 for distance_weighted", dim)
    distance_NM, negative_NM = seen.distance, seen.negative
    ranked = rank_positives(distance_NM, seen.positive)
    if not distance_NM.shape[1] or not ranked.real_NK.shape[1]:
        none = torch.zeros(0, dtype=torch.int64, device=distance_NM.device)
        return Triplets(none, none, none, distance_NM.new_zeros(0))
    log_NM = log_inverse_density(distance_NM.clamp(nearest, 2.0), dim)
    chance_NM = chances(log_NM, distance_NM < farthest, negative_NM)
    drawn_NK = uniform(tuple(ranked.column_NK.shape), batch.generator, distance_NM.device)
    edges_NM = chance_NM.cumsum(1, dtype=torch.float64)
    # In (0, total]: a column without a chance has an edge equal to the one before, never found.
    place_NK = torch.searchsorted(edges_NM, (1 - drawn_NK) * edges_NM[:, -1:])
    real_NK = ranked.real_NK & row_any(negative_NM)[:, None]
    anchor_N = torch.arange(len(distance_NM), device=distance_NM.device)
    return Triplets(
        anchor_N[:, None].expand_as(place_NK).flatten(),
        ranked.column_NK.flatten(),
        place_NK.clamp_max(distance_NM.shape[1] - 1).flatten(),
        real_NK.flatten().to(distance_NM.dtype),
    )


def log_inverse_density(distance_NM: Float[Tensor, "N M"], dim: int) -> Float[Tensor, "N M"]:
    """Minus the log of the density of distances on the unit sphere, up to a constant.

    Args:
        distance_NM: in (0, 2].
        dim: D, >= 2.
    """
    cap_NM = (1 - distance_NM.square() / 4).clamp_min(LEAST_CAP)
    return (2 - dim) * distance_NM.log() - (dim - 3) / 2 * cap_NM.log()


def chances(
    log_NM: Float[Tensor, "N M"], near_NM: Bool[Tensor, "N M"], negative_NM: Bool[Tensor, "N M"]
) -> Float[Tensor, "N M"]:
    """Row-wise probabilities: softmax over near negatives, else uniform over negatives, else 0."""
    eligible_NM = near_NM & negative_NM
    lowest = torch.finfo(log_NM.dtype).min
    soft_NM = log_NM.masked_fill(~eligible_NM, lowest).softmax(1) * eligible_NM
    flat_NM = negative_NM / negative_NM.sum(1, keepdim=True).clamp_min(1)
    return torch.where(row_any(eligible_NM)[:, None], soft_NM, flat_NM)


def check_distance_weighted(nearest: float, farthest: float) -> None:
    """Raise UserError unless the options of `distance_weighted` make sense together."""
    require(0 < nearest < 2, "nearest", "in (0, 2)", nearest)
    require(nearest < farthest <= 2, "farthest", f"in ({nearest}, 2]", farthest)
