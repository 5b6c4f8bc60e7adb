"""The Poincaré ball: where trees fit, since its volume grows exponentially with the radius.

The ball of curvature -c has radius 1 / sqrt(c); its distance, in four forms that are equal:

    d(x, y) = 2 / sqrt(c) artanh( sqrt(c) ||(-x) (+) y|| )              with Moebius addition (+)
            = 1 / sqrt(c) arcosh( 1 + 2 t ),    t = c ||x - y||^2 / ((1 - c ||x||^2)(1 - c ||y||^2))
            = 2 / sqrt(c) asinh( sqrt(t) )                                          used here

The last needs the squared distances of N against M points and nothing larger; Moebius addition of
all pairs makes tensors (N, M, D). Near coincident points it keeps what arcosh near 1 loses.

Shapes: N, M = points, D = dimension.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from likeness.pairs import SQUARED_FLOOR

# Points stay this share of the radius away from the border, where distances become infinite.
BORDER = 1e-3
_SMALLEST = 1e-15


def shortened(rows_ND: Float[Tensor, "N D"], longest: float) -> Float[Tensor, "N D"]:
    """Rows of at most this length; longer ones keep their direction."""
    length_N1 = torch.linalg.vector_norm(rows_ND, dim=1, keepdim=True)
    factor_N1: Tensor = (longest / length_N1.clamp_min(_SMALLEST)).clamp_max(1.0)
    return rows_ND * factor_N1


def exponential_map(rows_ND: Float[Tensor, "N D"], curvature: float) -> Float[Tensor, "N D"]:
    """From the tangent space at 0 into the ball: z = tanh(sqrt(c) ||u||) u / (sqrt(c) ||u||).

    Args:
        rows_ND: any vectors; a zero row stays zero, with the identity as its slope.
        curvature: c > 0.
    """
    length_N1 = torch.linalg.vector_norm(rows_ND, dim=1, keepdim=True)
    scaled_N1 = (math.sqrt(curvature) * length_N1).clamp_min(_SMALLEST)
    inside_ND = rows_ND * (scaled_N1.tanh() / scaled_N1)
    return shortened(inside_ND, (1 - BORDER) / math.sqrt(curvature))


def into_ball(
    rows_ND: Float[Tensor, "N D"], *, curvature: float, radius: float, riemannian: bool = True
) -> Float[Tensor, "N D"]:
    """Raw vectors as points of the ball: clipped, mapped, with the gradient of the ball.

    Clipping (Guo et al., CVPR 2022) keeps points off the border, where gradients vanish: at radius
    2.3 and c = 0.1 none is farther out than 0.62 of the ball's radius.

    Args:
        rows_ND: any vectors.
        curvature: c > 0.
        radius: longer rows are shortened to it before they are mapped, > 0.
        riemannian: see `riemannian_gradient`; without it, gradients are slopes.
    """
    inside_ND = exponential_map(shortened(rows_ND, radius), curvature)
    return riemannian_gradient(inside_ND, curvature) if riemannian else inside_ND


def ball_distance(
    first_ND: Float[Tensor, "N D"], second_MD: Float[Tensor, "M D"], *, curvature: float
) -> Float[Tensor, "N M"]:
    """Distance of every first to every second point, >= 0; O(N M) memory.

    Coincident points (t below 1e-12, in float64 1e-24) get the distance of that floor and no
    gradient: the slope of the square root is infinite at 0.

    Args:
        first_ND: points inside the ball.
        second_MD: likewise.
        curvature: c > 0.
    """
    squared_N = first_ND.square().sum(1)
    squared_M = second_MD.square().sum(1)
    gap_NM = (squared_N[:, None] + squared_M).sub(first_ND @ second_MD.T, alpha=2.0).relu()
    room_N, room_M = 1 - curvature * squared_N, 1 - curvature * squared_M
    t_NM = curvature * gap_NM / room_N[:, None] / room_M
    floor = SQUARED_FLOOR[t_NM.dtype]
    return 2 / math.sqrt(curvature) * F.threshold(t_NM, floor, floor).sqrt().asinh()


def riemannian_gradient(points_ND: Float[Tensor, "N D"], curvature: float) -> Float[Tensor, "N D"]:
    """The points themselves; their gradient is that of the ball's metric.

    The backward pass multiplies by (1 - c ||z||^2)^2 / 4, the inverse of the metric. So this is not
    the slope of the value, and a check of slopes fails on purpose.
    """
    scaled: Tensor = _RiemannianGradient.apply(points_ND, curvature)
    return scaled


class _RiemannianGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points_ND: Tensor, curvature: float) -> Tensor:
        ctx.save_for_backward(points_ND)
        ctx.curvature = curvature
        return points_ND.view_as(points_ND)

    @staticmethod
    def backward(ctx: Any, gradient_ND: Tensor) -> tuple[Tensor, None]:
        (points_ND,) = ctx.saved_tensors
        room_N1 = 1 - ctx.curvature * points_ND.square().sum(1, keepdim=True)
        return gradient_ND * room_N1.square() / 4, None
