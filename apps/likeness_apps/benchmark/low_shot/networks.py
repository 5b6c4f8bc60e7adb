"""The networks of one repeat: trained on base classes, and fine-tuned on all from a few images.

Shapes: N = images of the set, D = embedding dimension, C = base and novel classes.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from likeness.data.transforms import Preprocessing
from likeness.errors import require
from likeness.imprinting import averaged_exemplars
from likeness.models import CLASS, Embedder
from likeness.pairs import unit_rows
from likeness.training.spec import RunSpec
from likeness_apps.benchmark.low_shot.division import Division
from likeness_apps.benchmark.training import answers, build, train
from likeness_apps.shell.setup import Setup

# How class vectors begin: novel classes by the mean direction of their shown images beside trained
# base classes (Qi et al.); all classes so; novel classes at random (the paper's "Rand").
STARTS = ("averaged", "anew", "random")


@dataclass(frozen=True, eq=False)
class Network:
    """What a trained network says.

    Attributes:
        vectors_CD: unit class vectors, in the order of `Division.classes`; before fine-tuning,
            rows of novel classes are 0.
        embeddings_ND: raw embeddings of all images of the set, in the order of its table.
    """

    vectors_CD: Tensor
    embeddings_ND: Tensor


@dataclass(eq=False)
class Networks:
    """Trains each network when it is first asked for; a stopped training goes on.

    Attributes:
        division: the set.
        spec: of the base network; its class layer is one of cosines.
        tuning: of fine-tuning: the same network, another budget.
        folder: where runs are written.
        changes: what the person set, which is never fitted to the data.
        quiet: no progress.
    """

    division: Division
    spec: RunSpec
    tuning: RunSpec
    folder: Path
    changes: tuple[str, ...] = ()
    quiet: bool = True
    _tuned: dict[tuple[str, int], Network] = field(default_factory=dict)

    @cached_property
    def base(self) -> Network:
        """The network of the base classes."""
        setup = self._base_setup
        known = [self.division.classes.index(label) for label in setup.prepared.labels.classes]
        rows = _class_layer(setup.embedder).prototypes().detach()
        vectors_CD = rows.new_zeros(len(self.division.classes), rows.shape[1])
        vectors_CD[known] = rows
        return Network(vectors_CD, self._embedded(setup))

    def tuned(self, start: str, shots: int) -> Network:
        """The network that was fine-tuned from class vectors which began in one of `STARTS`."""
        if (start, shots) not in self._tuned:
            begun = self._base_setup
            setup = self._build(self.tuning, shots, begun.preprocessing)
            layer, trained = _class_layer(setup.embedder), _class_layer(begun.embedder)
            own, state = f"classifiers.{CLASS}.", begun.embedder.state_dict()
            body = {key: value for key, value in state.items() if not key.startswith(own)}
            setup.embedder.load_state_dict(setup.embedder.state_dict() | body)
            with torch.no_grad():
                layer.bank.weight.copy_(self.begun(start, shots))
                layer.scale.copy_(trained.scale)
            folder = self.folder / f"{start}-{shots}"
            train(setup, folder, quiet=self.quiet)
            rows = layer.prototypes().detach()
            self._tuned[start, shots] = Network(rows, self._embedded(setup))
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return self._tuned[start, shots]

    def begun(self, start: str, shots: int) -> Tensor:
        """The class vectors before fine-tuning: unit rows, (C, D)."""
        division, base = self.division, self.base
        positions = division.examples(shots) if start == "anew" else division.shown(shots)
        count, dim = base.vectors_CD.shape
        if start == "random":
            made = torch.Generator().manual_seed(self.spec.seed)
            novel = torch.from_numpy(division.numbers_N[positions]).unique()
            rows_CD = torch.zeros(count, dim)
            rows_CD[novel] = unit_rows(torch.randn(len(novel), dim, generator=made))
        else:
            numbers = torch.from_numpy(division.numbers_N[positions])
            rows_CD = averaged_exemplars(base.embeddings_ND[positions], numbers, count)
        return torch.where(rows_CD.any(1, keepdim=True), rows_CD, base.vectors_CD)

    @cached_property
    def _base_setup(self) -> Setup:
        setup = self._build(self.spec, 0)
        train(setup, self.folder / "base", quiet=self.quiet)
        return setup

    def _build(
        self, spec: RunSpec, shots: int, preprocessing: Preprocessing | None = None
    ) -> Setup:
        training = self.division.training(shots)
        return build(spec, training, changes=self.changes, preprocessing=preprocessing)

    def _embedded(self, setup: Setup) -> Tensor:
        rows = self.division.manifest.table
        raw = answers(setup, rows)
        gone = len(rows) - len(raw.kept_N)
        require(not gone, "data", "readable as it was at first", f"{gone} images that are not")
        return torch.from_numpy(raw.embeddings_ND)


def _class_layer(embedder: Embedder) -> Any:
    """The `CosineClassifier`; behind dropout it is the last of a sequence."""
    layer = embedder.classifiers[CLASS]
    return layer[-1] if isinstance(layer, torch.nn.Sequential) else layer
