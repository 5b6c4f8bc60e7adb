"""What happens at the start of an epoch; all hooks share one pass over the training images.

Shapes: N = training images, D = embedding dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from likeness.objective import Objective
from likeness.training.forward import run_network
from likeness.training.loader import BatchLoader


@runtime_checkable
class EpochHook(Protocol):
    """Something that wants to be told of an epoch's start: schedules, statistics, batch plans.

    Its state is tensors, and is saved with every checkpoint: after a resume in the middle of an
    epoch the hook is not called for that epoch again.
    """

    def wants_embeddings(self, epoch: int) -> bool:
        """Whether `on_epoch_start` needs the embeddings of all training images."""
        ...

    def on_epoch_start(
        self, epoch: int, embeddings: Mapping[str, Tensor] | None, labels: Tensor
    ) -> None:
        """Called before the first batch is planned.

        Args:
            epoch: from 0.
            embeddings: raw (N, D) by head, of unaugmented images; None if no hook wants them.
            labels: of the training images.
        """
        ...

    def state_dict(self) -> Mapping[str, Tensor]:
        """What must survive; tensors by name."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave."""
        ...


@runtime_checkable
class LabelHook(EpochHook, Protocol):
    """A hook that finds labels of its own: hooks after it are told of these."""

    @property
    def pseudo_labels_N(self) -> Tensor:
        """The labels of the training images from now on."""
        ...


class SynthesisStatistics:
    """What a synthesis keeps of all training images is brought up to date where it wants that."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def wants_embeddings(self, epoch: int) -> bool:
        """As the synthesis does."""
        return self._objective.wants_embeddings(epoch)

    def on_epoch_start(
        self, epoch: int, embeddings: Mapping[str, Tensor] | None, labels: Tensor
    ) -> None:
        """Refresh the synthesis."""
        if embeddings is not None and self.wants_embeddings(epoch):
            self._objective.refresh(embeddings, labels)

    def state_dict(self) -> Mapping[str, Tensor]:
        """Nothing: the statistics belong to the objective."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to take back."""


class ClassMeans:
    """Before the first step, centres that the objective wants imprinted become class means."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def wants_embeddings(self, epoch: int) -> bool:
        """Only before the first step."""
        return epoch == 0 and self._objective.needs_class_means

    def on_epoch_start(
        self, epoch: int, embeddings: Mapping[str, Tensor] | None, labels: Tensor
    ) -> None:
        """Imprint the objective."""
        if embeddings is not None and self.wants_embeddings(epoch):
            self._objective.imprint(embeddings, labels)

    def state_dict(self) -> Mapping[str, Tensor]:
        """Nothing: the centres belong to the objective."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to take back."""


def call_hooks(
    hooks: Sequence[EpochHook],
    epoch: int,
    embedder: nn.Module,
    loader: BatchLoader,
    labels: Tensor,
    fabric: Fabric,
    *,
    batch_size: int,
) -> None:
    """Tell every hook of the epoch, after one embedding pass if any of them wants it."""
    wanted = any(hook.wants_embeddings(epoch) for hook in hooks)
    embeddings = (
        embed_rows(embedder, loader, len(labels), fabric, batch_size=batch_size) if wanted else None
    )
    for hook in hooks:
        hook.on_epoch_start(epoch, embeddings, labels)
        if isinstance(hook, LabelHook):
            labels = hook.pseudo_labels_N.to(labels.device)


@torch.no_grad()
def embed_rows(
    embedder: nn.Module, loader: BatchLoader, rows: int, fabric: Fabric, *, batch_size: int
) -> dict[str, Tensor]:
    """Raw embeddings of rows 0 ... N-1 as they are, by head, each (N, D); in evaluation mode."""
    batches = [
        list(range(start, min(start + batch_size, rows))) for start in range(0, rows, batch_size)
    ]
    mode = embedder.training
    embedder.eval()
    found = [
        run_network(embedder, images, fabric.autocast).embeddings for images in loader(batches)
    ]
    embedder.train(mode)
    return {name: torch.cat([part[name] for part in found]) for name in found[0]}
