"""The pairs of an N-pair batch."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from fixtures.free_points import normal
from likeness.batch import Batch
from likeness.errors import UserError
from likeness.mining import n_pairs
from likeness.pairs import Pairs
from likeness.sampling import ClassBalanced


def test_the_first_two_of_each_class() -> None:
    y = torch.tensor([5, 7, 5, 9, 7, 5, 3, 7])
    found = n_pairs(Pairs(normal(8, 3), y), Batch(y))
    assert found.positive_NM.nonzero().tolist() == [[0, 2], [1, 4]]
    assert found.negative_NM.nonzero().tolist() == [[0, 4], [1, 2]]


def test_a_plan_of_two_of_each_class_is_an_n_pair_batch() -> None:
    labels = torch.arange(60) % 12
    rows = ClassBalanced(labels.numpy(), 8, 2, seed=0).batches(0)[0]
    y = labels[rows]
    found = n_pairs(Pairs(normal(16, 3), y), Batch(y))
    assert found.positive_NM.sum() == 8
    assert found.negative_NM.sum() == 8 * 7
    assert set(found.positive_NM.sum(1).tolist()) == {0, 1}


@pytest.mark.parametrize("count", [0, 1])
def test_without_a_pair_nothing_is_selected(count: int) -> None:
    y = torch.arange(count)
    assert not any(m.any() for m in n_pairs(Pairs(normal(count, 3), y), Batch(y)))


def test_the_same_picture_twice_is_no_pair() -> None:
    y = torch.tensor([0, 0, 1, 1])
    pairs = Pairs(normal(4, 3), y, ids=torch.tensor([4, 4, 5, 6]))
    found = n_pairs(pairs, Batch(y))
    assert found.positive_NM.nonzero().tolist() == [[2, 3]]
    assert found.negative_NM.nonzero().tolist() == [[2, 1]]


def test_nothing_is_read_from_the_device() -> None:
    with FakeTensorMode():
        y = torch.empty(6, dtype=torch.int64, device="cuda:0")
        found = n_pairs(Pairs(torch.empty(6, 3, device="cuda:0"), y), Batch(y))
        assert all(mask.device.type == "cuda" for mask in found)


def test_what_makes_no_sense_is_refused() -> None:
    y = torch.tensor([0, 0])
    memory = Pairs(normal(2, 3), y, reference=normal(2, 3), reference_labels=y)
    with pytest.raises(UserError, match="reference must be the batch itself where n_pairs"):
        n_pairs(memory, Batch(y))
    several = torch.ones(2, 3)
    with pytest.raises(UserError, match=r"labels must be of shape \(N,\) for n_pairs"):
        n_pairs(Pairs(normal(2, 3), several), Batch(several))
