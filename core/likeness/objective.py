"""The weighted sum that a run minimises.

Every term reads one shared geometry: the pairs of a head in a space are built once per step,
whatever the number of losses and miners that look at them.

Shapes: N = samples of the (global) batch, D = embedding dimension, C = classes (or labels).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple, Protocol, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor, nn

from likeness.batch import Batch
from likeness.config import Spec
from likeness.errors import UserError, require
from likeness.losses.base import PairLoss
from likeness.losses.classification import ClassificationLoss, MultiLabelClassificationLoss
from likeness.losses.factory import (
    ClassificationSpec,
    LossSpec,
    build_classification,
    build_loss,
    check_labels,
)
from likeness.mining.factory import MinerSpec, build_miner, check_combination
from likeness.pairs import Pairs, Space
from likeness.selection import Miner, pipeline


class LinearWeight(Spec):
    """A weight that goes linearly from `start` to `end` over the first `epochs` epochs."""

    start: float = Field(ge=0)
    end: float = Field(ge=0)
    epochs: float = Field(gt=0)

    def at(self, epoch: float) -> float:
        """The weight at a (fractional) epoch."""
        share = min(max(epoch / self.epochs, 0.0), 1.0)
        return self.start + (self.end - self.start) * share


Weight = Annotated[float, Field(ge=0)] | LinearWeight


class TermSpec(Spec):
    """One loss, what it may look at, and how much it counts."""

    loss: LossSpec
    weight: Weight = 1.0
    miners: tuple[MinerSpec, ...] = ()
    head: str = "embedding"


class ClassificationTermSpec(ClassificationSpec):
    """Cross-entropy (softmax or binary) on a head's logits, and how much it counts."""

    weight: Weight = 1.0
    head: str = "class"


class ObjectiveSpec(Spec):
    """The terms of a run; `exclude_groups` keeps pairs of one group from being positive."""

    terms: tuple[TermSpec, ...] = ()
    classification: ClassificationTermSpec | None = ClassificationTermSpec()
    exclude_groups: bool = False


@runtime_checkable
class Heads(Protocol):
    """What the objective reads of a model's output: raw embeddings and logits by head."""

    @property
    def embeddings(self) -> Mapping[str, Tensor]:
        """Head name -> (N, D)."""
        ...

    @property
    def logits(self) -> Mapping[str, Tensor]:
        """Head name -> (N, C)."""
        ...


class Part(NamedTuple):
    """One term of the sum, unweighted: its value and the number of active pairs behind it."""

    value: Tensor
    n_active: Tensor


class ObjectiveResult(NamedTuple):
    """The scalar to minimise and its parts by name."""

    loss: Tensor
    parts: dict[str, Part]


class Term(nn.Module):
    """A loss with its miners, weight and head."""

    def __init__(self, loss: PairLoss, miner: Miner | None, weight: Weight, head: str) -> None:
        super().__init__()
        self.loss, self.miner, self.weight, self.head = loss, miner, weight, head


class Objective(nn.Module):
    """The sum of pair losses and classification on one batch.

    Args:
        terms: named pair losses; the names head the log's columns.
        classification: cross-entropy on the logits of `classification_head`, or None.
        classification_weight: its weight.
        classification_head: the logits it reads.
        exclude_groups: no positive pair inside one group of the batch.

    Raises:
        UserError: if there is nothing to minimise.
    """

    def __init__(
        self,
        terms: Mapping[str, Term],
        classification: ClassificationLoss | MultiLabelClassificationLoss | None = None,
        *,
        classification_weight: Weight = 1.0,
        classification_head: str = "class",
        exclude_groups: bool = False,
    ) -> None:
        super().__init__()
        if not terms and classification is None:
            raise UserError("objective must be at least one term or classification, got neither")
        self.terms = nn.ModuleDict(terms)
        self.classification = classification
        self.classification_weight = classification_weight
        self.classification_head = classification_head
        self.exclude_groups = exclude_groups

    def forward(self, outputs: Heads, batch: Batch, *, epoch: float = 0.0) -> ObjectiveResult:
        """The objective of one global batch.

        Args:
            outputs: the embedder's output; embeddings (N, D) and logits (N, C) by head.
            batch: what is known of the samples; its logits are filled in here.
            epoch: fractional epoch, for scheduled weights.

        Returns:
            The weighted sum, and each part unweighted.

        Raises:
            UserError: if a head is missing.
        """
        batch = batch.with_logits({name: value.detach() for name, value in outputs.logits.items()})
        shared: dict[tuple[str, Space], Pairs] = {}
        parts: dict[str, Part] = {}
        total: Tensor | None = None
        for name, term in self._terms():
            pairs = self._pairs(shared, term, outputs, batch)
            selection = None if term.miner is None else term.miner(pairs.detach(), batch)
            value, _, _, n_active = term.loss.on_pairs(pairs, selection, batch)
            parts[name] = Part(value.detach(), n_active)
            weighted = value * _weight(term.weight, epoch)
            total = weighted if total is None else total + weighted
        if self.classification is not None:
            logits = _head(outputs.logits, self.classification_head, "logits")
            terms = self.classification.on_logits(logits, batch.labels)
            parts["classification"] = Part(terms.value.detach(), terms.n_active)
            weighted = terms.value * _weight(self.classification_weight, epoch)
            total = weighted if total is None else total + weighted
        assert total is not None  # the constructor refuses an empty objective
        return ObjectiveResult(total, parts)

    @property
    def needs_class_means(self) -> bool:
        """Whether a loss wants its centres set from an embedding pass before the first step."""
        return any(term.loss.needs_class_means for _, term in self._terms())

    @torch.no_grad()
    def imprint(self, embeddings: Mapping[str, Tensor], labels: Tensor) -> None:
        """Set the centres of every loss that wants it from raw training embeddings."""
        for _, term in self._terms():
            if term.loss.needs_class_means:
                term.loss.imprint(_head(embeddings, term.head, "embeddings"), labels)

    @torch.no_grad()
    def after_step(self, embeddings: Mapping[str, Tensor], labels: Tensor) -> None:
        """Tell every loss that the optimiser has stepped (running centres move here)."""
        for _, term in self._terms():
            term.loss.after_step(_head(embeddings, term.head, "embeddings").detach(), labels)

    def _terms(self) -> list[tuple[str, Term]]:
        return [(name, term) for name, term in self.terms.items() if isinstance(term, Term)]

    def _pairs(
        self, shared: dict[tuple[str, Space], Pairs], term: Term, outputs: Heads, batch: Batch
    ) -> Pairs:
        key = (term.head, term.loss.space)
        if key not in shared:
            embeddings = _head(outputs.embeddings, term.head, "embeddings")
            pairs = Pairs(embeddings, batch.labels, ids=batch.ids, space=term.loss.space)
            if self.exclude_groups:
                require(batch.group is not None, "group", "given with exclude_groups", None)
                assert batch.group is not None
                pairs = pairs.excluding_group(batch.group)
            shared[key] = pairs
        return shared[key]


def build_objective(
    spec: ObjectiveSpec,
    *,
    num_classes: int,
    dims: Mapping[str, int],
    class_counts: Sequence[int] | None = None,
    images: int | None = None,
    multilabel: bool = False,
) -> Objective:
    """The objective that a configuration names.

    Args:
        spec: the configuration.
        num_classes: C.
        dims: embedding dimension of each head.
        class_counts: training images of each class (label), for balanced class weights.
        images: all training images, for those of several labels per image.
        multilabel: whether a batch's labels are a table (N, L) instead of classes (N,).

    Raises:
        UserError: for a loss and a miner that make no sense together, a loss that does not fit the
            labels, or an unknown head.
    """
    check_labels([item.loss for item in spec.terms], spec.classification, multilabel=multilabel)
    terms: dict[str, Term] = {}
    for item in spec.terms:
        require(item.head in dims, "head", f"one of {', '.join(dims)}", item.head)
        loss = build_loss(item.loss, num_classes=num_classes, dim=dims[item.head])
        check_combination(loss, item.miners)
        miners = [build_miner(miner) for miner in item.miners]
        name: str = item.loss.name
        while name in terms:
            name += "_again"
        terms[name] = Term(loss, pipeline(*miners) if miners else None, item.weight, item.head)
    chosen = spec.classification
    classification = None
    if chosen is not None:
        classification = build_classification(chosen, counts=class_counts, images=images)
    return Objective(
        terms,
        classification,
        classification_weight=1.0 if chosen is None else chosen.weight,
        classification_head="class" if chosen is None else chosen.head,
        exclude_groups=spec.exclude_groups,
    )


def _weight(weight: Weight, epoch: float) -> float:
    return weight.at(epoch) if isinstance(weight, LinearWeight) else weight


def _head(by_name: Mapping[str, Tensor], name: str, kind: str) -> Tensor:
    if name not in by_name:
        raise UserError(f"head must be one of the {kind} {', '.join(by_name)}, got {name!r}")
    return by_name[name]
