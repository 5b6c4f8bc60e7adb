"""Doubly stochastic projected coordinate gradient: the weights that make the energy small.

A step moves a few coordinates, and knows their slope from a few sampled partners only: both are
drawn, hence doubly stochastic. The result is put back into [0, 1].

Shapes: N = samples, D = embedding dimension, C = classes, B = coordinates of a step, J = samples
drawn for the negatives of a step, K = positives drawn for each coordinate.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.errors import require
from likeness.losses.self_paced import COSTS, PairCosts, pair_costs
from likeness.self_paced.pair_energy import pair_shares, prepared

POSITIVES = 16
# A pass has so many steps at least: all coordinates at once would overshoot.
LEAST_BLOCKS = 8


class Population(NamedTuple):
    """The samples as the solver draws from them.

    Attributes:
        rows_ND: unit rows.
        class_N: classes from 0.
        sizes_C: samples of each class.
        order_N: samples sorted by class.
        first_C: where each class begins in `order_N`.
        rank_N: place of each sample inside its class.
    """

    rows_ND: Float[Tensor, "N D"]
    class_N: Int[Tensor, " N"]
    sizes_C: Int[Tensor, " C"]
    order_N: Int[Tensor, " N"]
    first_C: Int[Tensor, " C"]
    rank_N: Int[Tensor, " N"]


@torch.no_grad()
def solve_weights(
    embeddings_ND: Float[Tensor, "N D"],
    labels_N: Int[Tensor, " N"],
    start_N: Float[Tensor, " N"],
    *,
    age: float,
    balance: float,
    costs: PairCosts = COSTS,
    passes: int = 5,
    block: int = 64,
    sample: int = 256,
    step: float = 0.5,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " N"]:
    """Weights that (nearly) minimise `energy` with the network fixed; a local minimum near `start`.

    The k-th visit of a coordinate moves it by step / (1 + k / (10 N)) against its slope

        G_i / age - 1 + balance (mean of v in the class of i - mean of v)

    in units of `age`, with G_i estimated without bias from J random samples (its negatives) and
    K = 16 of its positives, drawn apart since a random sample holds hardly any. Every pass visits
    every coordinate once, in random order. O(passes N (J + K) D) time; nothing is N x N.

    The order of steps, the estimate in two parts and the scale by `age` are ours; that the method
    is doubly stochastic, projects and goes by coordinates is confirmed.

    Args:
        embeddings_ND: raw embeddings, compared by cosine; of all training samples.
        labels_N: classes as observed, any integers.
        start_N: weights to start from, in [0, 1].
        age: see `energy`, > 0.
        balance: see `energy`, >= 0.
        costs: of pairs.
        passes: visits of each coordinate, >= 1.
        block: coordinates that move together, >= 1; at most an eighth of all.
        sample: J, >= 1.
        step: size of the first step, > 0.
        generator: draws on the CPU; None is torch's own.

    Returns:
        Weights in [0, 1], shape (N,), in the dtype of `start_N`.

    Raises:
        UserError: if an argument is out of range.
    """
    for name, value in (("passes", passes), ("block", block), ("sample", sample)):
        require(value >= 1, name, ">= 1", value)
    for name, size in (("age", age), ("step", step)):
        require(size > 0, name, "> 0", size)
    require(balance >= 0, "balance", ">= 0", balance)
    everyone = populate(embeddings_ND, labels_N)
    count = len(everyone.class_N)
    weight_N = start_N.to(everyone.rows_ND, copy=True)
    size = min(block, max(1, count // LEAST_BLOCKS))
    with torch.autocast(weight_N.device.type, enabled=False):
        for number in range(passes):
            order_N = torch.randperm(count, generator=generator).to(weight_N.device)
            sums_C = _sums(everyone, weight_N)
            for place, row_B in enumerate(order_N.split(size)):
                load_B = sampled_loads(everyone, weight_N, row_B, costs, sample, generator)
                rate = step / (1 + (number + place * size / count) / 10)
                _move(everyone, weight_N, sums_C, row_B, rate, load_B / age, balance)
    return weight_N.to(start_N.dtype)


def _move(
    everyone: Population,
    weight_N: Tensor,
    sums_C: Tensor,
    row_B: Tensor,
    rate: float,
    relative_load_B: Tensor,
    balance: float,
) -> None:
    """One projected step of a block of coordinates, in place; `sums_C` follows."""
    class_B = everyone.class_N[row_B]
    gap_B = sums_C[class_B] / everyone.sizes_C[class_B] - sums_C.sum() / len(weight_N)
    slope_B = relative_load_B - 1 + balance * gap_B
    moved_B = (weight_N[row_B] - rate * slope_B).clamp(0, 1)
    # Coordinates of one class write the same sum, so it does not matter which comes last.
    same_BB = class_B[:, None] == class_B[None, :]
    change_B = same_BB.to(moved_B.dtype) @ (moved_B - weight_N[row_B])
    sums_C[class_B] = sums_C[class_B] + change_B
    weight_N[row_B] = moved_B


def sampled_loads(
    everyone: Population,
    weight_N: Float[Tensor, " N"],
    row_B: Int[Tensor, " B"],
    costs: PairCosts,
    sample: int,
    generator: torch.Generator | None,
) -> Float[Tensor, " B"]:
    """Unbiased estimates of `loads` of some samples; see `solve_weights`."""
    rows_ND, class_N, sizes_C = everyone.rows_ND, everyone.class_N, everyone.sizes_C
    device, count = rows_ND.device, len(rows_ND)
    drawn_J = torch.randint(count, (sample,), generator=generator).to(device)
    class_B1, class_1J = class_N[row_B, None], class_N[None, drawn_J]
    other_BJ = class_B1 != class_1J
    cost_BJ = pair_costs(rows_ND[row_B] @ rows_ND[drawn_J].T, ~other_BJ, costs)
    share_BJ = pair_shares(class_B1, class_1J, sizes_C) * other_BJ
    others_B = count - sizes_C[class_B1[:, 0]]
    scale_B = others_B / other_BJ.sum(1).clamp_min(1)
    far_B = (share_BJ * cost_BJ).to(weight_N.dtype) @ weight_N[drawn_J] * scale_B

    partner_BK = _positives(everyone, row_B, generator)
    cosine_BK = torch.einsum("bd,bkd->bk", rows_ND[row_B], rows_ND[partner_BK])
    cost_BK = pair_costs(cosine_BK, torch.ones_like(cosine_BK, dtype=torch.bool), costs)
    near_B = 2 * (cost_BK * weight_N[partner_BK]).mean(1)
    return far_B + near_B * (sizes_C[class_B1[:, 0]] > 1)


def populate(embeddings_ND: Float[Tensor, "N D"], labels_N: Int[Tensor, " N"]) -> Population:
    """The samples, sorted by class."""
    rows_ND, class_N, sizes_C = prepared(embeddings_ND, labels_N)
    order_N = class_N.argsort(stable=True)
    first_C = sizes_C.cumsum(0) - sizes_C
    place_N = torch.arange(len(order_N), device=order_N.device)
    rank_N = torch.empty_like(order_N)
    rank_N[order_N] = place_N - first_C[class_N[order_N]]
    return Population(rows_ND, class_N, sizes_C, order_N, first_C, rank_N)


def _positives(
    everyone: Population, row_B: Tensor, generator: torch.Generator | None
) -> Int[Tensor, "B K"]:
    """K other samples of each sample's class, uniform, with replacement; itself if there is none.

    Steps from the sample's own place round the class, 1 to size - 1 of them.
    """
    device = row_B.device
    size_B1 = everyone.sizes_C[everyone.class_N[row_B, None]]
    uniform_BK = torch.rand((len(row_B), POSITIVES), generator=generator, dtype=torch.float64)
    steps_BK = 1 + (uniform_BK.to(device) * (size_B1 - 1)).long()
    place_BK = (everyone.rank_N[row_B, None] + steps_BK) % size_B1
    return everyone.order_N[everyone.first_C[everyone.class_N[row_B, None]] + place_BK]


def _sums(everyone: Population, weight_N: Tensor) -> Float[Tensor, " C"]:
    """Sum of the weights of each class; on the CPU, where the order of the sum never changes."""
    sums_C = torch.zeros(len(everyone.sizes_C), dtype=torch.float64)
    sums_C.index_add_(0, everyone.class_N.cpu(), weight_N.cpu().double())
    return sums_C.to(weight_N)
