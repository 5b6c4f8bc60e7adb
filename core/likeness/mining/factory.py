"""From typed options to miners, and which miners go with which loss: the one place for both."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import Field, model_validator

from likeness.config import Spec
from likeness.errors import UserError, require
from likeness.losses.factory import build_loss, keeps_classes
from likeness.losses.specs import AngularSpec, LossSpec
from likeness.mining.balanced import class_balanced_triplets
from likeness.mining.distance_weighted import check_distance_weighted, distance_weighted
from likeness.mining.easy_positive import Negatives, easy_positive
from likeness.mining.general import general_pair_weighting
from likeness.mining.hard import Rule, batch_hard, check_semi_hard, semi_hard
from likeness.mining.informative import Aggregate, informative_triplets, random_triplets
from likeness.mining.multi_similarity import multi_similarity_pairs
from likeness.mining.n_pairs import n_pairs
from likeness.mining.self_paced import self_paced
from likeness.mining.soft import SoftVariant, class_aware_attention, online_soft_mining
from likeness.mining.with_representative import RepresentativeSide, with_representative
from likeness.pairs import Space
from likeness.selection import Miner


class BatchHardMinerSpec(Spec):
    """The hardest positive and negative of every anchor; see `mining.hard.batch_hard`."""

    gives: ClassVar[Literal["dense", "triplets"]] = "dense"

    name: Literal["batch_hard"] = "batch_hard"


class SemiHardMinerSpec(Spec):
    """Semi-hard negatives for every positive pair; see `mining.hard.semi_hard`."""

    gives: ClassVar[Literal["dense", "triplets"]] = "triplets"

    name: Literal["semi_hard"] = "semi_hard"
    rule: Rule = "facenet"
    margin: float = Field(0.2, gt=0)
    per_pair: int = Field(1, ge=1)


class InformativeMinerSpec(Spec):
    """Diverse anchors with relevant, hard, diverse images; see `informative_triplets`.

    The defaults are a public port's; the paper's are unconfirmed.
    """

    gives: ClassVar[Literal["dense", "triplets"]] = "triplets"

    name: Literal["informative_triplets"] = "informative_triplets"
    anchors: int = Field(30, ge=1)
    positives: int = Field(30, ge=1)
    negatives: int = Field(30, ge=1)
    beta: float = Field(0.5, ge=0, le=1)
    gamma: float = Field(0.2, ge=0, le=1)
    aggregate: Aggregate = "min"
    squared: bool = True


class RandomMinerSpec(Spec):
    """Uniform anchors, positives and negatives; see `random_triplets`."""

    gives: ClassVar[Literal["dense", "triplets"]] = "triplets"

    name: Literal["random_triplets"] = "random_triplets"
    anchors: int = Field(30, ge=1)
    positives: int = Field(30, ge=1)
    negatives: int = Field(30, ge=1)


class ClassBalancedMinerSpec(Spec):
    """Random triplets, every class alike; see `mining.balanced.class_balanced_triplets`."""

    gives: ClassVar[Literal["dense", "triplets"]] = "triplets"

    name: Literal["class_balanced_triplets"] = "class_balanced_triplets"
    count: int = Field(64, ge=1)


class DistanceWeightedMinerSpec(Spec):
    """Negatives of all distances alike; see `mining.distance_weighted`."""

    gives: ClassVar[Literal["dense", "triplets"]] = "triplets"

    name: Literal["distance_weighted"] = "distance_weighted"
    nearest: float = Field(0.5, gt=0, lt=2)
    farthest: float = Field(1.4, gt=0, le=2)

    @model_validator(mode="after")
    def _combinations(self) -> DistanceWeightedMinerSpec:
        check_distance_weighted(self.nearest, self.farthest)
        return self


class MultiSimilarityMinerSpec(Spec):
    """Pairs near the border between positives and negatives; see `multi_similarity_pairs`."""

    gives: ClassVar[Literal["dense", "triplets"]] = "dense"

    name: Literal["multi_similarity"] = "multi_similarity"
    epsilon: float = Field(0.1, ge=0)


class EasyPositiveMinerSpec(Spec):
    """The nearest positive and a hard negative of every anchor; see `mining.easy_positive`."""

    gives: ClassVar[Literal["dense", "triplets"]] = "dense"

    name: Literal["easy_positive"] = "easy_positive"
    negatives: Negatives = "semi_hard"


class NPairsMinerSpec(Spec):
    """One anchor and one positive of every class; see `mining.n_pairs`."""

    gives: ClassVar[Literal["dense", "triplets"]] = "dense"

    name: Literal["n_pairs"] = "n_pairs"


class GeneralPairWeightingMinerSpec(Spec):
    """Weights read off another loss, in the same space; see `general_pair_weighting`."""

    gives: ClassVar[Literal["dense", "triplets"]] = "dense"

    name: Literal["general_pair_weighting"] = "general_pair_weighting"
    loss: LossSpec

    @model_validator(mode="after")
    def _keeps_nothing(self) -> GeneralPairWeightingMinerSpec:
        """What a loss learns beside the model would not be trained inside a miner."""
        built = build_loss(self.loss, num_classes=1, dim=1)
        fits = not keeps_classes(self.loss) and not built.state_dict()
        fits = fits and not isinstance(self.loss, AngularSpec)  # it reads three samples at once
        require(fits, "loss", "one of pairs alone, which keeps nothing", self.loss.name)
        return self


class OnlineSoftMinerSpec(Spec):
    """Near positives and near negatives weigh most; see `mining.soft.online_soft_mining`."""

    gives: ClassVar[Literal["dense", "triplets"]] = "dense"

    name: Literal["online_soft_mining"] = "online_soft_mining"
    variant: SoftVariant = "paper"
    sigma: float = Field(0.8, gt=0)
    margin: float = Field(1.2, gt=0)
    differentiable: bool = False


class ClassAwareAttentionSpec(Spec):
    """Pairs that the classifier is sure of weigh most; see `mining.soft.class_aware_attention`.

    Attributes:
        sigma: of the `caffe` variant only; None means the official 0.68.
    """

    gives: ClassVar[Literal["dense", "triplets"]] = "dense"

    name: Literal["class_aware_attention"] = "class_aware_attention"
    variant: SoftVariant = "paper"
    head: str = "class"
    sigma: float | None = Field(None, gt=0)
    differentiable: bool = False

    @model_validator(mode="after")
    def _combinations(self) -> ClassAwareAttentionSpec:
        if self.variant != "caffe":
            rule = f"left out for the {self.variant} variant"
            require(self.sigma is None, "sigma", rule, self.sigma)
        return self


class SelfPacedMinerSpec(Spec):
    """Pairs weigh as far as both samples are trusted; see `self_paced`.

    Needs `self_paced` of the run, which finds how far.
    """

    gives: ClassVar[Literal["dense", "triplets"]] = "dense"

    name: Literal["self_paced"] = "self_paced"


class WithRepresentativeMinerSpec(Spec):
    """Pairs with a representative of a class; see `with_representative`.

    Needs the sampler `representatives`, which chooses them.
    """

    gives: ClassVar[Literal["dense", "triplets"]] = "dense"

    name: Literal["with_representative"] = "with_representative"
    side: RepresentativeSide = "either"


MinerSpec = Annotated[
    BatchHardMinerSpec
    | SemiHardMinerSpec
    | InformativeMinerSpec
    | RandomMinerSpec
    | ClassBalancedMinerSpec
    | DistanceWeightedMinerSpec
    | MultiSimilarityMinerSpec
    | EasyPositiveMinerSpec
    | NPairsMinerSpec
    | GeneralPairWeightingMinerSpec
    | OnlineSoftMinerSpec
    | ClassAwareAttentionSpec
    | SelfPacedMinerSpec
    | WithRepresentativeMinerSpec,
    Field(discriminator="name"),
]


@runtime_checkable
class Reader(Protocol):
    """What `check_combination` asks of a loss: the kinds of selection it reads, empty for none."""

    reads: ClassVar[frozenset[str]]
    space: Space


def build_miner(spec: MinerSpec) -> Miner:
    """The miner that a spec describes.

    Raises:
        UserError: if the options make no sense together.
    """
    options = spec.model_dump(exclude={"name"}, exclude_none=True)
    match spec:
        case BatchHardMinerSpec():
            return batch_hard
        case SemiHardMinerSpec():
            check_semi_hard(spec.rule, spec.margin, spec.per_pair)
            return partial(semi_hard, **options)
        case InformativeMinerSpec():
            return partial(informative_triplets, **options)
        case RandomMinerSpec():
            return partial(random_triplets, **options)
        case ClassBalancedMinerSpec():
            return partial(class_balanced_triplets, **options)
        case DistanceWeightedMinerSpec():
            return partial(distance_weighted, **options)
        case MultiSimilarityMinerSpec():
            return partial(multi_similarity_pairs, **options)
        case EasyPositiveMinerSpec():
            return partial(easy_positive, **options)
        case NPairsMinerSpec():
            return n_pairs
        case GeneralPairWeightingMinerSpec():
            loss = build_loss(spec.loss, num_classes=1, dim=1)  # which read neither
            return partial(general_pair_weighting, loss=loss)
        case OnlineSoftMinerSpec():
            return partial(online_soft_mining, **options)
        case ClassAwareAttentionSpec():
            return partial(class_aware_attention, **options)
        case SelfPacedMinerSpec():
            return self_paced
        case WithRepresentativeMinerSpec():
            return partial(with_representative, **options)


def keeps_graph(miners: Sequence[MinerSpec]) -> bool:
    """Whether a miner wants pairs and logits with their graph, for differentiable weights."""
    soft = (OnlineSoftMinerSpec, ClassAwareAttentionSpec)
    return any(isinstance(miner, soft) and miner.differentiable for miner in miners)


def check_attention(miners: Sequence[MinerSpec], *, has_logits: bool, multilabel: bool) -> None:
    """Refuse class-aware attention where there is no classifier of one class per image to ask.

    Raises:
        UserError: naming what is missing.
    """
    if not any(isinstance(miner, ClassAwareAttentionSpec) for miner in miners):
        return
    rule = "given where the miner class_aware_attention reads its logits"
    require(has_logits, "classification", rule, None)
    rule = "one that does without class_aware_attention for several labels per image"
    require(not multilabel, "miners", rule, "class_aware_attention")


def check_combination(loss: Reader, miners: Sequence[MinerSpec]) -> None:
    """Refuse miners that the loss cannot read, or that cannot be combined.

    Raises:
        UserError: naming the loss and the miner.
    """
    if not loss.reads:
        if miners:
            raise UserError(
                f"miners of {type(loss).__name__} must be none (it compares samples with what "
                f"stands for their classes), got {', '.join(miner.name for miner in miners)}"
            )
        return
    _check_spaces(loss, miners)
    listing = [miner.name for miner in miners if miner.gives == "triplets"]
    if len(listing) > 1:
        raise UserError(f"miners must be at most one of triplets, got {', '.join(listing)}")
    gives = "triplets" if listing else "dense"
    if gives not in loss.reads:
        names = ", ".join(listing) or ", ".join(miner.name for miner in miners) or "none"
        wants = " or ".join(sorted(loss.reads))
        raise UserError(
            f"miners of {type(loss).__name__} must be such that give {wants}, got {names} ({gives})"
        )


def check_one_label(miners: Sequence[MinerSpec], *, multilabel: bool) -> None:
    """Refuse miners that go by the class of an image where it has several labels.

    Raises:
        UserError: naming the miner.
    """
    by_class = (NPairsMinerSpec, ClassBalancedMinerSpec)
    found = [miner.name for miner in miners if isinstance(miner, by_class)]
    if multilabel and found:
        rule = f"one that does without {found[0]} for several labels per image"
        require(False, "miners", rule, found[0])


def check_references(miners: Sequence[MinerSpec]) -> None:
    """Refuse miners that know the batch alone where a memory gives further references.

    Raises:
        UserError: naming the miner.
    """
    alone = knows_batch_alone(miners)
    rule = f"null with the miner {alone}, which knows the batch alone"
    require(alone is None, "memory", rule, "a memory")


def knows_batch_alone(miners: Sequence[MinerSpec]) -> str | None:
    """The first miner that cannot choose among references beside the batch, by name."""
    batch_alone = (
        *(InformativeMinerSpec, RandomMinerSpec, ClassBalancedMinerSpec, NPairsMinerSpec),
        *(ClassAwareAttentionSpec, SelfPacedMinerSpec, WithRepresentativeMinerSpec),
    )
    return next((miner.name for miner in miners if isinstance(miner, batch_alone)), None)


def _check_spaces(loss: Reader, miners: Sequence[MinerSpec]) -> None:
    for miner in miners:
        needed: Space | None = None
        if isinstance(miner, DistanceWeightedMinerSpec):
            needed = "cosine"
        if isinstance(miner, GeneralPairWeightingMinerSpec):
            needed = miner.loss.space
        rule = f"{needed!r} for the miner {miner.name}"
        fits = needed is None or loss.space == needed
        require(fits, f"space of {type(loss).__name__}", rule, loss.space)
