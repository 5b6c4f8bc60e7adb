"""A frozen backbone keeps its weights for so many epochs, also over a stop."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from fixtures.tiny_training import TinyEmbedder, tiny_spec, train
from fixtures.watched_runs import Stop, StoppedAfter
from likeness.errors import UserError
from likeness.training.freezing import FrozenBackbone


@pytest.fixture
def frozen_spec(tmp_path: Path):
    """The tiny network has no weights file; a name says that its backbone is pretrained."""

    def build(epochs: int, **changes: object):
        model = {"backbone": "resnet18", "image_size": 16, "weights": "some.safetensors"}
        return tiny_spec(model=model, frozen_epochs=epochs, **changes)

    return build


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints/last/run.safetensors")


def started(spec) -> TinyEmbedder:
    torch.manual_seed(spec.seed)
    return TinyEmbedder()


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_frozen_weights_stay_and_the_rest_moves(tmp_path, frozen_spec, name) -> None:
    spec = frozen_spec(3, optimiser={"name": name, "lr": 0.05, "weight_decay": 0.1})
    before = started(spec).state_dict()
    train(tmp_path, spec, embedder=started(spec))
    after = weights(tmp_path)
    moved = {key: not torch.equal(before[key], after[f"method.embedder.{key}"]) for key in before}
    assert not moved["backbone.0.weight"]
    assert not moved["backbone.1.bias"]
    assert moved["head.weight"]
    assert moved["backbone.1.running_mean"]


def test_after_its_epochs_the_backbone_learns(tmp_path, frozen_spec) -> None:
    spec = frozen_spec(2)
    before = started(spec).state_dict()["backbone.0.weight"]
    train(tmp_path, spec, embedder=started(spec))
    assert not torch.equal(weights(tmp_path)["method.embedder.backbone.0.weight"], before)


@pytest.mark.parametrize("last", [3, 5, 9])
def test_a_stopped_run_goes_on_as_it_was(tmp_path, frozen_spec, last) -> None:
    """In a frozen epoch, in the middle of another, and after the backbone was let go."""
    spec, whole, cut = frozen_spec(2), tmp_path / "whole", tmp_path / "cut"
    train(whole, spec)
    with pytest.raises(Stop):
        train(cut, spec, checkpoint_steps=1, method=partial(StoppedAfter, steps=last))
    train(cut, spec, resume=True)
    ours, theirs = weights(cut), weights(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_what_was_frozen_by_others_stays_frozen() -> None:
    embedder = TinyEmbedder()
    embedder.backbone[0].weight.requires_grad_(False)
    hook = FrozenBackbone(embedder, 1)
    hook.on_epoch_start(0, None, torch.zeros(0))
    assert not any(item.requires_grad for item in embedder.backbone.parameters())
    hook.load_state_dict({"epoch": torch.tensor(1)})
    assert [item.requires_grad for item in embedder.backbone.parameters()] == [
        *(False, True),
        *(True, True),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frozen_epochs": 1}, "frozen_epochs must be 0 for a backbone at random, got 1"),
        ({"frozen_epochs": 9}, "frozen_epochs must be <= epochs, 3, got 9"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, message) -> None:
    with pytest.raises(UserError, match=message):
        tiny_spec(**changes)


def test_a_network_without_anything_else_is_refused() -> None:
    with pytest.raises(UserError, match="0 for a network without a backbone, got 2"):
        FrozenBackbone(nn.Linear(2, 2), 2)
    alone = TinyEmbedder()
    alone.head = alone.classifier = nn.Identity()
    with pytest.raises(UserError, match="0 for a network with nothing to train behind its"):
        FrozenBackbone(alone, 2)
