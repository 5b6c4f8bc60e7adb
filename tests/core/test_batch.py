"""The record of a batch is frozen and its columns fit its labels."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from likeness.batch import Batch
from likeness.errors import UserError

COLUMNS = ("ids", "group", "camera", "modality", "sequence", "parent", "subclass")


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


def test_what_annotators_said_has_a_row_for_each_sample() -> None:
    labels, said = torch.arange(3), torch.full((3, 4), 0.25)
    assert Batch(labels).target is None
    assert Batch(labels, target=said).with_logits({}).target is said
    for wrong in (said[:2], said[:, 0]):
        shape = ", ".join(map(str, wrong.shape)) + ("," if wrong.ndim == 1 else "")
        with pytest.raises(UserError) as caught:
            Batch(labels, target=wrong)
        assert f"target must be of shape (3, C), shares of the classes, got ({shape})" in str(
            caught.value
        )


def test_it_is_frozen_and_takes_logits_as_a_new_record() -> None:
    batch = Batch(torch.arange(3), ids=torch.arange(3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.ids = None  # type: ignore[misc]
    logits = {"class": torch.zeros(3, 4)}
    later = batch.with_logits(logits)
    assert later.logits is logits
    assert later.ids is batch.ids
    assert batch.logits == {}


def test_sets_are_the_samples_of_one_sequence() -> None:
    """Every set against a loop: where its samples are, and what its first sample says."""
    sequence = torch.tensor([7, 3, 7, 9, 3, 3, 0])
    labels = torch.tensor([1, 2, 1, 1, 2, 2, 0])
    columns = {name: torch.arange(7) * 10 for name in ("group", "camera", "modality")}
    batch = Batch(labels, ids=torch.arange(7), sequence=sequence, **columns)
    set_N, of_sets = batch.of_sets()
    assert of_sets.ids is not None
    assert of_sets.ids.tolist() == [0, 3, 7, 9]
    for place, number in enumerate(sequence.tolist()):
        row = int(set_N[place])
        first = sequence.tolist().index(number)
        assert of_sets.ids[row] == number
        assert of_sets.labels[row] == labels[first]
        for name, column in columns.items():
            assert getattr(of_sets, name)[row] == column[first]
    assert of_sets.sequence is None
    assert of_sets.logits == {}


def test_sets_of_several_labels_keep_their_rows() -> None:
    labels = torch.tensor([[1, 0], [0, 1], [1, 0]])
    _, of_sets = Batch(labels, sequence=torch.tensor([4, 2, 4])).of_sets()
    assert of_sets.labels.tolist() == [[0, 1], [1, 0]]
    assert of_sets.camera is None


def test_without_sequences_there_are_no_sets() -> None:
    with pytest.raises(UserError, match=r"sequence must be given with objective\.sets, got None"):
        Batch(torch.arange(3)).of_sets()
