"""Options of the methods: what `factory` makes them from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from likeness.config import Spec
from likeness.errors import require


class HDMLSpec(Spec):
    """See `HDML`.

    Attributes:
        alpha: negatives keep exp(-alpha / J_avg) of what they are farther than the positive, > 0;
            1 is for N-pairs, whose J_avg falls from a few nats. The official code's 90 is for a
            J_avg with the weight penalty in it, its 7 for summed squared hinges: `docs/methods.md`.
        beta: real tuples count exp(-beta / J_gen), > 0; 1e4 with Cars196, 5e3 with other sets.
        label_share: of the labels against reconstruction in J_gen, in [0, 1).
        label_factor: on the labels besides, >= 0.
        window: steps over which J_avg and J_gen are averaged, >= 1; about an epoch of Cars196.
        detach_lambda: how far a negative is pulled gets no gradient (GeDML's port).
        track_weighted: J_avg is of the base loss after its weight in the sum.
        hidden: units of the generator, >= 1.
        generator_lr: learning rate of the generator (AdamW), > 0.
        classifier_lr: likewise of the classifier.
    """

    name: Literal["hdml"] = "hdml"
    alpha: float = Field(default=1.0, gt=0)
    beta: float = Field(default=1e4, gt=0)
    label_share: float = Field(default=0.5, ge=0, lt=1)
    label_factor: float = Field(default=1e4, ge=0)
    window: int = Field(default=64, ge=1)
    detach_lambda: bool = False
    track_weighted: bool = False
    hidden: int = Field(default=512, ge=1)
    generator_lr: float = Field(default=1e-2, gt=0)
    classifier_lr: float = Field(default=1e-3, gt=0)


class TwoStageSpec(Spec):
    """See `TwoStageGeneration`.

    Attributes:
        alpha: gamma = 1 - exp(-alpha / J_avg), > 0; 0.1 is half the usual margin of unit
            rows, whose loss starts above it and falls below: see `docs/methods.md`.
        beta: real triplets count exp(-beta / J_gen), > 0; null: as much as makes real and made ones
            count alike at the J_gen with which the joint phase begins.
        most_stretch: a pair is pulled apart by this factor at most, >= 1.
        adversarial_weight: that made pairs pass for real, >= 0.
        label_weight: that made pairs and negatives are of their class, >= 0.
        reconstruction_weight: that embeddings as they are give back their features, >= 0.
        reverse_weight: that negatives are nearer to their anchor than its positive, >= 0.
        keep_weight: that negatives stay near what they were, >= 0.
        metric_epochs: in which the model learns alone, at first, >= 0.
        generator_epochs: in which all but the model learn, after that, >= 0.
        hidden: units of the first generator and of the discriminator, >= 1.
        class_dim: length of a class's vector in the first generator, >= 1.
        generator_lr: learning rate of both generators (AdamW), > 0.
        discriminator_lr: likewise of the discriminator.
    """

    name: Literal["two_stage"] = "two_stage"
    alpha: float = Field(default=0.1, gt=0)
    beta: float | None = Field(default=None, gt=0)
    most_stretch: float = Field(default=3.0, ge=1)
    adversarial_weight: float = Field(default=1.0, ge=0)
    label_weight: float = Field(default=1.0, ge=0)
    reconstruction_weight: float = Field(default=1.0, ge=0)
    reverse_weight: float = Field(default=1.0, ge=0)
    keep_weight: float = Field(default=1.0, ge=0)
    metric_epochs: int = Field(default=5, ge=0)
    generator_epochs: int = Field(default=5, ge=0)
    hidden: int = Field(default=512, ge=1)
    class_dim: int = Field(default=64, ge=1)
    generator_lr: float = Field(default=1e-3, gt=0)
    discriminator_lr: float = Field(default=1e-3, gt=0)


class AlternatingProjectionsSpec(Spec):
    """See `AlternatingProjections`; goes with the sampler `representatives`."""

    name: Literal["alternating_projections"] = "alternating_projections"
    weight: float = Field(default=2e-4, gt=0)
    epochs_per_round: int = Field(default=1, ge=1)
    decoupled: bool = False

    @model_validator(mode="after")
    def _a_share_of_the_way(self) -> AlternatingProjectionsSpec:
        fits = not self.decoupled or self.weight < 1
        require(fits, "weight", "< 1 where it is decoupled", self.weight)
        return self


MethodSpec = Annotated[
    HDMLSpec | TwoStageSpec | AlternatingProjectionsSpec, Field(discriminator="name")
]
