"""What a model keeps of its sub-classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from likeness.errors import UserError
from likeness.subclasses import Subclasses, SubclassRecord, read_record, record_of

FOUND = Subclasses(
    assigned_N=np.array([0, 0, 2, 5]),
    certainty_N=np.ones(4),
    numbers_K=np.array([0, 2, 5]),
    sizes_K=np.array([2, 1, 1]),
    means_KD=np.arange(6, dtype=np.float32).reshape(3, 2),
    bic_CM=np.zeros((2, 3)),
    slots=4,
)


def test_a_discovery_becomes_a_record_and_comes_back_from_tensors() -> None:
    record = record_of(FOUND)
    record.check(2, 2)
    assert record.names(["cat", "dog"]) == ["cat/1", "cat/3", "dog/2"]
    again = read_record(record.tensors() | {"other": torch.zeros(1)})
    assert again is not None
    for name, tensor in record.tensors().items():
        assert torch.equal(again.tensors()[name], tensor)
    assert read_record({"other": torch.zeros(1)}) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"means_KD": torch.zeros(3, 5)}, r"subclasses.means_KD must be \(K, 2\), got \(3, 5\)"),
        ({"means_KD": torch.full((3, 2), torch.nan)}, "subclasses.means_KD must be finite"),
        ({"classes_K": torch.tensor([0, 0, 2])}, "classes_K must be class numbers under 2"),
        ({"sizes_K": torch.tensor([1, 0, 3])}, "subclasses.sizes_K must be >= 1"),
        ({"slots_K": torch.tensor([0, 0, 1])}, "subclasses must be different slots within a"),
        ({"slots_K": torch.tensor([0, -1, 1])}, "subclasses.slots_K must be >= 0"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(changes: dict, message: str) -> None:
    record: SubclassRecord = replace(record_of(FOUND), **changes)
    with pytest.raises(UserError, match=message):
        record.check(2, 2)


@pytest.mark.plain
def test_columns_of_another_length_are_refused() -> None:
    with pytest.raises(UserError, match="sizes_K must be 3 whole numbers"):
        replace(record_of(FOUND), sizes_K=torch.tensor([1, 2])).check(2, 2)


def test_a_record_in_part_is_refused() -> None:
    tensors = record_of(FOUND).tensors()
    del tensors["subclasses.sizes_K"]
    with pytest.raises(UserError, match="subclasses must be a record of means_KD, classes_K"):
        read_record(tensors)
