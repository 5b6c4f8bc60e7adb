"""Ranked list loss: the peer's value, large temperatures, and what the ball is for."""

from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning import losses

from fixtures.free_points import move, normal, similarities
from likeness.errors import UserError
from likeness.losses import RankedListLoss

Y = torch.arange(12) % 4


def test_without_temperatures_it_is_the_peers() -> None:
    """Which adds 1e-5 to the weight of each of the 12 columns."""
    ours, theirs = (normal(12, 4, seed=1).requires_grad_() for _ in range(2))
    value = RankedListLoss(negative_temperature=0.0)(ours, Y)
    expected = losses.RankedListLoss(margin=0.4, Tn=0)(theirs, Y)
    torch.testing.assert_close(value, expected, rtol=2e-4, atol=0)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=5e-4, atol=1e-6)


def test_with_a_temperature_the_values_agree() -> None:
    x = normal(12, 4, seed=1)
    expected = losses.RankedListLoss(margin=0.4, Tn=4)(x, Y)
    found = RankedListLoss(negative_temperature=4.0)(x, Y)
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=0)


def test_a_large_temperature_is_the_nearest_negative_and_does_not_overflow() -> None:
    x = normal(12, 4).float().requires_grad_()
    value = RankedListLoss(negative_temperature=1e4, negative_share=1.0)(x, Y)
    value.backward()
    unit = torch.nn.functional.normalize(x.detach(), dim=1)
    gaps = torch.cdist(unit, unit).masked_fill(Y[:, None] == Y[None, :], torch.inf).amin(1)
    torch.testing.assert_close(value, (1.2 - gaps).relu().mean(), rtol=1e-3, atol=1e-4)
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -0.1}, "margin must be >= 0 and finite, got -0.1"),
        ({"boundary": 0.3}, r"boundary must be > margin \(0.4\), got 0.3"),
        ({"positive_temperature": -1.0}, "positive_temperature must be >= 0 and finite"),
        ({"negative_temperature": -1.0}, "negative_temperature must be >= 0 and finite"),
        ({"negative_share": 1.1}, r"negative_share must be in \[0, 1\], got 1.1"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        RankedListLoss(**options)


# --- claim: a class keeps its inner differences -----------------------------------------------


def width_of_classes(margin: float, seed: int) -> float:
    """Root mean squared distance inside classes; with margin = boundary a class is a point."""
    x, y = normal(30, 6, seed=seed, dtype=torch.float32), torch.arange(3).repeat_interleave(10)
    moved = move(RankedListLoss(margin=margin), x, y, steps=120, lr=0.03)
    return (2 - 2 * similarities(moved, y)[0].mean()).sqrt().item()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_ball_keeps_what_is_inside(seed: int) -> None:
    assert width_of_classes(0.4, seed) > 0.2


@pytest.mark.parametrize("seed", [0, 1])
def test_a_point_does_not(seed: int) -> None:
    assert width_of_classes(1.199, seed) < 0.2
