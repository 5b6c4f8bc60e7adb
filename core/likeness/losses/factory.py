"""From typed options to losses: the one place where a loss's name becomes an object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field, model_validator

from likeness.config import Spec
from likeness.errors import require
from likeness.losses.angular import AngularLoss
from likeness.losses.arcface import ArcFaceLoss
from likeness.losses.base import PairLoss
from likeness.losses.centre import CentreLoss, CentreStructuredLoss
from likeness.losses.circle import CircleLoss
from likeness.losses.classification import (
    ClassificationLoss,
    ClassWeights,
    Counts,
    FocalLoss,
    MultiLabelClassificationLoss,
)
from likeness.losses.contrastive import ContrastiveLoss
from likeness.losses.contrastive_bayesian import ContrastiveBayesianLoss
from likeness.losses.cosface import CosFaceLoss
from likeness.losses.gaussian import GaussianStructuredLoss
from likeness.losses.lifted import GeneralisedLiftedLoss, LiftedStructuredLoss
from likeness.losses.margin import MarginLoss
from likeness.losses.margin_discriminate import MarginDiscriminateLoss
from likeness.losses.modality_triplets import ModalityTripletLoss
from likeness.losses.multi_proxies_anchor import MultiProxiesAnchorLoss
from likeness.losses.multi_similarity import MultiSimilarityLoss
from likeness.losses.n_pair import NPairLoss
from likeness.losses.nca import NCALoss
from likeness.losses.normalised_softmax import NormalisedSoftmaxLoss
from likeness.losses.nt_xent import NTXentLoss
from likeness.losses.pair_weighting import PairWeightingLoss
from likeness.losses.proxy_anchor import ProxyAnchorLoss
from likeness.losses.proxy_nca import ProxyNCALoss
from likeness.losses.ranked_list import RankedListLoss
from likeness.losses.self_paced import SelfPacedLoss
from likeness.losses.smooth_ap import SmoothAPLoss
from likeness.losses.soft_targets import LEAST_SHARE, MultiTargetLoss, SoftTargetLoss, Targets
from likeness.losses.soft_triple import SoftTripleLoss
from likeness.losses.specs import (
    AngularSpec,
    ArcFaceSpec,
    BatchHardTripletSpec,
    CentreSpec,
    CentreStructuredSpec,
    CircleSpec,
    ContrastiveBayesianSpec,
    ContrastiveSpec,
    CosFaceSpec,
    GaussianStructuredSpec,
    GeneralisedLiftedSpec,
    LiftedStructuredSpec,
    LossSpec,
    MarginDiscriminateSpec,
    MarginSpec,
    ModalityTripletSpec,
    MultiProxiesAnchorSpec,
    MultiSimilaritySpec,
    NCASpec,
    NormalisedSoftmaxSpec,
    NPairSpec,
    NTXentSpec,
    PairWeightingSpec,
    ProxyAnchorSpec,
    ProxyNCASpec,
    RankedListSpec,
    SelfPacedLossSpec,
    SemiHardTripletSpec,
    SmoothAPSpec,
    SoftTripleSpec,
    SupConSpec,
    TripletSpec,
    WeightedContrastiveSpec,
)
from likeness.losses.supcon import SupConLoss
from likeness.losses.triplet import (
    BatchHardTripletLoss,
    SemiHardTripletLoss,
    TripletLoss,
)
from likeness.losses.weighted_contrastive import WeightedContrastiveLoss


class ClassificationSpec(Spec):
    """See `ClassificationLoss`, `FocalLoss`, `MultiLabelClassificationLoss` and `soft_targets`.

    Attributes:
        name: `cross_entropy` or `focal` for one class per image, else `binary_cross_entropy`.
        label_smoothing: in [0, 1); 0 for `focal`.
        class_weights: `none` or `balanced`.
        gamma: of `focal` only, >= 0; None means 2.
        confidence_sigma: of `cross_entropy` only, > 0: samples of medium confidence count most.
        targets: what is learned of sets where several annotators judged each image, in the terms of
            FER+ (Barsoum et al. 2016): `label`, its majority class; `drawn`, one class drawn from
            the votes in every step ("probability"); `soft`, the distribution of the votes
            ("cross-entropy"); `multi`, any class with enough votes is right ("multi-target").
            Losses of pairs, samplers and validation go by the majority class whatever this is.
        least_share: of `multi` only, in (0, 1]: enough votes; None means 0.3, as in FER+.
    """

    name: Literal["cross_entropy", "binary_cross_entropy", "focal"] = "cross_entropy"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: ClassWeights = "none"
    gamma: float | None = Field(None, ge=0)
    confidence_sigma: float | None = Field(None, gt=0)
    targets: Targets = "label"
    least_share: float | None = Field(None, gt=0, le=1)

    @model_validator(mode="after")
    def _combinations(self) -> ClassificationSpec:
        if self.name == "focal":
            smoothing = self.label_smoothing
            require(smoothing == 0, "label_smoothing", "0 for focal", smoothing)
        else:
            require(self.gamma is None, "gamma", f"left out for {self.name}", self.gamma)
        if self.name != "cross_entropy":
            sigma, rule = self.confidence_sigma, f"left out for {self.name}"
            require(sigma is None, "confidence_sigma", rule, sigma)
        return self

    @model_validator(mode="after")
    def _targets_fit(self) -> ClassificationSpec:
        """Soft and several targets have no one class that a confidence could be read of."""
        fitting: dict[str, tuple[Targets, ...]] = {
            "cross_entropy": ("label", "drawn", "soft", "multi"),
            "focal": ("label", "drawn"),
            "binary_cross_entropy": ("label",),
        }
        allowed = fitting[self.name]
        rule = f"{' or '.join(map(repr, allowed))} for {self.name}"
        require(self.targets in allowed, "targets", rule, self.targets)
        rule = f"left out for targets {self.targets!r}"
        if self.targets in ("soft", "multi"):
            sigma = self.confidence_sigma
            require(sigma is None, "confidence_sigma", rule, sigma)
        if self.targets == "multi":
            require(self.label_smoothing == 0, "label_smoothing", rule, self.label_smoothing)
            require(self.class_weights == "none", "class_weights", rule, self.class_weights)
        else:
            require(self.least_share is None, "least_share", rule, self.least_share)
        return self


AnyClassification = (
    ClassificationLoss | MultiLabelClassificationLoss | SoftTargetLoss | MultiTargetLoss
)
_FREE: dict[type[Spec], type[PairLoss]] = {
    ContrastiveSpec: ContrastiveLoss,
    WeightedContrastiveSpec: WeightedContrastiveLoss,
    TripletSpec: TripletLoss,
    BatchHardTripletSpec: BatchHardTripletLoss,
    SemiHardTripletSpec: SemiHardTripletLoss,
    ModalityTripletSpec: ModalityTripletLoss,
    LiftedStructuredSpec: LiftedStructuredLoss,
    GeneralisedLiftedSpec: GeneralisedLiftedLoss,
    SupConSpec: SupConLoss,
    NTXentSpec: NTXentLoss,
    NCASpec: NCALoss,
    MultiSimilaritySpec: MultiSimilarityLoss,
    CircleSpec: CircleLoss,
    NPairSpec: NPairLoss,
    AngularSpec: AngularLoss,
    ContrastiveBayesianSpec: ContrastiveBayesianLoss,
    MarginDiscriminateSpec: MarginDiscriminateLoss,
    SmoothAPSpec: SmoothAPLoss,
    RankedListSpec: RankedListLoss,
    PairWeightingSpec: PairWeightingLoss,
    SelfPacedLossSpec: SelfPacedLoss,
}
_PER_CLASS: dict[type[Spec], Callable[..., PairLoss]] = {
    CentreSpec: CentreLoss,
    CentreStructuredSpec: CentreStructuredLoss,
    GaussianStructuredSpec: GaussianStructuredLoss,
    ProxyNCASpec: ProxyNCALoss,
    ProxyAnchorSpec: ProxyAnchorLoss,
    MultiProxiesAnchorSpec: MultiProxiesAnchorLoss,
    NormalisedSoftmaxSpec: NormalisedSoftmaxLoss,
    ArcFaceSpec: ArcFaceLoss,
    CosFaceSpec: CosFaceLoss,
    SoftTripleSpec: SoftTripleLoss,
}


def build_loss(spec: LossSpec, *, num_classes: int, dim: int) -> PairLoss:
    """The loss that a spec describes.

    Args:
        spec: the options.
        num_classes: number of training classes, for losses that keep something per class.
        dim: dimension of the embeddings, likewise.

    Raises:
        UserError: if the options make no sense together.
    """
    options = spec.model_dump(exclude={"name"})
    if isinstance(spec, MarginSpec):
        return MarginLoss(num_classes, **options)
    if type(spec) in _PER_CLASS:
        return _PER_CLASS[type(spec)](num_classes, dim, **options)
    return _FREE[type(spec)](**options)


def keeps_classes(spec: LossSpec) -> bool:
    """Whether the loss keeps something for each class: a centre, a proxy, a boundary."""
    per_class_boundary = isinstance(spec, MarginSpec) and spec.boundary == "class"
    return per_class_boundary or type(spec) in _PER_CLASS


def compares_pairs(spec: LossSpec) -> bool:
    """Whether the loss is of pairs (or triplets) alone: a batch without any tells it nothing."""
    return isinstance(spec, MarginSpec) or type(spec) in _FREE


def build_classification(
    spec: ClassificationSpec, *, counts: Counts | None = None, images: int | None = None
) -> AnyClassification:
    """The classification loss that a spec describes.

    Args:
        spec: the options.
        counts: training samples of each class (label), needed for balanced class weights; for
            targets that are drawn or soft the sum of each class's shares.
        images: all training samples; needed for those of `binary_cross_entropy`.

    Raises:
        UserError: if counts are missing or zero where needed.
    """
    if spec.name == "focal":
        gamma = 2.0 if spec.gamma is None else spec.gamma
        return FocalLoss(gamma=gamma, class_weights=spec.class_weights, counts=counts)
    if spec.targets == "multi":
        share = LEAST_SHARE if spec.least_share is None else spec.least_share
        return MultiTargetLoss(least_share=share)
    options = spec.model_dump(include={"label_smoothing", "class_weights"})
    if spec.name == "binary_cross_entropy":
        return MultiLabelClassificationLoss(**options, counts=counts, images=images)
    if spec.targets == "soft":
        return SoftTargetLoss(**options, counts=counts)
    sigma = spec.confidence_sigma
    return ClassificationLoss(**options, counts=counts, confidence_sigma=sigma)


def check_labels(
    losses: Sequence[LossSpec], classification: ClassificationSpec | None, *, multilabel: bool
) -> None:
    """Refuse losses that do not fit the labels: one class per image, or several labels.

    Raises:
        UserError: naming the loss and, for classification, the one that fits.
    """
    form = "several labels per image" if multilabel else "one class per image"
    if classification is not None:
        fitting = ("binary_cross_entropy",) if multilabel else ("cross_entropy", "focal")
        name, rule = classification.name, f"{' or '.join(map(repr, fitting))} for {form}"
        require(name in fitting, "classification.name", rule, name)
    per_class = [spec.name for spec in losses if keeps_classes(spec)]
    if multilabel and per_class:
        rule = f"one without a centre or a proxy per class for {form}"
        require(False, "loss", rule, per_class[0])
