"""CosFace: the margin lowers a cosine, and leaves a gap between cosines."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from fixtures.planted_rows import clouds, drawn, generator_of, train
from likeness.losses import CosFaceLoss, NormalisedSoftmaxLoss


def test_without_a_margin_it_is_normalised_softmax() -> None:
    plain, loss = NormalisedSoftmaxLoss(4, 3, temperature=1 / 64), CosFaceLoss(4, 3, margin=0.0)
    loss.load_state_dict(plain.state_dict())
    x, y = torch.randn(8, 3), torch.arange(8) % 4
    torch.testing.assert_close(loss(x, y), plain(x, y))


def test_the_margin_is_in_cosines() -> None:
    """Two classes on two axes: the logit of the own one falls by scale times margin, no more."""
    loss = CosFaceLoss(2, 2, scale=3.0, margin=0.4)
    loss.bank.weight.data = torch.eye(2)
    expected = F.cross_entropy(3.0 * torch.tensor([[0.6 - 0.4, 0.8]]), torch.tensor([0]))
    value = loss(torch.tensor([[3.0, 4.0]]), torch.tensor([0]))
    torch.testing.assert_close(value, expected)


def gap(margin: float, seed: int) -> float:
    """How much larger the cosine of the worst sample is to its class's vector than to another's."""
    classes, dim = 8, 4
    means = torch.randn(classes, 12, generator=generator_of(seed))
    x, y = clouds(means, 12, noise=0.4, seed=seed + 1)
    torch.manual_seed(seed)
    loss = CosFaceLoss(classes, dim, scale=16.0, margin=margin)
    options = {"steps": 250, "lr": 0.02, "proxy_lr": 0.05, "seed": seed}
    embed = train(loss, drawn(x, y, 96, 5), sizes=(12, dim), **options)
    cosine = F.normalize(embed(x)) @ F.normalize(loss.bank.weight.detach()).T
    own = cosine.gather(1, y[:, None])[:, 0]
    return (own - cosine.scatter(1, y[:, None], -9.0).amax(1)).min().item()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_margin_leaves_a_gap_between_classes(seed: int) -> None:
    assert gap(0.35, seed) > 0.4


@pytest.mark.parametrize("seed", [0, 1])
def test_without_the_margin_it_is_smaller(seed: int) -> None:
    assert gap(0.0, seed) < 0.4
