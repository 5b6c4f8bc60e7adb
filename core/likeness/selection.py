"""Which pairs count, and how much: what a miner returns and a loss reads.

Shapes: N = anchors, M = references, T = triplets.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.batch import Batch
from likeness.errors import UserError, require
from likeness.pairs import Pairs


class Selection(NamedTuple):
    """A weight for every pair: bool = mining, float = soft mining or attention.

    A loss multiplies it with the pairs' own masks, so a weight on a pair that is not positive
    (negative) counts for nothing.
    """

    positive_NM: Tensor
    negative_NM: Tensor


class Triplets(NamedTuple):
    """Sampled triplets, O(N k) of them: indices into anchors and references, and a weight each."""

    anchor_T: Int[Tensor, " T"]
    positive_T: Int[Tensor, " T"]
    negative_T: Int[Tensor, " T"]
    weight_T: Float[Tensor, " T"]


AnySelection: TypeAlias = Selection | Triplets
Miner: TypeAlias = Callable[[Pairs, Batch], AnySelection]


def everything(pairs: Pairs) -> Selection:
    """Every positive and every negative pair, shape (N, M) each."""
    return Selection(pairs.positive, pairs.negative)


def combine(first: AnySelection, second: AnySelection) -> AnySelection:
    """Two selections as one.

    Dense with dense multiplies (bool with bool stays bool); dense with triplets gathers the dense
    weights of (a, p) and (a, n) into the triplets' weights.

    Raises:
        UserError: for triplets with triplets, which have no common meaning.
    """
    if isinstance(first, Triplets) and isinstance(second, Triplets):
        raise UserError("selection must be combined from at most one miner of triplets, got two")
    if isinstance(first, Triplets):
        return _gather(second, first)  # type: ignore[arg-type]
    if isinstance(second, Triplets):
        return _gather(first, second)
    return Selection(
        _product(first.positive_NM, second.positive_NM),
        _product(first.negative_NM, second.negative_NM),
    )


def restrict(selection: Selection, pairs: Pairs) -> Selection:
    """The selection on the pairs' own positives and negatives only.

    Raises:
        UserError: if a weight matrix has not the shape (N, M) of the pairs.
    """
    shape = pairs.positive.shape
    for weights in selection:
        require(
            weights.shape == shape, "selection", f"of shape {tuple(shape)}", tuple(weights.shape)
        )
    return Selection(
        _product(selection.positive_NM, pairs.positive),
        _product(selection.negative_NM, pairs.negative),
    )


def pipeline(*miners: Miner) -> Miner:
    """Several miners as one; each sees the same detached pairs, the selections are combined.

    Dense weights keep to the pairs' own positives and negatives. Triplets are taken as their miner
    gives them: with graded labels a negative may share labels with its anchor.
    """

    def run(pairs: Pairs, batch: Batch) -> AnySelection:
        if not miners:
            return everything(pairs)
        selected = reduce(combine, (miner(pairs, batch) for miner in miners))
        return selected if isinstance(selected, Triplets) else restrict(selected, pairs)

    return run


def _product(first: Tensor, second: Tensor) -> Tensor:
    if first.dtype == torch.bool and second.dtype == torch.bool:
        return first & second
    return first * second


def _gather(dense: Selection, triplets: Triplets) -> Triplets:
    positive = dense.positive_NM[triplets.anchor_T, triplets.positive_T]
    negative = dense.negative_NM[triplets.anchor_T, triplets.negative_T]
    return triplets._replace(weight_T=triplets.weight_T * positive * negative)
