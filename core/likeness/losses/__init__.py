"""Losses: pure functions on a batch's matrices, and thin modules on top."""

from likeness.losses.angular import AngularLoss
from likeness.losses.arcface import ArcFaceLoss
from likeness.losses.base import BatchLoss, Loss, LossTerms, PairLoss
from likeness.losses.centre import CentreLoss, CentreStructuredLoss
from likeness.losses.circle import CircleLoss
from likeness.losses.classification import (
    ClassificationLoss,
    FocalLoss,
    MultiLabelClassificationLoss,
)
from likeness.losses.contrastive import ContrastiveLoss
from likeness.losses.contrastive_bayesian import ContrastiveBayesianLoss
from likeness.losses.cosface import CosFaceLoss
from likeness.losses.factory import (
    ClassificationSpec,
    build_classification,
    build_loss,
)
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
from likeness.losses.pair_weighting import PairWeightingLoss, pair_weights
from likeness.losses.proxy_anchor import ProxyAnchorLoss
from likeness.losses.proxy_base import ProxyLoss
from likeness.losses.proxy_nca import ProxyNCALoss
from likeness.losses.ranked_list import RankedListLoss
from likeness.losses.self_paced import SelfPacedLoss
from likeness.losses.smooth_ap import SmoothAPLoss
from likeness.losses.soft_triple import SoftTripleLoss
from likeness.losses.specs import LossSpec
from likeness.losses.supcon import SupConLoss
from likeness.losses.triplet import BatchHardTripletLoss, SemiHardTripletLoss, TripletLoss
from likeness.losses.weighted_contrastive import WeightedContrastiveLoss

__all__ = [
    "AngularLoss",
    "ArcFaceLoss",
    "BatchHardTripletLoss",
    "BatchLoss",
    "CentreLoss",
    "CentreStructuredLoss",
    "CircleLoss",
    "ClassificationLoss",
    "ClassificationSpec",
    "ContrastiveBayesianLoss",
    "ContrastiveLoss",
    "CosFaceLoss",
    "FocalLoss",
    "GaussianStructuredLoss",
    "GeneralisedLiftedLoss",
    "LiftedStructuredLoss",
    "Loss",
    "LossSpec",
    "LossTerms",
    "MarginDiscriminateLoss",
    "MarginLoss",
    "ModalityTripletLoss",
    "MultiLabelClassificationLoss",
    "MultiProxiesAnchorLoss",
    "MultiSimilarityLoss",
    "NCALoss",
    "NPairLoss",
    "NTXentLoss",
    "NormalisedSoftmaxLoss",
    "PairLoss",
    "PairWeightingLoss",
    "ProxyAnchorLoss",
    "ProxyLoss",
    "ProxyNCALoss",
    "RankedListLoss",
    "SelfPacedLoss",
    "SemiHardTripletLoss",
    "SmoothAPLoss",
    "SoftTripleLoss",
    "SupConLoss",
    "TripletLoss",
    "WeightedContrastiveLoss",
    "build_classification",
    "build_loss",
    "pair_weights",
]
