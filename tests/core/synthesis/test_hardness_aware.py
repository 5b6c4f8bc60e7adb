"""Pulled negatives against loops, the generator's loss against its formula."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.free_points import normal
from likeness.errors import UserError
from likeness.synthesis.hardness_aware import (
    FeatureGenerator,
    generator_cost,
    mean_label_cost,
    pull_negatives,
    share_left,
)

T, M, D = 4, 3, 5


def points(seed=0):
    anchor, positive = normal(T, D, seed=seed), normal(T, D, seed=seed + 1)
    return anchor, 2 * normal(T * M, D, seed=seed + 2).view(T, M, D), positive


def all_negative():
    return torch.ones(T, M, dtype=torch.bool)


def pulled_in_loops(anchor, other, positive, negative, left):
    rows = []
    for t in range(T):
        near = math.dist(anchor[t].tolist(), positive[t].tolist())
        for m in range(M):
            far = math.dist(anchor[t].tolist(), other[t, m].tolist())
            point = other[t, m]
            if negative[t, m] and far > near:
                share = (left * far + (1 - left) * near) / far
                point = anchor[t] + share * (point - anchor[t])
            rows.append(point)
    return torch.stack(rows).view(T, M, D)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), left=st.floats(0, 1))
def test_against_loops(seed, left):
    anchor, other, positive = points(seed)
    negative = torch.rand(T, M, generator=torch.Generator().manual_seed(seed)) < 0.7
    pulled = pull_negatives(anchor, other, positive, negative, left)
    torch.testing.assert_close(pulled, pulled_in_loops(anchor, other, positive, negative, left))


@pytest.mark.parametrize("left", [0.0, 0.3, 1.0])
def test_the_distance_is_between_those_of_negative_and_positive(left):
    anchor, other, positive = points()
    way = (pull_negatives(anchor, other, positive, all_negative(), left) - anchor[:, None]).norm(
        dim=2
    )
    far, near = (other - anchor[:, None]).norm(dim=2), (positive - anchor).norm(dim=1)[:, None]
    assert (far > near).any()
    torch.testing.assert_close(way, torch.where(far > near, left * far + (1 - left) * near, far))


def test_with_nothing_taken_away_all_stay():
    anchor, other, positive = points()
    assert torch.equal(pull_negatives(anchor, other, positive, all_negative(), 1.0), other)


def test_positives_and_near_negatives_stay_to_the_last_bit():
    anchor, other, positive = points()
    near = (other - anchor[:, None]).norm(dim=2) <= (positive - anchor).norm(dim=1)[:, None]
    negative = all_negative()
    negative[:, 0] = False
    pulled = pull_negatives(anchor, other, positive, negative, 0.2)
    kept = near | ~negative
    assert torch.equal(pulled[kept], other[kept])
    assert not torch.isclose(pulled[~kept], other[~kept]).all(1).any()


def test_slopes():
    inputs = [item.requires_grad_() for item in points()]
    assert torch.autograd.gradcheck(
        lambda *given: pull_negatives(*given, all_negative(), 0.4), inputs
    )


def test_the_detached_factor_has_no_slope():
    """As with the factor as a number: d pulled / d other = factor."""
    anchor, other, positive = points()
    other.requires_grad_()
    pulled = pull_negatives(anchor, other, positive, all_negative(), 0.4, detach=True)
    (slope,) = torch.autograd.grad(pulled.sum(), other)
    far = (other - anchor[:, None]).norm(dim=2)
    near = (positive - anchor).norm(dim=1)[:, None]
    factor = torch.where(far > near, 0.4 + 0.6 * near / far, 1.0)
    torch.testing.assert_close(slope, factor[..., None].expand_as(slope))


def test_coincident_points_give_finite_slopes():
    anchor = torch.zeros(T, D, requires_grad=True)
    pulled = pull_negatives(anchor, anchor[:, None].expand(T, M, D), anchor, all_negative(), 0.0)
    pulled.sum().backward()
    assert torch.equal(pulled, torch.zeros(T, M, D))
    assert anchor.grad.isfinite().all()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_raised(kind):
    half = [item.to(kind) for item in points()]
    pulled = pull_negatives(*half, all_negative(), 0.3)
    exact = pull_negatives(*(item.float() for item in half), all_negative(), 0.3)
    assert pulled.dtype == torch.float32
    assert torch.equal(pulled, exact)


def test_the_share_falls_with_the_loss():
    shares = [float(share_left(torch.tensor(mean), alpha=7.0)) for mean in (1e6, 7.0, 1.0, 0.0)]
    assert shares == pytest.approx([1.0, math.exp(-1), math.exp(-7), 0.0], abs=1e-5)


def test_the_generators_loss_is_a_sum_and_a_weighted_label_cost():
    made, features = normal(3, 2, seed=1), normal(3, 2, seed=2)
    by_hand = sum(
        (float(made[row, column]) - float(features[row, column])) ** 2
        for row in range(3)
        for column in range(2)
    )
    cost = generator_cost(
        made, features, torch.tensor(0.7).double(), label_share=0.25, label_factor=8.0
    )
    assert float(cost) == pytest.approx(0.75 * by_hand + 0.25 * 8.0 * 0.7)


def test_the_label_cost_is_of_the_marked_rows():
    logits, labels = normal(4, 3, seed=0), torch.tensor([0, 2, 1, 1])
    weight = torch.tensor([True, False, True, False])
    chosen = -logits.log_softmax(1)[[0, 2], [0, 1]].mean()
    torch.testing.assert_close(mean_label_cost(logits, labels, weight), chosen)
    logits.requires_grad_()
    none = mean_label_cost(logits, labels, torch.zeros(4, dtype=torch.bool))
    none.backward()
    assert float(none.detach()) == 0
    assert not logits.grad.any()


def test_the_generators_layers_are_in_the_codes_order():
    names = [type(layer).__name__ for layer in FeatureGenerator(3, 7, hidden=5).layers]
    assert names == ["Linear", "ReLU", "BatchNorm1d", "Linear"]
    assert FeatureGenerator(3, 7, hidden=5)(torch.randn(4, 3)).shape == (4, 7)


def test_refusals():
    one = torch.ones(1, 1)
    with pytest.raises(UserError, match=r"label_share must be in \[0, 1\), got 1\.0"):
        generator_cost(one, one, torch.tensor(0.0), label_share=1.0)
    with pytest.raises(UserError, match=r"label_factor must be >= 0 and finite, got -1\.0"):
        generator_cost(one, one, torch.tensor(0.0), label_factor=-1.0)
    with pytest.raises(UserError, match="hidden must be >= 1, got 0"):
        FeatureGenerator(2, 2, hidden=0)
