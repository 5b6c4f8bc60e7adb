"""Options of an objective: what `factory` makes it from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from likeness.config import Spec
from likeness.distillation import DistillationSpec
from likeness.errors import require
from likeness.losses.factory import ClassificationSpec
from likeness.losses.specs import LossSpec
from likeness.mining.factory import MinerSpec
from likeness.models.heads import CLASS, EMBEDDING
from likeness.objective.ensemble import EnsembleSpec
from likeness.objective.memory import MemorySpec
from likeness.objective.sets import SetPooling
from likeness.objective.terms import LabelKind, LinearWeight, Weight
from likeness.regularisers import RegulariserSpec
from likeness.synthesis import SynthesisSpec

HeadNames = Annotated[tuple[str, ...], Field(min_length=1)]


class SetTermSpec(Spec):
    """One loss on the pooled embeddings of sets, what it may look at, and how much it counts."""

    loss: LossSpec
    weight: Weight = 1.0
    miners: tuple[MinerSpec, ...] = ()


class TermSpec(SetTermSpec):
    """One loss, what it may look at, and how much it counts.

    Attributes:
        head: the head whose embeddings it compares.
        labels: what it tells apart: the classes, or the sub-classes that the run finds in them
            (then `subclasses` must be given). Its miners choose pairs by the same.
        memory: embeddings of past batches, which anchors are compared with too; null for none.
        synthetic: whether it sees what the objective's synthesis makes on this head.
    """

    head: str = EMBEDDING
    labels: LabelKind = "class"
    memory: MemorySpec | None = None
    synthetic: bool = True


class RegulariserTermSpec(Spec):
    """One regulariser, how much it counts, and the head whose raw embeddings it reads."""

    loss: RegulariserSpec
    weight: Weight = 1.0
    head: str = EMBEDDING


class DistillationTermSpec(Spec):
    """One loss of distillation, how much it counts, and the head whose raw embeddings it reads."""

    loss: DistillationSpec
    weight: Weight = 1.0
    head: str = EMBEDDING


class ClassificationTermSpec(ClassificationSpec):
    """Cross-entropy (softmax or binary) on the logits of a head or of several heads.

    Attributes:
        weight: how much it counts, each head of several.
        head: the logits it reads, one name or a list.
    """

    weight: Weight = 1.0
    head: str | HeadNames = CLASS

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of all heads that are classified."""
        return (self.head,) if isinstance(self.head, str) else self.head


class SetClassificationSpec(ClassificationSpec):
    """Cross-entropy of sets, on a class layer of their own behind the pooled embedding.

    Attributes:
        weight: how much it counts.
        lr_mult: factor on the run's learning rate for the class layer of sets, > 0; the
            optimiser's `head_lr_mult` is for the model only.
    """

    weight: Weight = 1.0
    lr_mult: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _sets_are_not_counted(self) -> SetClassificationSpec:
        rule = "'none' for sets, which are not counted by class"
        require(self.class_weights == "none", "class_weights", rule, self.class_weights)
        rule = "'label' for sets, which have one class and no votes"
        require(self.targets == "label", "targets", rule, self.targets)
        return self


class SetObjectiveSpec(Spec):
    """What is minimised of the sets of a batch (frames of one sequence); see `SetLevel`.

    Attributes:
        terms: pair losses on the pooled embeddings; a miner finds the sets' own logits as `class`.
        classification: of the sets, null for none.
        head: the head whose raw embeddings are pooled.
        pooling: `mean`, `max`, or `attention`: a sample counts as much as its logits are sure of
            its class.
        attention_head: the samples' logits that `attention` reads.
        sigma: width of `attention`, > 0; 0.68 is the official code's.
    """

    terms: tuple[SetTermSpec, ...] = ()
    classification: SetClassificationSpec | None = SetClassificationSpec()
    head: str = EMBEDDING
    pooling: SetPooling = "mean"
    attention_head: str = CLASS
    sigma: float = Field(default=0.68, gt=0)

    @model_validator(mode="after")
    def _something_to_minimise(self) -> SetObjectiveSpec:
        there = self.terms or self.classification is not None
        require(there, "terms", "at least one where sets have no classification", [])
        return self


def _counts(weight: Weight) -> bool:
    """Whether a part counts at any time."""
    return max(weight.start, weight.end) > 0 if isinstance(weight, LinearWeight) else weight > 0


class ObjectiveSpec(Spec):
    """The terms of a run.

    Attributes:
        terms: pair losses on the images.
        regularisers: losses of the images' embeddings themselves.
        distillation: what the embeddings shall have from those of a teacher; needs a run with one
            (`TrainingData.teacher`).
        classification: of the images, null for none (the model then has no class layer).
        ensemble: learns the weights of `terms`, which then count as given at the start only; null
            keeps them.
        synthesis: makes more embeddings of a head, which its pair losses see beside those of the
            images; null makes none.
        exclude_groups: keeps pairs of one group from being positive.
        sets: a second level, on sets of images; null for none. Needs images with a `sequence`.
    """

    terms: tuple[TermSpec, ...] = ()
    regularisers: tuple[RegulariserTermSpec, ...] = ()
    distillation: tuple[DistillationTermSpec, ...] = ()
    classification: ClassificationTermSpec | None = ClassificationTermSpec()
    ensemble: EnsembleSpec | None = None
    synthesis: SynthesisSpec | None = None
    exclude_groups: bool = False
    sets: SetObjectiveSpec | None = None

    @model_validator(mode="after")
    def _something_counts(self) -> ObjectiveSpec:
        named = (self.classification, *self.terms, *self.regularisers, *self.distillation)
        weights = [part.weight for part in named if part is not None]
        rule = "above 0 for one of the parts"
        require(
            self.sets is not None or not weights or any(map(_counts, weights)), "weight", rule, 0
        )
        return self

    @model_validator(mode="after")
    def _attention_needs_logits(self) -> ObjectiveSpec:
        if self.sets is not None and self.classification is None:
            pooling, rule = self.sets.pooling, "'mean' or 'max' without a classification of images"
            require(pooling != "attention", "sets.pooling", rule, pooling)
        return self
