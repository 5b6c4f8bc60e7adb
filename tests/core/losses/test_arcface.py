"""ArcFace: the angle is turned by the margin, on both sides of pi, and leaves a gap."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from fixtures.planted_rows import clouds, drawn, generator_of, train
from likeness.losses import ArcFaceLoss, NormalisedSoftmaxLoss
from likeness.losses.arcface import with_angular_margin

MARGINS = [0.0, 0.5, 1.2, math.pi / 2]


@pytest.mark.parametrize("margin", MARGINS)
def test_the_angle_is_turned(margin: float) -> None:
    theta = torch.linspace(0.01, math.pi - margin - 0.01, 200, dtype=torch.float64)
    turned = with_angular_margin(theta.cos(), margin)
    torch.testing.assert_close(turned, (theta + margin).cos(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("margin", MARGINS)
def test_a_larger_angle_never_costs_less(margin: float) -> None:
    theta = torch.linspace(0, math.pi, 2000, dtype=torch.float64)
    turned = with_angular_margin(theta.cos(), margin)
    assert (turned.diff() <= 1e-9).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_gradient_is_finite_on_the_axis(dtype: torch.dtype, sign: int) -> None:
    """The slope of the arccosine is infinite there; so would be that of the sine."""
    loss = ArcFaceLoss(4, 3).to(dtype)
    x = (sign * loss.bank.weight.detach()).requires_grad_()
    value = loss(x, torch.arange(4))
    value.backward()
    assert torch.isfinite(value)
    assert x.grad.abs().max() < 1e3
    assert loss.bank.weight.grad.abs().max() < 1e3


def test_without_a_margin_it_is_normalised_softmax() -> None:
    plain, loss = NormalisedSoftmaxLoss(4, 3, temperature=1 / 64), ArcFaceLoss(4, 3, margin=0.0)
    loss.load_state_dict(plain.state_dict())
    x, y = torch.randn(8, 3), torch.arange(8) % 4
    torch.testing.assert_close(loss(x, y), plain(x, y))


def gap(margin: float, seed: int) -> float:
    """How much nearer, in radians, the worst sample is to its class's vector than to another's."""
    classes, dim = 8, 4
    means = torch.randn(classes, 12, generator=generator_of(seed))
    x, y = clouds(means, 12, noise=0.4, seed=seed + 1)
    torch.manual_seed(seed)
    loss = ArcFaceLoss(classes, dim, scale=16.0, margin=margin)
    options = {"steps": 250, "lr": 0.02, "proxy_lr": 0.05, "seed": seed}
    embed = train(loss, drawn(x, y, 96, 5), sizes=(12, dim), **options)
    cosine = F.normalize(embed(x)) @ F.normalize(loss.bank.weight.detach()).T
    angle = cosine.clamp(-1, 1).acos()
    own = angle.gather(1, y[:, None])[:, 0]
    return (angle.scatter(1, y[:, None], 9.0).amin(1) - own).min().item()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_margin_leaves_a_gap_between_classes(seed: int) -> None:
    assert gap(0.5, seed) > 0.53


@pytest.mark.parametrize("seed", [0, 1])
def test_without_the_margin_it_is_smaller(seed: int) -> None:
    assert gap(0.0, seed) < 0.53
