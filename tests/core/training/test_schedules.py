import math

import pytest
import torch

from likeness.training.schedules import lr_factor, set_rate
from likeness.training.spec import ConstantSpec, CosineSpec, StepSpec


def curve(schedule, *, epochs, steps):
    return [
        lr_factor(schedule, epoch=step / steps, step=1 / steps, epochs=epochs)
        for step in range(epochs * steps)
    ]


def test_cosine():
    expected = [(1 + math.cos(math.pi * step / 40)) / 2 for step in range(40)]
    assert curve(CosineSpec(), epochs=10, steps=4) == pytest.approx(expected)


def test_cosine_after_warm_up():
    warm = [(step + 1) / 8 for step in range(8)]
    falling = [(1 + math.cos(math.pi * step / 32)) / 2 for step in range(32)]
    found = curve(CosineSpec(warmup_epochs=2), epochs=10, steps=4)
    assert found == pytest.approx(warm + falling)


def test_steps():
    schedule = StepSpec(milestones=(2, 4), gamma=0.1)
    expected = [1.0] * 6 + [0.1] * 6 + [0.01] * 3
    assert curve(schedule, epochs=5, steps=3) == pytest.approx(expected)


def test_constant_after_half_an_epoch_of_warm_up():
    found = curve(ConstantSpec(warmup_epochs=0.5), epochs=2, steps=4)
    assert found == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 1])


def test_warm_up_that_ends_between_two_steps_reaches_one():
    found = curve(ConstantSpec(warmup_epochs=0.6), epochs=1, steps=4)
    assert found == pytest.approx([0.25 / 0.6, 0.5 / 0.6, 1, 1])


def test_warm_up_to_the_very_end():
    found = curve(CosineSpec(warmup_epochs=2), epochs=2, steps=2)
    assert found == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_every_group_keeps_its_own_base():
    groups = [
        {"params": [torch.zeros(1, requires_grad=True)], "lr": lr, "base_lr": lr}
        for lr in (0.1, 2.0)
    ]
    optimiser = torch.optim.SGD(groups, lr=0.1)
    for factor in (0.5, 0.25):  # of the base, not of the last rate
        set_rate({"main": optimiser}, factor)
    assert [group["lr"] for group in optimiser.param_groups] == [0.025, 0.5]
