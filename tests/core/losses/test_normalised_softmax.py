"""Normalised softmax: its bound without a temperature, and what that costs crowded classes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from fixtures.planted_rows import narrowest_angle
from likeness.losses import NormalisedSoftmaxLoss

CLASSES = 20


def test_without_a_temperature_the_probability_is_bounded() -> None:
    """Samples on their proxies, proxies as far apart as they can be: a regular simplex."""
    corners = torch.eye(5, dtype=torch.float64) - 1 / 5
    loss = NormalisedSoftmaxLoss(5, 5, temperature=1.0).double()
    loss.bank.weight.data = corners
    best = 1 / (1 + 4 * math.exp(-5 / 4))
    assert loss(corners, torch.arange(5)).item() == pytest.approx(-math.log(best))
    cold = NormalisedSoftmaxLoss(5, 5).double()
    cold.bank.weight.data = corners
    assert cold(corners, torch.arange(5)).item() < 1e-9


def test_it_is_cross_entropy_of_cosines() -> None:
    loss = NormalisedSoftmaxLoss(4, 3, temperature=0.2)
    x, y = torch.randn(8, 3), torch.arange(8) % 4
    logits = F.normalize(x) @ F.normalize(loss.bank.weight).T / 0.2
    torch.testing.assert_close(loss(x, y), F.cross_entropy(logits, y))


def angle(temperature: float, seed: int) -> float:
    torch.manual_seed(seed)
    loss = NormalisedSoftmaxLoss(CLASSES, 3, temperature=temperature)
    return narrowest_angle(loss, classes=CLASSES, dim=3, seed=seed)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_temperature_tells_crowded_classes_apart(seed: int) -> None:
    assert angle(0.05, seed) > 24


@pytest.mark.parametrize("seed", [0, 1])
def test_without_it_neighbours_stay_together(seed: int) -> None:
    assert angle(1.0, seed) < 24
