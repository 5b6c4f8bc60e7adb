"""Margin-based loss: triplets and pairs agree, the boundary learns, and it is kept and saved."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fixtures.free_points import normal
from likeness.errors import UserError
from likeness.losses import MarginLoss
from likeness.pairs import Pairs
from likeness.selection import Triplets
from likeness.training.optimisers import parameter_groups
from likeness.training.spec import AdamWSpec

Y = torch.tensor([0, 0, 2, 2, 2, 0, 2])


def all_triplets(y: Tensor) -> Triplets:
    same = y[:, None] == y[None, :]
    own = torch.eye(len(y), dtype=torch.bool)
    mask = (same & ~own)[:, :, None] & ~same[:, None, :]
    return Triplets(*mask.nonzero().unbind(1), torch.ones(int(mask.sum()), dtype=torch.float64))


def test_all_triplets_listed_are_the_dense_reading() -> None:
    loss = MarginLoss(3, boundary_weight=0.2)
    with torch.no_grad():
        loss.beta.copy_(torch.tensor([1.0, 9.0, 1.3]))
    found = []
    for triplets in (None, all_triplets(Y)):
        leaf = normal(7, 4).requires_grad_()
        terms = loss.on_pairs(Pairs(leaf, Y, space="cosine"), triplets)
        slopes = torch.autograd.grad(terms.value, [leaf, loss.beta])
        found.append((terms.value, terms.per_anchor, terms.valid, *slopes))
    for dense, listed in zip(*found, strict=True):
        torch.testing.assert_close(dense, listed)


def test_weights_of_triplets_weigh() -> None:
    loss, pairs, listed = MarginLoss(3), Pairs(normal(7, 4), Y, space="cosine"), all_triplets(Y)
    weight = torch.rand(len(listed.weight_T), dtype=torch.float64)
    weight[::3] = 0
    rows = torch.arange(len(weight)).repeat_interleave((weight * 8).round().long())
    repeated = Triplets(*(column[rows] for column in listed))
    value = loss.on_pairs(pairs, listed._replace(weight_T=(weight * 8).round())).value
    torch.testing.assert_close(value, loss.on_pairs(pairs, repeated).value)


def test_the_slope_of_the_boundary_is_a_count() -> None:
    """Each violated positive lifts it by 1, each violated negative lowers it, nu lowers it."""
    x = torch.tensor([[0.0], [1.3], [0.9]], dtype=torch.float64)  # d_ap 1.3 and d_an 0.9, 0.4
    loss = MarginLoss(2, boundary_weight=0.5, space="euclidean")
    loss(x, torch.tensor([0, 0, 1])).backward()
    # Anchors 0 and 1, one triplet each, all four brackets above 0.
    torch.testing.assert_close(loss.beta.grad, torch.tensor([(-2 + 2 + 0.5 * 2) / 4, 0.0]))


def test_nothing_active_is_zero_whatever_the_boundary_weighs() -> None:
    x = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]])
    loss = MarginLoss(2, boundary_weight=3.0)
    value = loss(x, torch.tensor([0, 0, 1, 1]))
    value.backward()
    assert value == 0
    assert torch.equal(loss.beta.grad, torch.zeros(2))


@pytest.mark.parametrize("boundary", ["class", "global", "fixed"])
def test_the_boundary_is_saved(boundary: str) -> None:
    """Also where it is fixed: a run that goes on must not start from another."""
    loss = MarginLoss(3, beta=0.9, boundary=boundary)
    other = MarginLoss(3, boundary=boundary)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.beta, loss.beta)
    assert loss.beta.requires_grad == (boundary != "fixed")


def test_the_boundary_has_its_own_rate_and_no_decay() -> None:
    spec = AdamWSpec(lr=1e-4, weight_decay=0.1)
    for boundary in ("class", "global"):
        (group,) = parameter_groups([MarginLoss(3, boundary=boundary)], spec)
        assert group["lr"] == pytest.approx(1e-3)
        assert group["weight_decay"] == 0.0


def test_adam_leaves_the_boundaries_among_the_distances() -> None:
    """Its steps have the size of the rate: at 1,000 times a run's, boundaries were in [-5, 7]."""
    loss = MarginLoss(6)
    optimiser = torch.optim.AdamW(parameter_groups([loss], AdamWSpec(lr=1e-3)))
    for step in range(100):
        optimiser.zero_grad()
        loss(normal(24, 8, seed=step), torch.arange(24) % 6).backward()
        optimiser.step()
    assert ((loss.beta > 1.0) & (loss.beta < 1.8)).all()


def test_labels_without_a_boundary_are_refused() -> None:
    with pytest.raises(UserError, match=r"labels must be in \[0, 2\), got 2"):
        MarginLoss(2)(normal(7, 4), Y)
    with pytest.raises(UserError, match=r"labels must be of shape \(N,\), got \(7, 3\)"):
        MarginLoss(2)(normal(7, 4), torch.ones(7, 3))
    assert torch.isfinite(MarginLoss(boundary="global")(normal(7, 4), torch.eye(7)[:, :3]))


@pytest.mark.plain
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "num_classes must be >= 1 for a boundary of each class, got None"),
        ({"boundary": "image"}, "boundary must be one of class, global, fixed, got 'image'"),
        ({"margin": -0.1}, "margin must be >= 0 and finite, got -0.1"),
        ({"beta": 0.0}, "beta must be > 0 and finite, got 0.0"),
        ({"boundary_weight": -1.0}, "boundary_weight must be >= 0, got -1.0"),
        ({"boundary_lr_mult": 0.0}, "boundary_lr_mult must be > 0, got 0.0"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        MarginLoss(**options)


# --- claim: a boundary of each class suits classes of different width -------------------------


def told_apart(boundary: str) -> float:
    """Share of pairs on the right side of the anchor's boundary; two tight and two wide classes."""
    places = torch.tensor([0.0, 0.1, 0.6, 0.7, 10.0, 10.9, 12.3, 13.2])[:, None]
    y = torch.arange(4).repeat_interleave(2)
    loss = MarginLoss(4, margin=0.1, boundary=boundary, space="euclidean")
    learned = list(loss.parameters())
    optimiser = torch.optim.SGD(learned, lr=0.1) if learned else None
    for _ in range(200 if learned else 0):
        optimiser.zero_grad()
        loss(places, y).backward()
        optimiser.step()
    pairs = Pairs(places, y)
    beta_N = loss.beta.detach()[y] if boundary == "class" else loss.beta.detach().expand(8)
    right = (pairs.distance < beta_N[:, None]) == pairs.positive
    return right[pairs.positive | pairs.negative].float().mean().item()


def test_a_boundary_of_each_class_tells_all_pairs_apart() -> None:
    assert told_apart("class") == 1.0


@pytest.mark.parametrize("boundary", ["global", "fixed"])
def test_one_boundary_does_not(boundary: str) -> None:
    assert told_apart(boundary) < 1.0
