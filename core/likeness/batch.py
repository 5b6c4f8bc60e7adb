"""What is known of each sample of a batch, beside its embedding.

Shapes: N = samples of the batch, S = sets (sequences) among them, C = classes, L = labels of a
multi-label target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Int
from torch import Tensor

from likeness.errors import require

# What is one value for each sample.
COLUMNS = (
    *("ids", "group", "camera", "modality", "sequence", "parent", "subclass"),
    *("weight", "representative"),
)


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
        sequence: the set that each sample belongs to (frames of one sequence, views of one object),
            shape (N,), >= 0. A sequence drawn twice is one set. Best left on the host: counting the
            sets of a batch then waits for no device.
        parent: id of the sample that a synthetic point came from, shape (N,).
        subclass: number of the sub-class that each sample is counted to now, shape (N,); see
            `likeness.subclasses`.
        logits: classification logits of shape (N, C) by head; miners may read them.
        generator: the source of a miner's randomness, seeded equally on all processes.
        target: what several annotators said of each sample, shape (N, C): shares of the classes,
            rows sum to 1. Classification may learn from it; `labels` stay the majority class.
        teacher: embedding of each sample by another model, as that compares them, shape (N, T); see
            `likeness.distillation`.
        weight: how far each sample is trusted, in [0, 1], shape (N,); see `likeness.self_paced`.
        representative: whether a sample stands for its class in this round, bool of shape (N,);
            see `likeness.sampling.Representatives`.
    """

    labels: Tensor
    ids: Tensor | None = None
    group: Tensor | None = None
    camera: Tensor | None = None
    modality: Tensor | None = None
    sequence: Tensor | None = None
    parent: Tensor | None = None
    subclass: Tensor | None = None
    logits: Mapping[str, Tensor] = field(default_factory=dict)
    generator: torch.Generator | None = None
    target: Tensor | None = None
    teacher: Tensor | None = None
    weight: Tensor | None = None
    representative: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.labels)
        for name in COLUMNS:
            column = getattr(self, name)
            if column is not None:
                require(column.shape == (count,), name, f"of shape ({count},)", tuple(column.shape))
        if self.target is not None:
            shape = tuple(self.target.shape)
            fits = len(shape) == 2 and shape[0] == count
            require(fits, "target", f"of shape ({count}, C), shares of the classes", shape)
        if self.teacher is not None:
            shape = tuple(self.teacher.shape)
            fits = len(shape) == 2 and shape[0] == count
            require(fits, "teacher", f"of shape ({count}, T), one embedding each", shape)

    def with_logits(self, logits: Mapping[str, Tensor]) -> Batch:
        """The same batch with the logits of this step's forward pass."""
        return replace(self, logits=logits)

    def of_sets(self) -> tuple[Int[Tensor, " N"], Batch]:
        """The sets of the batch: where each sample belongs, and what is known of each set.

        Returns:
            The set of each sample in [0, S), shape (N,), in ascending order of `sequence`; and the
            record of the S sets: labels, group, camera and modality of the first sample of each,
            its sequence as id, no logits yet.

        Raises:
            UserError: if there is no `sequence`.
        """
        require(self.sequence is not None, "sequence", "given with objective.sets", None)
        assert self.sequence is not None
        sequence_S, set_N = torch.unique(self.sequence, return_inverse=True)
        device = self.labels.device
        first_S = first_places(set_N, len(sequence_S)).to(device)
        record = Batch(
            self.labels[first_S],
            ids=sequence_S.to(device),
            group=_rows(self.group, first_S),
            camera=_rows(self.camera, first_S),
            modality=_rows(self.modality, first_S),
            generator=self.generator,
        )
        return set_N.to(device), record


def groups_of(batch: Batch) -> Int[Tensor, " N"]:
    """The group of each sample, for positive pairs that may not be inside one.

    Raises:
        UserError: if the batch has none.
    """
    require(batch.group is not None, "group", "given with exclude_groups", None)
    assert batch.group is not None
    return batch.group


def first_places(set_N: Int[Tensor, " N"], sets: int) -> Int[Tensor, " S"]:
    """The place of the first sample of each set; every set in [0, sets) must have one."""
    places_N = torch.arange(len(set_N), device=set_N.device)
    last_S = torch.full((sets,), len(set_N), device=set_N.device)
    return last_S.scatter_reduce(0, set_N, places_N, "amin")


def _rows(column: Tensor | None, places: Tensor) -> Tensor | None:
    return None if column is None else column[places]
