"""From typed options to the objective of a run."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from functools import partial

from likeness.distillation import build_distillation
from likeness.errors import UserError, require
from likeness.losses.base import PairLoss
from likeness.losses.classification import Counts
from likeness.losses.factory import build_classification, build_loss, check_labels
from likeness.mining.factory import (
    build_miner,
    check_attention,
    check_combination,
    check_one_label,
    check_references,
    keeps_graph,
)
from likeness.objective.ensemble import EnsembleWeights
from likeness.objective.memory import CrossBatchMemory, build_memory, require_references
from likeness.objective.sets import SetClassifier, SetLevel
from likeness.objective.specs import ObjectiveSpec, SetTermSpec, TermSpec
from likeness.objective.terms import (
    BatchTerm,
    HeadSynthesis,
    LabelKind,
    LinearWeight,
    Term,
)
from likeness.objective.weighted_sum import Objective
from likeness.regularisers import build_regulariser
from likeness.selection import pipeline
from likeness.synthesis import build_synthesis, check_synthesis


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
            not fit the labels, a miner without the logits it reads, an unknown head, a term on
            sub-classes that there are none for, or a synthesis that does not fit its terms.
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
    sets = _sets(spec, num_classes=num_classes, dims=dims, multilabel=multilabel)
    wholes = _wholes(spec, num_classes=num_classes, dims=dims)
    ensemble = _ensemble(spec)
    synthesis = _synthesis(spec, terms, num_classes=num_classes, dims=dims, multilabel=multilabel)
    made = partial(
        Objective,
        terms,
        exclude_groups=spec.exclude_groups,
        sets=sets,
        wholes=wholes,
        ensemble=ensemble,
        synthesis=synthesis,
    )
    chosen = spec.classification
    if chosen is None:
        return made()
    return made(
        classification=build_classification(chosen, counts=class_counts, images=images),
        classification_weight=chosen.weight,
        classification_heads=chosen.heads,
        targets=chosen.targets,
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
    for asked in spec.distillation:
        require(asked.head in dims, "head", f"one of {', '.join(dims)}", asked.head)
        term = BatchTerm(build_distillation(asked.loss), asked.weight, asked.head)
        wholes[_free(asked.loss.name, wholes)] = term
    return wholes


def _ensemble(spec: ObjectiveSpec) -> EnsembleWeights | None:
    """The learned weights of the terms, which start as the terms say."""
    if spec.ensemble is None:
        return None
    prior: list[float] = []
    for item in spec.terms:
        rule = "a number in an ensemble, which schedules weights itself"
        require(not isinstance(item.weight, LinearWeight), "weight", rule, item.weight)
        assert not isinstance(item.weight, LinearWeight)
        prior.append(item.weight)
    return EnsembleWeights(prior, **spec.ensemble.model_dump())


def _synthesis(
    spec: ObjectiveSpec,
    terms: Mapping[str, Term],
    *,
    num_classes: int,
    dims: Mapping[str, int],
    multilabel: bool,
) -> HeadSynthesis | None:
    """What makes more embeddings of a head, if anything, for terms that it makes sense with."""
    chosen = spec.synthesis
    if chosen is None:
        return None
    require(not multilabel, "synthesis", "null for several labels per image", chosen.name)
    head = chosen.head
    require(head in dims, "synthesis.head", f"one of {', '.join(dims)}", head)
    spaces = []
    for item, term in zip(spec.terms, terms.values(), strict=True):
        if item.head == head and item.synthetic:
            has_memory = item.memory is not None
            check_synthesis(chosen, term.loss, item.miners, has_memory=has_memory)
            spaces.append(term.loss.space)
    sizes = {"num_classes": num_classes, "dim": dims[head]}
    return HeadSynthesis(build_synthesis(chosen, **sizes, spaces=spaces), head)


def _free(name: str, taken: Container[str]) -> str:
    """The name, or the first of its kind that is not taken."""
    while name in taken:
        name += "_again"
    return name


def _sets(
    whole: ObjectiveSpec, *, num_classes: int, dims: Mapping[str, int], multilabel: bool
) -> SetLevel | None:
    """What is minimised of sets of samples, if anything is."""
    spec = whole.sets
    if spec is None:
        return None
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
        memory = _memory(loss, item, dim=dims[head], labels=num_classes if multilabel else None)
        miners = [build_miner(miner) for miner in item.miners]
        name: str = item.loss.name
        if labels == "subclass":
            name += "_subclass"
        name = _free(name, terms)
        mined = pipeline(*miners) if miners else None
        terms[name] = Term(
            *(loss, mined, item.weight, head),
            differentiable=keeps_graph(item.miners),
            labels=labels,
            memory=memory,
            synthetic=isinstance(item, TermSpec) and item.synthetic,
        )
    return terms


def _memory(
    loss: PairLoss, item: SetTermSpec, *, dim: int, labels: int | None
) -> CrossBatchMemory | None:
    """The memory of a term, if it has one; `labels` is their number for several per image."""
    if not isinstance(item, TermSpec) or item.memory is None:
        return None
    require_references(loss)
    check_references(item.miners)
    return build_memory(item.memory, dim=dim, labels=labels)


def _slots(subclasses: int | None, *, multilabel: bool) -> int:
    """Numbers that are kept free for the sub-classes of each class."""
    require(not multilabel, "labels", "'class' for several labels per image", "subclass")
    require(subclasses is not None, "labels", "'class' in a run without subclasses", "subclass")
    assert subclasses is not None
    return subclasses
