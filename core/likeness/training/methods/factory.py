"""From typed options to the method of a run."""

from __future__ import annotations

from torch import Tensor, nn

from likeness.errors import require
from likeness.objective import Objective
from likeness.training.methods.alternating_projections import AlternatingProjections
from likeness.training.methods.hdml import HDML
from likeness.training.methods.specs import (
    AlternatingProjectionsSpec,
    HDMLSpec,
    MethodSpec,
    TwoStageSpec,
)
from likeness.training.methods.two_stage import TwoStageGeneration
from likeness.training.step import Method


def build_method(
    spec: MethodSpec | None, embedder: nn.Module, objective: Objective, *, labels: Tensor
) -> Method:
    """The method that a configuration names; None is ordinary training.

    Random weights of its networks come from torch's global generator.

    Args:
        spec: the configuration.
        embedder: the model that the run is for.
        objective: what is minimised of its outputs.
        labels: of the training images, for what a method keeps of each class.

    Raises:
        UserError: for a method that makes no sense with this model, objective or kind of labels.
    """
    if spec is None:
        return Method(embedder, objective)
    rule = f"one class for each image, for method {spec.name}"
    require(labels.ndim == 1, "labels", rule, tuple(labels.shape))
    num_classes = int(labels.max()) + 1
    match spec:
        case HDMLSpec():
            return HDML(embedder, objective, spec, num_classes=num_classes)
        case TwoStageSpec():
            return TwoStageGeneration(embedder, objective, spec, num_classes=num_classes)
        case AlternatingProjectionsSpec():
            options = spec.model_dump(exclude={"name"})
            return AlternatingProjections(embedder, objective, **options)
