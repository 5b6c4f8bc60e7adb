"""MPA: K = 1 is Proxy-Anchor, similarities are SoftTriple's, several proxies find several modes."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_metric_learning import losses as pml
from torch import Tensor
from torch.nn import functional as F

from fixtures.planted_rows import clouds
from likeness.losses import MultiProxiesAnchorLoss, ProxyAnchorLoss
from likeness.losses.soft_triple import merging, relaxed_similarity

C, D = 5, 4


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(20, D, generator=generator, dtype=torch.float64), torch.arange(20) % C


def test_one_proxy_is_proxy_anchor() -> None:
    torch.manual_seed(0)
    single = MultiProxiesAnchorLoss(C, D, per_class=1, merge_weight=0.2).double()
    torch.manual_seed(0)
    anchor = ProxyAnchorLoss(C, D).double()
    assert torch.equal(single.bank.weight, anchor.bank.weight)
    assert single(*batch()) == anchor(*batch())


def test_equal_proxies_are_one() -> None:
    several, anchor = MultiProxiesAnchorLoss(C, D, per_class=3).double(), ProxyAnchorLoss(C, D)
    anchor = anchor.double()
    several.bank.weight.data = anchor.bank.weight.data.repeat_interleave(3, 0)
    torch.testing.assert_close(several(*batch()), anchor(*batch()))


def test_similarities_are_those_of_soft_triple() -> None:
    peer = pml.SoftTripleLoss(C, D, centers_per_class=3, gamma=0.2)
    peer.fc.data = peer.fc.data.double()
    x, _ = batch()
    cosine = F.normalize(x) @ F.normalize(peer.fc.detach(), dim=0)
    ours = relaxed_similarity(cosine.unflatten(1, (C, 3)), gamma=0.2)
    torch.testing.assert_close(ours, peer.get_logits(x).detach())


def test_both_is_the_mean_of_the_two() -> None:
    torch.manual_seed(0)
    first = MultiProxiesAnchorLoss(C, D)
    values = {}
    for gradient in ("class", "data", "both"):
        loss = MultiProxiesAnchorLoss(C, D, gradient=gradient)
        loss.load_state_dict(first.state_dict())
        values[gradient] = loss(*batch())
    torch.testing.assert_close(values["both"], (values["class"] + values["data"]) / 2)
    assert values["class"] != values["data"]


def test_merging_is_zero_only_where_proxies_meet() -> None:
    apart = torch.eye(4)[:2].reshape(1, 2, 4)
    assert merging(apart).item() == pytest.approx(math.sqrt(2) / 2, rel=1e-4)
    together = apart[:, :1].repeat(1, 2, 1).requires_grad_()
    value = merging(together)
    value.backward()
    assert value.item() == pytest.approx(math.sqrt(1e-5) / 2, rel=1e-3)
    assert torch.isfinite(together.grad).all()
    assert merging(apart[:, :1]) == 0


def test_imprinted_proxies_are_the_modes_of_their_class() -> None:
    """Not its mean: equal rows would get equal gradients and never part."""
    modes = torch.tensor([[1.0, 0], [-1, 0.1], [0, 1], [0.1, -1]])
    x, mode = clouds(modes, 10, noise=0.05, seed=0)
    loss = MultiProxiesAnchorLoss(2, 2, per_class=2, start="class_means")
    loss.imprint(7 * x, mode // 2)
    near = F.normalize(loss.bank.weight.detach()) @ F.normalize(modes).T
    assert (near.amax(1) > 0.99).all()
    assert near[:2].argmax(1).sort().values.tolist() == [0, 1]
    assert near[2:].argmax(1).sort().values.tolist() == [2, 3]


# --- claim ----------------------------------------------------------------------------------


def placed(per_class: int, gradient: str, seed: int) -> float:
    """Share of samples most similar to their class; each class lies in two opposite directions, and
    proxies alone are trained."""
    angle = torch.arange(8) * math.pi / 4
    modes = torch.stack([angle.cos(), angle.sin()], 1)
    x, mode = clouds(modes, 20, noise=0.08, seed=seed)
    y = mode % 4
    loss = MultiProxiesAnchorLoss(4, 2, per_class=per_class, gradient=gradient, start="class_means")
    loss.imprint(x, y)
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        loss(x, y).backward()
        optimiser.step()
    cosine = F.normalize(x) @ F.normalize(loss.bank.weight.detach()).T
    similarity = relaxed_similarity(cosine.unflatten(1, (4, per_class)), gamma=loss.gamma)
    return (similarity.argmax(1) == y).float().mean().item()


@pytest.mark.parametrize("gradient", ["class", "both"])
@pytest.mark.parametrize("seed", [0, 1])
def test_several_proxies_serve_a_class_of_several_modes(gradient: str, seed: int) -> None:
    assert placed(2, gradient, seed) > 0.95


@pytest.mark.parametrize("gradient", ["class", "both"])
@pytest.mark.parametrize("seed", [0, 1])
def test_one_proxy_does_not(gradient: str, seed: int) -> None:
    torch.manual_seed(seed)
    assert placed(1, gradient, seed) < 0.6
