"""The weighted sum that a run minimises, of samples and of sets of samples."""

from likeness.objective.factory import (
    ClassificationTermSpec,
    ObjectiveSpec,
    RegulariserTermSpec,
    SetClassificationSpec,
    SetObjectiveSpec,
    SetTermSpec,
    TermSpec,
    build_objective,
)
from likeness.objective.sets import SetClassifier, SetLevel
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
    "Heads",
    "LabelKind",
    "LinearWeight",
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
]
