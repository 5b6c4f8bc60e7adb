"""Class representatives: imprint, grow, means, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from likeness.errors import UserError
from likeness.proxies import ProxyBank, class_clusters, class_means


def test_rows_belong_to_classes_in_order() -> None:
    bank = ProxyBank(3, 5, per_class=2, lr_mult=4.0)
    assert bank.weight.shape == (6, 5)
    assert bank.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert bank.lr_mult == 4.0
    assert bank.weight.requires_grad


def test_initial_values_follow_the_seed_and_the_scale() -> None:
    torch.manual_seed(0)
    first = ProxyBank(200, 50, std=0.3)
    torch.manual_seed(0)
    second = ProxyBank(200, 50, std=0.3)
    assert torch.equal(first.weight, second.weight)
    assert first.weight.std().item() == pytest.approx(0.3, rel=0.05)
    assert ProxyBank(2, 2, std=0.0).weight.abs().max() == 0


def test_class_means() -> None:
    x = torch.tensor([[1.0, 2], [3, 4], [10, 10]], requires_grad=True)
    mean, count = class_means(x, torch.tensor([2, 2, 0]), 4)
    assert mean.tolist() == [[10, 10], [0, 0], [2, 3], [0, 0]]
    assert count.tolist() == [1, 0, 2, 0]
    mean.sum().backward()
    assert x.grad.tolist() == [[0.5, 0.5], [0.5, 0.5], [1, 1]]


@pytest.mark.parametrize(("per_class", "rows"), [(1, [[2, 3]]), (2, [[1, 2], [3, 4]])])
def test_imprint_sets_every_row_of_the_classes_that_occur(per_class: int, rows: list) -> None:
    bank = ProxyBank(3, 2, per_class=per_class)
    before = bank.weight.detach().clone()
    x = torch.tensor([[1.0, 2], [3, 4], [10, 10]], dtype=torch.float64, requires_grad=True)
    bank.imprint(x, torch.tensor([2, 2, 0]))
    found = bank.weight.detach().unflatten(0, (3, per_class))
    assert found[0].tolist() == [[10, 10]] * per_class
    assert torch.equal(found[1], before.unflatten(0, (3, per_class))[1])
    assert sorted(found[2].tolist()) == rows
    assert bank.weight.is_leaf
    assert bank.weight.dtype == torch.float32
    bank.imprint(x[:0], torch.tensor([], dtype=torch.int64))
    assert torch.equal(bank.weight.unflatten(0, (3, per_class)), found)


def test_clusters_are_the_means_of_their_samples() -> None:
    """Three groups in class 0, whose sizes differ; class 1 has one sample, class 2 none."""
    groups = [[[0.0, 0], [0.2, 0]], [[5, 5], [5, 5.2], [5, 5.4]], [[-4.0, 3]]]
    x = torch.tensor([row for group in groups for row in group] + [[7.0, 7]])
    y = torch.tensor([0] * 6 + [1])
    order = torch.tensor([3, 6, 0, 5, 2, 1, 4])
    rows, count = class_clusters(x[order], y[order], 3, 3)
    assert count.tolist() == [6, 1, 0]
    wanted = sorted(torch.tensor(group).mean(0).tolist() for group in groups)
    torch.testing.assert_close(torch.tensor(sorted(rows[:3].tolist())), torch.tensor(wanted))
    assert rows[3:6].tolist() == [[7, 7]] * 3
    assert torch.isfinite(rows).all()


@pytest.mark.parametrize("trains", [True, False])
def test_grow_keeps_what_was_there(trains: bool) -> None:
    bank = ProxyBank(2, 3, per_class=2)
    bank.weight.requires_grad_(trains)
    before = bank.weight.detach().clone()
    bank.grow(3)
    assert bank.num_classes == 5
    assert bank.weight.shape == (10, 3)
    assert torch.equal(bank.weight[:4], before)
    assert bank.weight.requires_grad == trains
    assert bank.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert isinstance(bank.weight, torch.nn.Parameter)


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        ((0, 3), {}, "num_classes must be >= 1, got 0"),
        ((2, 0), {}, "dim must be >= 1, got 0"),
        ((2, 3), {"per_class": 0}, "per_class must be >= 1, got 0"),
        ((2, 3), {"lr_mult": 0.0}, "lr_mult must be > 0, got 0.0"),
        ((2, 3), {"lr_mult": math.nan}, "lr_mult must be > 0, got nan"),
        ((2, 3), {"std": -1.0}, "std must be >= 0, got -1.0"),
    ],
)
def test_options_are_checked(sizes: tuple, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ProxyBank(*sizes, **options)


def test_labels_and_sizes_are_checked() -> None:
    bank = ProxyBank(3, 2)
    x = torch.zeros(2, 2)
    for wrong in (-1, 3):
        with pytest.raises(UserError, match=rf"labels must be in \[0, 3\), got {wrong}"):
            bank.imprint(x, torch.tensor([0, wrong]))
    with pytest.raises(UserError, match="dim must be 2, got 4"):
        bank.imprint(torch.zeros(2, 4), torch.tensor([0, 1]))
    with pytest.raises(UserError, match="classes must be >= 1, got 0"):
        bank.grow(0)
    bank.check(torch.zeros(0, dtype=torch.int64))
