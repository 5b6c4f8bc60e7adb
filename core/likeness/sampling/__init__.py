"""Batch plans: which images make up which batch, as pure functions of (seed, epoch)."""

from likeness.sampling.factory import (
    ClassBalancedSpec,
    MultiLabelSpec,
    SamplerSpec,
    ShuffledSpec,
    build_plan,
)
from likeness.sampling.multilabel import MultiLabel
from likeness.sampling.plans import BatchPlan, ClassBalanced, Shuffled, epoch_length

__all__ = [
    "BatchPlan",
    "ClassBalanced",
    "ClassBalancedSpec",
    "MultiLabel",
    "MultiLabelSpec",
    "SamplerSpec",
    "Shuffled",
    "ShuffledSpec",
    "build_plan",
    "epoch_length",
]
