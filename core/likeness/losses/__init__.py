"""Losses: pure functions on a batch's matrices, and thin modules on top."""

from likeness.losses.base import Loss, LossTerms, PairLoss
from likeness.losses.centre import CentreLoss, CentreStructuredLoss
from likeness.losses.classification import (
    ClassificationLoss,
    FocalLoss,
    MultiLabelClassificationLoss,
)
from likeness.losses.contrastive import ContrastiveLoss
from likeness.losses.factory import (
    ClassificationSpec,
    LossSpec,
    build_classification,
    build_loss,
)
from likeness.losses.gaussian import GaussianStructuredLoss
from likeness.losses.lifted import GeneralisedLiftedLoss, LiftedStructuredLoss
from likeness.losses.triplet import BatchHardTripletLoss, SemiHardTripletLoss, TripletLoss
from likeness.losses.weighted_contrastive import WeightedContrastiveLoss

__all__ = [
    "BatchHardTripletLoss",
    "CentreLoss",
    "CentreStructuredLoss",
    "ClassificationLoss",
    "ClassificationSpec",
    "ContrastiveLoss",
    "FocalLoss",
    "GaussianStructuredLoss",
    "GeneralisedLiftedLoss",
    "LiftedStructuredLoss",
    "Loss",
    "LossSpec",
    "LossTerms",
    "MultiLabelClassificationLoss",
    "PairLoss",
    "SemiHardTripletLoss",
    "TripletLoss",
    "WeightedContrastiveLoss",
    "build_classification",
    "build_loss",
]
