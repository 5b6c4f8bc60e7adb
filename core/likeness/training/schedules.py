"""The learning rate as a closed form of the position in the run: nothing to save or to drift."""

from __future__ import annotations

import math

from torch.optim import Optimizer

from likeness.training.spec import ConstantSpec, CosineSpec, StepSpec


def lr_factor(
    schedule: CosineSpec | StepSpec | ConstantSpec, *, epoch: float, step: float, epochs: int
) -> float:
    """What the learning rate of one step is multiplied with.

    Warm-up rises linearly and reaches 1 with the last step that ends within `warmup_epochs`; its
    first step already moves. The cosine runs over what is left, from 1 to (almost) 0.

    Args:
        schedule: which curve.
        epoch: fractional epoch at which the step begins, in [0, epochs).
        step: length of the step in epochs, in (0, 1].
        epochs: of the whole run.

    Returns:
        A factor in (0, 1].
    """
    warmup = schedule.warmup_epochs
    if epoch < warmup:
        return min(1.0, (epoch + step) / warmup)
    match schedule:
        case CosineSpec():
            return 0.5 * (1.0 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup)))
        case StepSpec():
            passed: int = sum(epoch >= milestone for milestone in schedule.milestones)
            return schedule.gamma**passed
        case ConstantSpec():
            return 1.0


def set_rate(optimisers: dict[str, Optimizer], factor: float) -> None:
    """Give every parameter group its own base learning rate times `factor`."""
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = group["base_lr"] * factor
