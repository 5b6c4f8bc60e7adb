"""A run with a teacher: what it needs, what it is, and that it goes on exactly."""

from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from fixtures.tiny_training import LABELS, ROWS, TAUGHT, TEACHER, tiny_data, tiny_spec, train
from fixtures.watched_runs import Stop, StoppedAfter
from likeness.batch import Batch
from likeness.errors import UserError


def test_killed_and_resumed_it_is_the_same_run(tmp_path):
    """Vertices are drawn by the step's generator: the rest of the run draws the same."""
    spec, whole, cut = tiny_spec(**TAUGHT), tmp_path / "whole", tmp_path / "cut"
    _, embedder, _ = train(whole, spec)
    with pytest.raises(Stop):
        train(cut, spec, checkpoint_steps=1, method=partial(StoppedAfter, steps=5))
    _, resumed, _ = train(cut, spec, resume=True)
    ours, theirs = (load_file(run / "checkpoints/last/run.safetensors") for run in (whole, cut))
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        assert torch.equal(tensor, theirs[key]), key
    for name, tensor in embedder.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_the_teacher_changes_the_student(tmp_path):
    spec = tiny_spec(**TAUGHT)
    _, first, _ = train(tmp_path / "first", spec)
    _, other, _ = train(tmp_path / "other", spec, data=tiny_data(teacher=TEACHER.flip(0)))
    assert not torch.equal(first.head.weight, other.head.weight)


def test_another_teacher_is_other_data(tmp_path):
    spec = tiny_spec(**TAUGHT)
    train(tmp_path, spec)
    moved = TEACHER.clone()
    moved[3, 1] += 1e-6
    with pytest.raises(UserError, match="data must be the images"):
        train(tmp_path, spec, data=tiny_data(teacher=moved), resume=True)


@pytest.mark.parametrize(
    ("changes", "teacher", "sentence"),
    [
        (TAUGHT, None, "teacher must be given where the objective has distillation"),
        ({}, TEACHER, "objective.distillation must be at least one term where there is a teacher"),
    ],
)
def test_teacher_and_distillation_go_together(tmp_path, changes, teacher, sentence):
    with pytest.raises(UserError, match=sentence):
        train(tmp_path, tiny_spec(**changes), data=tiny_data(teacher=teacher))
    assert not (tmp_path / "checkpoints").exists()


def test_what_is_no_table_of_embeddings_is_refused():
    lost = TEACHER.clone()
    lost[2, 0] = torch.nan
    with pytest.raises(UserError, match=r"teacher must be finite, got .* at scene02\.png"):
        tiny_data(teacher=lost)
    for wrong in (TEACHER[:5], TEACHER[:, 0]):
        with pytest.raises(UserError, match=rf"teacher must be of shape \({ROWS}, T\)"):
            tiny_data(teacher=wrong)
        with pytest.raises(UserError, match=rf"teacher must be of shape \({ROWS}, T\)"):
            Batch(LABELS, teacher=wrong)


def test_what_a_teacher_said_is_part_of_the_datas_identity():
    plain = tiny_data().identity
    assert tiny_data(teacher=TEACHER).identity not in (plain, tiny_data(teacher=-TEACHER).identity)
    assert plain == "abc"
