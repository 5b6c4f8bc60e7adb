"""From options and data to a run that is ready for its first step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from lightning.fabric import Fabric
from torch import nn

from likeness.errors import require
from likeness.objective import Objective
from likeness.sampling import BatchPlan, ClassBalancedSpec, ShuffledSpec
from likeness.training import seeds
from likeness.training.data import TrainingData
from likeness.training.distributed import start_equal
from likeness.training.freezing import FrozenBackbone
from likeness.training.hooks import ClassMeans, EpochHook, SynthesisStatistics
from likeness.training.loader import BatchLoader
from likeness.training.methods import build_method
from likeness.training.optimisers import build_optimisers
from likeness.training.pseudo_labels import ClusterPlan, PseudoLabels
from likeness.training.run import Run
from likeness.training.self_pacing import SelfPacing
from likeness.training.spec import RunSpec
from likeness.training.step import Method
from likeness.training.subclass_rounds import SubclassRounds


def assemble(
    folder: Path,
    spec: RunSpec,
    embedder: nn.Module,
    objective: Objective,
    data: TrainingData,
    plan: BatchPlan,
    *,
    fabric: Fabric,
    make_method: Callable[[nn.Module, Objective], Method] | None,
    hooks: Sequence[EpochHook],
    checkpoint_steps: int | None,
) -> Run:
    """The parts of a run before its first step, on their device.

    Raises:
        UserError: if the objective learns from distributions over the classes and there are none,
            for a teacher without distillation or the reverse, for a loss without the column of the
            data that it reads, or for a method that makes no sense here.
    """
    _check_data(spec, objective, data)
    seeds.reseed(spec.seed, seeds.BUILD)  # a method may make networks of its own
    if make_method is None:
        make_method = partial(build_method, spec.method, labels=data.labels)
    method = make_method(embedder, objective).to(fabric.device)
    start_equal(method, fabric)
    pseudo = _pseudo_labels(spec, objective, data)
    if pseudo is not None:
        plan = _plan_of(pseudo, spec)
    planning = [plan] if isinstance(plan, EpochHook) else []
    rounds = _rounds(spec, objective, data)
    pacing = _pacing(spec, data)
    freezing = FrozenBackbone(embedder, spec.frozen_epochs) if spec.frozen_epochs else None
    spread = SynthesisStatistics(objective) if objective.synthesis is not None else None
    finding = [hook for hook in (rounds, pacing, freezing, spread) if hook is not None]
    return Run(
        folder=folder,
        spec=spec,
        fabric=fabric,
        data=data,
        plan=plan,
        method=method,
        optimisers=build_optimisers(
            method.groups(),
            method,
            spec.optimiser,
            embedder=method.embedder,
            rates=method.rates(),
        ),
        hooks=[
            *([] if pseudo is None else [pseudo]),  # first: the others go by its labels
            *(ClassMeans(objective), *finding, *hooks, *planning),
        ],
        loader=BatchLoader(data.images, workers=spec.workers, device=fabric.device),
        subclasses=rounds,
        pacing=pacing,
        pseudo=pseudo,
        checkpoint_steps=checkpoint_steps,
    )


def _check_data(spec: RunSpec, objective: Objective, data: TrainingData) -> None:
    """What the objective reads is there; a teacher and who listens to it go together."""
    known, rule = data.targets is not None, f"given for targets {objective.targets!r}"
    require(known or objective.targets == "label", "targets", rule, None)
    if spec.objective.distillation:
        rule = "given where the objective has distillation (`distill` names one)"
        require(data.teacher is not None, "teacher", rule, None)
    else:
        rule = "at least one term where there is a teacher"
        require(data.teacher is None, "objective.distillation", rule, [])
    missing = sorted(objective.columns - set(data.columns))
    require(not missing, "columns", f"with {', '.join(missing)} for this loss", list(data.columns))


def _rounds(spec: RunSpec, objective: Objective, data: TrainingData) -> SubclassRounds | None:
    """What finds the sub-classes of a run, if it has any."""
    if spec.subclasses is None:
        return None
    rule = "null for several labels per image"
    require(data.labels.ndim == 1, "subclasses", rule, spec.subclasses.model_dump())
    return SubclassRounds(
        spec.subclasses,
        objective,
        num_classes=int(data.labels.max()) + 1,
        images=len(data.labels),
        space=spec.model.space,
        seed=spec.seed,
    )


def _pseudo_labels(spec: RunSpec, objective: Objective, data: TrainingData) -> PseudoLabels | None:
    """What finds the labels of a run that has none, if it is one."""
    chosen = spec.pseudo_labels
    if chosen is None:
        return None
    rule = "null for several labels per image"
    require(data.labels.ndim == 1, "pseudo_labels", rule, chosen.model_dump())
    images, space = len(data.labels), spec.model.space
    return PseudoLabels(chosen, objective, images=images, space=space, seed=spec.seed)


def _plan_of(pseudo: PseudoLabels, spec: RunSpec) -> ClusterPlan:
    """The batches of a run without labels: by those that it finds."""
    sampler = spec.sampler
    assert isinstance(sampler, ShuffledSpec | ClassBalancedSpec)
    return ClusterPlan(sampler, pseudo, spec.seed)


def _pacing(spec: RunSpec, data: TrainingData) -> SelfPacing | None:
    """What weighs the images of a run, if anything does."""
    if spec.self_paced is None:
        return None
    rule = "null for several labels per image"
    require(data.labels.ndim == 1, "self_paced", rule, spec.self_paced.model_dump())
    images = len(data.labels)
    return SelfPacing(spec.self_paced, images=images, epochs=spec.epochs, seed=spec.seed)
