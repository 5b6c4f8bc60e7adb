"""From typed options to the synthesis of an objective, and which terms it goes with."""

from __future__ import annotations

from collections.abc import Sequence

from likeness.errors import require
from likeness.losses.base import PairLoss
from likeness.mining.factory import MinerSpec, knows_batch_alone
from likeness.pairs import Space
from likeness.synthesis.base import Synthesiser
from likeness.synthesis.densely_anchored import DenselyAnchoredSampling
from likeness.synthesis.intra_class import IntraClassAugmentation, check_intra_class
from likeness.synthesis.specs import (
    DenselyAnchoredSpec,
    IntraClassSpec,
    SymmetricalSpec,
    SynthesisSpec,
)
from likeness.synthesis.symmetrical import SymmetricalSynthesis, check_symmetrical


def build_synthesis(
    spec: SynthesisSpec, *, num_classes: int, dim: int, spaces: Sequence[Space]
) -> Synthesiser:
    """The synthesis that a configuration names.

    Args:
        spec: the configuration.
        num_classes: C, for what keeps something of each class.
        dim: D of the head that it reads.
        spaces: of the losses that see what is made.

    Raises:
        UserError: if no loss sees it, or losses of different spaces see what is of one.
    """
    rule = f"null without a term on the head {spec.head} that is synthetic"
    require(len(spaces) > 0, "synthesis", rule, spec.name)
    options = spec.model_dump(exclude={"name", "head"})
    match spec:
        case SymmetricalSpec():
            return SymmetricalSynthesis(**options)
        case IntraClassSpec():
            return IntraClassAugmentation(num_classes, dim, **options)
        case DenselyAnchoredSpec():
            different = sorted(set(spaces))
            rule = f"one for all terms with {spec.name}"
            require(len(different) == 1, "space", rule, ", ".join(different))
            return DenselyAnchoredSampling(num_classes, dim, space=different[0], **options)


def check_synthesis(
    spec: SynthesisSpec, loss: PairLoss, miners: Sequence[MinerSpec], *, has_memory: bool
) -> None:
    """Refuse a term that makes no sense with a synthesis on its head.

    Raises:
        UserError: naming the loss, the miner or the memory.
    """
    rule = f"null with the synthesis {spec.name} (or synthetic false)"
    require(not has_memory, "memory", rule, "a memory")
    names = [miner.name for miner in miners]
    match spec:
        case SymmetricalSpec():
            check_symmetrical(loss, spec.pairs)
            rule = "none with the synthesis symmetrical, which chooses negatives itself"
            require(not names, f"miners of {type(loss).__name__}", rule, ", ".join(names))
        case IntraClassSpec():
            check_intra_class(loss)
            alone = knows_batch_alone(miners)
            rule = "one that knows references beside the batch for the synthesis intra_class"
            require(alone is None, f"miner of {type(loss).__name__}", rule, alone)
        case DenselyAnchoredSpec():
            pass  # any: what is made are samples like all others
