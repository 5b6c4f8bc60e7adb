"""A run's moving parts, and how they are put into a checkpoint and taken out again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer

from likeness.batch import Batch
from likeness.errors import UserError
from likeness.sampling import BatchPlan, Representatives
from likeness.training import seeds
from likeness.training.checkpoint import (
    Checkpoint,
    Identity,
    has_checkpoint,
    load_checkpoint,
    optimiser_tensors,
    restore_optimiser,
    save_checkpoint,
)
from likeness.training.data import TrainingData
from likeness.training.distributed import share
from likeness.training.hooks import EpochHook
from likeness.training.ledger import Ledger
from likeness.training.loader import BatchLoader
from likeness.training.logs import RunLogs
from likeness.training.pseudo_labels import PseudoLabels
from likeness.training.self_pacing import SelfPacing
from likeness.training.spec import RunSpec
from likeness.training.step import Method
from likeness.training.subclass_rounds import SubclassRounds

T = TypeVar("T")


@dataclass(eq=False)
class Run:
    """Everything that a step touches; `loop` reads it, checkpoints hold its state."""

    folder: Path
    spec: RunSpec
    fabric: Fabric
    data: TrainingData
    plan: BatchPlan
    method: Method
    optimisers: dict[str, Optimizer]
    hooks: list[EpochHook]
    loader: BatchLoader
    subclasses: SubclassRounds | None = None
    pacing: SelfPacing | None = None
    pseudo: PseudoLabels | None = None
    ledger: Ledger = field(default_factory=Ledger)
    best: dict[str, Tensor] = field(default_factory=dict)
    checkpoint_steps: int | None = None
    saved_at: float = field(default_factory=time.monotonic)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.fabric.global_rank == 0

    def batch(self, rows: Sequence[int]) -> Batch:
        """What is known of the rows of a global batch, on the device."""
        index = torch.tensor(rows)
        device = self.fabric.device
        known = {name: item[index] for name, item in self.data.columns.items()}
        sequence_N = known.pop("sequence", None)  # stays on the host, see `Batch`
        known = {name: item.to(device) for name, item in known.items()}
        key = (self.spec.seed, seeds.MINE, self.ledger.step)
        labels_B = self.data.labels[index] if self.pseudo is None else self.pseudo.of(rows)
        return Batch(
            labels=labels_B.to(device),
            ids=index.to(device),
            group=known.get("group"),
            camera=known.get("camera"),
            modality=known.get("modality"),
            sequence=sequence_N,
            generator=seeds.miner_generator(*key, device=device),
            target=None if self.data.targets is None else self.data.targets[index].to(device),
            teacher=None if self.data.teacher is None else self.data.teacher[index].to(device),
            subclass=None if self.subclasses is None else self.subclasses.of(rows).to(device),
            weight=None if self.pacing is None else self.pacing.of(rows).to(device),
            representative=_representatives(self.plan, index, device),
        )

    def share(self, batch: Sequence[T]) -> Sequence[T]:
        """This process's part of a global batch."""
        return share(batch, rank=self.fabric.global_rank, world=self.fabric.world_size)

    def keep_as_best(self) -> None:
        """Remember the weights as they are now."""
        self.best = {
            name: item.detach().to("cpu", copy=True)
            for name, item in self.method.state_dict().items()
        }

    def take_best(self) -> None:
        """Put the best weights back into the networks."""
        if self.best:
            self.method.load_state_dict(self.best)

    def save_if_due(self, logs: RunLogs | None) -> None:
        """Save when minutes (or, in tests, steps) have passed."""
        minutes = (time.monotonic() - self.saved_at) / 60
        every = self.checkpoint_steps
        due = minutes >= self.spec.checkpoint_minutes
        if due or (every is not None and self.ledger.step % every == 0):
            self.save(logs)

    def save(self, logs: RunLogs | None) -> None:
        """Write a checkpoint; the first process only."""
        if not self.is_first:
            return
        if logs is not None:
            logs.sync()
        save_checkpoint(self._checkpoints, self._capture(), self._identity())
        self.saved_at = time.monotonic()

    def begin(self, *, resume: bool) -> None:
        """Start from the last checkpoint if there is one and `resume` is on.

        Raises:
            UserError: if there is one and `resume` is off, or if it belongs to another run.
        """
        there = has_checkpoint(self._checkpoints)
        if there and not resume:
            raise UserError(
                f"out must be a new directory, or used with --resume, got {self.folder}, "
                "which holds a checkpoint"
            )
        if there:
            self._restore(load_checkpoint(self._checkpoints, self._identity()))

    @property
    def _checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def _identity(self) -> Identity:
        config = self.spec.model_dump(mode="json")
        return Identity(config, self.data.identity, self.fabric.world_size)

    def _capture(self) -> Checkpoint:
        tensors = {f"method.{name}": item for name, item in self.method.state_dict().items()}
        scalars: dict[str, Any] = {}
        for group, optimiser in self.optimisers.items():
            memory, scalars[group] = optimiser_tensors(optimiser)
            tensors |= {f"optimiser.{group}.{name}": item for name, item in memory.items()}
        for number, hook in enumerate(self.hooks):
            tensors |= {f"hook.{number}.{name}": item for name, item in hook.state_dict().items()}
        state = {"ledger": self.ledger.to_plain(), "optimisers": scalars}
        return Checkpoint(tensors, state, self.best)

    def _restore(self, checkpoint: Checkpoint) -> None:
        tensors = checkpoint.tensors
        self.method.load_state_dict(_below(tensors, "method."))
        for group, optimiser in self.optimisers.items():
            scalars = checkpoint.state["optimisers"][group]
            restore_optimiser(optimiser, _below(tensors, f"optimiser.{group}."), scalars)
        for number, hook in enumerate(self.hooks):
            hook.load_state_dict(_below(tensors, f"hook.{number}."))
        self.ledger = Ledger.from_plain(checkpoint.state["ledger"])
        self.best = dict(checkpoint.best)


def _representatives(plan: BatchPlan, row_B: Tensor, device: torch.device) -> Tensor | None:
    """Which rows stand for their class, where the plan has chosen some."""
    if not isinstance(plan, Representatives):
        return None
    return torch.from_numpy(plan.is_representative(row_B.numpy())).to(device)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {
        name.removeprefix(prefix): item for name, item in tensors.items() if name.startswith(prefix)
    }
