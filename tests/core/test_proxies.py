"""Class representatives: imprint, grow, means, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from likeness.errors import UserError
from likeness.proxies import ProxyBank, class_means


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


def test_imprint_sets_every_row_of_the_classes_that_occur() -> None:
    bank = ProxyBank(3, 2, per_class=2)
    before = bank.weight.detach().clone()
    x = torch.tensor([[1.0, 2], [3, 4], [10, 10]], dtype=torch.float64, requires_grad=True)
    bank.imprint(x, torch.tensor([2, 2, 0]))
    assert bank.weight.tolist()[:2] == [[10, 10], [10, 10]]
    assert torch.equal(bank.weight[2:4], before[2:4])
    assert bank.weight.tolist()[4:] == [[2, 3], [2, 3]]
    assert bank.weight.is_leaf
    assert bank.weight.dtype == torch.float32


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
