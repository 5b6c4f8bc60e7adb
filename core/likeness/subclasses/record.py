"""What a model remembers of its sub-classes: where they lie, nothing of single images.

Legend: K = sub-classes, D = embedding dimension, C = classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.errors import require
from likeness.subclasses.discovery import Subclasses, subclass_name

SUBCLASSES = "subclasses."


@dataclass(frozen=True)
class SubclassRecord:
    """The sub-classes of the training images of a model.

    Attributes:
        means_KD: mean embedding of each, as the model's space compares them, float32.
        classes_K: class number of each, int64, ascending.
        slots_K: its number inside its class, from 0, int64; gaps may stay where one vanished.
        sizes_K: training images of each, int64, >= 1.
    """

    means_KD: Float[Tensor, "K D"]
    classes_K: Int[Tensor, " K"]
    slots_K: Int[Tensor, " K"]
    sizes_K: Int[Tensor, " K"]

    def names(self, classes: Sequence[str]) -> list[str]:
        """Class and number counted from 1, such as `cat/2`; the number claims no meaning."""
        places = zip(self.classes_K.tolist(), self.slots_K.tolist(), strict=True)
        return [subclass_name(classes[label], slot) for label, slot in places]

    def check(self, num_classes: int, dim: int) -> None:
        """Refuse a record that does not fit the model.

        Raises:
            UserError: naming the part that is wrong.
        """
        count = len(self.means_KD)
        shape, wanted = tuple(self.means_KD.shape), (count, dim)
        require(count >= 1 and shape == wanted, "subclasses.means_KD", f"(K, {dim})", shape)
        finite = bool(torch.isfinite(self.means_KD).all())
        require(finite, "subclasses.means_KD", "finite", "numbers that are not")
        for name in ("classes_K", "slots_K", "sizes_K"):
            column = getattr(self, name)
            fits = column.dtype == torch.int64 and tuple(column.shape) == (count,)
            require(fits, f"subclasses.{name}", f"{count} whole numbers", tuple(column.shape))
        inside = bool(((self.classes_K >= 0) & (self.classes_K < num_classes)).all())
        rule = f"class numbers under {num_classes}"
        require(inside, "subclasses.classes_K", rule, self.classes_K.tolist())
        require(bool((self.slots_K >= 0).all()), "subclasses.slots_K", ">= 0", "others")
        require(bool((self.sizes_K >= 1).all()), "subclasses.sizes_K", ">= 1", "others")
        pairs = set(zip(self.classes_K.tolist(), self.slots_K.tolist(), strict=True))
        require(len(pairs) == count, "subclasses", "different slots within a class", "equal ones")

    def tensors(self) -> dict[str, Tensor]:
        """The record under the names that it has in a model's weights."""
        return {f"{SUBCLASSES}{field.name}": getattr(self, field.name) for field in fields(self)}


def record_of(found: Subclasses) -> SubclassRecord:
    """What a model keeps of a discovery."""
    parts = (found.means_KD, found.classes_K, found.slots_K, found.sizes_K)
    return SubclassRecord(*(torch.from_numpy(part.copy()) for part in parts))


def read_record(tensors: Mapping[str, Tensor]) -> SubclassRecord | None:
    """The record among a model's tensors; None for a model without one.

    Raises:
        UserError: if it is there in part.
    """
    names = [field.name for field in fields(SubclassRecord)]
    there = [name for name in names if f"{SUBCLASSES}{name}" in tensors]
    if not there:
        return None
    require(there == names, "subclasses", f"a record of {', '.join(names)}", there)
    return SubclassRecord(**{name: tensors[f"{SUBCLASSES}{name}"] for name in names})
