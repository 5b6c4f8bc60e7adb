import pytest
import torch
from torch import nn

from likeness.training.checkpoint import (
    Checkpoint,
    Identity,
    first_difference,
    has_checkpoint,
    load_checkpoint,
    optimiser_tensors,
    restore_optimiser,
    save_checkpoint,
)

IDENTITY = Identity({"lr": 0.1, "milestones": (1, 2)}, "abc", 1)


def test_what_is_saved_comes_back(tmp_path):
    shared = torch.arange(6.0)
    tensors = {
        "whole": shared,
        "part": shared[::2],  # strided, and the same memory
        "bytes": torch.tensor([1, 2], dtype=torch.uint8),
        "nothing": torch.empty(0),
        "scalar": torch.tensor(3, dtype=torch.int64),
    }
    state = {"third": 1 / 3, "steps": 12, "none": None}
    save_checkpoint(tmp_path, Checkpoint(tensors, state), IDENTITY)
    found = load_checkpoint(tmp_path, IDENTITY)
    assert found.state == state
    assert found.best == {}
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found.tensors[name], tensor)
        assert found.tensors[name].dtype == tensor.dtype


def test_a_second_checkpoint_replaces_the_first(tmp_path):
    assert not has_checkpoint(tmp_path)
    for step in (1, 2):
        save_checkpoint(tmp_path, Checkpoint({}, {"step": step}), IDENTITY)
    assert load_checkpoint(tmp_path, IDENTITY).state == {"step": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1, "b": 2}, {"b": 3, "a": 4}, ("c.b", 2, 3)),
        ({"a": {"x": [1, {"y": 2}]}}, {"a": {"x": [1, {"y": 3}]}}, ("c.a.x.1.y", 2, 3)),
        ({"a": [1]}, {"a": [1, 2]}, ("c.a", [1], [1, 2])),
        ({"a": 1}, {}, ("c.a", 1, None)),
        ({}, {"a": 1}, ("c.a", None, 1)),
        ({"a": {"x": 1}}, {"a": None}, ("c.a", {"x": 1}, None)),
    ],
)
def test_first_difference(before, now, expected):
    assert first_difference(before, now, "c") == expected


def trained(kind, steps, *, restore=None):
    """A two-layer network after some steps, its memory perhaps taken from another optimiser."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    network = network.to(memory_format=torch.channels_last)
    optimiser = kind(network.parameters())
    if restore is not None:
        weights, memory = restore
        network.load_state_dict(weights)
        restore_optimiser(optimiser, *memory)
    images = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        optimiser.zero_grad()
        network(images).square().sum().backward()
        optimiser.step()
    return network, optimiser


@pytest.mark.parametrize(
    "kind",
    [
        lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9, nesterov=True),
        lambda parameters: torch.optim.SGD(parameters, lr=0.01),
        lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
    ],
    ids=["momentum", "plain", "adamw"],
)
def test_an_optimiser_goes_on_exactly(kind):
    whole, _ = trained(kind, 7)
    network, optimiser = trained(kind, 3)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    tensors, scalars = optimiser_tensors(optimiser)
    tensors = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    resumed, _ = trained(kind, 4, restore=(weights, (tensors, scalars)))
    for ours, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_an_optimisers_memory_has_its_parameters_layout():
    def kind(parameters):
        return torch.optim.AdamW(parameters, lr=0.01)

    network, optimiser = trained(kind, 2)
    tensors, scalars = optimiser_tensors(optimiser)
    plain = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    _, restored = trained(kind, 0, restore=(network.state_dict(), (plain, scalars)))
    weight = restored.param_groups[0]["params"][0]
    assert restored.state[weight]["exp_avg"].stride() == weight.stride()
