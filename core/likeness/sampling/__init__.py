"""Batch plans: which images make up which batch, as pure functions of (seed, epoch)."""

from likeness.sampling.factory import ClassBalancedSpec, SamplerSpec, ShuffledSpec, build_plan
from likeness.sampling.plans import BatchPlan, ClassBalanced, Shuffled, epoch_length

__all__ = [
    "BatchPlan",
    "ClassBalanced",
    "ClassBalancedSpec",
    "SamplerSpec",
    "Shuffled",
    "ShuffledSpec",
    "build_plan",
    "epoch_length",
]
