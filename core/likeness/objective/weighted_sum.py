"""The weighted sum of losses on one batch, and on the sets of samples in it.

Every term reads one shared geometry: the pairs of a head in a space are built once per step (once
more for sub-classes), whatever the number of losses and miners that look at them.

Shapes: N = samples of the (global) batch, S = sets of them, D = embedding dimension, C = classes
(or labels).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from likeness.batch import Batch, groups_of
from likeness.errors import UserError, require
from likeness.losses.base import LossTerms
from likeness.losses.factory import AnyClassification
from likeness.losses.soft_targets import Targets, draw_labels
from likeness.models.heads import CLASS
from likeness.objective.ensemble import EnsembleWeights
from likeness.objective.sets import SetLevel
from likeness.objective.terms import (
    BatchTerm,
    Heads,
    HeadSynthesis,
    LabelKind,
    ObjectiveResult,
    Part,
    Term,
    Weight,
    head_of,
    weight_at,
)
from likeness.pairs import Pairs, Space
from likeness.synthesis import Synthetic

_NO_WHOLES: Mapping[str, BatchTerm] = {}
_PairsKey = tuple[str, Space, LabelKind, bool]  # head, space, labels, whether views are pairs


class _Made(NamedTuple):
    """What a synthesis made of the embeddings of a head."""

    head: str
    batch: Synthetic


class Objective(nn.Module):
    """The sum of pair losses and classification on one batch, and on the sets of its samples.

    Args:
        terms: named pair losses; the names head the log's columns.
        classification: cross-entropy on the logits of each of `classification_heads`, or None.
        classification_weight: its weight; each head counts so much.
        classification_heads: the logits it reads.
        targets: what it learns of each sample, see `likeness.losses.soft_targets`: all but `label`
            read the batch's `target`.
        exclude_groups: no positive pair inside one group of the batch.
        sets: what is minimised of the batch's sets, or None.
        wholes: named losses of the embeddings themselves, no matter of pairs: regularisers, and
            what a teacher asks for.
        ensemble: learned weights of `terms`, in their order, in place of their own; or None.
        synthesis: makes more embeddings of a head, for those terms on it that are `synthetic`; or
            None.

    Raises:
        UserError: if there is nothing to minimise.
    """

    def __init__(
        self,
        terms: Mapping[str, Term],
        classification: AnyClassification | None = None,
        *,
        classification_weight: Weight = 1.0,
        classification_heads: Sequence[str] = (CLASS,),
        targets: Targets = "label",
        exclude_groups: bool = False,
        sets: SetLevel | None = None,
        wholes: Mapping[str, BatchTerm] = _NO_WHOLES,
        ensemble: EnsembleWeights | None = None,
        synthesis: HeadSynthesis | None = None,
    ) -> None:
        super().__init__()
        if not terms and classification is None and sets is None and not wholes:
            raise UserError("objective must be at least one term or classification, got neither")
        self.terms = nn.ModuleDict(terms)
        self.wholes = nn.ModuleDict(wholes)
        self.classification = classification
        self.classification_weight = classification_weight
        self.classification_heads = tuple(classification_heads)
        self.targets = targets
        self.exclude_groups = exclude_groups
        self.sets = sets
        self.ensemble = ensemble
        self.synthesis = synthesis

    def forward(self, outputs: Heads, batch: Batch, *, epoch: float = 0.0) -> ObjectiveResult:
        """The objective of one global batch.

        Args:
            outputs: the embedder's output; embeddings (N, D) and logits (N, C) by head.
            batch: what is known of the samples; its logits are filled in here.
            epoch: fractional epoch, for scheduled weights.

        Returns:
            The weighted sum, and each part unweighted: pair losses by name, `classification` (of
            several heads `classification.<head>`), and those of sets as `sets.<name>`; of an
            ensemble the weights, too, as `weight.<name>` (in the log `loss_weight.<name>`).

        Raises:
            UserError: if a head is missing, or a column that is needed.
        """
        batch = batch.with_logits({name: value.detach() for name, value in outputs.logits.items()})
        weighted: list[Tensor] = []
        parts: dict[str, Part] = {}
        metric = [*self._metric(outputs, batch, epoch)]
        rest = [*self._whole(outputs, batch), *self._classified(outputs, batch)]
        for name, found, _ in metric + rest:
            parts[name] = Part(found.value.detach(), found.n_active)
        if self.ensemble is not None:
            value, weights = self._learned(self.ensemble, metric)
            weighted.append(value)
            parts |= weights
            metric = []
        for _, found, weight in metric + rest:
            weighted.append(found.value * weight_at(weight, epoch))
        if self.sets is not None:
            loss, of_sets = self.sets(outputs, batch, epoch=epoch)
            weighted.append(loss)
            parts |= {f"sets.{name}": part for name, part in of_sets.items()}
        return ObjectiveResult(sum(weighted[1:], start=weighted[0]), parts)

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the batch that some loss cannot do without."""
        inner = frozenset() if self.sets is None else self.sets.objective.columns
        return inner.union(*(term.loss.columns for _, term in self._terms()))

    @property
    def needs_class_means(self) -> bool:
        """Whether a loss wants its centres set from an embedding pass before the first step."""
        own = any(term.loss.needs_class_means for _, term in self._terms())
        return own or (self.sets is not None and self.sets.objective.needs_class_means)

    @torch.no_grad()
    def imprint(
        self, embeddings: Mapping[str, Tensor], labels: Tensor, *, kind: LabelKind = "class"
    ) -> None:
        """Set the centres of every loss on classes (or on sub-classes) that wants it.

        Centres of sets become the class means of the samples: every frame counts the same.

        Args:
            embeddings: raw embeddings of the training images by head.
            labels: their classes, or the numbers of their sub-classes.
            kind: which of the two.
        """
        for _, term in self._terms():
            if term.labels == kind and term.loss.needs_class_means:
                term.loss.imprint(head_of(embeddings, term.head, "embeddings"), labels)
        if self.sets is not None:
            self.sets.objective.imprint(embeddings, labels, kind=kind)

    @torch.no_grad()
    def after_step(self, outputs: Heads, batch: Batch) -> None:
        """Tell every loss that the optimiser has stepped (centres move, memories fill here)."""
        for _, term in self._terms():
            embeddings = head_of(outputs.embeddings, term.head, "embeddings")
            labels = term.labels_of(batch)
            term.loss.after_step(embeddings.detach(), labels)
            if term.memory is not None:
                term.memory.remember(embeddings, batch, labels=labels)
        for _, whole in self._wholes():
            embeddings = head_of(outputs.embeddings, whole.head, "embeddings")
            whole.loss.after_step(embeddings.detach(), batch)
        if self.sets is not None:
            self.sets.objective.after_step(*self.sets.pool(outputs, batch))

    def wants_embeddings(self, epoch: int) -> bool:
        """Whether a synthesis wants those of all training images as an epoch (from 0) begins."""
        return self.synthesis is not None and self.synthesis.synthesiser.wants_embeddings(epoch)

    def refresh(self, embeddings: Mapping[str, Tensor], labels: Tensor) -> None:
        """Tell the synthesis the raw embeddings of the training images, by head."""
        if self.synthesis is not None:
            rows = head_of(embeddings, self.synthesis.head, "embeddings")
            self.synthesis.synthesiser.refresh(rows, labels)

    def relabel(self, labels: Tensor, *, kind: LabelKind = "class") -> None:
        """Tell every memory what the images are from now on, where classes are found in rounds.

        Args:
            labels: classes (or numbers of sub-classes) of all training images.
            kind: which of the two.
        """
        for _, term in self._terms():
            if term.labels == kind and term.memory is not None:
                term.memory.relabel(labels)

    def _terms(self) -> list[tuple[str, Term]]:
        return [(name, term) for name, term in self.terms.items() if isinstance(term, Term)]

    def _wholes(self) -> list[tuple[str, BatchTerm]]:
        return [(name, term) for name, term in self.wholes.items() if isinstance(term, BatchTerm)]

    def _metric(
        self, outputs: Heads, batch: Batch, epoch: float
    ) -> Iterator[tuple[str, LossTerms, Weight]]:
        """The pair losses: name, value, weight."""
        shared: dict[_PairsKey, Pairs] = {}
        made = self._made(outputs, batch, epoch)
        for name, term in self._terms():
            if made is not None and term.synthetic and term.head == made.head:
                yield name, self._on_made(made.batch, term, outputs, batch), term.weight
                continue
            pairs = self._pairs(shared, term, outputs, batch)
            selection = term.select(pairs, outputs, batch)
            yield name, term.loss.on_pairs(pairs, selection, batch), term.weight

    def _made(self, outputs: Heads, batch: Batch, epoch: float) -> _Made | None:
        """What the synthesis makes of the batch, once for all terms on its head."""
        if self.synthesis is None:
            return None
        head = self.synthesis.head
        embeddings = head_of(outputs.embeddings, head, "embeddings")
        return _Made(head, self.synthesis.synthesiser.synthesise(embeddings, batch, epoch=epoch))

    def _on_made(self, made: Synthetic, term: Term, outputs: Heads, batch: Batch) -> LossTerms:
        return made.terms(
            term.loss,
            term.seen(outputs, batch),
            labels=None if term.labels == "class" else term.labels_of(batch),
            miner=None if term.miner is None else term.choose,
            exclude_groups=self.exclude_groups,
        )

    def _learned(
        self, ensemble: EnsembleWeights, metric: Sequence[tuple[str, LossTerms, Weight]]
    ) -> tuple[Tensor, dict[str, Part]]:
        """The pair losses under learned weights, and these weights by name."""
        found = [terms for _, terms, _ in metric]
        value = ensemble([one.value for one in found], [one.valid.any() for one in found])
        weight_J = ensemble.weights().detach()
        none = torch.zeros((), dtype=torch.int64, device=weight_J.device)
        named = zip(metric, weight_J, strict=True)
        return value, {f"weight.{name}": Part(weight, none) for (name, _, _), weight in named}

    def _whole(self, outputs: Heads, batch: Batch) -> Iterator[tuple[str, LossTerms, Weight]]:
        """The losses of embeddings themselves: name, value, weight."""
        for name, term in self._wholes():
            embeddings = head_of(outputs.embeddings, term.head, "embeddings")
            yield name, term.loss.on_embeddings(embeddings, batch), term.weight

    def _classified(self, outputs: Heads, batch: Batch) -> Iterator[tuple[str, LossTerms, Weight]]:
        """The classification of each head: name, value, weight."""
        if self.classification is None:
            return
        wanted = self._wanted(batch)
        several = len(self.classification_heads) > 1
        for head in self.classification_heads:
            name = f"classification.{head}" if several else "classification"
            logits = head_of(outputs.logits, head, "logits")
            found = self.classification.on_logits(logits, wanted)
            yield name, found, self.classification_weight

    def _wanted(self, batch: Batch) -> Tensor:
        """What the class layers should say, the same for every head: labels (N,), or (N, C)."""
        if self.targets == "label":
            return batch.labels
        require(batch.target is not None, "target", f"given for targets {self.targets!r}", None)
        assert batch.target is not None
        if self.targets == "drawn":
            return draw_labels(batch.target, batch.generator)
        return batch.target

    def _pairs(
        self,
        shared: dict[_PairsKey, Pairs],
        term: Term,
        outputs: Heads,
        batch: Batch,
    ) -> Pairs:
        """What a term compares: its own memory's pairs, or those that all without one share."""
        space, views = term.loss.space, term.loss.allow_views
        embeddings = head_of(outputs.embeddings, term.head, "embeddings")
        labels = term.labels_of(batch)
        if term.memory is not None:
            return term.memory.pairs(
                embeddings,
                batch,
                labels=labels,
                space=space,
                allow_views=views,
                exclude_groups=self.exclude_groups,
            )
        key = (term.head, space, term.labels, views)
        if key not in shared:
            pairs = Pairs(embeddings, labels, ids=batch.ids, space=space, allow_views=views)
            if self.exclude_groups:
                pairs = pairs.excluding_group(groups_of(batch))
            shared[key] = pairs
        return shared[key]
