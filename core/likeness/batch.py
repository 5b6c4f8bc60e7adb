"""What is known of each sample of a batch, beside its embedding.

Shapes: N = samples of the batch, C = classes, L = labels of a multi-label target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from likeness.errors import require


@dataclass(frozen=True)
class Batch:
    """A frozen record; every column is optional but the labels.

    Attributes:
        labels: class indices of shape (N,), or a multi-label target of shape (N, L).
        ids: sample indices of shape (N,); the same id twice means the same picture drawn twice.
            Synthetic points carry negative ids.
        group: what a pair may have to stay apart in (lesion, patient, scene), shape (N,).
        camera: camera of each sample, shape (N,).
        modality: modality of each sample, shape (N,).
        parent: id of the sample that a synthetic point came from, shape (N,).
        logits: classification logits of shape (N, C) by head; miners may read them.
        generator: the source of a miner's randomness, seeded equally on all processes.
    """

    labels: Tensor
    ids: Tensor | None = None
    group: Tensor | None = None
    camera: Tensor | None = None
    modality: Tensor | None = None
    parent: Tensor | None = None
    logits: Mapping[str, Tensor] = field(default_factory=dict)
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        count = len(self.labels)
        for name in ("ids", "group", "camera", "modality", "parent"):
            column = getattr(self, name)
            if column is not None:
                require(column.shape == (count,), name, f"of shape ({count},)", tuple(column.shape))

    def with_logits(self, logits: Mapping[str, Tensor]) -> Batch:
        """The same batch with the logits of this step's forward pass."""
        return replace(self, logits=logits)
