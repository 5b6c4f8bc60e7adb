"""The Poincaré ball: textbook formulas, slopes at 0 and near the border, memory."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fixtures.tensor_memory import peak_bytes
from likeness.regularisers.poincare import (
    BORDER,
    ball_distance,
    exponential_map,
    into_ball,
    riemannian_gradient,
    shortened,
)

CURVATURES = pytest.mark.parametrize("c", [0.1, 1.0, 3.0])


def inside(count: int, c: float, *, share: float, seed: int = 0) -> Tensor:
    """Points at this share of the ball's radius, in float64."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True) * share / math.sqrt(c)


def arcosh_distance(x: Tensor, y: Tensor, c: float) -> float:
    gap = sum((a - b) ** 2 for a, b in zip(x.tolist(), y.tolist(), strict=True))
    room = (1 - c * sum(a * a for a in x.tolist())) * (1 - c * sum(b * b for b in y.tolist()))
    return math.acosh(1 + 2 * c * gap / room) / math.sqrt(c)


def moebius_distance(x: Tensor, y: Tensor, c: float) -> float:
    """2 / sqrt(c) artanh(sqrt(c) ||(-x) (+) y||), by the addition itself."""
    x = -x
    dot, xx, yy = x @ y, x @ x, y @ y
    above = (1 + 2 * c * dot + c * yy) * x + (1 - c * xx) * y
    added = above / (1 + 2 * c * dot + c * c * xx * yy)
    return 2 / math.sqrt(c) * math.atanh(math.sqrt(c) * float(added.norm()))


@CURVATURES
@pytest.mark.parametrize("share", [1e-6, 0.3, 0.9, 0.999])
def test_the_lean_distance_is_the_textbooks(c: float, share: float) -> None:
    x, y = inside(5, c, share=share), inside(4, c, share=0.7 * share, seed=1)
    found = ball_distance(x, y, curvature=c)
    for i in range(5):
        for j in range(4):
            tight = 1e-9 if share > 0.01 else 1e-3  # arcosh near 1 keeps few digits
            assert found[i, j].item() == pytest.approx(arcosh_distance(x[i], y[j], c), rel=tight)
            assert found[i, j].item() == pytest.approx(moebius_distance(x[i], y[j], c), rel=1e-9)


@CURVATURES
def test_distance_from_the_origin_is_the_length_before_the_map(c: float) -> None:
    rows = inside(6, 1.0, share=1.5)
    found = ball_distance(exponential_map(rows, c), torch.zeros(1, 3).double(), curvature=c)
    torch.testing.assert_close(found[:, 0], 2 * rows.norm(dim=1))


@CURVATURES
@pytest.mark.parametrize("share", [0.0, 1e-5, 0.5, 0.99, 0.9989])
def test_distance_gradcheck_from_zero_to_the_border(c: float, share: float) -> None:
    x, y = inside(3, c, share=share), inside(2, c, share=0.6, seed=2)
    leaves = (x.requires_grad_(), y.requires_grad_())
    step = 1e-6 * (1 - share)
    assert torch.autograd.gradcheck(lambda x, y: ball_distance(x, y, curvature=c), leaves, eps=step)


@CURVATURES
@pytest.mark.parametrize("length", [0.0, 1e-9, 1e-4, 1.0, 3.0, 40.0])
def test_exponential_map_gradcheck(c: float, length: float) -> None:
    """At 0 its slope is the identity; far out it ends at the border."""
    rows = inside(3, 1.0, share=1.0) * length
    rows.requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: exponential_map(rows, c), rows, atol=1e-6)
    radius = exponential_map(rows, c).norm(dim=1) * math.sqrt(c)
    expected = min(math.tanh(math.sqrt(c) * length), 1 - BORDER)
    torch.testing.assert_close(radius, torch.full_like(radius, expected))


def test_far_out_everything_is_finite_in_single_precision() -> None:
    rows = (inside(4, 1.0, share=1.0) * 1e4).float().requires_grad_()
    points = into_ball(rows, curvature=1.0, radius=1e9)
    value = ball_distance(points, points, curvature=1.0).sum()
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(rows.grad).all()


def test_coincident_points_have_no_slope() -> None:
    x = inside(1, 1.0, share=0.5).expand(3, 3).clone().requires_grad_()
    found = ball_distance(x, x, curvature=1.0)
    assert found.max() < 1e-7
    assert torch.equal(torch.autograd.grad(found.sum(), x)[0], torch.zeros_like(x))


def test_shortened_rows_keep_their_direction() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], requires_grad=True)
    found = shortened(rows, 1.0)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))
    found.sum().backward()
    assert torch.isfinite(rows.grad).all()


def test_the_officials_ball_is_never_left() -> None:
    """Radius 2.3 at c = 0.1: the farthest point and the largest distance of the specification."""
    rows = torch.tensor([[1e6, 0.0], [-1e6, 0.0]], dtype=torch.float64)
    points = into_ball(rows, curvature=0.1, radius=2.3)
    assert points.norm(dim=1).max().item() == pytest.approx(1.965, abs=5e-4)
    assert ball_distance(points, points, curvature=0.1).max().item() == pytest.approx(9.2, abs=1e-6)


@CURVATURES
def test_the_riemannian_gradient_is_scaled_and_each_ball_has_its_own(c: float) -> None:
    points = inside(3, 3.0, share=0.8).requires_grad_()
    other = riemannian_gradient(points, 0.5)  # in one graph, with another curvature
    weights = torch.arange(9.0, dtype=torch.float64).view(3, 3)
    own = riemannian_gradient(points, c)
    assert torch.equal(own, points)
    found = torch.autograd.grad((own * weights).sum() + 0 * other.sum(), points)[0]
    room = 1 - c * points.detach().square().sum(1, keepdim=True)
    torch.testing.assert_close(found, weights * room**2 / 4)


def test_memory_is_that_of_a_few_matrices() -> None:
    def cost(count: int) -> int:
        x = torch.rand(count, 64).requires_grad_()
        return peak_bytes(lambda: ball_distance(x / 10, x / 10, curvature=0.1).sum().backward())

    small, large = cost(256), cost(1024)
    assert large <= 1.1 * 16 * small
    assert large <= 14 * 4 * 1024**2  # Moebius addition takes 64 matrices and more
