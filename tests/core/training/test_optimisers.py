import pytest
import torch
from torch import nn

from likeness.models import ModelSpec, build_embedder
from likeness.proxies import ProxyBank
from likeness.training.optimisers import build_optimisers, parameter_groups
from likeness.training.spec import AdamWSpec, SGDSpec

SGD = SGDSpec(lr=0.1, weight_decay=0.01, head_lr_mult=10.0)


class Model(nn.Module):
    """Every kind of parameter."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LayerNorm([4, 4]))
        self.head = nn.Linear(4, 2)


def described(groups, **named):
    """name -> (rate, decay)"""
    names = {
        id(parameter): f"{prefix}.{name}"
        for prefix, module in named.items()
        for name, parameter in module.named_parameters()
    }
    return {
        names[id(parameter)]: (pytest.approx(group["lr"]), group["weight_decay"])
        for group in groups
        for parameter in group["params"]
    }


def test_who_learns_how_fast_and_who_decays():
    model, bank = Model(), ProxyBank(3, 2, lr_mult=5.0)
    free = nn.Module()
    free.temperature = nn.Parameter(torch.tensor(1.0))
    free.matrix = nn.Parameter(torch.zeros(2, 2))
    objective = nn.ModuleList([nn.ModuleList([bank]), free])
    groups = parameter_groups([model, objective], SGD, embedder=model)
    assert described(groups, model=model, objective=objective) == {
        "model.backbone.0.weight": (0.1, 0.01),
        "model.backbone.0.bias": (0.1, 0.0),
        "model.backbone.1.weight": (0.1, 0.0),
        "model.backbone.1.bias": (0.1, 0.0),
        "model.backbone.2.weight": (0.1, 0.0),  # a norm's matrix
        "model.backbone.2.bias": (0.1, 0.0),
        "model.head.weight": (1.0, 0.01),
        "model.head.bias": (1.0, 0.0),
        "objective.0.0.weight": (0.5, 0.0),  # the head's multiplier is not for the objective
        "objective.1.temperature": (0.1, 0.0),
        "objective.1.matrix": (0.1, 0.01),
    }
    assert all(group["base_lr"] == group["lr"] for group in groups)


def test_a_model_without_a_backbone_has_no_head():
    model = nn.Linear(2, 2)
    rates = {group["lr"] for group in parameter_groups([model], SGD, embedder=model)}
    assert rates == {0.1}


def test_a_shared_parameter_is_taken_once():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    groups = parameter_groups([first, second], SGD)
    assert sum(len(group["params"]) for group in groups) == 3


def test_every_parameter_of_a_real_model_is_in_one_group():
    spec = ModelSpec(
        backbone="resnet18", stem="small", image_size=32, pooling="gem", embedding_dim=8
    )
    model = build_embedder(spec, num_classes=3)
    (optimiser,) = build_optimisers({"main": [model]}, model, SGD, embedder=model).values()
    held = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    assert len(held) == len({id(item) for item in held}) == len(list(model.parameters()))
    fast = {
        id(parameter)
        for group in optimiser.param_groups
        for parameter in group["params"]
        if group["lr"] == 1.0
    }
    named = {name for name, item in model.named_parameters() if id(item) in fast}
    assert named == {
        name for name, _ in model.named_parameters() if not name.startswith("backbone")
    }


def test_a_parameter_in_no_group_is_an_error():
    model = Model()
    with pytest.raises(ValueError, match=r"no optimiser group holds head\.weight, head\.bias"):
        build_optimisers({"main": [model.backbone]}, model, SGD, embedder=model)


def test_a_parameter_in_two_groups_is_an_error():
    model = Model()
    with pytest.raises(ValueError, match="in the groups main and again"):
        build_optimisers({"main": [model], "again": [model.head]}, model, SGD, embedder=model)


def test_a_group_without_parameters_has_no_optimiser():
    model = Model()
    groups = {"main": [model], "none": [nn.ReLU()]}
    assert list(build_optimisers(groups, model, SGD, embedder=model)) == ["main"]


def test_options_reach_the_optimiser():
    model = Model()
    spec = SGDSpec(lr=0.1, momentum=0.8, nesterov=True)
    sgd = build_optimisers({"main": [model]}, model, spec, embedder=model)["main"]
    assert isinstance(sgd, torch.optim.SGD)
    assert all(group["momentum"] == 0.8 and group["nesterov"] for group in sgd.param_groups)
    adamw = build_optimisers({"main": [model]}, model, AdamWSpec(lr=0.1), embedder=model)["main"]
    assert isinstance(adamw, torch.optim.AdamW)
    assert {group["weight_decay"] for group in adamw.param_groups} == {0.0, 0.01}
