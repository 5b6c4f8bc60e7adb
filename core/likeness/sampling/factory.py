"""From a sampler's name to its batch plan."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Shaped
from pydantic import Field

from likeness.config import Spec
from likeness.errors import require
from likeness.sampling.multilabel import MultiLabel
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


class MultiLabelSpec(Spec):
    """Batches of `batch_size` images with K = `per_label` of each of P = `labels_per_batch` labels.

    For images with several labels; our own design, see `MultiLabel`.
    """

    name: Literal["multilabel"] = "multilabel"
    batch_size: int = Field(default=64, ge=2)
    labels_per_batch: int = Field(default=8, ge=1)
    per_label: int = Field(default=4, ge=1)


AnySamplerSpec = ShuffledSpec | ClassBalancedSpec | MultiLabelSpec
SamplerSpec = Annotated[AnySamplerSpec, Field(discriminator="name")]


def build_plan(
    spec: AnySamplerSpec, labels: Shaped[np.ndarray, "N ..."], *, seed: int
) -> BatchPlan:
    """The plan that a configuration names.

    Args:
        spec: the configuration.
        labels: class of each training image (N,), or whether it has each label (N, L).
        seed: of the run.

    Raises:
        UserError: if the labels do not allow the plan (of the other form, fewer than P classes,
            single images).
    """
    name = "sampler.name"
    match spec:
        case ShuffledSpec():
            return Shuffled(len(labels), spec.batch_size, seed)
        case ClassBalancedSpec():
            rule = "'multilabel' or 'shuffled' for several labels per image"
            require(labels.ndim == 1, name, rule, spec.name)
            return ClassBalanced(labels, spec.classes_per_batch, spec.per_class, seed)
        case MultiLabelSpec():
            rule = "'class_balanced' or 'shuffled' for one class per image"
            require(labels.ndim == 2, name, rule, spec.name)
            drawn, each = spec.labels_per_batch, spec.per_label
            return MultiLabel(labels, spec.batch_size, drawn, each, seed)
