"""Batch plans: which images make up which batch, as pure functions of (seed, epoch)."""

from likeness.sampling.clips import Clips, pick_frames
from likeness.sampling.cross_modal import CrossModal
from likeness.sampling.factory import (
    ClassBalancedSpec,
    ClipsSpec,
    CrossModalSpec,
    HardClassesSpec,
    MultiLabelSpec,
    RepresentativesSpec,
    SamplerSpec,
    ShuffledSpec,
    build_plan,
)
from likeness.sampling.hard_classes import HardClasses
from likeness.sampling.multilabel import MultiLabel
from likeness.sampling.plans import BatchPlan, ClassBalanced, Shuffled, epoch_length
from likeness.sampling.representatives import Representatives

__all__ = [
    "BatchPlan",
    "ClassBalanced",
    "ClassBalancedSpec",
    "Clips",
    "ClipsSpec",
    "CrossModal",
    "CrossModalSpec",
    "HardClasses",
    "HardClassesSpec",
    "MultiLabel",
    "MultiLabelSpec",
    "Representatives",
    "RepresentativesSpec",
    "SamplerSpec",
    "Shuffled",
    "ShuffledSpec",
    "build_plan",
    "epoch_length",
    "pick_frames",
]
