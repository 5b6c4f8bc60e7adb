"""A killed and resumed run equals the uninterrupted one bit for bit."""

import inspect
import json
import os
from functools import partial
from pathlib import Path

import pytest
import torch

import likeness.training
from fixtures.tiny_training import (
    REMEMBERING,
    WITH_PROXIES,
    WITH_STRUCTURE,
    TinyEmbedder,
    tiny_data,
    tiny_spec,
    train,
    train_and_be_killed,
)
from fixtures.watched_runs import (
    Stop,
    StoppedAfter,
    assert_same_run,
    assert_same_tensors,
    log_rows,
    run_until_killed,
    saved_tensors,
)
from likeness.errors import UserError
from likeness.training import TIME_COLUMNS
from likeness.training.checkpoint import has_checkpoint

HARD_CLASSES = {
    "objective": {"terms": [{"loss": {"name": "n_pair"}, "miners": [{"name": "n_pairs"}]}]},
    "sampler": {"name": "hard_classes", "classes_per_batch": 3, "per_class": 2},
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    result, _, _ = train(folder, checkpoint_steps=3)
    return folder, result


def assert_all_the_same(folder, other):
    """Of runs that are validated."""
    assert_same_run(folder, other)
    assert_same_tensors(saved_tensors(folder, "best"), saved_tensors(other, "best"))
    assert log_rows(folder, "epochs") == log_rows(other, "epochs")


# Steps 1-12, checkpoints after 3, 6, 9, 12 and at the ends of epochs (4, 8, 12): writes number
# 1 (step 3), 2 (step 4, epoch), 3 (step 6), 4 (step 8), 5 (step 9), ...
MOMENTS = [
    pytest.param("step", 2, 0, 0, id="before-the-first-checkpoint"),
    pytest.param("step", 8, 0, 6, id="mid-epoch"),
    pytest.param("step", 8, 2, 6, id="mid-epoch-2-workers"),
    pytest.param("write", 3, 0, 4, id="half-a-checkpoint-is-written"),
    pytest.param("rename", 6, 2, 6, id="between-the-two-renames-2-workers"),
    pytest.param("validate", 3, 0, 12, id="after-the-last-step"),
]


@pytest.mark.parametrize(("moment", "count", "workers", "kept"), MOMENTS)
def test_killed_and_resumed(tmp_path, uninterrupted, moment, count, workers, kept):
    run_until_killed(train_and_be_killed, tmp_path, moment, count, workers)
    assert has_checkpoint(tmp_path / "checkpoints") == (kept > 0)
    whole, expected = uninterrupted
    result, embedder, _ = train(
        tmp_path, tiny_spec(workers=workers), resume=True, checkpoint_steps=3
    )
    assert_all_the_same(tmp_path, whole)
    assert result.steps == expected.steps == 12
    assert result.best_epoch == expected.best_epoch
    same = [name for name in expected.history if name not in TIME_COLUMNS]
    assert list(result.history) == list(expected.history)
    assert result.history[same].equals(expected.history[same])
    best = saved_tensors(tmp_path, "best")
    for name, tensor in embedder.state_dict().items():
        assert torch.equal(tensor, best[f"embedder.{name}"])


@pytest.mark.parametrize("last", [1, 5, 11])
def test_stopped_after_any_step_and_resumed(tmp_path, uninterrupted, last):
    """Without a process: the checkpoint of every step is as good as any other."""
    with pytest.raises(Stop):
        train(tmp_path, checkpoint_steps=1, method=partial(StoppedAfter, steps=last))
    record = json.loads((tmp_path / "checkpoints/last/run.json").read_text())
    assert record["state"]["ledger"]["step"] == last
    train(tmp_path, resume=True)
    assert_all_the_same(tmp_path, uninterrupted[0])


def test_proxies_of_every_loss_go_on_as_they_were(tmp_path):
    spec, whole, cut = tiny_spec(**WITH_PROXIES), tmp_path / "whole", tmp_path / "cut"
    train(whole, spec)
    with pytest.raises(Stop):
        train(cut, spec, checkpoint_steps=1, method=partial(StoppedAfter, steps=5))
    train(cut, spec, resume=True)
    assert_all_the_same(cut, whole)


@pytest.mark.parametrize("changes", [REMEMBERING, HARD_CLASSES], ids=["memory", "hard-classes"])
@pytest.mark.parametrize("last", [2, 6])
def test_memories_and_mined_classes_go_on_as_they_were(tmp_path, changes, last):
    spec, whole, cut = tiny_spec(**changes), tmp_path / "whole", tmp_path / "cut"
    train(whole, spec)
    with pytest.raises(Stop):
        train(cut, spec, checkpoint_steps=1, method=partial(StoppedAfter, steps=last))
    train(cut, spec, resume=True)
    assert_all_the_same(cut, whole)


@pytest.mark.parametrize("last", [1, 6])
def test_hierarchies_and_learned_weights_go_on_as_they_were(tmp_path, last):
    spec, whole, cut = tiny_spec(**WITH_STRUCTURE), tmp_path / "whole", tmp_path / "cut"
    train(whole, spec)
    with pytest.raises(Stop):
        train(cut, spec, checkpoint_steps=1, method=partial(StoppedAfter, steps=last))
    train(cut, spec, resume=True)
    assert_all_the_same(cut, whole)


def test_the_killed_run_had_logged_more_than_was_kept(tmp_path):
    run_until_killed(train_and_be_killed, tmp_path, "step", 9, 0)
    log = tmp_path / "logs/train.csv"
    assert [row["step"] for row in log_rows(tmp_path)] == [str(step) for step in range(1, 9)]
    with log.open("a") as file:
        file.write("9,3,0.123")  # a row that was cut off in the middle
    train(tmp_path, resume=True)
    assert [row["step"] for row in log_rows(tmp_path)] == [str(step) for step in range(1, 13)]


def test_resume_without_a_checkpoint_starts(tmp_path, uninterrupted):
    result, _, _ = train(tmp_path, resume=True)
    assert not result.already_finished
    assert_all_the_same(tmp_path, uninterrupted[0])


def test_a_finished_run_says_so_and_changes_nothing(tmp_path, capsys):
    first, trained, _ = train(tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    torch.manual_seed(99)
    again, embedder, _ = train(tmp_path, resume=True, quiet=False, embedder=TinyEmbedder())
    assert again.already_finished
    assert not first.already_finished
    assert "is finished: nothing left to train" in capsys.readouterr().err
    assert again.history.equals(first.history)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
    for name, tensor in embedder.state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[name])


def test_a_run_is_not_overwritten_by_accident(tmp_path):
    train(tmp_path)
    with pytest.raises(UserError, match="out must be a new directory, or used with --resume, got"):
        train(tmp_path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"optimiser": {"name": "sgd", "lr": 0.1}},
            r"config\.optimiser\.lr must be 0\.05, as in the run to resume .*, got 0\.1",
        ),
        ({"epochs": 4}, r"config\.epochs must be 3, .*, got 4"),
        (
            {"objective": {"terms": [{"loss": {"name": "triplet"}}]}},
            r"config\.objective\.terms\.0\.loss\.name must be 'centre_structured', .* 'triplet'",
        ),
        (
            {"schedule": {"name": "step", "milestones": [1, 2]}},
            r"config\.schedule\.name must be 'cosine', .* got 'step'",
        ),
    ],
)
def test_a_changed_configuration_is_refused_by_its_first_key(tmp_path, changes, sentence):
    train(tmp_path)
    with pytest.raises(UserError, match=sentence):
        train(tmp_path, tiny_spec(**changes), resume=True)


def test_changed_data_is_refused(tmp_path):
    train(tmp_path)
    with pytest.raises(UserError, match=r"data must be the images.*'abc'.*'xyz'"):
        train(tmp_path, data=tiny_data(hash="xyz"), resume=True)


def test_what_changes_no_number_may_change(tmp_path):
    train(tmp_path)
    spec = tiny_spec(workers=1, checkpoint_minutes=1.0)
    assert train(tmp_path, spec, resume=True)[0].already_finished


def test_minutes_make_a_checkpoint_too(tmp_path):
    def never(embedder):
        raise Stop

    with pytest.raises(Stop):  # in the first epoch's end, before its own checkpoint
        train(tmp_path, tiny_spec(checkpoint_minutes=1e-9), validate=never)
    record = json.loads((tmp_path / "checkpoints/last/run.json").read_text())
    assert record["state"]["ledger"]["step"] == 4


def test_a_checkpoint_of_another_format_is_refused(tmp_path):
    train(tmp_path)
    path = tmp_path / "checkpoints/last/run.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(UserError, match="checkpoint format must be 1, got 2"):
        train(tmp_path, resume=True)


@pytest.mark.parametrize("name", ["run.safetensors", "best.safetensors", "run.json"])
def test_a_damaged_checkpoint_is_refused(tmp_path, name):
    train(tmp_path)
    path = tmp_path / "checkpoints/last" / name
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match="checkpoint must be readable, got"):
        train(tmp_path, resume=True)


def test_checkpoints_hold_no_pickle_and_others_may_read_them(tmp_path):
    train(tmp_path)
    files = sorted((tmp_path / "checkpoints").rglob("*"))
    names = [path.name for path in files if path.is_file()]
    assert names == ["best.safetensors", "run.json", "run.safetensors"]
    mask = os.umask(0)
    os.umask(mask)
    for path in (tmp_path / "checkpoints/last").iterdir():
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_the_room_never_unpickles():
    room = Path(inspect.getfile(likeness.training)).parent
    sources = "".join(path.read_text() for path in room.glob("*.py"))
    assert "torch.load(" not in sources
    assert "pickle" not in sources
