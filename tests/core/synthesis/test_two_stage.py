"""Stretched pairs against the rule and loops; the networks and their constraint."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.free_points import normal
from likeness.errors import UserError
from likeness.synthesis.two_stage import (
    ClassDiscriminator,
    ConditionalGenerator,
    NegativeGenerator,
    doubt,
    reverse_triplet,
    stretch_pairs,
    stretched_distance,
)

T, D = 6, 4


def pairs(seed=0):
    return normal(T, D, seed=seed), normal(T, D, seed=seed + 1)


def test_the_rule_is_continuous_with_slopes_one_minus_strength_and_one():
    distance = torch.linspace(0, 4, 41, dtype=torch.float64)
    target = stretched_distance(distance, 2.0, 0.6)
    below = distance < 2.0
    torch.testing.assert_close(target[below], distance[below] + 0.6 * (2 - distance[below]))
    assert torch.equal(target[~below], distance[~below])
    slopes = target.diff() / distance.diff()
    assert slopes[:20].numpy() == pytest.approx(0.4)
    assert slopes[20:].numpy() == pytest.approx(1.0)
    edge = stretched_distance(torch.tensor([2 - 1e-9, 2 + 1e-9]).double(), 2.0, 0.6)
    assert float(edge.diff()) == pytest.approx(0, abs=1e-8)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), strength=st.floats(0, 1), usual=st.floats(0, 6))
def test_against_loops(seed, strength, usual):
    anchor, positive = pairs(seed)
    ours = stretch_pairs(anchor, positive, usual, strength, most=1.5)
    for t in range(T):
        distance = math.dist(anchor[t].tolist(), positive[t].tolist())
        target = distance + strength * (usual - distance) if distance < usual else distance
        factor = min(target / distance, 1.5)
        middle = (anchor[t] + positive[t]) / 2
        torch.testing.assert_close(ours[0][t], middle + factor * (anchor[t] - middle))
        torch.testing.assert_close(ours[1][t], middle + factor * (positive[t] - middle))


def test_pairs_come_to_the_rules_distance_around_the_same_middle():
    anchor, positive = pairs()
    first, second = stretch_pairs(anchor, positive, 4.0, 0.5)
    distance = (anchor - positive).norm(dim=1)
    assert (distance < 4).any()
    torch.testing.assert_close((first - second).norm(dim=1), stretched_distance(distance, 4.0, 0.5))
    torch.testing.assert_close(first + second, anchor + positive)


def test_strength_zero_is_the_identity():
    anchor, positive = pairs()
    same = stretch_pairs(anchor, positive, 100.0, 0.0)
    assert torch.equal(same[0], anchor)
    assert torch.equal(same[1], positive)


def test_slopes():
    inputs = [item.requires_grad_() for item in pairs()]
    assert torch.autograd.gradcheck(lambda *two: stretch_pairs(*two, 2.5, 0.5), inputs)


def test_one_embedding_twice_is_not_thrown_away():
    point = torch.ones(T, D, requires_grad=True)
    first, second = stretch_pairs(point, point * 1.0, 5.0, 1.0)
    (first.sum() + second.sum()).backward()
    assert torch.equal(first, second)
    assert point.grad.isfinite().all()
    point = point.detach()
    apart = stretch_pairs(point, point + 1e-3, 5.0, 1.0, most=3.0)
    assert float((apart[0] - apart[1]).norm(dim=1).max()) == pytest.approx(6e-3, rel=1e-2)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_raised(kind):
    half = [item.to(kind) for item in pairs()]
    for ours, exact in zip(
        stretch_pairs(*half, 2.0, 0.5),
        stretch_pairs(*(item.float() for item in half), 2.0, 0.5),
        strict=True,
    ):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, exact)


def test_the_reverse_constraint_wants_the_negative_nearer():
    to_positive, to_negative = torch.tensor([1.0, 1.0, 1.0]), torch.tensor([2.0, 0.9, 0.4])
    easy = reverse_triplet(to_positive, to_negative, 0.5)
    assert easy.tolist() == pytest.approx([1.5, 0.4, 0.0])


def test_doubt_is_the_binary_cross_entropy():
    logit = torch.tensor([-3.0, 0.0, 50.0])
    for real, wanted in ((True, torch.ones(3)), (False, torch.zeros(3))):
        expected = torch.nn.functional.binary_cross_entropy_with_logits(
            logit, wanted, reduction="none"
        )
        torch.testing.assert_close(doubt(logit, real=real), expected)


def test_networks_read_the_class():
    torch.manual_seed(0)
    rows, first, second = torch.randn(5, 3), torch.zeros(5).long(), torch.ones(5).long()
    generator = ConditionalGenerator(3, 7, 2, hidden=4, class_dim=2)
    assert generator(rows, first).shape == (5, 7)
    assert not torch.allclose(generator(rows, first), generator(rows, second))
    discriminator = ClassDiscriminator(7, 2, hidden=4)
    features = torch.randn(5, 7)
    one, other = discriminator(features, first), discriminator(features, second)
    assert one.real_R.shape == (5,)
    assert not torch.allclose(one.real_R, other.real_R)
    assert torch.equal(one.class_RC, other.class_RC)
    assert NegativeGenerator(7)(features, features, features).shape == (5, 7)


def test_the_discriminator_does_not_see_the_scale():
    discriminator = ClassDiscriminator(7, 2, hidden=4)
    features, labels = torch.randn(5, 7), torch.zeros(5).long()
    torch.testing.assert_close(
        discriminator(features, labels), discriminator(50 * features, labels), rtol=1e-3, atol=1e-3
    )


def test_refusals():
    with pytest.raises(UserError, match=r"most_stretch must be >= 1, got 0\.5"):
        stretch_pairs(*pairs(), 1.0, 1.0, most=0.5)
    with pytest.raises(UserError, match="class_dim must be >= 1, got 0"):
        ConditionalGenerator(3, 7, 2, class_dim=0)
    with pytest.raises(UserError, match="hidden must be >= 1, got 0"):
        ClassDiscriminator(3, 7, hidden=0)
