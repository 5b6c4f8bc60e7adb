"""Self-paced training through the front door: what is trusted, what it is for, stopped, resumed."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch

from fixtures.planted_noise import (
    NoisyClasses,
    found_wrong,
    nearest_is_right,
    noise_spec,
    train_on_noise,
)
from fixtures.tiny_training import tiny_data, tiny_spec, train
from fixtures.watched_runs import (
    NotesBatches,
    Stop,
    StoppedAfter,
    assert_same_run,
    saved_tensors,
    train_until_killed,
)
from likeness.errors import UserError
from likeness.training.self_pacing import SelfPacing

SHORT = {"epochs": 5}  # 25 steps, all trusted in the first 15
MINED = {
    "objective": {
        "terms": [{"loss": {"name": "contrastive"}, "miners": [{"name": "self_paced"}]}],
        "classification": None,
    }
}
LOGSUM = {
    "objective": {
        "terms": [{"loss": {"name": "self_paced", "form": "logsum"}}],
        "classification": None,
    }
}


# --- what it is for -------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "changes"), [(1, LOGSUM), (2, LOGSUM), (3, MINED)])
def test_wrong_labels_are_found_and_do_no_harm_and_both_fail_without_the_pace(
    tmp_path, monkeypatch, seed, changes
):
    """30 % of the labels are wrong.

    Thresholds 0.9 and 0.87; found were 0.95 to 1.00 and 0.92 to 0.96, without the pace 0.50 and
    0.73 to 0.82.
    """
    spec = noise_spec(epochs=14, seed=seed, **changes)
    result, embedder, _ = train_on_noise(tmp_path / "paced", spec, planted=seed)
    with_pace = found_wrong(result, seed), nearest_is_right(embedder, seed)
    monkeypatch.setattr(SelfPacing, "wants_embeddings", lambda self, epoch: False)  # v stays 1
    result, embedder, _ = train_on_noise(tmp_path / "plain", spec, planted=seed)
    without = found_wrong(result, seed), nearest_is_right(embedder, seed)
    assert with_pace[0] >= 0.9 > without[0]
    assert with_pace[1] >= 0.87 > without[1]


# --- what batches are told ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A folder, what its run came to, and the batches that it saw."""
    folder, seen = tmp_path_factory.mktemp("short"), []
    method = partial(NotesBatches, seen=seen)
    return folder, *train_on_noise(folder, noise_spec(**SHORT), method=method), seen


def test_batches_carry_the_weights_of_their_rows(uninterrupted):
    _, result, _, _, seen = uninterrupted
    weights = result.weights_N
    assert len(seen) == 25
    for epoch, batch in seen:
        assert batch.weight.dtype == torch.float32
        assert batch.weight.min() >= 0
        if epoch < 3:
            assert (batch.weight == 1).all()
        if epoch == 4:
            assert torch.equal(batch.weight, weights[batch.ids])
    wrong = torch.from_numpy(NoisyClasses(4).wrong)
    assert weights[wrong].mean() < 0.5 * weights[~wrong].mean()


def test_every_class_keeps_a_pair(uninterrupted):
    weights, labels = uninterrupted[1].weights_N, NoisyClasses(4).labels
    for label in labels.unique():
        assert weights[labels == label].sum() >= 1


def test_under_bfloat16_weights_are_found_in_full_precision(tmp_path):
    result, _, _ = train_on_noise(tmp_path, noise_spec(**SHORT, precision="bf16-mixed"))
    assert result.weights_N.dtype == torch.float32
    assert found_wrong(result) >= 0.9


# --- resume ---------------------------------------------------------------------------------------


def assert_the_same(folder, result, uninterrupted):
    other, expected, *_ = uninterrupted
    assert_same_run(folder, other)
    assert "hook.1.weights" in saved_tensors(folder)
    assert torch.equal(result.weights_N, expected.weights_N)


@pytest.mark.parametrize("last", [7, 17, 20])  # in the warm-up, in a paced epoch, between two
def test_stopped_and_resumed(tmp_path, uninterrupted, last):
    stopped = partial(StoppedAfter, steps=last)
    with pytest.raises(Stop):
        train_on_noise(tmp_path, noise_spec(**SHORT), checkpoint_steps=1, method=stopped)
    record = json.loads((tmp_path / "checkpoints/last/run.json").read_text())
    assert record["state"]["ledger"]["step"] == last
    result, _, _ = train_on_noise(tmp_path, noise_spec(**SHORT), resume=True)
    assert_the_same(tmp_path, result, uninterrupted)


def test_killed_and_resumed(tmp_path, uninterrupted):
    train_until_killed(train_on_noise, tmp_path, noise_spec(**SHORT), step=18)
    result, _, _ = train_on_noise(tmp_path, noise_spec(**SHORT), resume=True)
    assert_the_same(tmp_path, result, uninterrupted)


def test_a_finished_run_still_knows_its_weights(uninterrupted):
    folder, expected, *_ = uninterrupted
    again, _, _ = train_on_noise(folder, noise_spec(**SHORT), resume=True)
    assert again.already_finished
    assert torch.equal(again.weights_N, expected.weights_N)


def test_a_run_without_pace_has_no_weights(tmp_path):
    result, _, _ = train(tmp_path)
    assert result.weights_N is None


# --- options --------------------------------------------------------------------------------------

OWN = {"loss": {"name": "self_paced"}}
PLAIN = {"loss": {"name": "contrastive"}}
MINER = {"name": "self_paced"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"self_paced": None}, "self_paced must be given where a loss or a miner is named so"),
        ({"self_paced": None, **MINED}, "self_paced must be given where a loss or a miner"),
        (
            {"objective": {"terms": [PLAIN]}},
            "self_paced must be null where no loss and no miner is named so",
        ),
        ({"epochs": 3}, r"self_paced.warmup_epochs must be < epochs, 3, got 3"),
        (
            {"objective": {"terms": [OWN | {"miners": [MINER]}]}},
            "miners must be without self_paced for the loss of that name",
        ),
        (
            {"objective": {"terms": [OWN], "sets": {"terms": [PLAIN | {"miners": [MINER]}]}}},
            "objective.sets.terms must be without self_paced",
        ),
        (
            {"objective": {"terms": [OWN | {"memory": {"size": 8}}]}},
            "memory must be null with self_paced",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        noise_spec(**changes)


def test_several_labels_per_image_have_no_pace(tmp_path):
    spec = tiny_spec(**MINED, self_paced={"warmup_epochs": 1})
    several = torch.nn.functional.one_hot(tiny_data().labels)
    with pytest.raises(UserError, match="self_paced must be null for several labels per image"):
        train(tmp_path, spec, data=tiny_data(labels=several))
