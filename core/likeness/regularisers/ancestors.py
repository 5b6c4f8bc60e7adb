"""Who is related to whom, and what that costs under common ancestors: the parts of HIER.

Shapes: P = nodes (samples or proxies), H = hierarchical proxies, the ancestors, K = draws for each
anchor, T = triplets.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from likeness.mining.balanced import uniform

# Triplets times proxies that are looked at together: so much is in memory, and no more.
BLOCK = 2**20
_LEAST_RELATIVES = 2


class Relations(NamedTuple):
    """Triplets of nodes: `second` is related to `first`, `third` is not; each of shape (T,).

    `real` marks those that mean something: the others stand for anchors without relatives.
    """

    first: Int[Tensor, " T"]
    second: Int[Tensor, " T"]
    third: Int[Tensor, " T"]
    real: Bool[Tensor, " T"]


class Costs(NamedTuple):
    """What triplets cost: the sum by anchor (P,), how many cost something, how many there are."""

    per_node: Float[Tensor, " P"]
    n_active: Int[Tensor, ""]
    total: Int[Tensor, ""]


def reciprocal(similarity_PP: Float[Tensor, "P P"], nearest: int) -> Bool[Tensor, "P P"]:
    """Pairs that are among each other's nearest; a node is no relative of itself.

    Args:
        similarity_PP: of all nodes.
        nearest: how many count as near, the node itself among them; at most P - 1 are taken, or
            nobody would be left who is not near.
    """
    count = len(similarity_PP)
    itself_PP = torch.eye(count, dtype=torch.bool, device=similarity_PP.device)
    ranked_PP = similarity_PP.masked_fill(itself_PP, math.inf)
    chosen = ranked_PP.topk(min(nearest, max(count - 1, 0)), dim=1).indices
    near_PP = torch.zeros_like(itself_PP).scatter(1, chosen, True)
    return near_PP & near_PP.T & ~itself_PP


def draw_relations(
    near_PP: Bool[Tensor, "P P"], draws: int, generator: torch.Generator | None
) -> Relations:
    """For each node, relatives and others, drawn evenly with replacement; no host read.

    A node is an anchor if it has two relatives or more, and somebody who is none.

    Args:
        near_PP: who is whose relative, symmetric, false on the diagonal.
        draws: K, triplets for each anchor, >= 1.
        generator: draws.
    """
    count, device = len(near_PP), near_PP.device
    far_PP = ~near_PP & ~torch.eye(count, dtype=torch.bool, device=device)
    relatives_P = near_PP.sum(1)
    anchor_P = (relatives_P >= _LEAST_RELATIVES) & (far_PP.sum(1) > 0)
    second_PK = _drawn(near_PP, draws, generator)
    third_PK = _drawn(far_PP, draws, generator)
    first_PK = torch.arange(count, device=device)[:, None].expand_as(second_PK)
    real_PK = anchor_P[:, None].expand_as(second_PK)
    return Relations(*(part.flatten() for part in (first_PK, second_PK, third_PK, real_PK)))


def ancestor_costs(
    distance_PH: Float[Tensor, "P H"],
    relations: Relations,
    *,
    temperature: float,
    margin: float,
    noise: torch.Generator | None = None,
    gumbel: bool = True,
) -> Costs:
    """What the triplets (i, j, k) cost under their ancestors, the proxies.

        u = max(d_i, d_j), v = max(d_k, u)                            over proxies, shape (H,)
        a = one-hot gumbel-softmax(-u / tau), b = the same of -v / tau        (straight-through)
        cost = 1[a != b] ( [d_i.a - d_i.b + delta]+ + [d_j.a - d_j.b + delta]+
                           + [d_k.b - d_k.a + delta]+ )

    So a stands for the lowest common ancestor of i and j, b for that of all three; two ancestors
    that are one cost nothing. Triplets are taken in blocks, and for the backward pass only their
    indices are kept: what is (T, H) is computed again, under the same draws.

    Args:
        distance_PH: of the nodes to the proxies.
        relations: the triplets.
        temperature: tau > 0.
        margin: delta >= 0.
        noise: draws the Gumbel noise.
        gumbel: whether there is noise; without it the ancestor is the nearest.
    """
    size = max(BLOCK // max(distance_PH.shape[1], 1), 1)
    device = None if noise is None else noise.device
    settings: dict[str, Any] = {"temperature": temperature, "margin": margin, "gumbel": gumbel}
    run = partial(_from_state, device=device, **settings)
    state = noise.get_state() if noise is not None and gumbel else None
    per_node_P = distance_PH.new_zeros(len(distance_PH))
    active = torch.zeros((), dtype=torch.int64, device=distance_PH.device)
    for parts in zip(*(part.split(size) for part in relations), strict=True):
        block = Relations(*parts)
        cost_T, state = checkpoint(
            *(run, distance_PH, block, state),
            use_reentrant=False,
            preserve_rng_state=gumbel and noise is None,
        )
        per_node_P = per_node_P.index_add(0, block.first, cost_T)
        active = active + (cost_T > 0).sum()
    if noise is not None and state is not None:
        noise.set_state(state)
    return Costs(per_node_P, active, relations.real.sum())


def _drawn(
    mask_PP: Bool[Tensor, "P P"], draws: int, generator: torch.Generator | None
) -> Int[Tensor, "P K"]:
    """Marked columns of every row, drawn evenly with replacement; any column in a row of none."""
    count = len(mask_PP)
    before_PP = mask_PP.cumsum(1)
    drawn_PK = uniform((count, draws), generator, mask_PP.device)
    rank_PK = (drawn_PK * before_PP[:, -1:]).floor().long() + 1
    return torch.searchsorted(before_PP, rank_PK).clamp_max(count - 1)


def _from_state(
    distance_PH: Tensor,
    block: Relations,
    state: Tensor | None,
    *,
    device: torch.device | None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """The costs of a block under the noise that begins at a generator's state, and its end."""
    if state is None or device is None:
        return _block_costs(distance_PH, block, None, **options), None
    generator = torch.Generator(device)
    generator.set_state(state)
    return _block_costs(distance_PH, block, generator, **options), generator.get_state()


def _block_costs(
    distance_PH: Tensor,
    block: Relations,
    generator: torch.Generator | None,
    *,
    temperature: float,
    margin: float,
    gumbel: bool,
) -> Float[Tensor, " T"]:
    """The cost of each triplet of a block; 0 for those that are not real."""
    i_TH, j_TH, k_TH = (distance_PH[place_T] for place_T in block[:3])
    pair_TH = torch.maximum(i_TH, j_TH)
    a_TH = _ancestor(-pair_TH / temperature, generator, gumbel)
    b_TH = _ancestor(-torch.maximum(k_TH, pair_TH) / temperature, generator, gumbel)
    differ_T = a_TH.argmax(1) != b_TH.argmax(1)
    nearer_TH = a_TH - b_TH  # of two one-hot rows: what a relative should be near, and away from
    cost_T = F.relu((i_TH * nearer_TH).sum(1) + margin)
    cost_T = cost_T + F.relu((j_TH * nearer_TH).sum(1) + margin)
    cost_T = cost_T + F.relu(margin - (k_TH * nearer_TH).sum(1))
    return cost_T * (differ_T & block.real)  # a product, so that a nan is not hidden


def _ancestor(
    logits_TH: Float[Tensor, "T H"], generator: torch.Generator | None, gumbel: bool
) -> Float[Tensor, "T H"]:
    """One-hot rows with the gradient of the softmax behind them (straight-through)."""
    if gumbel:
        source = logits_TH.device if generator is None else generator.device
        waiting_TH = torch.empty(logits_TH.shape, dtype=logits_TH.dtype, device=source)
        waiting_TH = waiting_TH.exponential_(generator=generator).to(logits_TH.device)
        logits_TH = logits_TH - waiting_TH.log()  # minus the log of a waiting time is Gumbel
    soft_TH = logits_TH.softmax(1)
    hard_TH = F.one_hot(soft_TH.argmax(1), soft_TH.shape[1]).to(soft_TH.dtype)
    return hard_TH - soft_TH.detach() + soft_TH
