"""Proxy-NCA and ++: how the two forms hang together, and what proxies and temperature are for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fixtures.planted_rows import Batches, clouds, generator_of, narrowest_angle, recall_at_1, train
from likeness.batch import Batch
from likeness.losses import NCALoss, NormalisedSoftmaxLoss, PairLoss, ProxyNCALoss
from likeness.pairs import Pairs

CLASSES, EACH, DIM = 12, 20, 4


def twins(**second: object) -> tuple[ProxyNCALoss, ProxyNCALoss]:
    first, other = ProxyNCALoss(5, 4).double(), ProxyNCALoss(5, 4, **second).double()
    other.load_state_dict(first.state_dict())
    return first, other


def test_prob_is_softplus_of_classic() -> None:
    prob, classic = twins(variant="classic")
    x, y = torch.randn(20, 4, dtype=torch.float64), torch.arange(20) % 5
    pairs = Pairs(x, y, space="cosine")
    theirs = classic.on_pairs(pairs).per_anchor * 20
    torch.testing.assert_close(prob.on_pairs(pairs).per_anchor * 20, F.softplus(theirs))
    assert (theirs < 0).any()


def test_it_is_normalised_softmax_at_half_its_temperature() -> None:
    prob, _ = twins()
    softmax = NormalisedSoftmaxLoss(5, 4, temperature=1 / 18).double()
    softmax.load_state_dict(prob.state_dict())
    x, y = torch.randn(20, 4, dtype=torch.float64), torch.arange(20) % 5
    torch.testing.assert_close(softmax(x, y), prob(x, y))


@pytest.mark.parametrize("variant", ["prob", "classic"])
def test_a_large_scale_does_not_underflow(variant: str) -> None:
    """exp(-4 scale^2) is 0 in single precision from a scale of 6 on."""
    loss = ProxyNCALoss(3, 4, variant=variant, scale=50.0)
    x = (-loss.bank.weight.detach()).requires_grad_()
    value = loss(x, torch.arange(3))
    value.backward()
    assert torch.isfinite(value)
    assert value > 1000
    assert torch.isfinite(x.grad).all()


def test_misplaced_samples_are_counted() -> None:
    loss = ProxyNCALoss(3, 3)
    with torch.no_grad():
        loss.bank.weight.copy_(torch.eye(3))
    terms = loss.on_pairs(Pairs(torch.eye(3), torch.tensor([0, 2, 2]), space="cosine"))
    assert terms.n_active == 1
    assert terms.per_anchor.argmax() == 1


# --- claims ---------------------------------------------------------------------------------


def lonely(x: Tensor, y: Tensor) -> Batches:
    """Batches of one sample from every class: no positive pair in any of them."""
    generator = generator_of(3)
    while True:
        rows = torch.arange(CLASSES) * EACH
        rows = rows + torch.randint(EACH, (CLASSES,), generator=generator)
        yield x[rows], Batch(y[rows])


def recall_from_lonely_batches(loss: PairLoss) -> float:
    means = torch.zeros(CLASSES, 12)
    means[:, :6] = torch.randn(CLASSES, 6, generator=generator_of(0))
    noise = torch.tensor([0.25] * 6 + [3.0] * 6)
    x, y = clouds(means, EACH, noise=noise, seed=1)
    unseen, labels = clouds(means, EACH, noise=noise, seed=2)
    options = {"steps": 150, "lr": 0.01, "proxy_lr": 0.1}
    embed = train(loss, lonely(x, y), sizes=(12, DIM), **options)
    return recall_at_1(embed(unseen), labels)


@pytest.mark.parametrize("variant", ["prob", "classic"])
def test_proxies_stand_for_the_positives_that_a_batch_lacks(variant: str) -> None:
    torch.manual_seed(0)
    assert recall_from_lonely_batches(ProxyNCALoss(CLASSES, DIM, variant=variant)) > 0.65


def test_without_proxies_such_batches_teach_nothing() -> None:
    assert recall_from_lonely_batches(NCALoss()) < 0.4


@pytest.mark.parametrize("seed", [0, 1])
def test_the_temperature_tells_crowded_classes_apart(seed: int) -> None:
    torch.manual_seed(seed)
    angle = narrowest_angle(ProxyNCALoss(32, 3), classes=32, dim=3, seed=seed)
    assert angle > 18


@pytest.mark.parametrize("seed", [0, 1])
def test_without_the_temperature_neighbours_stay_together(seed: int) -> None:
    torch.manual_seed(seed)
    angle = narrowest_angle(ProxyNCALoss(32, 3, scale=1.0), classes=32, dim=3, seed=seed)
    assert angle < 18
