"""Gaussian structure: closed forms, far samples, lone samples, and what it keeps of each class."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.losses.oracles import gaussian_structured
from fixtures.tensor_memory import peak_bytes
from likeness.errors import UserError
from likeness.losses import GaussianStructuredLoss
from likeness.losses.gaussian import brier_scores, gaussian_posterior
from likeness.pairs import Pairs
from likeness.selection import Selection

C, D = 4, 3


def batch(seed: int = 0, count: int = 9) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, D, generator=generator)
    y = torch.arange(count) % (C - 1)  # the last class never occurs
    return x, y[torch.randperm(count, generator=generator)]


def plain(**options: Any) -> GaussianStructuredLoss:
    return GaussianStructuredLoss(C, D, **{"norm_weight": 0.0, **options})


def gradient(loss: GaussianStructuredLoss, x: Tensor, y: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, y), leaf)[0]


# --- values ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_two_classes_have_a_closed_form(sigma: float) -> None:
    """Means at +-a: p = 1 / (1 + exp(-2 a x / sigma^2)), so the score is 2 (1 - p)^2."""
    x = torch.tensor([[1.5, 0, 0], [0.5, 0, 0], [-1.0, 1, 0], [-1.0, -1, 0]], dtype=torch.float64)
    y = torch.tensor([0, 0, 2, 2])
    along = [1.5, 0.5, 1.0, 1.0]
    expected = sum(2 / (1 + math.exp(2 * a / sigma**2)) ** 2 for a in along) / 4
    assert plain(sigma=sigma)(x, y).item() == pytest.approx(expected)


def test_the_norm_is_penalised_in_every_sample() -> None:
    x, y = batch()
    extra = GaussianStructuredLoss(C, D, norm_weight=0.5)(x, y) - plain()(x, y)
    torch.testing.assert_close(extra, 0.5 * x.square().sum(1).mean())


def test_the_means_carry_gradient() -> None:
    """With constant means the gradient would be another."""
    x, y = batch()
    whole = gradient(plain(), x, y)
    leaf = x.clone().requires_grad_()
    means = torch.stack([x[y == k].mean(0) for k in range(C - 1)])
    p = gaussian_posterior(leaf, means, torch.ones(C - 1, dtype=torch.bool), sigma=1.0)
    held = torch.autograd.grad(brier_scores(p, y).mean(), leaf)[0]
    assert (whole - held).abs().max() > 1e-3


def test_descent_brings_classes_together_and_apart() -> None:
    torch.manual_seed(0)
    x = torch.nn.Parameter(torch.randn(24, D))
    y = torch.arange(24) % (C - 1)
    loss = GaussianStructuredLoss(C, D)
    optimiser = torch.optim.SGD([x], lr=2.0)
    first = loss(x, y).item()
    for _ in range(200):
        optimiser.zero_grad()
        value = loss(x, y)
        value.backward()
        optimiser.step()
    assert value.item() < 0.1 * first
    means = torch.stack([x[y == k].mean(0) for k in range(C - 1)]).detach()
    assert (torch.cdist(x.detach(), means).argmin(1) == y).all()


# --- far, alone, absent ---------------------------------------------------------------------


def test_far_samples_do_not_underflow() -> None:
    """Raw outputs 40 sigma from every mean: exp / sum is 0 / 0, and nothing would be learned."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(8) // 4
    across = 40 * torch.nn.functional.normalize(torch.randn(8, 64, generator=generator), dim=1)
    # Mean-free across each class, so that the two means stay close to each other.
    across = across - torch.stack([across[y == k].mean(0) for k in (0, 1)])[y]
    x = across + 0.02 * y[:, None]
    leaf = x.clone().requires_grad_()
    literal = gaussian_structured(leaf, y, sigma=1.0, norm_weight=0.0)
    assert literal.item() == pytest.approx(1.0)  # p = 0 for every class
    assert torch.autograd.grad(literal, leaf)[0].abs().max() == 0
    loss = GaussianStructuredLoss(2, 64, norm_weight=0.0)
    assert loss(x, y).item() == pytest.approx(0.5, abs=0.2)  # p near 1/2
    assert gradient(loss, x, y).abs().max() > 1e-4


def test_an_offset_of_all_rows_costs_no_digits() -> None:
    x, y = batch()
    far = plain()((x + 1000.0), y)
    torch.testing.assert_close(far, plain()(x, y), rtol=1e-3, atol=1e-4)
    exact = plain()((x.double() + 1000.0), y)
    torch.testing.assert_close(exact, plain()(x.double(), y), rtol=1e-10, atol=1e-12)


def test_a_lone_sample_is_not_scored_but_repels() -> None:
    x, y = batch(count=8)
    y[3] = C - 1
    loss = plain()
    terms = loss.on_pairs(Pairs(x, y))
    assert not terms.valid[3]
    assert terms.per_anchor[3] == 0
    assert terms.valid.sum() == 7
    without = plain()(x[y != C - 1], y[y != C - 1])
    assert terms.value > without  # one mean more to be mistaken for
    assert gradient(loss, x, y)[3].abs().max() > 0


def test_lone_samples_only_give_an_exact_zero() -> None:
    x, y = torch.randn(C, D), torch.arange(C)
    leaf = x.clone().requires_grad_()
    terms = plain().on_pairs(Pairs(leaf, y))
    assert terms.value.item() == 0.0
    assert terms.n_active.item() == 0
    assert torch.equal(torch.autograd.grad(terms.value, leaf)[0], torch.zeros_like(x))


def test_one_class_is_certain_and_still() -> None:
    x, y = torch.randn(6, D), torch.full((6,), 2)
    assert plain()(x, y).item() == 0.0
    assert gradient(plain(), x, y).abs().max() == 0


def test_absent_classes_take_no_probability() -> None:
    x, _ = batch()
    present = torch.tensor([True, False, True])
    p = gaussian_posterior(x, torch.randn(3, D), present, sigma=1.0)
    assert (p[:, 1] == 0).all()
    torch.testing.assert_close(p.sum(1), torch.ones(len(x)))


def test_numbers_kept_free_change_nothing() -> None:
    """So one loss serves any number of sub-classes."""
    x, y = batch()
    wide = GaussianStructuredLoss(40, D, norm_weight=0.0)
    torch.testing.assert_close(wide(x, y * 10 + 3), plain()(x, y))


# --- without the own share of the mean --------------------------------------------------------


def left_out(x: Tensor, y: Tensor, sigma: float) -> float:
    """From the definition: the mean of each sample's class is taken over the others."""
    scores = []
    for i in range(len(x)):
        if (y == y[i]).sum() < 2:
            continue
        weight = {}
        for k in y.unique().tolist():
            others = [j for j in range(len(x)) if y[j] == k and j != i]
            gap = x[i] - x[others].mean(0)
            weight[k] = math.exp(-gap.square().sum().item() / (2 * sigma**2))
        total = sum(weight.values())
        own = int(y[i])
        scores.append(sum((w / total - (k == own)) ** 2 for k, w in weight.items()))
    return sum(scores) / len(scores)


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_a_sample_is_taken_out_of_its_own_mean(sigma: float) -> None:
    x, y = batch()
    y[0] = C - 1  # a sample alone: it has no other mean, and is not scored
    expected = left_out(x.double(), y, sigma)
    loss = plain(sigma=sigma, leave_one_out=True)
    assert loss(x.double(), y).item() == pytest.approx(expected)
    leaf = x.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: loss(rows, y), (leaf,))


def test_lone_samples_have_nothing_to_be_left_out_of() -> None:
    leaf = torch.randn(C, D, requires_grad=True)
    loss = plain(leave_one_out=True)(leaf, torch.arange(C))
    assert loss.item() == 0
    assert torch.equal(torch.autograd.grad(loss, leaf)[0], torch.zeros(C, D))


@pytest.mark.parametrize("seed", range(3))
def test_noise_does_not_pass_for_structure(seed: int) -> None:
    """Rows without classes, eight of each: with the own share most pass for right."""
    generator = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(64, 64, generator=generator)
    y = torch.arange(64) % 8
    chance = 1 - 1 / 8  # of equal posteriors
    plain_loss = GaussianStructuredLoss(8, 64, norm_weight=0.0)
    honest = GaussianStructuredLoss(8, 64, norm_weight=0.0, leave_one_out=True)
    assert plain_loss(x, y) < 0.3 * chance
    assert honest(x, y) > chance


# --- running means --------------------------------------------------------------------------


def test_running_means_follow_the_rule() -> None:
    loss = plain(eta=0.3)
    assert loss.running_means.isnan().all()
    x, y = batch()
    loss.after_step(x, y)  # the first sight of a class is its mean
    for k in range(C - 1):
        torch.testing.assert_close(loss.running_means[k], x[y == k].mean(0))
    assert loss.running_means[C - 1].isnan().all()
    before, (z, _) = loss.running_means.clone(), batch(1)
    y[y == 1] = 0
    loss.after_step(z, y)
    for k in (0, 2):
        expected = 0.7 * before[k] + 0.3 * z[y == k].mean(0)
        torch.testing.assert_close(loss.running_means[k], expected)
    assert torch.equal(loss.running_means[1], before[1])


def test_imprint_sets_the_means_of_what_is_there() -> None:
    loss = plain()
    loss.after_step(torch.ones(2, D), torch.tensor([C - 1, C - 1]))
    x, y = batch()
    loss.imprint(x.half().requires_grad_(), y)
    assert loss.needs_class_means
    for k in range(C - 1):
        expected = x[y == k].half().float().mean(0)
        torch.testing.assert_close(loss.running_means[k], expected)
    assert loss.running_means[C - 1].isnan().all()


def test_running_means_are_state_and_do_not_change_the_value() -> None:
    x, y = batch()
    loss, other = plain(), plain()
    value = loss(x, y)
    loss.after_step(x, y)
    assert loss(x, y) == value
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.running_CD, loss.running_CD)
    assert other.seen_C.tolist() == [True, True, True, False]
    assert not list(loss.parameters())


# --- refusals and cost ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0.0}, "sigma must be > 0 and finite, got 0.0"),
        ({"norm_weight": -1.0}, "norm_weight must be >= 0 and finite, got -1.0"),
        ({"eta": 0.0}, r"eta must be in \(0, 1\], got 0.0"),
        ({"space": "cosine"}, "space of GaussianStructuredLoss must be one of euclidean"),
    ],
)
def test_options_out_of_range_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        GaussianStructuredLoss(C, D, **options)


def test_labels_out_of_range_and_selections_are_refused() -> None:
    x, y = batch()
    with pytest.raises(UserError, match=r"labels must be in \[0, 4\), got 4"):
        plain()(x, y + 2)
    with pytest.raises(UserError, match="dim must be 3, got 5"):
        plain()(torch.randn(9, 5), y)
    everything = Selection(torch.ones(9, 9), torch.ones(9, 9))
    with pytest.raises(UserError, match="miners of gaussian_structured must be none"):
        plain().on_pairs(Pairs(x, y), everything)


def test_memory_is_rows_times_classes() -> None:
    """2,048 rows and 32 sub-classes: all of a step takes less than one matrix of all pairs."""

    def one_step() -> None:
        x = torch.randn(2048, 64, requires_grad=True)
        GaussianStructuredLoss(32, 64)(x, torch.arange(2048) % 32).backward()

    assert peak_bytes(one_step) < 4 * 2048**2
