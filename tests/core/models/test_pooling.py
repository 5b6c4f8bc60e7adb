"""Pooling against loops, limits in the exponent, and gradients where powers break."""

import itertools
import math

import pytest
import torch

from likeness.errors import UserError
from likeness.models.pooling import GeM, GlobalAverage, generalised_mean, global_average


def non_negative_map(dtype=torch.float64) -> torch.Tensor:
    draw = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return draw.where(draw > 0.3, torch.zeros_like(draw))  # like a ReLU's output


def by_the_definition(map_NFhw, p, eps):
    count, features = map_NFhw.shape[:2]
    pooled = torch.zeros(count, features, dtype=torch.float64)
    for n in range(count):
        for f in range(features):
            cells = [max(float(value), eps) ** p for value in map_NFhw[n, f].flatten()]
            pooled[n, f] = (sum(cells) / len(cells)) ** (1 / p)
    return pooled


@pytest.mark.parametrize("p", [0.5, 1.0, 3.0, 6.5])
def test_generalised_mean_is_its_definition(p):
    pooled = generalised_mean(non_negative_map(), torch.tensor(p, dtype=torch.float64), eps=1e-6)
    torch.testing.assert_close(pooled, by_the_definition(non_negative_map(), p, 1e-6))


def test_exponent_one_is_the_average():
    pooled = generalised_mean(non_negative_map(), torch.tensor(1.0, dtype=torch.float64), eps=1e-12)
    torch.testing.assert_close(pooled, global_average(non_negative_map()), atol=1e-11, rtol=0)


def test_a_large_exponent_is_the_maximum():
    for dtype in (torch.float32, torch.float64):
        map_NFhw = non_negative_map(dtype)
        pooled = generalised_mean(map_NFhw, torch.tensor(2000.0, dtype=dtype))
        torch.testing.assert_close(pooled, map_NFhw.amax(dim=(2, 3)), rtol=2e-3, atol=0)


def test_more_exponent_never_pools_less():
    pooled = [generalised_mean(non_negative_map(), torch.tensor(float(p))) for p in (1, 2, 3, 5, 9)]
    for smaller, larger in itertools.pairwise(pooled):
        assert (larger >= smaller).all()


def test_scaling_the_map_scales_the_vector():
    map_NFhw, p = non_negative_map(), torch.tensor(3.0, dtype=torch.float64)
    scaled = generalised_mean(map_NFhw * 7, p, eps=7e-6)
    torch.testing.assert_close(scaled, generalised_mean(map_NFhw, p, eps=1e-6) * 7)


def test_gradients_match_finite_differences():
    map_NFhw = (non_negative_map() + 0.1).requires_grad_()
    p = torch.tensor(2.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m, q: generalised_mean(m, q), (map_NFhw, p))


@pytest.mark.parametrize("p", [1.0, 3.0, 8.0, 30.0])
@pytest.mark.parametrize("value", [0.0, -1.0, 1e-30, 1e20])
def test_gradients_are_finite_where_powers_under_or_overflow(p, value):
    pool = GeM(p=p)
    map_NFhw = torch.full((1, 2, 3, 3), value, requires_grad=True)
    pooled = pool(map_NFhw)
    assert torch.isfinite(pooled).all()
    torch.testing.assert_close(pooled, torch.full((1, 2), max(value, 1e-6)), rtol=1e-4, atol=0)
    pooled.sum().backward()
    assert torch.isfinite(map_NFhw.grad).all()
    assert torch.isfinite(pool.p.grad)


def test_half_precision_is_pooled_in_float32():
    map_NFhw = non_negative_map().to(torch.bfloat16)
    expected = generalised_mean(map_NFhw.float(), torch.tensor(3.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = GeM()(map_NFhw)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, expected)


def test_the_exponent_learns():
    pool = GeM()
    pool(non_negative_map(torch.float32)).sum().backward()
    assert pool.p.grad is not None
    assert pool.p.grad.abs() > 0
    assert [name for name, _ in pool.named_parameters()] == ["p"]


def test_average_module_is_the_function():
    assert torch.equal(GlobalAverage()(non_negative_map()), non_negative_map().mean(dim=(2, 3)))
    assert not list(GlobalAverage().parameters())


@pytest.mark.parametrize("p", [0.0, -1.0, math.nan, math.inf])
def test_a_bad_exponent_is_refused(p):
    with pytest.raises(UserError, match="p must be > 0, got"):
        GeM(p=p)


@pytest.mark.parametrize("eps", [0.0, -1e-6, math.nan])
def test_a_bad_floor_is_refused(eps):
    with pytest.raises(UserError, match="eps must be > 0, got"):
        GeM(eps=eps)
    with pytest.raises(UserError, match="eps must be > 0, got"):
        generalised_mean(non_negative_map(), torch.tensor(3.0), eps=eps)
