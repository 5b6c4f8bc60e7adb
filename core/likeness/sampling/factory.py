"""From a sampler's name to its batch plan."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field

from likeness.config import Spec
from likeness.sampling.plans import BatchPlan, ClassBalanced, Shuffled


class ShuffledSpec(Spec):
    """Random batches of `batch_size` images."""

    name: Literal["shuffled"] = "shuffled"
    batch_size: int = Field(default=64, ge=2)


class ClassBalancedSpec(Spec):
    """Batches of `classes_per_batch` (P) classes with `per_class` (K) images each."""

    name: Literal["class_balanced"] = "class_balanced"
    classes_per_batch: int = Field(default=16, ge=1)
    per_class: int = Field(default=4, ge=1)


SamplerSpec = Annotated[ShuffledSpec | ClassBalancedSpec, Field(discriminator="name")]


def build_plan(
    spec: ShuffledSpec | ClassBalancedSpec, labels_N: Int[np.ndarray, " N"], *, seed: int
) -> BatchPlan:
    """The plan that a configuration names.

    Args:
        spec: the configuration.
        labels_N: class of each training image.
        seed: of the run.

    Raises:
        UserError: if the labels do not allow the plan (fewer than P classes, single images).
    """
    match spec:
        case ShuffledSpec():
            return Shuffled(len(labels_N), spec.batch_size, seed)
        case ClassBalancedSpec():
            return ClassBalanced(labels_N, spec.classes_per_batch, spec.per_class, seed)
