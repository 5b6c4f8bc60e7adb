"""The weighted sum of losses on one batch, and on the sets of samples in it.

Every term reads one shared geometry: the pairs of a head in a space are built once per step (once
more for sub-classes), whatever the number of losses and miners that look at them.

Shapes: N = samples of the (global) batch, S = sets of them, D = embedding dimension, C = classes
(or labels).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from likeness.batch import Batch
from likeness.errors import UserError, require
from likeness.losses.base import LossTerms
from likeness.losses.factory import AnyClassification
from likeness.losses.soft_targets import Targets, draw_labels
from likeness.mining.soft import attention
from likeness.models.heads import CLASS, EMBEDDING
from likeness.models.sets import pool_sets, pool_weighted
from likeness.objective.terms import (
    Heads,
    LabelKind,
    ObjectiveResult,
    Part,
    Term,
    Weight,
    head_of,
    weight_at,
)
from likeness.pairs import Pairs, Space

SetPooling = Literal["mean", "max", "attention"]
_PairsKey = tuple[str, Space, LabelKind, bool]  # head, space, labels, whether views are pairs


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
    ) -> None:
        super().__init__()
        if not terms and classification is None and sets is None:
            raise UserError("objective must be at least one term or classification, got neither")
        self.terms = nn.ModuleDict(terms)
        self.classification = classification
        self.classification_weight = classification_weight
        self.classification_heads = tuple(classification_heads)
        self.targets = targets
        self.exclude_groups = exclude_groups
        self.sets = sets

    def forward(self, outputs: Heads, batch: Batch, *, epoch: float = 0.0) -> ObjectiveResult:
        """The objective of one global batch.

        Args:
            outputs: the embedder's output; embeddings (N, D) and logits (N, C) by head.
            batch: what is known of the samples; its logits are filled in here.
            epoch: fractional epoch, for scheduled weights.

        Returns:
            The weighted sum, and each part unweighted: pair losses by name, `classification` (of
            several heads `classification.<head>`), and those of sets as `sets.<name>`.

        Raises:
            UserError: if a head is missing, or a column that is needed.
        """
        batch = batch.with_logits({name: value.detach() for name, value in outputs.logits.items()})
        weighted: list[Tensor] = []
        parts: dict[str, Part] = {}
        terms = (*self._metric(outputs, batch), *self._classified(outputs, batch))
        for name, found, weight in terms:
            weighted.append(found.value * weight_at(weight, epoch))
            parts[name] = Part(found.value.detach(), found.n_active)
        if self.sets is not None:
            loss, of_sets = self.sets(outputs, batch, epoch=epoch)
            weighted.append(loss)
            parts |= {f"sets.{name}": part for name, part in of_sets.items()}
        return ObjectiveResult(sum(weighted[1:], start=weighted[0]), parts)

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
        """Tell every loss that the optimiser has stepped (running centres move here)."""
        for _, term in self._terms():
            embeddings = head_of(outputs.embeddings, term.head, "embeddings")
            term.loss.after_step(embeddings.detach(), term.labels_of(batch))
        if self.sets is not None:
            self.sets.objective.after_step(*self.sets.pool(outputs, batch))

    def _terms(self) -> list[tuple[str, Term]]:
        return [(name, term) for name, term in self.terms.items() if isinstance(term, Term)]

    def _metric(self, outputs: Heads, batch: Batch) -> Iterator[tuple[str, LossTerms, Weight]]:
        """The pair losses: name, value, weight."""
        shared: dict[_PairsKey, Pairs] = {}
        for name, term in self._terms():
            pairs = self._pairs(shared, term, outputs, batch)
            selection = term.select(pairs, outputs, batch)
            yield name, term.loss.on_pairs(pairs, selection, batch), term.weight

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
        space, views = term.loss.space, term.loss.allow_views
        key = (term.head, space, term.labels, views)
        if key not in shared:
            embeddings = head_of(outputs.embeddings, term.head, "embeddings")
            labels = term.labels_of(batch)
            pairs = Pairs(embeddings, labels, ids=batch.ids, space=space, allow_views=views)
            if self.exclude_groups:
                require(batch.group is not None, "group", "given with exclude_groups", None)
                assert batch.group is not None
                pairs = pairs.excluding_group(batch.group)
            shared[key] = pairs
        return shared[key]


class SetOutputs(NamedTuple):
    """The sets of a batch as a model's output would be: embeddings (S, D), logits (S, C)."""

    embeddings: dict[str, Tensor]
    logits: dict[str, Tensor]


class SetClassifier(nn.Linear):
    """The class layer of sets, D -> C; the optimiser multiplies its rate by `lr_mult`."""

    def __init__(self, dim: int, classes: int, *, lr_mult: float = 1.0) -> None:
        super().__init__(dim, classes)
        self.lr_mult = lr_mult


class SetLevel(nn.Module):
    """An objective on the sets of a batch: samples of one `Batch.sequence` pooled into one row.

    Wang et al. 2019 (official code of OSM + CAA) train on frames and on tracklets together, a
    tracklet being the attention-weighted mean of its frames' raw embeddings, with a class layer of
    its own. That layer belongs to the objective: it is trained and saved with the run, and no part
    of the model that the run is for.

    Args:
        objective: on the sets; it reads the embeddings of `head` and the logits `class`.
        head: whose raw embeddings are pooled.
        classifier: from a pooled embedding to the logits of its set, or None.
        pooling: `mean`, `max`, or `attention`, which weighs a sample by how sure its own logits
            are of its class (`likeness.mining.soft.attention`, the official code's).
        attention_head: the logits that `attention` reads.
        sigma: width of `attention`, > 0.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        head: str = EMBEDDING,
        classifier: SetClassifier | None = None,
        pooling: SetPooling = "mean",
        attention_head: str = CLASS,
        sigma: float = 0.68,
    ) -> None:
        super().__init__()
        require(sigma > 0, "sigma", "> 0", sigma)
        self.objective, self.classifier = objective, classifier
        self.head, self.attention_head = head, attention_head
        self.pooling, self.sigma = pooling, sigma

    def forward(self, outputs: Heads, batch: Batch, *, epoch: float = 0.0) -> ObjectiveResult:
        """The objective of the batch's sets; see `Objective.forward`.

        Raises:
            UserError: if a head is missing, or the batch has no `sequence`.
        """
        of_sets: ObjectiveResult = self.objective(*self.pool(outputs, batch), epoch=epoch)
        return of_sets

    def pool(self, outputs: Heads, batch: Batch) -> tuple[SetOutputs, Batch]:
        """The sets' embeddings and logits, and what is known of them; errors as in `forward`."""
        set_N, of_sets = batch.of_sets()
        sets = len(of_sets.labels)
        rows_ND = head_of(outputs.embeddings, self.head, "embeddings")
        if self.pooling == "attention":
            logits_NC = head_of(outputs.logits, self.attention_head, "logits")
            known = logits_NC.detach(), batch.labels
            weight_N = attention(*known, variant="caffe", sigma=self.sigma)
            pooled_SD = pool_weighted(rows_ND, set_N, weight_N, sets=sets)
        else:
            pooled_SD = pool_sets(rows_ND, set_N, sets=sets, how=self.pooling)
        logits = {} if self.classifier is None else {CLASS: self.classifier(pooled_SD)}
        return SetOutputs({self.head: pooled_SD}, logits), of_sets
