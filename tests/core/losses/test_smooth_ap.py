"""Smooth-AP: close to AP, the peer's value, any order and any sizes of classes, and its claim."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses
from sklearn.metrics import average_precision_score
from torch import Tensor

from fixtures.free_points import move, nearest_twins, normal, twins
from likeness.errors import UserError
from likeness.losses import SmoothAPLoss
from likeness.pairs import Pairs

Y = torch.tensor([0, 2, 0, 4, 2, 2, 0, 3, 4, 0, 2])


def exact(x: Tensor, y: Tensor) -> float:
    """1 - mean AP of every sample with a positive among the others."""
    cosine = Pairs(x, y, space="cosine").cosine.numpy()
    found = []
    for i in range(len(y)):
        others = np.arange(len(y)) != i
        hits = (y == y[i]).numpy()[others]
        if hits.any():
            found.append(average_precision_score(hits, cosine[i][others]))
    return 1 - float(np.mean(found))


def test_a_cold_sigmoid_is_ap_itself() -> None:
    x = normal(11, 4)
    assert SmoothAPLoss(temperature=1e-5)(x, Y).item() == pytest.approx(exact(x, Y), abs=1e-6)
    assert SmoothAPLoss()(x, Y).item() == pytest.approx(exact(x, Y), abs=0.02)
    assert SmoothAPLoss(temperature=1.0)(x, Y).item() != pytest.approx(exact(x, Y), abs=0.02)


def test_value_and_gradient_are_the_peers_on_its_sorted_batch() -> None:
    """It must have as many images of a class as classes: it takes one number for the other."""
    y = torch.arange(4).repeat_interleave(4)
    ours, theirs = (normal(16, 5, seed=3).requires_grad_() for _ in range(2))
    value = SmoothAPLoss(temperature=0.1, count_query=True)(ours, y)
    expected = losses.SmoothAPLoss(temperature=0.1)(theirs, y)
    torch.testing.assert_close(value.float(), expected, rtol=1e-6, atol=1e-7)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-7)


def test_the_order_of_the_batch_does_not_matter() -> None:
    """The peer gives another number for a shuffled batch."""
    x, y = normal(16, 5, seed=3), torch.arange(4).repeat_interleave(4)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    loss, peer = SmoothAPLoss(count_query=True), losses.SmoothAPLoss()
    torch.testing.assert_close(loss(x[order], y[order]), loss(x, y))
    assert abs(peer(x[order], y[order]) - peer(x, y)) > 0.01


def test_a_perfect_ranking_costs_nothing_and_the_worst_nearly_all() -> None:
    x = torch.tensor([[1.0, 0], [1, 0.01], [-1, 0], [-1, 0.01]], dtype=torch.float64)
    assert SmoothAPLoss()(x, torch.tensor([0, 0, 1, 1])).item() == pytest.approx(0, abs=1e-9)
    worst = SmoothAPLoss()(x, torch.tensor([0, 1, 0, 1])).item()
    assert worst == pytest.approx(2 / 3, abs=0.1)  # the one positive comes third


def test_options_are_checked() -> None:
    with pytest.raises(UserError, match="temperature must be > 0 and finite, got 0"):
        SmoothAPLoss(temperature=0.0)


# --- claim: ranks, not similarities, are what it moves ----------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_classes_in_one_place_part(seed: int) -> None:
    x, y = twins(seed)
    loss = SmoothAPLoss(temperature=0.1)
    assert nearest_twins(move(loss, x, y, steps=60, lr=0.02)) < 0.8


@pytest.mark.parametrize("seed", [0, 1])
def test_where_sigmoids_are_lines_they_stay(seed: int) -> None:
    x, y = twins(seed)
    loss = SmoothAPLoss(temperature=10.0)
    assert nearest_twins(move(loss, x, y, steps=60, lr=0.02)) > 0.8
