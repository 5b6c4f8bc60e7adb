"""Triplets beyond the shared properties: counts, listed triplets, both search paths."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fixtures.losses import oracles
from likeness.batch import Batch
from likeness.errors import UserError
from likeness.losses.triplet import (
    BatchHardTripletLoss,
    SemiHardTripletLoss,
    TripletLoss,
    all_triplets,
    count_triplets,
    semi_hard,
)
from likeness.mining import batch_hard
from likeness.pairs import Pairs
from likeness.selection import Triplets


def draw(seed: int, rows: int, columns: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    distance = torch.rand(rows, columns, generator=generator, dtype=torch.float64)
    distance = (distance * 8).round() / 8 if seed % 2 else distance  # every other seed: ties
    y = torch.randint(classes, (rows,), generator=generator)
    other = torch.randint(classes, (columns,), generator=generator)
    same = y[:, None] == other[None, :]
    return distance, same, ~same


def as_table(distance: Tensor, positive: Tensor, negative: Tensor) -> oracles.Table:
    lists = [[list(row) for row in t.tolist()] for t in (positive.double(), negative.double())]
    nowhere = torch.empty(0), torch.empty(0)  # triplets read distances, never points
    return oracles.Table([list(row) for row in distance], *lists, square=False, points=nowhere)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    classes=st.integers(1, 4),
    margin=st.sampled_from([0.0, 0.125, 0.3, 5.0]),
    active=st.booleans(),
)
def test_counting_is_listing(
    seed: int, rows: int, columns: int, classes: int, margin: float, active: bool
) -> None:
    distance, positive, negative = draw(seed, rows, columns, classes)
    reduction = "active" if active else "all"
    terms = all_triplets(distance, positive, negative, margin=margin, reduction=reduction)
    t = as_table(distance, positive, negative)
    expected = oracles.all_triplets(t, margin=margin, active=active)
    torch.testing.assert_close(terms.value, expected, rtol=1e-12, atol=1e-14)
    violated = distance[:, :, None] - distance[:, None, :] + margin > 0
    triplets = positive[:, :, None] & negative[:, None, :]
    assert terms.n_active == (violated & triplets).sum()


def test_slopes_are_exact_counts() -> None:
    distance, positive, negative = draw(4, 40, 60, 3)
    for kind in (torch.float32, torch.float64):
        counts = count_triplets(distance.to(kind), positive, negative, margin=0.2)
        single = distance.to(kind)
        active = (single[:, :, None] + 0.2 > single[:, None, :]) & positive[:, :, None]
        active = active & negative[:, None, :]
        slope = active.sum(2) - active.sum(1)
        assert torch.equal(counts.slope_NM, slope.to(kind))
        assert counts.n_active == active.sum()
        assert torch.equal(counts.active_N.long(), active.sum((1, 2)))


def test_large_batch_is_accurate_in_single_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 16, generator=generator)
    y = torch.arange(300) // 6
    single = TripletLoss(reduction="all")(x, y)
    double = TripletLoss(reduction="all")(x.double(), y)
    assert abs(single.double() - double) < 1e-6 * double


def listed(seed: int = 0) -> Triplets:
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(6, (3, 15), generator=generator)
    weight = torch.rand(15, generator=generator, dtype=torch.float64)
    return Triplets(*index, torch.where(weight < 0.3, torch.zeros(()), weight))


@pytest.mark.parametrize("reduction", ["active", "all"])
@pytest.mark.parametrize("squared", [False, True])
def test_listed_triplets_are_gathered(reduction: str, squared: bool) -> None:
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    leaf, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    loss = TripletLoss(margin=0.3, reduction=reduction, squared=squared)
    triplets = listed()
    terms = loss.on_pairs(Pairs(leaf, torch.arange(6), space="cosine"), triplets)
    t = oracles.table(other, torch.arange(6), "cosine", squared=squared)
    costs = []
    for a, p, n, w in zip(*(c.tolist() for c in triplets), strict=True):
        costs.append((torch.relu(t.distance[a][p] - t.distance[a][n] + 0.3), w))
    expected = oracles.mean_of(t, [c for c in costs if c[1] > 0], reduction == "active")
    torch.testing.assert_close(terms.value, expected)
    torch.testing.assert_close(terms.per_anchor.sum(), terms.value)
    assert terms.n_active == sum(bool(cost > 0) and w > 0 for cost, w in costs)
    torch.testing.assert_close(
        torch.autograd.grad(terms.value, leaf)[0], torch.autograd.grad(expected, other)[0]
    )
    assert set(terms.valid.nonzero()[:, 0].tolist()) == {
        a for a, w in zip(triplets.anchor_T.tolist(), triplets.weight_T.tolist(), strict=True) if w
    }


def test_no_listed_triplet_is_an_exact_zero() -> None:
    leaf = torch.randn(4, 3).requires_grad_()
    none = torch.zeros(0, dtype=torch.int64)
    terms = TripletLoss().on_pairs(
        Pairs(leaf, torch.arange(4), space="cosine"), Triplets(none, none, none, torch.zeros(0))
    )
    terms.value.backward()
    assert terms.value.item() == 0.0
    assert torch.equal(leaf.grad, torch.zeros(4, 3))


@pytest.mark.parametrize("loss", [BatchHardTripletLoss(), SemiHardTripletLoss()])
def test_the_mining_losses_read_no_triplets(loss: torch.nn.Module) -> None:
    pairs = Pairs(torch.randn(6, 3), torch.arange(6), space="cosine")
    with pytest.raises(UserError, match="must be a weight for every pair, got triplets"):
        loss.on_pairs(pairs, listed())


def test_batch_hard_mining_and_the_triplet_loss_are_the_batch_hard_loss() -> None:
    x, y = torch.randn(20, 5), torch.arange(20) % 4
    pairs = Pairs(x, y, space="cosine")
    mined = TripletLoss(reduction="all").on_pairs(pairs, batch_hard(pairs, Batch(y)))
    direct = BatchHardTripletLoss().on_pairs(pairs)
    torch.testing.assert_close(mined.value, direct.value)
    torch.testing.assert_close(mined.per_anchor, direct.per_anchor)


@pytest.mark.parametrize("seed", range(4))
def test_semi_hard_with_many_positives(seed: int) -> None:
    """More positives per row than the short path takes: the sorting path, ties included."""
    distance, positive, negative = draw(seed, 7, 60, 2)
    assert positive.sum(1).max() > 16
    leaf = distance.clone().requires_grad_()
    terms = semi_hard(leaf, positive, negative, margin=0.2, reduction="all")
    other = distance.clone().requires_grad_()
    t = as_table(other, positive, negative)
    expected = oracles.semi_hard(t, margin=0.2, active=False)
    torch.testing.assert_close(terms.value, expected)
    if seed % 2 == 0:  # with ties among positives their order is free, and so is the slope's place
        slope = torch.autograd.grad(expected, other)[0]
        torch.testing.assert_close(torch.autograd.grad(terms.value, leaf)[0], slope)


def test_a_large_gap_does_not_overflow_the_soft_variant() -> None:
    x = torch.tensor([[0.0], [1e4], [1.0]], requires_grad=True)
    loss = BatchHardTripletLoss(variant="soft", margin=0.0, space="euclidean")
    value = loss(x, torch.tensor([0, 0, 1]))
    value.backward()
    assert torch.isfinite(value)
    assert value > 1e3
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("kind", [TripletLoss, BatchHardTripletLoss, SemiHardTripletLoss])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -0.1}, "margin must be >= 0 and finite, got -0.1"),
        ({"margin": float("nan")}, "margin must be >= 0 and finite, got nan"),
        ({"margin": float("inf")}, "margin must be >= 0 and finite, got inf"),
    ],
)
def test_margins_are_checked(kind: type, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        kind(**options)
