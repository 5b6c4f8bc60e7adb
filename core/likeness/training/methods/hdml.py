"""Hardness-aware deep metric learning: training with negatives that are as hard as is bearable.

Shapes: N = samples of the batch, T = tuples, M = others of each anchor, D = embedding dimension,
F = features, R = made rows, T + T M of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from likeness.batch import Batch
from likeness.errors import require
from likeness.losses import NPairLoss, TripletLoss
from likeness.models import Outputs
from likeness.models.heads import EMBEDDING
from likeness.objective import Objective, Part, Term
from likeness.objective.terms import weight_at
from likeness.pairs import project
from likeness.synthesis.hardness_aware import (
    FeatureGenerator,
    generator_cost,
    mean_label_cost,
    pull_negatives,
    share_left,
)
from likeness.training.methods.averages import WindowMean
from likeness.training.methods.parts import quiet_parts
from likeness.training.methods.specs import HDMLSpec
from likeness.training.methods.tuples import (
    Tuples,
    at_place,
    base_term,
    feature_embedder,
    find_tuples,
    term_of,
    tuple_loss,
)
from likeness.training.step import MAIN, Method, Update

GENERATOR = "generator"
CLASSIFIER = "classifier"
_START = 1e6  # of both running means: nothing is pulled, and nothing made is learned from


class Made(NamedTuple):
    """What HDML makes of a batch.

    Attributes:
        tuples: who is compared with whom.
        features_RF: features of all made rows: the T anchors, then the T M others.
        anchor_TD: their embeddings, by the model's own head.
        other_TMD: likewise.
    """

    tuples: Tuples
    features_RF: Tensor
    anchor_TD: Tensor
    other_TMD: Tensor


class HDML(Method):
    """Hardness-aware deep metric learning (Zheng, Chen, Lu, Zhou, CVPR 2019).

    The negatives of each anchor are pulled to it (`pull_negatives`), the more the smaller the
    running metric loss J_avg is; a generator turns every embedding back into features, which go
    through the model's own embedding head once more; the metric loss is

        exp(-beta / J_gen) * J_m + (1 - exp(-beta / J_gen)) * J_syn

    with J_m the run's objective and J_syn its N-pair or triplet term on what was made. The
    generator learns J_gen (`generator_cost`), a linear classifier of features the cross-entropy of
    real ones; at test time both are thrown away. Formulas, networks and defaults, except for
    alpha, are those of the official code (wzzheng/HDML) for Cars196 with N-pairs. All gradients are
    taken from one forward pass: the metric loss moves the model only (through the generator, which
    stays), J_gen the generator only, the cross-entropy the classifier only.

    J_avg and J_gen are means over the last complete window of steps and start at 1e6. The official
    code's J_avg is of the base loss after its weight, with the weight penalty in it; ours is of the
    plain one (what the paper means, UNCONFIRMED) or, with `track_weighted`, after its weight.

    Args:
        embedder: the model; its head must read pooled features.
        objective: with a term of `NPairLoss` or `TripletLoss`; the first is the base loss.
        spec: the options.
        num_classes: C.

    Raises:
        UserError: if the model or the objective does not fit.
    """

    def __init__(
        self, embedder: nn.Module, objective: Objective, spec: HDMLSpec, *, num_classes: int
    ) -> None:
        super().__init__(embedder, objective)
        model = feature_embedder(embedder, spec.name)
        self.spec = spec
        self.term_name = base_term(objective, (NPairLoss, TripletLoss), spec.name)
        self.generator = FeatureGenerator(
            model.embedding_dim, model.num_features, hidden=spec.hidden
        )
        self.classifier = nn.Linear(model.num_features, num_classes)
        self.metric_mean = WindowMean(spec.window, start=_START)
        self.generator_mean = WindowMean(spec.window, start=_START)

    @property
    def term(self) -> Term:
        """The base loss with its miners and weight."""
        return term_of(self.objective, self.term_name)

    @property
    def loss(self) -> NPairLoss | TripletLoss:
        """The base loss."""
        assert isinstance(self.term.loss, NPairLoss | TripletLoss)
        return self.term.loss

    def groups(self) -> dict[str, list[nn.Module]]:
        """The model with its objective, the generator, the classifier."""
        return {
            **super().groups(),
            GENERATOR: [self.generator],
            CLASSIFIER: [self.classifier],
        }

    def rates(self) -> dict[str, float]:
        """Of the generator and the classifier."""
        return {GENERATOR: self.spec.generator_lr, CLASSIFIER: self.spec.classifier_lr}

    def updates(
        self, forward: Callable[[], Outputs], batch: Batch, epoch: float
    ) -> Iterator[Update]:
        """Three simultaneous updates.

        Raises:
            UserError: for a batch of one image, or of several labels per image.
        """
        outputs = forward()
        real, parts = self.objective(outputs, batch, epoch=epoch)
        real_share = torch.exp(-self.spec.beta / self.generator_mean.value)
        made = self.make(outputs, batch)
        recycled = tuple_loss(self.loss, made.anchor_TD, made.other_TMD, made.tuples)
        weight = weight_at(self.term.weight, epoch)
        there = Part(recycled.detach(), made.tuples.negative_TM.count_nonzero())
        yield Update(
            real_share * real + (1 - real_share) * weight * recycled,
            MAIN,
            parts={**parts, "synthetic": there},
        )
        generator_loss, label_cost = self._generator_loss(outputs, batch, made)
        yield Update(generator_loss, GENERATOR, parts=quiet_parts({"labels": label_cost}))
        known = F.cross_entropy(self.classifier(outputs.features_NF.detach()), batch.labels)
        yield Update(known, CLASSIFIER, parts=quiet_parts({"labels": known}))
        metric = parts[self.term_name].value
        metric = real_share * metric if self.spec.track_weighted else metric
        any_tuple = made.tuples.valid_T.any()
        self.metric_mean.update(metric, counts=any_tuple)
        self.generator_mean.update(generator_loss.detach(), counts=any_tuple)

    def make(self, outputs: Outputs, batch: Batch) -> Made:
        """Tuples of the batch with their negatives pulled, as features and as embeddings.

        Gradients reach the embeddings of the batch, the generator and the model's head.

        Raises:
            UserError: as `updates`.
        """
        count = len(batch.labels)
        require(count >= 2, "batch size", ">= 2 for method hdml", count)
        tuples = find_tuples(self.objective, self.term, outputs, batch)
        embeddings_ND = project(outputs.embeddings[EMBEDDING], self.loss.space)
        anchor_TD, other_TMD = embeddings_ND[tuples.anchor_T], embeddings_ND[tuples.other_TM]
        pulled_TMD = pull_negatives(
            anchor_TD,
            other_TMD,
            at_place(other_TMD, tuples.place_T),
            tuples.negative_TM,
            share_left(self.metric_mean.value, alpha=self.spec.alpha),
            detach=self.spec.detach_lambda,
        )
        rows_RD = torch.cat([anchor_TD, pulled_TMD.flatten(0, 1)])
        features_RF = self.generator(project(rows_RD, self.loss.space))
        again_RD = feature_embedder(self.embedder, self.spec.name).embed_features(features_RF)
        first_TD, rest = again_RD.tensor_split([len(anchor_TD)])
        return Made(tuples, features_RF, first_TD, rest.view_as(pulled_TMD))

    def _generator_loss(
        self, outputs: Outputs, batch: Batch, made: Made
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """J_gen and the cross-entropy in it; only the generator's gradient is ever asked for."""
        embeddings_ND = project(outputs.embeddings[EMBEDDING], self.loss.space)
        again_NF = self.generator(embeddings_ND.detach())
        label_cost = self._label_cost(batch, made)
        loss = generator_cost(
            again_NF,
            outputs.features_NF.detach(),
            label_cost,
            label_share=self.spec.label_share,
            label_factor=self.spec.label_factor,
        )
        return loss, label_cost.detach()

    def _label_cost(self, batch: Batch, made: Made) -> Float[Tensor, ""]:
        """Cross-entropy of what was made: N-pairs add two means, triplets share one."""
        tuples = made.tuples
        rows_R = torch.cat([tuples.anchor_T, tuples.other_TM.flatten()])
        used_TM = tuples.positive_TM | tuples.negative_TM
        used_R = torch.cat([tuples.valid_T, used_TM.flatten()])
        logits_RC, labels_R = self.classifier(made.features_RF), batch.labels[rows_R]
        if isinstance(self.loss, TripletLoss):
            return mean_label_cost(logits_RC, labels_R, used_R)
        is_anchor_R = torch.arange(len(rows_R), device=rows_R.device) < len(tuples.anchor_T)
        anchors = mean_label_cost(logits_RC, labels_R, used_R & is_anchor_R)
        return anchors + mean_label_cost(logits_RC, labels_R, used_R & ~is_anchor_R)
