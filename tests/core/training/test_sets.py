"""Runs on clips, with losses on frames and on sets of frames."""

from functools import partial

import pytest
import torch

from fixtures.tiny_training import (
    COLUMNS,
    LABELS,
    SEQUENCES,
    WITH_SETS,
    TinyEmbedder,
    tiny_data,
    tiny_objective,
    tiny_spec,
    train,
    train_and_be_killed,
)
from fixtures.watched_runs import (
    Stop,
    StoppedAfter,
    assert_same_run,
    log_rows,
    run_until_killed,
    saved_tensors,
)
from likeness.errors import UserError
from likeness.training import Method


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(folder, tiny_spec(**WITH_SETS))
    return folder


def test_both_levels_are_logged_and_the_class_layer_of_sets_is_trained_and_saved(uninterrupted):
    rows = log_rows(uninterrupted)
    assert len(rows) == 9
    names = {name.removeprefix("loss_") for name in rows[0]}
    sets = {"sets.weighted_contrastive", "sets.classification"}
    assert {"weighted_contrastive", "classification"} | sets <= names
    saved = saved_tensors(uninterrupted)
    torch.manual_seed(5)
    TinyEmbedder()  # built first, as `train` does
    start = tiny_objective(tiny_spec(**WITH_SETS)).state_dict()
    for name in ("sets.classifier.weight", "sets.classifier.bias"):
        assert not torch.equal(saved[f"method.objective.{name}"], start[name])
    held = [name for name in saved if name.startswith("optimiser.main.")]
    assert len(held) == len(list(TinyEmbedder().parameters())) + 2  # a momentum for each


@pytest.mark.parametrize("last", [1, 5])
def test_stopped_after_any_step_and_resumed(tmp_path, uninterrupted, last):
    spec = tiny_spec(**WITH_SETS)
    with pytest.raises(Stop):
        train(tmp_path, spec, checkpoint_steps=1, method=partial(StoppedAfter, steps=last))
    train(tmp_path, spec, resume=True)
    assert_same_run(tmp_path, uninterrupted)


def test_killed_and_resumed(tmp_path, uninterrupted):
    run_until_killed(train_and_be_killed, tmp_path, "step", 5, 0, WITH_SETS)
    train(tmp_path, tiny_spec(**WITH_SETS), resume=True)
    assert_same_run(tmp_path, uninterrupted)


def test_in_chunks_it_is_the_same_run(tmp_path):
    def trained(name, chunk):
        torch.manual_seed(0)
        embedder = TinyEmbedder(batch_norm=False, dropout=0.0)
        spec = tiny_spec(grad_cache=chunk, **WITH_SETS)
        _, _, objective = train(tmp_path / name, spec, embedder=embedder)
        return Method(embedder, objective).state_dict()

    whole, chunked = trained("whole", None), trained("chunked", 3)
    assert "objective.sets.classifier.weight" in whole
    for name, tensor in whole.items():
        torch.testing.assert_close(chunked[name], tensor, rtol=1e-4, atol=1e-6)


def test_sequences_reach_the_batch(tmp_path):
    met = []

    class Reading(Method):
        def updates(self, forward, batch, epoch):
            met.append(batch)
            yield from super().updates(forward, batch, epoch)

    train(tmp_path, tiny_spec(epochs=1, **WITH_SETS), method=Reading)
    for batch in met:
        assert torch.equal(batch.sequence, SEQUENCES[batch.ids])
        assert torch.equal(batch.camera, COLUMNS["camera"][batch.ids])
        assert len(batch.of_sets()[1].labels) == 4


def test_a_sequence_of_two_classes_is_refused():
    sequences = SEQUENCES.clone()
    sequences[8] = 0
    sentence = "sequence must be of one class throughout, got another class at scene08.png than at"
    with pytest.raises(UserError, match=f"{sentence} scene00.png"):
        tiny_data(columns={"sequence": sequences})
    flags = torch.nn.functional.one_hot(LABELS)
    with pytest.raises(UserError, match=sentence):
        tiny_data(columns={"sequence": sequences}, labels=flags)
    with pytest.raises(UserError, match="sequence must be >= 0, got -1"):
        tiny_data(columns={"sequence": SEQUENCES - 1})
