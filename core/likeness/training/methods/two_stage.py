"""Two-stage hard-sample generation: training on triplets that two generators made hard.

Shapes: N = samples of the batch, T = triplets, D = embedding dimension, F = features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likeness.batch import Batch
from likeness.errors import require
from likeness.losses import TripletLoss
from likeness.losses.base import mean_over
from likeness.models import Outputs
from likeness.models.heads import EMBEDDING
from likeness.objective import Objective, Part, Term
from likeness.objective.terms import weight_at
from likeness.pairs import project
from likeness.synthesis.hardness_aware import mean_label_cost
from likeness.synthesis.two_stage import (
    ClassDiscriminator,
    ConditionalGenerator,
    NegativeGenerator,
    doubt,
    reverse_triplet,
    stretch_pairs,
)
from likeness.training.methods.averages import FadingMean, RealShare
from likeness.training.methods.parts import nothing, quiet_parts, resting
from likeness.training.methods.specs import TwoStageSpec
from likeness.training.methods.tuples import (
    Tuples,
    base_term,
    feature_embedder,
    find_tuples,
    term_of,
    tuple_distance,
    tuple_loss,
)
from likeness.training.step import MAIN, Method, Update

DISCRIMINATOR = "discriminator"
GENERATORS = "generators"
Phase = Literal["metric", "generators", "joint"]


class Seen(NamedTuple):
    """The triplets of a batch, as the generators read them.

    Attributes:
        tuples: places in the batch; the others are the positive and the negative.
        valid_T: which rows are triplets.
        labels_T3: classes of anchor, positive and negative.
        features_T3F: their features.
        embeddings_T3D: as the triplet loss's space compares them.
    """

    tuples: Tuples
    valid_T: Tensor
    labels_T3: Tensor
    features_T3F: Tensor
    embeddings_T3D: Tensor

    def detach(self) -> Seen:
        """The same without a gradient."""
        return self._replace(
            features_T3F=self.features_T3F.detach(), embeddings_T3D=self.embeddings_T3D.detach()
        )


class TwoStageGeneration(Method):
    """Two-stage hard-sample generation (THSG; Zhu et al., arXiv 2112.02259): our reconstruction.

    Only abstracts were readable; every formula, network and default is ours. Stage 1 stretches each
    anchor and positive (`stretch_pairs`) and a conditional GAN makes features of them; stage 2
    makes a hard negative for each pair under a reverse triplet constraint. The metric loss is

        exp(-beta / J_gen) * J_m + (1 - exp(-beta / J_gen)) * J_syn

    with J_m the run's objective and J_syn its triplet term on the made triplets, which go through
    the model's own head. How far pairs are stretched, and the margin of the reverse constraint,
    grow with gamma = 1 - exp(-alpha / J_avg) in [0, 1], J_avg the running triplet loss.

    Three updates, each seeing those before it: the discriminator, both generators, the model. A
    step passes the images through the model once: the first two leave it as it is. First the model
    learns alone, then the others alone, then all together.

    Args:
        embedder: the model; its head must read pooled features.
        objective: with a term of `TripletLoss`; the first is the base loss. Its miner chooses the
            triplets if it gives any; otherwise as many as images are drawn, classes alike.
        spec: the options.
        num_classes: C.

    Raises:
        UserError: if the model or the objective does not fit.
    """

    def __init__(
        self, embedder: nn.Module, objective: Objective, spec: TwoStageSpec, *, num_classes: int
    ) -> None:
        super().__init__(embedder, objective)
        model = feature_embedder(embedder, spec.name)
        size, width = model.num_features, spec.hidden
        self.spec = spec
        self.term_name = base_term(objective, (TripletLoss,), spec.name)
        self.pair_generator = ConditionalGenerator(
            model.embedding_dim, size, num_classes, hidden=width, class_dim=spec.class_dim
        )
        self.negative_generator = NegativeGenerator(size)
        self.discriminator = ClassDiscriminator(size, num_classes, hidden=width)
        self.metric_mean, self.usual_distance = FadingMean(), FadingMean()
        self.real_share = RealShare(spec.beta)

    @property
    def term(self) -> Term:
        """The triplet loss with its miners and weight."""
        return term_of(self.objective, self.term_name)

    @property
    def loss(self) -> TripletLoss:
        """The triplet loss."""
        assert isinstance(self.term.loss, TripletLoss)
        return self.term.loss

    @property
    def strength(self) -> Float[Tensor, ""]:
        """Gamma: 0 while the metric loss is large, up to 1 as it falls."""
        return 1 - torch.exp(-self.spec.alpha / self.metric_mean.value)

    def phase(self, epoch: float) -> Phase:
        """Who learns at a (fractional) epoch."""
        if epoch < self.spec.metric_epochs:
            return "metric"
        warm = self.spec.metric_epochs + self.spec.generator_epochs
        return "generators" if epoch < warm else "joint"

    def groups(self) -> dict[str, list[nn.Module]]:
        """The model with its objective, the discriminator, both generators."""
        return {
            **super().groups(),
            DISCRIMINATOR: [self.discriminator],
            GENERATORS: [self.pair_generator, self.negative_generator],
        }

    def rates(self) -> dict[str, float]:
        """Of the discriminator and the generators."""
        return {DISCRIMINATOR: self.spec.discriminator_lr, GENERATORS: self.spec.generator_lr}

    def updates(
        self, forward: Callable[[], Outputs], batch: Batch, epoch: float
    ) -> Iterator[Update]:
        """Three alternating updates; who rests in this phase gets one that moves nothing.

        Raises:
            UserError: for a batch of one image, or of several labels per image.
        """
        phase = self.phase(epoch)
        with torch.set_grad_enabled(phase != "generators"):
            outputs = forward()
            seen = self.see(outputs, batch)
        constant = seen.detach()
        self._note_distance(constant)
        # No second pass of the images: the graph behind `outputs` needs no weight that these move.
        if phase == "metric":
            yield resting(DISCRIMINATOR, ("real_or_made", "labels"), outputs.features_NF)
            yield resting(GENERATORS, ("pairs", "negatives"), outputs.features_NF)
        else:
            yield self._discriminate(constant)
            yield self._generate(constant, phase)
        yield self._learn(outputs, batch, seen, phase, epoch)

    def see(self, outputs: Outputs, batch: Batch) -> Seen:
        """The triplets of a batch, with the gradient of the outputs; errors as in `updates`."""
        count = len(batch.labels)
        require(count >= 2, "batch size", ">= 2 for method two_stage", count)
        tuples = find_tuples(self.objective, self.term, outputs, batch)
        rows_T3 = torch.cat([tuples.anchor_T[:, None], tuples.other_TM], 1)
        embeddings_ND = project(outputs.embeddings[EMBEDDING], self.loss.space)
        return Seen(
            tuples,
            tuples.valid_T,
            batch.labels[rows_T3],
            outputs.features_NF[rows_T3],
            embeddings_ND[rows_T3],
        )

    def make_pairs(self, seen: Seen) -> Float[Tensor, "T 2 F"]:
        """Stage 1: features of anchors and positives that lie farther apart."""
        anchor_TD, positive_TD, _ = seen.embeddings_T3D.unbind(1)
        # As long as no pair was seen (inf) there is none to stretch.
        usual = self.usual_distance.value.nan_to_num(posinf=0.0)
        apart = stretch_pairs(
            anchor_TD,
            positive_TD,
            usual,
            self.strength,
            most=self.spec.most_stretch,
        )
        return self._generated(torch.stack(apart, 1), seen.labels_T3[:, :2])

    def make_negatives(self, pair_T2F: Float[Tensor, "T 2 F"], seen: Seen) -> Float[Tensor, "T F"]:
        """Stage 2: features of a hard negative for each pair."""
        anchor_TF, positive_TF = pair_T2F.unbind(1)
        made_TF: Tensor = self.negative_generator(anchor_TF, positive_TF, seen.features_T3F[:, 2])
        return made_TF

    def embed_again(
        self, pair_T2F: Float[Tensor, "T 2 F"], negative_TF: Float[Tensor, "T F"]
    ) -> Float[Tensor, "T 3 D"]:
        """Made triplets through the model's own head."""
        made_T3F = torch.cat([pair_T2F, negative_TF[:, None]], 1)
        model = feature_embedder(self.embedder, self.spec.name)
        made_T3D: Tensor = model.embed_features(made_T3F.flatten(0, 1)).unflatten(0, (-1, 3))
        return made_T3D

    def _discriminate(self, seen: Seen) -> Update:
        """The discriminator learns real from made, and the classes of real ones."""
        with torch.no_grad():
            made = self.make_pairs(seen).flatten(0, 1)
        labels, valid = seen.labels_T3[:, :2].flatten(), seen.valid_T.repeat_interleave(2)
        of_real = self.discriminator(seen.features_T3F[:, :2].flatten(0, 1), labels)
        of_made = self.discriminator(made, labels)
        told_apart = mean_over(doubt(of_real.real_R, real=True), valid)
        told_apart = told_apart + mean_over(doubt(of_made.real_R, real=False), valid)
        classified = mean_label_cost(of_real.class_RC, labels, valid)
        parts = quiet_parts({"real_or_made": told_apart, "labels": classified})
        return Update(told_apart + classified, DISCRIMINATOR, fresh_forward=True, parts=parts)

    def _generate(self, seen: Seen, phase: Phase) -> Update:
        """Both generators learn; what the second reads of the first is a constant to it."""
        pair_T2F = self.make_pairs(seen)
        of_pairs = self._pair_loss(pair_T2F, seen)
        of_negatives = self._negative_loss(pair_T2F.detach(), seen)
        loss = of_pairs + of_negatives
        self.real_share.update(loss.detach(), fixed=phase == "joint", counts=seen.valid_T.any())
        parts = quiet_parts({"pairs": of_pairs, "negatives": of_negatives})
        return Update(loss, GENERATORS, fresh_forward=True, parts=parts)

    def _pair_loss(self, pair_T2F: Tensor, seen: Seen) -> Tensor:
        labels, valid = seen.labels_T3[:, :2].flatten(), seen.valid_T.repeat_interleave(2)
        said = self.discriminator(pair_T2F.flatten(0, 1), labels)
        again_T2F = self._generated(seen.embeddings_T3D[:, :2], seen.labels_T3[:, :2])
        missed_T2 = (again_T2F - seen.features_T3F[:, :2]).square().mean(2)
        return (
            self.spec.adversarial_weight * mean_over(doubt(said.real_R, real=True), valid)
            + self.spec.label_weight * mean_label_cost(said.class_RC, labels, valid)
            + self.spec.reconstruction_weight * mean_over(missed_T2.flatten(), valid)
        )

    def _negative_loss(self, pair_T2F: Tensor, seen: Seen) -> Tensor:
        negative_TF = self.make_negatives(pair_T2F, seen)
        distance_T2 = self._distances(self.embed_again(pair_T2F, negative_TF))
        margin = self.loss.margin * self.strength
        easy_T = reverse_triplet(distance_T2[:, 0], distance_T2[:, 1], margin)
        labels_T = seen.labels_T3[:, 2]
        said = self.discriminator(negative_TF, labels_T)
        moved_T = (negative_TF - seen.features_T3F[:, 2]).square().mean(1)
        return (
            self.spec.reverse_weight * mean_over(easy_T, seen.valid_T)
            + self.spec.label_weight * mean_label_cost(said.class_RC, labels_T, seen.valid_T)
            + self.spec.keep_weight * mean_over(moved_T, seen.valid_T)
        )

    def _learn(
        self, outputs: Outputs, batch: Batch, seen: Seen, phase: Phase, epoch: float
    ) -> Update:
        """The model learns, from what is real and, once all learn together, from what is made."""
        with torch.set_grad_enabled(phase != "generators"):
            real, parts = self.objective(outputs, batch, epoch=epoch)
        loss, recycled = real, torch.zeros_like(real)
        if phase == "generators":
            loss = nothing(real)
        if phase == "joint":
            pair_T2F = self.make_pairs(seen)
            made_T3D = self.embed_again(pair_T2F, self.make_negatives(pair_T2F, seen))
            recycled = tuple_loss(self.loss, made_T3D[:, 0], made_T3D[:, 1:], seen.tuples)
            weight, share = weight_at(self.term.weight, epoch), self.real_share.value
            loss = share * real + (1 - share) * weight * recycled
        self.metric_mean.update(parts[self.term_name].value, counts=seen.valid_T.any())
        synthetic = Part(recycled.detach(), seen.valid_T.count_nonzero())
        return Update(loss, MAIN, parts={**parts, "synthetic": synthetic})

    def _generated(self, rows_T2D: Tensor, labels_T2: Tensor) -> Tensor:
        rows_RD = project(rows_T2D.flatten(0, 1), self.loss.space)
        made_RF: Tensor = self.pair_generator(rows_RD, labels_T2.flatten())
        made_T2F: Tensor = made_RF.unflatten(0, (-1, 2))
        return made_T2F

    def _distances(self, rows_T3D: Tensor) -> Float[Tensor, "T 2"]:
        """From the anchor to the positive and to the negative, as the triplet loss compares."""
        return tuple_distance(self.loss, rows_T3D[:, 0], rows_T3D[:, 1:])

    @torch.no_grad()
    def _note_distance(self, seen: Seen) -> None:
        way_TD = seen.embeddings_T3D[:, 0] - seen.embeddings_T3D[:, 1]
        mean = mean_over(torch.linalg.vector_norm(way_TD, dim=1), seen.valid_T)
        self.usual_distance.update(mean, counts=seen.valid_T.any())
