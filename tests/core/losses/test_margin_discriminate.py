"""Margin-based discriminate loss (a reconstruction): its two ends, and what the margin is for."""

from __future__ import annotations

import pytest
import torch

from fixtures.free_points import move, normal
from likeness.errors import UserError
from likeness.losses import BatchHardTripletLoss, GeneralisedLiftedLoss, MarginDiscriminateLoss
from likeness.pairs import Pairs

Y = torch.arange(12) % 4


def test_at_large_sharpness_it_is_batch_hard() -> None:
    x = normal(12, 4)
    found = MarginDiscriminateLoss(margin=0.3, sharpness=1e4)(x, Y)
    torch.testing.assert_close(found, BatchHardTripletLoss(margin=0.3)(x, Y), rtol=1e-3, atol=0)


def test_at_sharpness_one_with_a_hinge_it_is_generalised_lifted() -> None:
    x = normal(12, 4)
    found = MarginDiscriminateLoss(margin=0.3, sharpness=1.0, variant="hinge")(x, Y)
    torch.testing.assert_close(found, GeneralisedLiftedLoss(margin=0.3)(x, Y))


@pytest.mark.plain
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -0.1}, "margin must be >= 0 and finite, got -0.1"),
        ({"sharpness": 0.0}, "sharpness must be > 0 and finite, got 0.0"),
        ({"variant": "smooth"}, "variant must be one of hinge, soft, got 'smooth'"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        MarginDiscriminateLoss(**options)


# --- claim: every positive is nearer than every negative, by a margin -------------------------


def least_gap(margin: float, seed: int) -> float:
    x, y = normal(32, 6, seed=seed, dtype=torch.float32), torch.arange(8).repeat_interleave(4)
    loss = MarginDiscriminateLoss(margin=margin, variant="hinge")
    pairs = Pairs(move(loss, x, y, steps=120, lr=0.03), y, space="cosine")
    nearest = pairs.distance.masked_fill(~pairs.negative, torch.inf).amin(1)
    return (nearest - pairs.distance.masked_fill(~pairs.positive, 0).amax(1)).min().item()


@pytest.mark.parametrize("seed", [0, 1])
def test_discrimination_is_strict(seed: int) -> None:
    assert least_gap(0.25, seed) > 0.3


@pytest.mark.parametrize("seed", [0, 1])
def test_without_the_margin_it_is_less(seed: int) -> None:
    assert least_gap(0.0, seed) < 0.3
