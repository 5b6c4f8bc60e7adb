"""Circle loss: its border, its size, and what the self-paced weights are for."""

from __future__ import annotations

import math

import pytest
import torch

from fixtures.free_points import move, similarities
from likeness.errors import UserError
from likeness.losses import CircleLoss
from likeness.losses import circle as module
from likeness.losses.circle import circle


@pytest.mark.parametrize("angle", [0.1, 0.8, 1.4])
def test_the_border_is_a_circle(angle: float) -> None:
    """(s_n)^2 + (s_p - 1)^2 = 2 m^2: there one pair of each kind costs log 2."""
    margin = 0.25
    radius = math.sqrt(2) * margin
    s = torch.tensor([[1 - radius * math.cos(angle), radius * math.sin(angle)]]).double()
    of = (torch.tensor([[True, False]]), torch.tensor([[False, True]]))
    value = circle(s, *of, margin=margin, scale=64.0).value
    assert value.item() == pytest.approx(math.log(2))


def test_the_gradient_is_the_pace() -> None:
    """Far from its optimum a similarity is pushed in proportion to its distance from there."""
    s = torch.tensor([[0.1, 0.3]], dtype=torch.float64, requires_grad=True)
    of = (torch.tensor([[True, False]]), torch.tensor([[False, True]]))
    circle(s, *of, margin=0.25, scale=64.0).value.backward()
    assert (-s.grad[0, 0] / s.grad[0, 1]).item() == pytest.approx((1.25 - 0.1) / (0.3 + 0.25))


def test_opposite_directions_do_not_overflow() -> None:
    x = torch.tensor([[1.0, 0], [-1, 0], [1, 0], [-1, 0]], requires_grad=True)
    value = CircleLoss(scale=256.0)(x, torch.tensor([0, 0, 1, 1]))
    value.backward()
    assert value.item() > 500
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 1.0}, r"margin must be in \(0, 1\), got 1.0"),
        ({"scale": 0.0}, "scale must be > 0 and finite, got 0.0"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        CircleLoss(**options)


# --- claim: it does not rest where only the difference of similarities is right --------------


def rest() -> float:
    """The least cosine of a positive pair, from a start where negatives are opposite already."""
    x = torch.tensor([[1.0, 0.05, 0], [0, 1, 0], [-1, -1, 0.1], [-1, -1, -0.1]])
    y = torch.tensor([0, 0, 1, 1])
    return similarities(move(CircleLoss(), x, y, steps=60, lr=0.03), y)[0].min().item()


def test_positives_come_near_although_negatives_are_far() -> None:
    assert rest() > 0.6


def test_without_its_pace_they_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "pace", torch.ones_like)
    assert rest() < 0.3
