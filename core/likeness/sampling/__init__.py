"""Batch plans: which images make up which batch, as pure functions of (seed, epoch)."""

from likeness.sampling.clips import Clips, pick_frames
from likeness.sampling.factory import (
    ClassBalancedSpec,
    ClipsSpec,
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
    "Clips",
    "ClipsSpec",
    "MultiLabel",
    "MultiLabelSpec",
    "SamplerSpec",
    "Shuffled",
    "ShuffledSpec",
    "build_plan",
    "epoch_length",
    "pick_frames",
]
