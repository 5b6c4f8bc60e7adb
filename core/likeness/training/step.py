"""One step: what a method asks to be minimised, turned into updates of its networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from likeness.batch import Batch
from likeness.models import Outputs
from likeness.objective import Objective, Part
from likeness.training.distributed import average_gradients, average_statistics
from likeness.training.forward import Forward

MAIN = "main"
_NOTHING: Mapping[str, Part] = {}


class Update(NamedTuple):
    """One loss and the networks that it moves.

    Attributes:
        loss: a scalar with a graph.
        group: the parameter group (a key of `Method.groups`) that this loss moves.
        fresh_forward: what comes next starts from a fresh forward pass, so this update is applied
            at once (alternating updates, as in a GAN). Otherwise updates wait for each other: all
            gradients are taken from the one graph, then all optimisers step (simultaneous updates,
            as in HDML). Stepping in between would change weights that the graph still needs.
        parts: for the log.
    """

    loss: Tensor
    group: str = MAIN
    fresh_forward: bool = False
    parts: Mapping[str, Part] = _NOTHING


class Method(nn.Module):
    """What one step minimises, and with which networks; this one is ordinary training.

    A method with more networks or more losses overrides `groups` and `updates`. All its state
    (networks, buffers, running scalars) is its `state_dict`, so checkpoints hold it.

    Args:
        embedder: images -> `Outputs`; the model that the run is for.
        objective: the loss on its outputs.
    """

    def __init__(self, embedder: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.embedder = embedder
        self.objective = objective

    def groups(self) -> dict[str, list[nn.Module]]:
        """The modules that each update group moves; together they hold every parameter once."""
        return {MAIN: [self.embedder, self.objective]}

    def rates(self) -> dict[str, float]:
        """Learning rates of groups with one of their own: AdamW, whatever the run's optimiser."""
        return {}

    def updates(
        self, forward: Callable[[], Outputs], batch: Batch, epoch: float
    ) -> Iterator[Update]:
        """The step's updates; `forward()` runs the embedder on the batch, each time anew."""
        loss, parts = self.objective(forward(), batch, epoch=epoch)
        yield Update(loss, parts=parts)

    def after_step(self, outputs: Outputs, batch: Batch) -> None:
        """Called when all optimisers have stepped, with the last forward pass's outputs."""
        self.objective.after_step(outputs, batch)


class StepReport(NamedTuple):
    """What a step did, still on the device.

    Attributes:
        loss: sum of the updates' losses.
        grad_norm: norm of all gradients, before clipping.
        parts: the updates' parts; with more than one group, `group.part`.
    """

    loss: Tensor
    grad_norm: Tensor
    parts: dict[str, Part]


def take_step(
    method: Method,
    forward: Forward,
    batch: Batch,
    optimisers: Mapping[str, Optimizer],
    fabric: Fabric,
    *,
    epoch: float,
    clip_norm: float | None = None,
) -> StepReport:
    """Run a method's updates on one batch.

    Args:
        method: what to minimise.
        forward: the batch's images and the network.
        batch: what is known of the (global) batch.
        optimisers: one for each of the method's groups.
        fabric: for the mean over processes.
        epoch: fractional epoch, for scheduled weights.
        clip_norm: gradients of a group are shortened to this norm.
    """
    passes: list[Outputs] = []

    def run() -> Outputs:
        passes.append(forward())
        return passes[-1]

    done: list[Update] = []
    norms: list[Tensor] = []
    waiting: list[Update] = []
    for update in method.updates(run, batch, epoch):
        waiting.append(update)
        done.append(update)
        if update.fresh_forward:
            norms += _apply(waiting, forward, optimisers, fabric, clip_norm)
            waiting = []
    norms += _apply(waiting, forward, optimisers, fabric, clip_norm)
    average_statistics(method.embedder, fabric)
    method.after_step(passes[-1], batch)
    return StepReport(
        loss=torch.stack([update.loss.detach() for update in done]).sum(),
        grad_norm=torch.stack(norms).norm(),
        parts=_named_parts(done, len(optimisers)),
    )


def _apply(
    updates: Sequence[Update],
    forward: Forward,
    optimisers: Mapping[str, Optimizer],
    fabric: Fabric,
    clip_norm: float | None,
) -> list[Tensor]:
    """All gradients first, then all steps; returns the norm of each update's gradient."""
    if len({update.group for update in updates}) < len(updates):
        raise ValueError("a group has two updates from one forward pass; which gradient is meant?")
    moved = [_trainable(optimisers[update.group]) for update in updates]
    last = len(updates) - 1
    for place, (update, parameters) in enumerate(zip(updates, moved, strict=True)):
        found = forward.gradients(update.loss, parameters, keep_graph=place < last)
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = gradient
    norms: list[Tensor] = []
    for update, parameters in zip(updates, moved, strict=True):
        average_gradients(parameters, fabric)
        norms.append(_clip(parameters, clip_norm, like=update.loss))
    for update, parameters in zip(updates, moved, strict=True):
        optimisers[update.group].step()
        for parameter in parameters:
            parameter.grad = None
    return norms


def _trainable(optimiser: Optimizer) -> list[nn.Parameter]:
    """Frozen parameters stay in their group, but get no gradient."""
    return [
        parameter
        for group in optimiser.param_groups
        for parameter in group["params"]
        if parameter.requires_grad
    ]


def _clip(parameters: Sequence[nn.Parameter], max_norm: float | None, *, like: Tensor) -> Tensor:
    gradients = [item.grad for item in parameters if item.grad is not None]
    if not gradients:  # of which torch puts the norm on the CPU
        return torch.zeros((), device=like.device)
    norm = torch.nn.utils.get_total_norm(gradients)
    if max_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


def _named_parts(updates: Sequence[Update], groups: int) -> dict[str, Part]:
    return {
        name if groups == 1 else f"{update.group}.{name}": part
        for update in updates
        for name, part in update.parts.items()
    }
