"""Two gloo processes against one."""

import csv

import pytest
import torch
from safetensors.torch import load_file

from fixtures.tiny_training import (
    CLASSES,
    CROSS_MODAL,
    IN_ROUNDS,
    ON_SUBCLASSES,
    REMEMBERING,
    SELF_PACED,
    TAUGHT,
    WITH_PROXIES,
    WITH_SETS,
    WITH_STRUCTURE,
    WITH_SYNTHESIS,
    TinyEmbedder,
    tiny_spec,
    train,
    train_as_one_of,
)
from fixtures.watched_runs import fresh_processes
from likeness.errors import UserError
from likeness.training import Method, build_fabric
from likeness.training.distributed import share

METRIC_TERM = {"terms": [{"loss": {"name": "centre_structured"}}]}
# Both embed all images for themselves, and plan their batches by what they find.
UNLABELLED = {
    "objective": {"classification": None, "terms": [{"loss": {"name": "proxy_anchor"}}]},
    "pseudo_labels": {"clusters": CLASSES},
}
HARD_CLASSES = {
    "sampler": {"name": "hard_classes", "classes_per_batch": 3, "per_class": 2, "candidates": 4}
}
SECONDS = 120  # for a machine under load; it takes about three


def train_together(folder, options, stop_after=None):
    """Both processes' final states; none if they were stopped."""
    (folder / "meeting_point").unlink(missing_ok=True)
    results = folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    arguments = (folder, results, options, stop_after)
    children = [
        fresh_processes().Process(target=train_as_one_of, args=(2, rank, *arguments))
        for rank in range(2)
    ]
    try:
        for child in children:
            child.start()
        for child in children:
            child.join(SECONDS)
        assert [child.exitcode for child in children] == [0, 0]
    finally:
        for child in children:
            child.kill()
    return [load_file(path) for path in sorted(results.iterdir())]


def logged(folder, column):
    with (folder / "logs/train.csv").open(newline="") as file:
        return [float(row[column]) for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param({"grad_cache": 3, "clip_norm": 0.5}, id="chunks-and-clipping"),
        pytest.param(WITH_SETS, id="sets"),  # some of them have frames on both processes
        pytest.param(ON_SUBCLASSES, id="sub-classes"),
        pytest.param(WITH_PROXIES, id="proxies"),
        pytest.param(WITH_STRUCTURE, id="hierarchy-and-ensemble"),
        pytest.param(SELF_PACED, id="self-paced"),
        pytest.param(IN_ROUNDS, id="representatives-and-projections"),
        pytest.param(UNLABELLED, id="pseudo-labels"),
        pytest.param(HARD_CLASSES, id="hard-classes"),
        pytest.param(CROSS_MODAL, id="cross-modal"),
        pytest.param(TAUGHT, id="taught"),
        *(pytest.param(changes, id=name) for name, changes in WITH_SYNTHESIS.items()),
        pytest.param(REMEMBERING, id="memory"),
        *(
            pytest.param(
                {"objective": {**METRIC_TERM, "classification": {"targets": targets}}}, id=targets
            )
            for targets in ("drawn", "soft", "multi")
        ),
    ],
)
def test_two_processes_equal_one(tmp_path, changes):
    """The loss, the gradients (network and proxies), the logs and the weights."""
    options = ({"batch_norm": False, "dropout": 0.0}, changes)
    first, second = train_together(tmp_path / "two", options)
    spec = tiny_spec(**changes)
    torch.manual_seed(spec.seed)
    embedder = TinyEmbedder(batch_norm=False, dropout=0.0)
    _, _, objective = train(tmp_path / "one", spec, embedder=embedder)
    expected = Method(embedder, objective).state_dict()
    assert objective.state_dict()  # proxies, a class layer, running means
    for name, tensor in expected.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], tensor, rtol=1e-4, atol=1e-6)
    for column in ("loss", "grad_norm", "active"):
        ours, theirs = (logged(tmp_path / name, column) for name in ("two/run", "one"))
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_with_batch_norm_all_processes_hold_one_model_and_resume_is_exact(tmp_path):
    options = ({"batch_norm": True, "dropout": 0.3}, {})
    first, second = train_together(tmp_path / "whole", options)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert train_together(tmp_path / "cut", options, stop_after=7) == []
    for resumed in train_together(tmp_path / "cut", options):
        for name, tensor in first.items():
            assert torch.equal(tensor, resumed[name]), name
    assert logged(tmp_path / "cut/run", "loss") == logged(tmp_path / "whole/run", "loss")


def test_the_shares_make_up_the_batch():
    parts = [share(list("abcdef"), rank=rank, world=3) for rank in range(3)]
    assert parts == [["a", "b"], ["c", "d"], ["e", "f"]]


def test_a_batch_that_cannot_be_shared_equally_is_refused():
    with pytest.raises(UserError, match="batch size must be a multiple of 2 devices, got 5"):
        share(list("abcde"), rank=0, world=2)


def test_no_device_is_refused():
    with pytest.raises(UserError, match="devices must be >= 1, got 0"):
        build_fabric(devices=0)


def test_another_number_of_devices_is_refused_on_resume(tmp_path):
    train(tmp_path)
    path = tmp_path / "checkpoints/last/run.json"
    path.write_text(path.read_text().replace('"devices": 1', '"devices": 2'))
    with pytest.raises(UserError, match="devices must be 2, as in the run to resume, got 1"):
        train(tmp_path, resume=True)
