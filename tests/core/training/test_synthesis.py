"""Syntheses in a run: statistics from the shared pass, killed and resumed, refused combinations."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.tiny_training import LABELS, WITH_SYNTHESIS, tiny_spec, train, train_and_be_killed
from fixtures.watched_runs import (
    Stop,
    StoppedAfter,
    assert_same_tensors,
    run_until_killed,
    saved_tensors,
)
from likeness.errors import UserError
from likeness.synthesis.class_statistics import class_statistics

every = pytest.mark.parametrize("name", WITH_SYNTHESIS)


def run(folder: Path, name: str, **options: Any) -> dict[str, torch.Tensor]:
    """What the checkpoint of a run holds at its end."""
    train(folder, tiny_spec(**WITH_SYNTHESIS[name]), **options)
    return saved_tensors(folder)


@every
def test_stopped_and_resumed(tmp_path: Path, name: str) -> None:
    """In the middle of epoch 1: of what intra-class statistics began with."""
    whole = run(tmp_path / "whole", name)
    stopped = partial(StoppedAfter, steps=6)
    with pytest.raises(Stop):
        run(tmp_path / "cut", name, checkpoint_steps=1, method=stopped)
    assert_same_tensors(run(tmp_path / "cut", name, resume=True), whole)
    kept = [key for key in whole if "synthesis.synthesiser" in key]
    assert bool(kept) == (name != "symmetrical")
    assert all(whole[key].any() for key in kept)


@pytest.mark.parametrize("name", ["intra_class", "densely_anchored"])
def test_killed_and_resumed(tmp_path: Path, name: str) -> None:
    changes = WITH_SYNTHESIS[name]
    run_until_killed(train_and_be_killed, tmp_path / "cut", "step", 8, 0, changes)
    whole = run(tmp_path / "whole", name, checkpoint_steps=3)
    assert_same_tensors(run(tmp_path / "cut", name, resume=True, checkpoint_steps=3), whole)


class Watching:
    """A hook that notes the embeddings of the shared pass, and asks for none."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor | None] = []

    def wants_embeddings(self, epoch: int) -> bool:
        return False

    def on_epoch_start(self, epoch: int, embeddings: Any, labels: torch.Tensor) -> None:
        self.seen.append(None if embeddings is None else embeddings["embedding"].clone())

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        pass


def test_statistics_are_those_of_the_pass_that_all_hooks_share(tmp_path: Path) -> None:
    hook = Watching()
    changes = {"start_epoch": 1, "every": 5, "momentum": 0.2}
    terms = [{"loss": {"name": "multi_similarity"}}]
    synthesis = {"name": "intra_class", **changes}
    spec = tiny_spec(objective={"terms": terms, "synthesis": synthesis})
    _, _, objective = train(tmp_path, spec, hooks=[hook], validate=None)
    assert [rows is None for rows in hook.seen] == [True, False, True]
    expected = class_statistics(hook.seen[1], LABELS, 4)
    kept = objective.synthesis.synthesiser
    torch.testing.assert_close(kept.mean_CD, expected.mean_CD.float())
    torch.testing.assert_close(kept.variance_CD, expected.variance_CD.float())
    assert kept.count_C.tolist() == [8] * 4


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"objective": {"terms": [], "synthesis": {"name": "intra_class"}}},
            "objective.synthesis.start_epoch must be < epochs, 3, got 30",
        ),
        (
            {
                "objective": {
                    "terms": [{"loss": {"name": "triplet"}}],
                    "classification": None,
                    "synthesis": {"name": "densely_anchored"},
                },
                "pseudo_labels": {"clusters": 4},
            },
            "objective.synthesis must be null or 'symmetrical' with pseudo_labels",
        ),
    ],
)
def test_what_makes_no_sense_in_a_run_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        tiny_spec(**changes)
