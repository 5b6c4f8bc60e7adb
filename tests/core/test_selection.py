"""Selections combine as the design says: multiply, gather, refuse."""

from __future__ import annotations

import pytest
import torch

from likeness.batch import Batch
from likeness.errors import UserError
from likeness.pairs import Pairs
from likeness.selection import Selection, Triplets, combine, everything, pipeline, restrict

Y = torch.tensor([0, 0, 1])
B = Batch(Y)


def pairs() -> Pairs:
    return Pairs(torch.randn(3, 2), Y)


def mask(*rows: str) -> torch.Tensor:
    return torch.tensor([[c == "1" for c in row] for row in rows])


def triplets() -> Triplets:
    return Triplets(
        torch.tensor([0, 1, 0]),
        torch.tensor([1, 0, 1]),
        torch.tensor([2, 2, 0]),
        torch.tensor([1.0, 0.5, 2.0]),
    )


def test_everything_is_the_masks() -> None:
    p = pairs()
    assert everything(p).positive_NM is p.positive
    assert everything(p).negative_NM is p.negative


def test_bool_and_bool_stays_bool() -> None:
    first = Selection(mask("110", "011", "000"), mask("111", "000", "101"))
    second = Selection(mask("010", "111", "111"), mask("001", "111", "001"))
    both = combine(first, second)
    assert torch.equal(both.positive_NM, mask("010", "011", "000"))
    assert torch.equal(both.negative_NM, mask("001", "000", "001"))


def test_floats_multiply() -> None:
    first = Selection(torch.full((3, 3), 0.5), torch.full((3, 3), 0.25))
    second = Selection(torch.full((3, 3), 0.5), mask("100", "100", "100"))
    both = combine(first, second)
    assert both.positive_NM.unique().tolist() == [0.25]
    assert both.negative_NM[:, 0].tolist() == [0.25] * 3
    assert both.negative_NM[:, 1:].unique().tolist() == [0]


@pytest.mark.parametrize("swap", [False, True])
def test_triplets_gather_dense_weights(swap: bool) -> None:
    dense = Selection(torch.arange(9.0).view(3, 3), 10 * torch.arange(9.0).view(3, 3))
    both = combine(triplets(), dense) if swap else combine(dense, triplets())
    assert both.weight_T.tolist() == [1 * 1 * 20, 0.5 * 3 * 50, 2 * 1 * 0]
    assert torch.equal(both.anchor_T, triplets().anchor_T)


def test_triplets_with_triplets_are_refused() -> None:
    with pytest.raises(UserError, match="at most one miner of triplets, got two"):
        combine(triplets(), triplets())


def test_restrict_keeps_to_the_pairs_own_masks() -> None:
    p = pairs()
    ones = torch.ones(3, 3)
    kept = restrict(Selection(2 * ones, ones.bool()), p)
    assert torch.equal(kept.positive_NM, 2.0 * p.positive)
    assert torch.equal(kept.negative_NM, p.negative)
    with pytest.raises(UserError, match=r"selection must be of shape \(3, 3\), got \(3, 1\)"):
        restrict(Selection(ones, ones[:, :1]), p)


def test_a_pipeline_combines_its_miners_on_the_same_pairs() -> None:
    seen = []

    def halve(given: Pairs, batch: Batch) -> Selection:
        seen.append((given, batch))
        return Selection(torch.full((3, 3), 0.5), torch.full((3, 3), 0.5))

    def listed(given: Pairs, batch: Batch) -> Triplets:
        seen.append((given, batch))
        return triplets()

    p = pairs()
    both = pipeline(halve, halve)(p, B)
    assert torch.equal(both.positive_NM, 0.25 * p.positive)
    weights = pipeline(halve, listed)(p, B).weight_T
    assert weights.tolist() == [0.25, 0.125, 0.5]  # also (0, 1, 0): triplets are the miner's
    assert all(given is p and batch is B for given, batch in seen)
    assert pipeline()(p, B) == everything(p)
