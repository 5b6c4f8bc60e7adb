"""What a model remembers of its training images' looks, to tell strangers from them.

`likeness.inference.scope` makes and reads the record; the bundle only keeps it.

Shapes: M = training images, F = numbers of `likeness.data.appearance`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.errors import require

SCOPE = "scope."


@dataclass(frozen=True)
class ScopeRecord:
    """How far from the training images an image may be, in looks and in the embedding.

    Attributes:
        origin_F: mean looks of the training images.
        whitening_FF: `(looks - origin_F) @ whitening_FF` has about unit covariance, float32.
        known_MF: the training images' looks, whitened.
        units_2: the distances, in looks and in the embedding, that count as 1; > 0.
        threshold: greatest score of an image in scope, float64 with one element.
    """

    origin_F: Float[Tensor, " F"]
    whitening_FF: Float[Tensor, "F F"]
    known_MF: Float[Tensor, "M F"]
    units_2: Float[Tensor, " 2"]
    threshold: Float[Tensor, " 1"]

    def check(self) -> None:
        """Refuse a record that fits nothing.

        Raises:
            UserError: naming the part that is wrong.
        """
        count = len(self.origin_F)
        shape = tuple(self.whitening_FF.shape)
        require(shape == (count, count), "scope.whitening_FF", f"({count}, {count})", shape)
        shape, rows = tuple(self.known_MF.shape), len(self.known_MF)
        require(rows and shape == (rows, count), "scope.known_MF", f"(M, {count}), M >= 1", shape)
        for name, tensor in self.tensors().items():
            require(bool(torch.isfinite(tensor).all()), name, "finite", "numbers that are not")
        above = bool((self.units_2 > 0).all()) and bool((self.threshold > 0).all())
        require(above, "scope.units_2 and threshold", "> 0", self.units_2.tolist())

    def tensors(self) -> dict[str, Tensor]:
        """The record under the names that it has in a model's weights."""
        return {f"{SCOPE}{field.name}": getattr(self, field.name) for field in fields(self)}


def read_record(tensors: Mapping[str, Tensor]) -> ScopeRecord | None:
    """The record among a model's tensors; None for a model without one.

    Raises:
        UserError: if it is there in part, or its parts do not fit each other.
    """
    names = [field.name for field in fields(ScopeRecord)]
    there = [name for name in names if f"{SCOPE}{name}" in tensors]
    if not there:
        return None
    require(there == names, "scope", f"a record of {', '.join(names)}", there)
    record = ScopeRecord(**{name: tensors[f"{SCOPE}{name}"] for name in names})
    record.check()
    return record
