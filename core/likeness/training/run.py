"""A run's moving parts, and how they are put into a checkpoint and taken out again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from likeness.batch import Batch, first_places
from likeness.errors import UserError, require
from likeness.losses.soft_targets import check_distributions
from likeness.objective import Objective
from likeness.sampling import BatchPlan
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
from likeness.training.distributed import share, start_equal
from likeness.training.hooks import ClassMeans, EpochHook
from likeness.training.ledger import Ledger
from likeness.training.loader import BatchLoader
from likeness.training.logs import RunLogs
from likeness.training.optimisers import build_optimisers
from likeness.training.spec import RunSpec
from likeness.training.step import Method
from likeness.training.subclass_rounds import SubclassRounds

T = TypeVar("T")
COLUMNS = ("group", "camera", "modality", "sequence")


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The training images and what is known of them.

    Attributes:
        images: `images[row]` is `(tensor_CHW, row)` as the model will see the image;
            `images[row, step, slot]` an augmented one that depends on these three numbers only.
        labels: class of each row, shape (N,), or a multi-label target (N, L).
        names: of each row (a path), for messages; empty means row numbers.
        columns: more columns of `Batch` (those of `COLUMNS`), integers of shape (N,); all rows of
            one `sequence` are of one class.
        hash: of images, labels and splits; a resumed run must have the same.
        targets: what several annotators said of each image, shares of the classes that sum to 1,
            shape (N, C); None where nobody wrote it down.

    Raises:
        UserError: if the lengths differ, a column is unknown, a sequence has two classes, or a row
            of `targets` is no distribution.
    """

    images: Dataset[tuple[Tensor, int]]
    labels: Tensor
    names: Sequence[str] = ()
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    hash: str = ""
    targets: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.labels)
        require(count > 0, "training images", "at least one", 0)
        unknown = sorted(set(self.columns) - set(COLUMNS))
        require(not unknown, "columns", f"among {', '.join(COLUMNS)}", unknown)
        sizes = {"images": len(self.images), "names": len(self.names) or count}  # type: ignore[arg-type]
        sizes |= {name: len(column) for name, column in self.columns.items()}
        for name, size in sizes.items():
            require(size == count, name, f"{count}, one for each label", size)
        if "sequence" in self.columns:
            self._check_sequences(self.columns["sequence"])
        if self.targets is not None:
            require(len(self.targets) == count, "targets", f"{count} rows", len(self.targets))
            check_distributions(self.targets, name_of=self.name)

    @property
    def identity(self) -> str:
        """`hash`, and with it what the annotators said."""
        if self.targets is None:
            return self.hash
        said = self.targets.detach().cpu().contiguous().numpy().tobytes()
        return f"{self.hash} {hashlib.sha256(said).hexdigest()}"

    def name(self, row: int) -> str:
        """What a person calls the row."""
        return self.names[row] if self.names else f"row {row}"

    def _check_sequences(self, sequence_N: Tensor) -> None:
        """Pooling reads the class of a sequence from its first row."""
        smallest = int(sequence_N.min())
        require(smallest >= 0, "sequence", ">= 0", smallest)
        sequences, set_N = torch.unique(sequence_N, return_inverse=True)
        first_N = first_places(set_N, len(sequences))[set_N]
        differs_N = (self.labels != self.labels[first_N]).reshape(len(set_N), -1).any(1)
        if differs_N.any():
            row = int(differs_N.int().argmax())
            raise UserError(
                f"sequence must be of one class throughout, got another class at {self.name(row)} "
                f"than at {self.name(int(first_N[row]))}"
            )


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
        return Batch(
            labels=self.data.labels[index].to(device),
            ids=index.to(device),
            group=known.get("group"),
            camera=known.get("camera"),
            modality=known.get("modality"),
            sequence=sequence_N,
            generator=seeds.miner_generator(*key, device=device),
            target=None if self.data.targets is None else self.data.targets[index].to(device),
            subclass=None if self.subclasses is None else self.subclasses.of(rows).to(device),
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


def assemble(
    folder: Path,
    spec: RunSpec,
    embedder: nn.Module,
    objective: Objective,
    data: TrainingData,
    plan: BatchPlan,
    *,
    fabric: Fabric,
    make_method: Callable[[nn.Module, Objective], Method],
    hooks: Sequence[EpochHook],
    checkpoint_steps: int | None,
) -> Run:
    """The parts of a run before its first step, on their device.

    Raises:
        UserError: if the objective learns from distributions over the classes and there are none.
    """
    known, rule = data.targets is not None, f"given for targets {objective.targets!r}"
    require(known or objective.targets == "label", "targets", rule, None)
    seeds.reseed(spec.seed, seeds.BUILD)  # a method may make networks of its own
    method = make_method(embedder, objective).to(fabric.device)
    start_equal(method, fabric)
    planning = [plan] if isinstance(plan, EpochHook) else []
    rounds = _rounds(spec, objective, data)
    finding = [] if rounds is None else [rounds]
    return Run(
        folder=folder,
        spec=spec,
        fabric=fabric,
        data=data,
        plan=plan,
        method=method,
        optimisers=build_optimisers(
            method.groups(), method, spec.optimiser, embedder=method.embedder
        ),
        hooks=[ClassMeans(objective), *finding, *hooks, *planning],
        loader=BatchLoader(data.images, workers=spec.workers, device=fabric.device),
        subclasses=rounds,
        checkpoint_steps=checkpoint_steps,
    )


def _rounds(spec: RunSpec, objective: Objective, data: TrainingData) -> SubclassRounds | None:
    """What finds the sub-classes of a run, if it has any."""
    if spec.subclasses is None:
        return None
    rule = "null for several labels per image"
    require(data.labels.ndim == 1, "subclasses", rule, spec.subclasses.model_dump())
    return SubclassRounds(
        spec.subclasses,
        objective,
        num_classes=int(data.labels.max()) + 1,
        images=len(data.labels),
        space=spec.model.space,
        seed=spec.seed,
    )


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {
        name.removeprefix(prefix): item for name, item in tensors.items() if name.startswith(prefix)
    }
