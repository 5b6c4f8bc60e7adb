"""Options of the losses on embeddings: what `factory` makes them from."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from likeness.config import Spec
from likeness.losses.base import Reduction
from likeness.losses.centre import Between, CentreMode
from likeness.losses.contrastive_bayesian import BayesianForm, MetricVariance, VarianceReduction
from likeness.losses.margin import Boundary
from likeness.losses.modality_triplets import KINDS, ModalityVariant, TripletKind
from likeness.losses.multi_proxies_anchor import MPAGradient
from likeness.losses.n_pair import NPairForm
from likeness.losses.proxy_base import ProxyStart
from likeness.losses.proxy_nca import ProxyNCAVariant
from likeness.losses.self_paced import SelfPacedForm
from likeness.losses.triplet import Variant
from likeness.losses.weighted_contrastive import WeightedVariant

MetricSpace = Literal["cosine", "euclidean"]


class ContrastiveSpec(Spec):
    """See `ContrastiveLoss`."""

    name: Literal["contrastive"] = "contrastive"
    positive_margin: float = Field(0.0, ge=0)
    negative_margin: float = Field(1.0, ge=0)
    power: Literal[1, 2] = 2
    reduction: Reduction = "all"
    space: MetricSpace = "cosine"


class WeightedContrastiveSpec(Spec):
    """See `WeightedContrastiveLoss`."""

    name: Literal["weighted_contrastive"] = "weighted_contrastive"
    margin: float = Field(1.2, gt=0)
    negative_share: float = Field(0.5, ge=0, le=1)
    variant: WeightedVariant = "paper"
    space: MetricSpace = "cosine"


class TripletSpec(Spec):
    """See `TripletLoss`."""

    name: Literal["triplet"] = "triplet"
    margin: float = Field(0.2, ge=0)
    squared: bool = False
    reduction: Reduction = "active"
    space: MetricSpace = "cosine"


class BatchHardTripletSpec(Spec):
    """See `BatchHardTripletLoss`."""

    name: Literal["batch_hard_triplet"] = "batch_hard_triplet"
    margin: float = Field(0.2, ge=0)
    variant: Variant = "hinge"
    squared: bool = False
    reduction: Reduction = "all"
    space: MetricSpace = "cosine"


class ModalityTripletSpec(Spec):
    """See `ModalityTripletLoss`."""

    name: Literal["modality_triplets"] = "modality_triplets"
    margin: float = Field(0.2, ge=0)
    variant: ModalityVariant = "weighted"
    kinds: tuple[TripletKind, ...] = Field(KINDS, min_length=1)
    sharpness: float = Field(20.0, gt=0)
    least_gradient: float = Field(0.1, gt=0, le=1)
    detach_weight: bool = True
    space: MetricSpace = "cosine"


class SemiHardTripletSpec(Spec):
    """See `SemiHardTripletLoss`."""

    name: Literal["semi_hard_triplet"] = "semi_hard_triplet"
    margin: float = Field(0.2, ge=0)
    squared: bool = True
    reduction: Reduction = "all"
    space: MetricSpace = "cosine"


class LiftedStructuredSpec(Spec):
    """See `LiftedStructuredLoss`."""

    name: Literal["lifted_structured"] = "lifted_structured"
    margin: float = Field(1.0, ge=0)
    space: MetricSpace = "euclidean"


class GeneralisedLiftedSpec(Spec):
    """See `GeneralisedLiftedLoss`."""

    name: Literal["generalised_lifted"] = "generalised_lifted"
    margin: float = Field(1.0, ge=0)
    variant: Variant = "hinge"
    space: MetricSpace = "cosine"


class CentreSpec(Spec):
    """See `CentreLoss`."""

    name: Literal["centre"] = "centre"
    centres: CentreMode = "ema"
    centre_lr_mult: float = Field(10.0, gt=0)
    eta: float = Field(0.5, gt=0, le=1)
    space: MetricSpace = "euclidean"


class CentreStructuredSpec(Spec):
    """See `CentreStructuredLoss`."""

    name: Literal["centre_structured"] = "centre_structured"
    structured_weight: float = Field(0.1, ge=0)
    centre_weight: float = Field(0.01, ge=0)
    between_weight: float = Field(1.0, ge=0)
    alpha: float = Field(1.0, ge=0)
    delta: float = Field(1.0, gt=0)
    between: Between = "hinge"
    centres: CentreMode = "grad"
    centre_lr_mult: float = Field(10.0, gt=0)
    eta: float = Field(0.5, gt=0, le=1)
    space: MetricSpace = "cosine"


class GaussianStructuredSpec(Spec):
    """See `GaussianStructuredLoss`."""

    name: Literal["gaussian_structured"] = "gaussian_structured"
    sigma: float = Field(1.0, gt=0)
    norm_weight: float = Field(1e-4, ge=0)
    leave_one_out: bool = False
    eta: float = Field(0.1, gt=0, le=1)
    space: Literal["euclidean"] = "euclidean"


class ProxyNCASpec(Spec):
    """See `ProxyNCALoss`."""

    name: Literal["proxy_nca"] = "proxy_nca"
    variant: ProxyNCAVariant = "prob"
    scale: float = Field(3.0, gt=0)
    proxy_lr_mult: float = Field(100.0, gt=0)
    start: ProxyStart = "random"
    space: Literal["cosine"] = "cosine"


class ProxyAnchorSpec(Spec):
    """See `ProxyAnchorLoss`."""

    name: Literal["proxy_anchor"] = "proxy_anchor"
    alpha: float = Field(32.0, gt=0)
    margin: float = Field(0.1, ge=0, le=1)
    proxy_lr_mult: float = Field(100.0, gt=0)
    start: ProxyStart = "random"
    space: Literal["cosine"] = "cosine"


class MultiProxiesAnchorSpec(Spec):
    """See `MultiProxiesAnchorLoss`."""

    name: Literal["multi_proxies_anchor"] = "multi_proxies_anchor"
    per_class: int = Field(10, ge=1)
    gamma: float = Field(0.1, gt=0)
    alpha: float = Field(32.0, gt=0)
    margin: float = Field(0.1, ge=0, le=1)
    gradient: MPAGradient = "class"
    merge_weight: float = Field(0.0, ge=0)
    proxy_lr_mult: float = Field(100.0, gt=0)
    start: ProxyStart = "random"
    space: Literal["cosine"] = "cosine"


class NormalisedSoftmaxSpec(Spec):
    """See `NormalisedSoftmaxLoss`."""

    name: Literal["normalised_softmax"] = "normalised_softmax"
    temperature: float = Field(0.05, gt=0)
    proxy_lr_mult: float = Field(10.0, gt=0)
    start: ProxyStart = "random"
    space: Literal["cosine"] = "cosine"


class ArcFaceSpec(Spec):
    """See `ArcFaceLoss`."""

    name: Literal["arcface"] = "arcface"
    scale: float = Field(64.0, gt=0)
    margin: float = Field(0.5, ge=0, le=math.pi / 2)
    proxy_lr_mult: float = Field(10.0, gt=0)
    start: ProxyStart = "random"
    space: Literal["cosine"] = "cosine"


class CosFaceSpec(Spec):
    """See `CosFaceLoss`."""

    name: Literal["cosface"] = "cosface"
    scale: float = Field(64.0, gt=0)
    margin: float = Field(0.35, ge=0, le=1)
    proxy_lr_mult: float = Field(10.0, gt=0)
    start: ProxyStart = "random"
    space: Literal["cosine"] = "cosine"


class SoftTripleSpec(Spec):
    """See `SoftTripleLoss`."""

    name: Literal["soft_triple"] = "soft_triple"
    per_class: int = Field(10, ge=1)
    scale: float = Field(20.0, gt=0)
    gamma: float = Field(0.1, gt=0)
    margin: float = Field(0.01, ge=0, le=1)
    merge_weight: float = Field(0.2, ge=0)
    proxy_lr_mult: float = Field(100.0, gt=0)
    start: ProxyStart = "random"
    space: Literal["cosine"] = "cosine"


class SupConSpec(Spec):
    """See `SupConLoss`."""

    name: Literal["supcon"] = "supcon"
    temperature: float = Field(0.1, gt=0)
    views: bool = True
    space: Literal["cosine"] = "cosine"


class NTXentSpec(Spec):
    """See `NTXentLoss`."""

    name: Literal["nt_xent"] = "nt_xent"
    temperature: float = Field(0.07, gt=0)
    views: bool = True
    space: Literal["cosine"] = "cosine"


class NCASpec(Spec):
    """See `NCALoss`."""

    name: Literal["nca"] = "nca"
    temperature: float = Field(1.0, gt=0)
    space: MetricSpace = "cosine"


class MultiSimilaritySpec(Spec):
    """See `MultiSimilarityLoss`."""

    name: Literal["multi_similarity"] = "multi_similarity"
    alpha: float = Field(2.0, gt=0)
    beta: float = Field(50.0, gt=0)
    base: float = Field(0.5, ge=-1, le=1)
    epsilon: float | None = Field(0.1, ge=0)
    space: Literal["cosine"] = "cosine"


class CircleSpec(Spec):
    """See `CircleLoss`."""

    name: Literal["circle"] = "circle"
    margin: float = Field(0.4, gt=0, lt=1)
    scale: float = Field(80.0, gt=0)
    space: Literal["cosine"] = "cosine"


class NPairSpec(Spec):
    """See `NPairLoss`."""

    name: Literal["n_pair"] = "n_pair"
    form: NPairForm = "multi_class"
    norm_weight: float = Field(5e-4, ge=0)
    space: Literal["dot"] = "dot"


class AngularSpec(Spec):
    """See `AngularLoss`."""

    name: Literal["angular"] = "angular"
    alpha: float = Field(45.0, gt=0, lt=90)
    norm_weight: float = Field(5e-4, ge=0)
    space: Literal["dot", "cosine"] = "dot"


class ContrastiveBayesianSpec(Spec):
    """See `ContrastiveBayesianLoss`."""

    name: Literal["contrastive_bayesian"] = "contrastive_bayesian"
    form: BayesianForm = "log"
    positive_mean: float = Field(0.5, ge=-1, le=1)
    positive_width: float = Field(0.5, gt=0)
    negative_mean: float = Field(1.0, ge=-1, le=1)
    negative_width: float = Field(0.01, gt=0)
    epsilon: float = Field(0.1, ge=0)
    nearest_negatives: int | None = Field(None, ge=1)
    variance_weight: float = Field(1.0, ge=0)
    mix: float = Field(0.1, ge=0, le=1)
    variance: MetricVariance = "means"
    variance_reduction: VarianceReduction = "sum"
    space: Literal["cosine"] = "cosine"


class MarginSpec(Spec):
    """See `MarginLoss`; the number of classes is the training set's."""

    name: Literal["margin"] = "margin"
    margin: float = Field(0.2, ge=0)
    beta: float = Field(1.2, gt=0)
    boundary: Boundary = "class"
    boundary_weight: float = Field(0.0, ge=0)
    boundary_lr_mult: float = Field(10.0, gt=0)
    space: MetricSpace = "cosine"


class MarginDiscriminateSpec(Spec):
    """See `MarginDiscriminateLoss`."""

    name: Literal["margin_discriminate"] = "margin_discriminate"
    margin: float = Field(0.2, ge=0)
    sharpness: float = Field(16.0, gt=0)
    variant: Variant = "soft"
    space: MetricSpace = "cosine"


class SmoothAPSpec(Spec):
    """See `SmoothAPLoss`."""

    name: Literal["smooth_ap"] = "smooth_ap"
    temperature: float = Field(0.01, gt=0)
    count_query: bool = False
    space: Literal["cosine"] = "cosine"


class RankedListSpec(Spec):
    """See `RankedListLoss`."""

    name: Literal["ranked_list"] = "ranked_list"
    boundary: float = Field(1.2, gt=0)
    margin: float = Field(0.4, ge=0)
    positive_temperature: float = Field(0.0, ge=0)
    negative_temperature: float = Field(10.0, ge=0)
    negative_share: float = Field(0.5, ge=0, le=1)
    space: MetricSpace = "cosine"


class SelfPacedLossSpec(Spec):
    """See `SelfPacedLoss`."""

    name: Literal["self_paced"] = "self_paced"
    form: SelfPacedForm = "mean"
    alpha: float = Field(2.0, gt=0)
    beta: float = Field(40.0, gt=0)
    base: float = Field(0.5, ge=-1, le=1)
    space: Literal["cosine"] = "cosine"


class PairWeightingSpec(Spec):
    """See `PairWeightingLoss`; the miner `general_pair_weighting` gives it its weights."""

    name: Literal["pair_weighting"] = "pair_weighting"
    space: Literal["cosine"] = "cosine"


AnyLossSpec = (
    ContrastiveSpec
    | WeightedContrastiveSpec
    | TripletSpec
    | BatchHardTripletSpec
    | SemiHardTripletSpec
    | ModalityTripletSpec
    | LiftedStructuredSpec
    | GeneralisedLiftedSpec
    | CentreSpec
    | CentreStructuredSpec
    | GaussianStructuredSpec
    | ProxyNCASpec
    | ProxyAnchorSpec
    | MultiProxiesAnchorSpec
    | NormalisedSoftmaxSpec
    | ArcFaceSpec
    | CosFaceSpec
    | SoftTripleSpec
    | SupConSpec
    | NTXentSpec
    | NCASpec
    | MultiSimilaritySpec
    | CircleSpec
    | NPairSpec
    | AngularSpec
    | ContrastiveBayesianSpec
    | MarginSpec
    | MarginDiscriminateSpec
    | SmoothAPSpec
    | RankedListSpec
    | PairWeightingSpec
    | SelfPacedLossSpec
)
LossSpec = Annotated[AnyLossSpec, Field(discriminator="name")]
