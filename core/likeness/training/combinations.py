"""Parts of a run that ask something of each other: who reads samples' weights, who representatives.

Every check names the option that is wrong, before training starts.
"""

from __future__ import annotations

from likeness.errors import require
from likeness.losses.factory import compares_pairs
from likeness.objective import ObjectiveSpec, SetTermSpec, TermSpec
from likeness.sampling import RepresentativesSpec
from likeness.sampling.factory import AnySamplerSpec, ClassBalancedSpec
from likeness.self_paced import SelfPacedSpec
from likeness.subclasses import SubclassSpec
from likeness.synthesis import DenselyAnchoredSpec, IntraClassSpec
from likeness.training.methods.specs import (
    AlternatingProjectionsSpec,
    MethodSpec,
    TwoStageSpec,
)

SELF_PACED = "self_paced"
WITH_REPRESENTATIVE = "with_representative"


def check_batches(sampler: AnySamplerSpec, objective: ObjectiveSpec) -> None:
    """A loss of pairs learns nothing from batches that hold none: not of a class, or of two.

    Memories bring pairs of their own, and a synthesis may.

    Raises:
        UserError: naming the option.
    """
    pairs = [
        term.loss.name
        for term in objective.terms
        if compares_pairs(term.loss) and term.memory is None
    ]
    if not pairs or objective.synthesis is not None:
        return
    rule = f">= 2 for {pairs[0]}, which compares pairs"
    if hasattr(sampler, "classes_per_batch"):
        classes = sampler.classes_per_batch
        require(classes >= 2, "sampler.classes_per_batch", rule, classes)
    if isinstance(sampler, ClassBalancedSpec):
        require(sampler.per_class >= 2, "sampler.per_class", rule, sampler.per_class)


def check_phases(method: MethodSpec | None, subclasses: SubclassSpec | None, epochs: int) -> None:
    """What begins after some epochs must begin within the run.

    Raises:
        UserError: naming the option.
    """
    if isinstance(method, TwoStageSpec):
        alone = method.metric_epochs + method.generator_epochs
        name = "method.metric_epochs + method.generator_epochs"
        require(alone < epochs, name, f"< epochs, {epochs}, for all to learn together", alone)
    if isinstance(method, AlternatingProjectionsSpec):
        length, rule = method.epochs_per_round, f"< epochs, {epochs}, for a second round"
        require(length < epochs, "method.epochs_per_round", rule, length)
    if subclasses is not None:
        length, rule = subclasses.epochs_per_round, f"< epochs, {epochs}, for a round to find any"
        require(length < epochs, "subclasses.epochs_per_round", rule, length)


def check_self_paced(chosen: SelfPacedSpec | None, objective: ObjectiveSpec, epochs: int) -> None:
    """Weights that nothing reads, or that nothing finds, would go unnoticed.

    Raises:
        UserError: naming the option.
    """
    _check_pairs_of_the_batch(objective, SELF_PACED)
    for term in objective.terms:
        rule = "without self_paced for the loss of that name, which reads the weights itself"
        require(_names(term).count(SELF_PACED) < 2, "miners", rule, SELF_PACED)
    read = any(SELF_PACED in _names(term) for term in objective.terms)
    if chosen is None:
        rule = "given where a loss or a miner is named so"
        require(not read, "self_paced", rule, None)
        return
    rule = "null where no loss and no miner is named so"
    require(read, "self_paced", rule, chosen.model_dump())
    warmup, rule = chosen.warmup_epochs, f"< epochs, {epochs}"
    require(warmup < epochs, "self_paced.warmup_epochs", rule, warmup)


def check_representatives(
    sampler: AnySamplerSpec, objective: ObjectiveSpec, method: MethodSpec | None
) -> None:
    """Representatives come from one sampler, and stay as long as a round of the method.

    Raises:
        UserError: naming the option.
    """
    _check_pairs_of_the_batch(objective, WITH_REPRESENTATIVE)
    wanted = any(WITH_REPRESENTATIVE in _names(term) for term in objective.terms)
    by_method = isinstance(method, AlternatingProjectionsSpec)
    if not isinstance(sampler, RepresentativesSpec):
        rule = "'representatives' for the miner with_representative"
        require(not wanted, "sampler.name", rule, sampler.name)
        rule = "'representatives' for the method alternating_projections"
        require(not by_method, "sampler.name", rule, sampler.name)
        return
    if isinstance(method, AlternatingProjectionsSpec):
        rounds, given = sampler.epochs_per_round, method.epochs_per_round
        rule = f"{rounds}, as of the sampler"
        require(given == rounds, "method.epochs_per_round", rule, given)


def check_pseudo_labels(
    objective: ObjectiveSpec,
    sampler: AnySamplerSpec,
    method: MethodSpec | None,
    *,
    subclasses: bool,
) -> None:
    """What cannot go by labels that are found while the run goes on.

    Raises:
        UserError: naming the option.
    """
    where = "with pseudo_labels"
    for name, there in (
        ("objective.classification", objective.classification is not None),
        ("objective.sets", objective.sets is not None),
        ("subclasses", subclasses),
        ("method", method is not None),
    ):
        require(not there, name, f"null {where}", "given")
    known = ("shuffled", "class_balanced")
    rule = f"one of {', '.join(known)} {where}"
    require(sampler.name in known, "sampler.name", rule, sampler.name)


def check_synthesis(objective: ObjectiveSpec, epochs: int, *, pseudo_labels: bool) -> None:
    """A synthesis must begin within the run, and what it keeps of classes needs them to last.

    Raises:
        UserError: naming the option.
    """
    chosen = objective.synthesis
    if isinstance(chosen, IntraClassSpec):
        start, rule = chosen.start_epoch, f"< epochs, {epochs}"
        require(start < epochs, "objective.synthesis.start_epoch", rule, start)
    if pseudo_labels and isinstance(chosen, IntraClassSpec | DenselyAnchoredSpec):
        rule = "null or 'symmetrical' with pseudo_labels, which no class outlives"
        require(False, "objective.synthesis", rule, chosen.name)


def _check_pairs_of_the_batch(objective: ObjectiveSpec, name: str) -> None:
    """What reads a column of the batch knows nothing of past batches, or of sets of samples."""
    for term in objective.terms:
        if name in _names(term):
            rule = f"null with {name}, which knows the samples of this batch only"
            require(term.memory is None, "memory", rule, "a memory")
            _check_points(objective, term, name)
    of_sets = () if objective.sets is None else objective.sets.terms
    there = any(name in _names(term) for term in of_sets)
    rule = f"without {name}, which knows samples and no sets"
    require(not there, "objective.sets.terms", rule, name)


def _check_points(objective: ObjectiveSpec, term: TermSpec, name: str) -> None:
    """Points that are no samples of the batch have no columns; copies have their parent's."""
    made = objective.synthesis
    if made is None or not term.synthetic or term.head != made.head:
        return
    rule = f"null or 'densely_anchored' with {name}, or the term not synthetic"
    require(isinstance(made, DenselyAnchoredSpec), "objective.synthesis", rule, made.name)


def _names(term: SetTermSpec) -> list[str]:
    """The loss of a term and its miners."""
    return [term.loss.name, *(miner.name for miner in term.miners)]
