"""Sub-classes in rounds, through the front door: found, handed to batches, stopped and resumed."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch

from fixtures.planted_modes import (
    CLASSES,
    LABELS,
    MODES,
    NO_ROUNDS,
    mode_spec,
    recovered,
    train_modes,
)
from fixtures.tiny_training import ON_SUBCLASSES, tiny_data, tiny_spec, train
from fixtures.watched_runs import (
    NotesBatches,
    Stop,
    StoppedAfter,
    assert_same_run,
    saved_tensors,
    train_until_killed,
)
from likeness.errors import UserError
from likeness.subclasses import SubclassSpec

SHORT = {"epochs": 4}  # two rounds of 12 steps
TERM = "gaussian_structured_subclass"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, *train_modes(folder, mode_spec())


def test_planted_variants_come_apart_in_rounds_and_are_lost_without(whole, tmp_path):
    """The threshold is 0.8; seeds 2 to 5 gave 1.0 each, and 0.0, 0.33, 0.67, 0.0 without rounds."""
    _, _, embedder, _ = whole
    assert recovered(embedder) >= 0.8
    _, plain, _ = train_modes(tmp_path, mode_spec(**NO_ROUNDS))
    assert recovered(plain) < 0.8


def test_rounds_begin_with_the_classes_and_follow_the_variants(whole):
    _, result, _, _ = whole
    rounds = result.subclasses_RN
    assert rounds.shape == (4, len(LABELS))
    assert torch.equal(rounds[0], (LABELS * 4).int())  # `most` is 4
    for found in rounds:
        assert torch.equal(found // 4, LABELS.int())  # none crosses a class
    # The numbers stay with the variants: nearly all rows keep theirs.
    assert (rounds[2] == rounds[3]).float().mean() > 0.95
    for label in range(CLASSES):
        own = label == LABELS
        slots = [rounds[-1][own & (mode == MODES)].mode().values for mode in (0, 1)]
        assert slots[0] != slots[1]


class NotesImprints(NotesBatches):
    """Notes what losses on sub-classes are imprinted with, too."""

    def __init__(self, embedder, objective, *, seen, told):
        super().__init__(embedder, objective, seen=seen)
        loss = objective.terms[TERM].loss
        imprint = loss.imprint
        loss.imprint = lambda *both: (told.append(both), imprint(*both))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A folder, what its run came to, the batches that it saw, and what its loss was told."""
    folder, seen, told = tmp_path_factory.mktemp("short"), [], []
    method = partial(NotesImprints, seen=seen, told=told)
    return folder, *train_modes(folder, mode_spec(**SHORT), method=method), seen, told


def test_batches_carry_the_sub_classes_of_their_rows(uninterrupted):
    _, result, _, _, seen, _ = uninterrupted
    rounds = result.subclasses_RN
    assert len(seen) == 24
    for epoch, batch in seen:
        assert batch.subclass.dtype == torch.int64
        assert torch.equal(batch.subclass, rounds[epoch // 2, batch.ids].long())
        assert torch.equal(batch.labels, LABELS[batch.ids])
    assert (rounds[1] % 4 > 0).any()


def test_every_round_starts_with_the_means_of_its_sub_classes(uninterrupted):
    """What a loss keeps has room for all, so its shape never changes."""
    _, result, _, objective, _, told = uninterrupted
    (_, first), (rows, second) = told
    assert torch.equal(first, LABELS * 4)
    assert torch.equal(second, result.subclasses_RN[1].long())
    loss = objective.terms[TERM].loss
    assert loss.seen_C.nonzero().flatten().tolist() == second.unique().tolist()
    assert loss.running_CD.shape == (4 * CLASSES, rows.shape[1])


# --- resume ---------------------------------------------------------------------------------


def assert_the_same(folder, result, uninterrupted):
    other, expected, *_ = uninterrupted
    assert_same_run(folder, other)
    assert "hook.1.rounds" in saved_tensors(folder)
    assert torch.equal(result.subclasses_RN, expected.subclasses_RN)


@pytest.mark.parametrize("last", [3, 12])  # in round 0, between the rounds
def test_stopped_and_resumed(tmp_path, uninterrupted, last):
    stopped = partial(StoppedAfter, steps=last)
    with pytest.raises(Stop):
        train_modes(tmp_path, mode_spec(**SHORT), checkpoint_steps=1, method=stopped)
    record = json.loads((tmp_path / "checkpoints/last/run.json").read_text())
    assert record["state"]["ledger"]["step"] == last
    result, _, _ = train_modes(tmp_path, mode_spec(**SHORT), resume=True)
    assert_the_same(tmp_path, result, uninterrupted)


def test_killed_and_resumed(tmp_path, uninterrupted):
    train_until_killed(train_modes, tmp_path, mode_spec(**SHORT), step=15)
    result, _, _ = train_modes(tmp_path, mode_spec(**SHORT), resume=True)
    assert_the_same(tmp_path, result, uninterrupted)


def test_a_finished_run_still_knows_its_rounds(uninterrupted):
    folder, expected, *_ = uninterrupted
    again, _, _ = train_modes(folder, mode_spec(**SHORT), resume=True)
    assert again.already_finished
    assert torch.equal(again.subclasses_RN, expected.subclasses_RN)


# --- options --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epoch", "begins", "components"),
    [(0, True, 1), (2, False, 1), (3, True, 2), (6, True, 3), (9, True, 4), (300, True, 4)],
)
def test_the_number_allowed_grows_by_one_a_round(epoch, begins, components):
    spec = SubclassSpec(epochs_per_round=3)
    assert spec.begins(epoch) == begins
    assert spec.components(epoch) == components


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"subclasses": None}, "subclasses must be given where a term has labels: subclass"),
        ({"objective": {}}, "subclasses must be null where no term has labels: subclass"),
        (
            {"subclasses": {"epochs_per_round": 1, "first": 4, "most": 3}},
            "most must be >= first, 4, got 3",
        ),
        ({"subclasses": {}}, "epochs_per_round must be given"),
    ],
)
def test_options_that_do_not_go_together_are_refused(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        mode_spec(**changes)


def test_several_labels_per_image_have_no_sub_classes(tmp_path):
    several = tiny_data(labels=torch.nn.functional.one_hot(tiny_data().labels))
    with pytest.raises(UserError, match="subclasses must be null for several labels per image"):
        train(tmp_path, tiny_spec(**ON_SUBCLASSES), data=several)
