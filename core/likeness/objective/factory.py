"""From typed options to the objective of a run."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Annotated

from pydantic import Field, model_validator

from likeness.config import Spec
from likeness.errors import UserError, require
from likeness.losses.classification import Counts
from likeness.losses.factory import (
    ClassificationSpec,
    build_classification,
    build_loss,
    check_labels,
)
from likeness.losses.specs import LossSpec
from likeness.mining.factory import (
    MinerSpec,
    build_miner,
    check_attention,
    check_combination,
    check_one_label,
    keeps_graph,
)
from likeness.models.heads import CLASS, EMBEDDING
from likeness.objective.sets import SetClassifier, SetLevel, SetPooling
from likeness.objective.terms import BatchTerm, LabelKind, Term, Weight
from likeness.objective.weighted_sum import Objective
from likeness.regularisers import RegulariserSpec, build_regulariser
from likeness.selection import pipeline

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
    """

    head: str = EMBEDDING
    labels: LabelKind = "class"


class RegulariserTermSpec(Spec):
    """One regulariser, how much it counts, and the head whose raw embeddings it reads."""

    loss: RegulariserSpec
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


class ObjectiveSpec(Spec):
    """The terms of a run.

    Attributes:
        terms: pair losses on the images.
        regularisers: losses of the images' embeddings themselves.
        classification: of the images, null for none (the model then has no class layer).
        exclude_groups: keeps pairs of one group from being positive.
        sets: a second level, on sets of images; null for none. Needs images with a `sequence`.
    """

    terms: tuple[TermSpec, ...] = ()
    regularisers: tuple[RegulariserTermSpec, ...] = ()
    classification: ClassificationTermSpec | None = ClassificationTermSpec()
    exclude_groups: bool = False
    sets: SetObjectiveSpec | None = None

    @model_validator(mode="after")
    def _attention_needs_logits(self) -> ObjectiveSpec:
        if self.sets is not None and self.classification is None:
            pooling, rule = self.sets.pooling, "'mean' or 'max' without a classification of images"
            require(pooling != "attention", "sets.pooling", rule, pooling)
        return self


def build_objective(
    spec: ObjectiveSpec,
    *,
    num_classes: int,
    dims: Mapping[str, int],
    class_counts: Counts | None = None,
    images: int | None = None,
    multilabel: bool = False,
    subclasses: int | None = None,
) -> Objective:
    """The objective that a configuration names.

    Its random weights (the class layer of sets) come from torch's global generator.

    Args:
        spec: the configuration.
        num_classes: C.
        dims: embedding dimension of each head.
        class_counts: training images of each class (label), for balanced class weights; for
            targets that are drawn or soft the sum of each class's shares.
        images: all training images, for those of several labels per image.
        multilabel: whether a batch's labels are a table (N, L) instead of classes (N,).
        subclasses: sub-classes that a class may come to have; None for a run without any. What a
            loss keeps of each is made for all of them, so it fits however many there are.

    Raises:
        UserError: for a loss and a miner that make no sense together, a loss or a miner that does
            not fit the labels, a miner without the logits it reads, an unknown head, or a term on
            sub-classes that there are none for.
    """
    check_labels([item.loss for item in spec.terms], spec.classification, multilabel=multilabel)
    terms = _terms(
        [(item.head, item.labels, item) for item in spec.terms],
        num_classes=num_classes,
        subclasses=subclasses,
        dims=dims,
        has_logits=spec.classification is not None,
        multilabel=multilabel,
    )
    sets = None
    if spec.sets is not None:
        sets = _sets(spec, num_classes=num_classes, dims=dims, multilabel=multilabel)
    wholes = _wholes(spec, num_classes=num_classes, dims=dims)
    chosen = spec.classification
    if chosen is None:
        return Objective(terms, exclude_groups=spec.exclude_groups, sets=sets, wholes=wholes)
    return Objective(
        terms,
        build_classification(chosen, counts=class_counts, images=images),
        classification_weight=chosen.weight,
        classification_heads=chosen.heads,
        targets=chosen.targets,
        exclude_groups=spec.exclude_groups,
        sets=sets,
        wholes=wholes,
    )


def _wholes(
    spec: ObjectiveSpec, *, num_classes: int, dims: Mapping[str, int]
) -> dict[str, BatchTerm]:
    """The losses of embeddings themselves by name, each on its head."""
    wholes: dict[str, BatchTerm] = {}
    for item in spec.regularisers:
        require(item.head in dims, "head", f"one of {', '.join(dims)}", item.head)
        loss = build_regulariser(item.loss, num_classes=num_classes, dim=dims[item.head])
        wholes[_free(item.loss.name, wholes)] = BatchTerm(loss, item.weight, item.head)
    return wholes


def _free(name: str, taken: Container[str]) -> str:
    """The name, or the first of its kind that is not taken."""
    while name in taken:
        name += "_again"
    return name


def _sets(
    whole: ObjectiveSpec, *, num_classes: int, dims: Mapping[str, int], multilabel: bool
) -> SetLevel:
    spec = whole.sets
    assert spec is not None
    chosen = spec.classification
    check_labels([item.loss for item in spec.terms], chosen, multilabel=multilabel)
    rule = "'mean' or 'max' for several labels per image"
    fits = not (multilabel and spec.pooling == "attention")
    require(fits, "sets.pooling", rule, spec.pooling)
    require(spec.head in dims, "sets.head", f"one of {', '.join(dims)}", spec.head)
    terms = _terms(
        [(spec.head, "class", item) for item in spec.terms],
        num_classes=num_classes,
        subclasses=None,
        dims=dims,
        has_logits=chosen is not None,
        multilabel=multilabel,
    )
    classifier = None
    if chosen is not None:
        classifier = SetClassifier(dims[spec.head], num_classes, lr_mult=chosen.lr_mult)
    return SetLevel(
        Objective(
            terms,
            None if chosen is None else build_classification(chosen),
            classification_weight=1.0 if chosen is None else chosen.weight,
            exclude_groups=whole.exclude_groups,
        ),
        head=spec.head,
        classifier=classifier,
        pooling=spec.pooling,
        attention_head=spec.attention_head,
        sigma=spec.sigma,
    )


def _terms(
    items: Iterable[tuple[str, LabelKind, SetTermSpec]],
    *,
    num_classes: int,
    subclasses: int | None,
    dims: Mapping[str, int],
    has_logits: bool,
    multilabel: bool,
) -> dict[str, Term]:
    """Losses with their miners by name, each on the head and the labels beside it."""
    terms: dict[str, Term] = {}
    for head, labels, item in items:
        require(head in dims, "head", f"one of {', '.join(dims)}", head)
        count = num_classes
        if labels == "subclass":
            count *= _slots(subclasses, multilabel=multilabel)
        loss = build_loss(item.loss, num_classes=count, dim=dims[head])
        if labels == "subclass" and loss.reads_absent_classes:
            raise UserError(
                "centres must be 'batch_mean' on sub-classes, of which some numbers may be free, "
                f"got those (centres or proxies) that {item.loss.name} keeps for every class"
            )
        check_combination(loss, item.miners)
        check_attention(item.miners, has_logits=has_logits, multilabel=multilabel)
        check_one_label(item.miners, multilabel=multilabel)
        miners = [build_miner(miner) for miner in item.miners]
        name: str = item.loss.name
        if labels == "subclass":
            name += "_subclass"
        name = _free(name, terms)
        mined = pipeline(*miners) if miners else None
        graph = keeps_graph(item.miners)
        terms[name] = Term(loss, mined, item.weight, head, differentiable=graph, labels=labels)
    return terms


def _slots(subclasses: int | None, *, multilabel: bool) -> int:
    """Numbers that are kept free for the sub-classes of each class."""
    require(not multilabel, "labels", "'class' for several labels per image", "subclass")
    require(subclasses is not None, "labels", "'class' in a run without subclasses", "subclass")
    assert subclasses is not None
    return subclasses
