"""The training images and what is known of them.

Shapes: N = training images, C = classes, L = labels of a multi-label target, T = dimension of a
teacher's embeddings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.data import Dataset

from likeness.batch import first_places
from likeness.errors import UserError, require
from likeness.losses.soft_targets import check_distributions

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
        teacher: embedding of each image by another model, as that compares them, finite, shape
            (N, T); for `objective.distillation`.

    Raises:
        UserError: if the lengths differ, a column is unknown, a sequence has two classes, a row of
            `targets` is no distribution, or one of `teacher` is not finite.
    """

    images: Dataset[tuple[Tensor, int]]
    labels: Tensor
    names: Sequence[str] = ()
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    hash: str = ""
    targets: Tensor | None = None
    teacher: Tensor | None = None

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
        if self.teacher is not None:
            self._check_teacher(self.teacher)

    @property
    def identity(self) -> str:
        """`hash`, and with it what the annotators and the teacher said."""
        said = (self.targets, self.teacher)
        return " ".join([self.hash, *(_content(table) for table in said if table is not None)])

    def name(self, row: int) -> str:
        """What a person calls the row."""
        return self.names[row] if self.names else f"row {row}"

    def _check_teacher(self, known_NT: Tensor) -> None:
        count, shape = len(self.labels), tuple(known_NT.shape)
        fits = len(shape) == 2 and shape[0] == count
        require(fits, "teacher", f"of shape ({count}, T), one embedding each", shape)
        lost_N = ~known_NT.isfinite().all(1)
        if lost_N.any():
            row = int(lost_N.int().argmax())
            raise UserError(f"teacher must be finite, got a row that is not at {self.name(row)}")

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


def _content(table: Tensor) -> str:
    """SHA-256 of the numbers."""
    return hashlib.sha256(table.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
