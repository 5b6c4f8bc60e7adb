"""Methods with networks of their own: killed and resumed, on two processes, in half precision."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from fixtures.tiny_training import (
    HARDNESS_AWARE,
    TWO_STAGES,
    TinyEmbedder,
    stopped_method,
    tiny_spec,
    train,
    train_and_be_killed,
    train_in_double_as_one_of,
)
from fixtures.watched_runs import (
    SECONDS,
    Stop,
    assert_same_run,
    fresh_processes,
    log_rows,
    run_until_killed,
    saved_tensors,
)
from likeness.training import Method

NO_STATISTICS = {"batch_norm": False, "dropout": 0.0}
CASES = {"hdml": HARDNESS_AWARE, "two_stage": TWO_STAGES}


@pytest.fixture(scope="module", params=CASES)
def uninterrupted(request, tmp_path_factory):
    """The changes of a case, and the folder of its whole run."""
    folder = tmp_path_factory.mktemp(request.param)
    changes = CASES[request.param]
    train(folder, tiny_spec(**changes), checkpoint_steps=3)
    return changes, folder


def test_everything_that_learns_or_counts_is_kept(uninterrupted):
    changes, folder = uninterrupted
    kept = saved_tensors(folder)
    if changes is HARDNESS_AWARE:
        networks, others = ("generator", "classifier"), ("metric_mean", "generator_mean")
        groups = networks
    else:
        networks = ("pair_generator", "negative_generator", "discriminator")
        others = ("metric_mean", "usual_distance", "real_share")
        groups = ("generators", "discriminator")
    for name in (*networks, *others):
        found = [key for key in kept if key.startswith(f"method.{name}.")]
        assert found, name
        assert all(kept[key].isfinite().all() for key in found), name
    for group in groups:
        assert any(key.startswith(f"optimiser.{group}.") for key in kept), group


@pytest.mark.parametrize("last", [3, 6, 10])  # of 12 steps: one in each phase
def test_stopped_and_resumed(tmp_path, uninterrupted, last):
    changes, whole = uninterrupted
    spec = tiny_spec(**changes)
    method = partial(stopped_method, spec=spec, steps=last)
    with pytest.raises(Stop):
        train(tmp_path, spec, checkpoint_steps=1, method=method)
    train(tmp_path, spec, resume=True)
    assert_same_run(tmp_path, whole)


def test_killed_and_resumed(tmp_path, uninterrupted):
    changes, whole = uninterrupted
    run_until_killed(train_and_be_killed, tmp_path, "write", 5, 0, changes)
    train(tmp_path, tiny_spec(**changes), resume=True, checkpoint_steps=3)
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_in_half_precision(tmp_path, changes):
    result, _, _ = train(tmp_path, tiny_spec(**changes, precision="bf16-mixed"))
    assert result.steps == 12
    for name, tensor in saved_tensors(tmp_path).items():
        assert tensor.isfinite().all(), name
        assert tensor.dtype in (torch.float32, torch.int64), name
    assert all(math.isfinite(float(row["loss"])) for row in log_rows(tmp_path))


# --- in double precision: AdamW makes a full step even of a slope that is nothing but rounding ----


@pytest.fixture
def double():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def train_without_batch_statistics(folder, changes):
    spec = tiny_spec(**changes)
    torch.manual_seed(spec.seed)
    embedder = TinyEmbedder(**NO_STATISTICS)
    _, _, objective = train(folder, spec, embedder=embedder)
    return Method(embedder, objective).state_dict()


def losses(folder):
    return [float(row["loss"]) for row in log_rows(folder)]


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_chunks_change_nothing(tmp_path, changes):
    whole = train_without_batch_statistics(tmp_path / "whole", changes)
    chunks = train_without_batch_statistics(tmp_path / "chunks", {**changes, "grad_cache": 3})
    for name, tensor in whole.items():
        torch.testing.assert_close(chunks[name], tensor, rtol=1e-7, atol=1e-9)
    assert losses(tmp_path / "chunks") == pytest.approx(losses(tmp_path / "whole"), rel=1e-9)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_two_processes_equal_one(tmp_path, changes):
    """Losses of all networks in every step, and the model at the end."""
    results = tmp_path / "two/results"
    results.mkdir(parents=True)
    shared = (tmp_path / "two", results, (NO_STATISTICS, changes))
    children = [
        fresh_processes().Process(target=train_in_double_as_one_of, args=(2, rank, *shared))
        for rank in range(2)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(SECONDS)
    assert [child.exitcode for child in children] == [0, 0]
    one = train_without_batch_statistics(tmp_path / "one", changes)
    first, second = (load_file(path) for path in sorted(results.iterdir()))
    for name, tensor in one.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], tensor, rtol=1e-7, atol=1e-9)
    assert losses(tmp_path / "two/run") == pytest.approx(losses(tmp_path / "one"), rel=1e-9)
