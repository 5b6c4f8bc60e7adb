"""NCA: a chance, by hand; far anchors; and classes in several places."""

from __future__ import annotations

import math

import pytest
import torch

from fixtures.planted_rows import clouds, drawn, recall_at_1, train
from likeness.errors import UserError
from likeness.losses import NCALoss


def test_by_hand() -> None:
    x = torch.tensor([[0.0], [1.0], [2.0]])
    value = NCALoss(space="euclidean")(x, torch.tensor([0, 0, 1]))
    first = -math.log(math.exp(-1) / (math.exp(-1) + math.exp(-4)))
    second = -math.log(0.5)
    assert value.item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_an_anchor_far_from_its_class_keeps_its_gradient() -> None:
    """exp(-1e4) is 0: a probability would underflow, its logarithm does not."""
    x = torch.tensor([[0.0], [100.0], [1.0]], requires_grad=True)
    value = NCALoss(space="euclidean")(x, torch.tensor([0, 0, 1]))
    value.backward()
    assert value.item() == pytest.approx((10_000 - 1 + 10_000 - 99**2) / 2, rel=1e-4)
    assert x.grad[0] < -50


@pytest.mark.parametrize("wrong", [0.0, math.inf, math.nan])
def test_the_temperature_is_checked(wrong: float) -> None:
    with pytest.raises(UserError, match="temperature must be > 0 and finite"):
        NCALoss(temperature=wrong)


def neighbours(temperature: float, seed: int) -> float:
    """Recall on new samples in two dimensions; each class lies in two opposite places of a plane,
    among eight directions of larger noise."""
    angle = torch.arange(6) * math.pi / 3
    places = torch.zeros(6, 10)
    places[:, 0], places[:, 1] = 2 * angle.cos(), 2 * angle.sin()
    noise = torch.tensor([0.3, 0.3] + [1.0] * 8)
    x, place = clouds(places, 20, noise=noise, seed=seed + 1)
    unseen, other = clouds(places, 20, noise=noise, seed=seed + 2)
    loss = NCALoss(temperature=temperature, space="euclidean")
    batches = drawn(x, place % 3, len(x), 5)
    embed = train(loss, batches, sizes=(10, 2), steps=150, lr=0.02, seed=seed)
    return recall_at_1(embed(unseen), other % 3, "euclidean")


@pytest.mark.parametrize("seed", range(4))
def test_near_neighbours_find_a_class_in_several_places(seed: int) -> None:
    """Seeds 0 to 5 gave 0.97 to 1.00."""
    assert neighbours(1.0, seed) > 0.7


@pytest.mark.parametrize("seed", range(4))
def test_when_all_neighbours_count_alike_they_are_not_found(seed: int) -> None:
    """Seeds 0 to 5 gave 0.33 to 0.38, what chance gives of three classes."""
    assert neighbours(1e4, seed) < 0.7
