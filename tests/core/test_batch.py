"""The record of a batch is frozen and its columns fit its labels."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from likeness.batch import Batch
from likeness.errors import UserError

COLUMNS = ("ids", "group", "camera", "modality", "parent")


def test_labels_are_enough() -> None:
    batch = Batch(torch.arange(3))
    assert all(getattr(batch, name) is None for name in COLUMNS)
    assert batch.logits == {}
    assert batch.generator is None


@pytest.mark.parametrize("labels", [torch.arange(3), torch.zeros(3, 17)])
@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_checked(labels: torch.Tensor, name: str) -> None:
    assert getattr(Batch(labels, **{name: torch.arange(3)}), name).tolist() == [0, 1, 2]
    with pytest.raises(UserError, match=rf"{name} must be of shape \(3,\), got \(2,\)"):
        Batch(labels, **{name: torch.arange(2)})


def test_it_is_frozen_and_takes_logits_as_a_new_record() -> None:
    batch = Batch(torch.arange(3), ids=torch.arange(3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.ids = None  # type: ignore[misc]
    logits = {"class": torch.zeros(3, 4)}
    later = batch.with_logits(logits)
    assert later.logits is logits
    assert later.ids is batch.ids
    assert batch.logits == {}
