"""SoftTriple: one centre is CosFace, several find the modes of a class, the penalty merges them."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning.regularizers import SparseCentersRegularizer
from torch import Tensor
from torch.nn import functional as F

from fixtures.planted_rows import clouds
from likeness.losses import CosFaceLoss, SoftTripleLoss
from likeness.losses.soft_triple import relaxed_similarity

C, D = 5, 4


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(20, D, generator=generator, dtype=torch.float64), torch.arange(20) % C


def test_one_centre_is_cosface() -> None:
    loss = SoftTripleLoss(C, D, per_class=1, margin=0.3).double()
    other = CosFaceLoss(C, D, scale=20.0, margin=0.3).double()
    other.load_state_dict(loss.state_dict())
    torch.testing.assert_close(loss(*batch()), other(*batch()))


@pytest.mark.parametrize("merge_weight", [0.0, 0.2])
@pytest.mark.parametrize("seed", [0, 1])
def test_value_and_gradients_are_the_peers(merge_weight: float, seed: int) -> None:
    """The peer's penalty wants rows; its proxies are columns, so it is given them beside."""
    torch.manual_seed(seed)
    ours = SoftTripleLoss(C, D, per_class=3, merge_weight=merge_weight).double()
    theirs = pml.SoftTripleLoss(C, D, centers_per_class=3)
    theirs.fc.data = ours.bank.weight.detach().T.clone()
    (x, y), merged = batch(seed), SparseCentersRegularizer(C, 3)
    mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected = theirs(other, y) + merge_weight * merged(F.normalize(theirs.fc.T))
    value = ours(mine, y)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7)
    value.backward()
    expected.backward()
    torch.testing.assert_close(mine.grad, other.grad, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(ours.bank.weight.grad, theirs.fc.grad.T, rtol=1e-4, atol=1e-7)


# --- claims ---------------------------------------------------------------------------------


def ring(modes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Four classes in the plane, each in so many directions, evenly spread."""
    angle = torch.arange(4 * modes) * 2 * math.pi / (4 * modes)
    x, mode = clouds(torch.stack([angle.cos(), angle.sin()], 1), 20, noise=0.08, seed=seed)
    return x, mode % 4


def centres(loss: SoftTripleLoss, x: Tensor, y: Tensor) -> Tensor:
    """The unit proxies of each class, which alone are trained."""
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        loss(x, y).backward()
        optimiser.step()
    return F.normalize(loss.bank.weight.detach()).unflatten(0, (4, -1))


def placed(per_class: int, seed: int) -> float:
    """Share of samples most similar to their class; each class lies in two opposite directions."""
    x, y = ring(2, seed)
    loss = SoftTripleLoss(4, 2, per_class=per_class, start="class_means")
    loss.imprint(x, y)
    cosine_NCK = torch.einsum("nd,ckd->nck", F.normalize(x), centres(loss, x, y))
    similarity_NC = relaxed_similarity(cosine_NCK, gamma=loss.gamma)
    return (similarity_NC.argmax(1) == y).float().mean().item()


@pytest.mark.parametrize("seed", [0, 1])
def test_several_centres_serve_a_class_of_several_modes(seed: int) -> None:
    assert placed(2, seed) > 0.95


@pytest.mark.parametrize("seed", [0, 1])
def test_one_centre_does_not(seed: int) -> None:
    torch.manual_seed(seed)
    assert placed(1, seed) < 0.6


def widest(merge_weight: float, seed: int) -> float:
    """How far two of five centres still lie apart where every class is one cloud."""
    x, y = clouds(torch.eye(8)[:4], 20, noise=0.08, seed=seed)
    torch.manual_seed(seed)
    found = centres(SoftTripleLoss(4, 8, per_class=5, merge_weight=merge_weight), x, y)
    return torch.cdist(found, found).max().item()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_penalty_merges_centres_that_are_too_many(seed: int) -> None:
    assert widest(5.0, seed) < 0.3


@pytest.mark.parametrize("seed", [0, 1])
def test_without_the_penalty_they_stay_apart(seed: int) -> None:
    assert widest(0.0, seed) > 0.3
