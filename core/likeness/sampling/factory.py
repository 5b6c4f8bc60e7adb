"""From a sampler's name to its batch plan."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Shaped
from pydantic import Field

from likeness.config import Spec
from likeness.errors import require
from likeness.sampling.clips import Clips, Pick
from likeness.sampling.cross_modal import CrossModal
from likeness.sampling.hard_classes import HardClasses
from likeness.sampling.multilabel import MultiLabel
from likeness.sampling.plans import BatchPlan, ClassBalanced, Shuffled
from likeness.sampling.representatives import Choice, Representatives


class ShuffledSpec(Spec):
    """Random batches of `batch_size` images; see `Shuffled`."""

    name: Literal["shuffled"] = "shuffled"
    batch_size: int = Field(default=64, ge=2)


class ClassBalancedSpec(Spec):
    """Batches of P classes with K images each; see `ClassBalanced`.

    Attributes:
        classes_per_batch: P, at most the number of classes.
        per_class: K.
    """

    name: Literal["class_balanced"] = "class_balanced"
    classes_per_batch: int = Field(default=16, ge=1)
    per_class: int = Field(default=4, ge=1)


class MultiLabelSpec(Spec):
    """Batches with K images of each of P labels, for images with several; see `MultiLabel`.

    Attributes:
        batch_size: images of a batch.
        labels_per_batch: P.
        per_label: K.
    """

    name: Literal["multilabel"] = "multilabel"
    batch_size: int = Field(default=64, ge=2)
    labels_per_batch: int = Field(default=8, ge=1)
    per_label: int = Field(default=4, ge=1)


class ClipsSpec(Spec):
    """Batches of P classes x K sequences x T frames, for frames in sequences; see `Clips`.

    The defaults are the batch of Wang et al. 2019 (official code). An epoch shows each sequence
    about once, T frames of it: fewer images than with the other plans where sequences are longer.

    Attributes:
        classes_per_batch: P, at most the number of classes.
        clips_per_class: K.
        frames_per_clip: T.
        pick: which frames of a sequence: any (`random`), a random one of each of T equal parts
            (`segments`), or the middle ones of these parts (`even`).
    """

    name: Literal["clips"] = "clips"
    classes_per_batch: int = Field(default=3, ge=1)
    clips_per_class: int = Field(default=2, ge=1)
    frames_per_clip: int = Field(default=9, ge=1)
    pick: Pick = "random"


class CrossModalSpec(Spec):
    """Batches of P classes with K / 2 images of each of two modalities; see `CrossModal`.

    Attributes:
        classes_per_batch: P, at most the number of classes.
        per_class: K, even.
    """

    name: Literal["cross_modal"] = "cross_modal"
    classes_per_batch: int = Field(default=15, ge=1)
    per_class: int = Field(default=8, ge=2, multiple_of=2)


class RepresentativesSpec(Spec):
    """Batches of hard classes, each with the image that stands for it; see `Representatives`.

    Attributes:
        classes_per_batch: P, at most the number of classes.
        per_class: K, the representative included.
        epochs_per_round: so long the representatives stay; with the method
            `alternating_projections` the same as there.
        choice: a new representative is far from the last one (`spread`), or any image (`random`).
        pool: random images of a class of which `spread` takes the farthest.
        hard_share: of the other classes of a batch, those nearest to the first.
    """

    name: Literal["representatives"] = "representatives"
    classes_per_batch: int = Field(default=16, ge=1)
    per_class: int = Field(default=4, ge=2)
    epochs_per_round: int = Field(default=1, ge=1)
    choice: Choice = "spread"
    pool: int = Field(default=12, ge=1)
    hard_share: float = Field(default=0.5, ge=0, le=1)


class HardClassesSpec(Spec):
    """Batches of classes that are alike, for the N-pair loss above all; see `HardClasses`.

    Attributes:
        classes_per_batch: P, at most the number of classes.
        per_class: K; 2 for the miner `n_pairs`.
        candidates: random classes that the batch's are chosen from, at least P; the more, the
            harder.
        refresh_epochs: epochs between two passes that tell which classes are alike.
    """

    name: Literal["hard_classes"] = "hard_classes"
    classes_per_batch: int = Field(default=16, ge=1)
    per_class: int = Field(default=2, ge=2)
    candidates: int = Field(default=64, ge=1)
    refresh_epochs: int = Field(default=1, ge=1)


AnySamplerSpec = (
    ShuffledSpec
    | ClassBalancedSpec
    | MultiLabelSpec
    | ClipsSpec
    | RepresentativesSpec
    | CrossModalSpec
    | HardClassesSpec
)
SamplerSpec = Annotated[AnySamplerSpec, Field(discriminator="name")]

_NO_COLUMNS: Mapping[str, np.ndarray] = MappingProxyType({})


def build_plan(
    spec: AnySamplerSpec,
    labels: Shaped[np.ndarray, "N ..."],
    *,
    seed: int,
    columns: Mapping[str, np.ndarray] = _NO_COLUMNS,
) -> BatchPlan:
    """The plan that a configuration names.

    Args:
        spec: the configuration.
        labels: class of each training image (N,), or whether it has each label (N, L).
        seed: of the run.
        columns: what else is known of each image, integers of shape (N,). `clips` needs `sequence`
            and `camera`, and goes by `frame`, the number in the sequence, if that is there (else
            by the order of the rows); `cross_modal` needs `modality`; other plans read none.

    Raises:
        UserError: if the labels do not allow the plan (of the other form, fewer than P classes,
            single images), or a column that it needs is missing.
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
        case ClipsSpec():
            rule = "'multilabel' or 'shuffled' for several labels per image"
            require(labels.ndim == 1, name, rule, spec.name)
            return _clips(spec, labels, columns, seed)
        case RepresentativesSpec():
            rule = "'multilabel' or 'shuffled' for several labels per image"
            require(labels.ndim == 1, name, rule, spec.name)
            return Representatives(labels, **spec.model_dump(exclude={"name"}), seed=seed)
        case CrossModalSpec():
            rule = "'multilabel' or 'shuffled' for several labels per image"
            require(labels.ndim == 1, name, rule, spec.name)
            rule = "another than 'cross_modal' for images without the column modality"
            require("modality" in columns, name, rule, spec.name)
            numbers = (spec.classes_per_batch, spec.per_class, seed)
            return CrossModal(labels, columns["modality"], *numbers)
        case HardClassesSpec():
            rule = "'multilabel' or 'shuffled' for several labels per image"
            require(labels.ndim == 1, name, rule, spec.name)
            return HardClasses(labels, **spec.model_dump(exclude={"name"}), seed=seed)


def _clips(
    spec: ClipsSpec, labels_N: np.ndarray, columns: Mapping[str, np.ndarray], seed: int
) -> Clips:
    missing = [column for column in ("sequence", "camera") if column not in columns]
    rule = f"another than 'clips' for images without the column {' and '.join(missing)}"
    require(not missing, "sampler.name", rule, spec.name)
    options = spec.model_dump(exclude={"name"})
    numbers = (columns["sequence"], columns["camera"])
    return Clips(labels_N, *numbers, **options, seed=seed, frame_N=columns.get("frame"))
