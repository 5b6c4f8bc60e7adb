"""The weighted sum that a run minimises, of samples and of sets of samples."""

from likeness.objective.factory import (
    ClassificationTermSpec,
    ObjectiveSpec,
    SetClassificationSpec,
    SetObjectiveSpec,
    SetTermSpec,
    TermSpec,
    build_objective,
)
from likeness.objective.terms import (
    Heads,
    LabelKind,
    LinearWeight,
    ObjectiveResult,
    Part,
    Term,
    Weight,
)
from likeness.objective.weighted_sum import Objective, SetClassifier, SetLevel

__all__ = [
    "ClassificationTermSpec",
    "Heads",
    "LabelKind",
    "LinearWeight",
    "Objective",
    "ObjectiveResult",
    "ObjectiveSpec",
    "Part",
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
