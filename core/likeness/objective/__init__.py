"""The weighted sum that a run minimises, of samples and of sets of samples."""

from likeness.objective.ensemble import EnsembleSpec, EnsembleWeights, join_heads
from likeness.objective.factory import build_objective
from likeness.objective.memory import CrossBatchMemory, MemorySpec
from likeness.objective.sets import SetClassifier, SetLevel
from likeness.objective.specs import (
    ClassificationTermSpec,
    DistillationTermSpec,
    ObjectiveSpec,
    RegulariserTermSpec,
    SetClassificationSpec,
    SetObjectiveSpec,
    SetTermSpec,
    TermSpec,
)
from likeness.objective.terms import (
    BatchTerm,
    Heads,
    LabelKind,
    LinearWeight,
    ObjectiveResult,
    Part,
    Term,
    Weight,
)
from likeness.objective.weighted_sum import Objective

__all__ = [
    "BatchTerm",
    "ClassificationTermSpec",
    "CrossBatchMemory",
    "DistillationTermSpec",
    "EnsembleSpec",
    "EnsembleWeights",
    "Heads",
    "LabelKind",
    "LinearWeight",
    "MemorySpec",
    "Objective",
    "ObjectiveResult",
    "ObjectiveSpec",
    "Part",
    "RegulariserTermSpec",
    "SetClassificationSpec",
    "SetClassifier",
    "SetLevel",
    "SetObjectiveSpec",
    "SetTermSpec",
    "Term",
    "TermSpec",
    "Weight",
    "build_objective",
    "join_heads",
]
