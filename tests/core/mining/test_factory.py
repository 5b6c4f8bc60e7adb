"""From plain data to miners, and which of them a loss can read."""

from __future__ import annotations

import pytest
import torch

from likeness.batch import Batch
from likeness.config import Spec, parse
from likeness.errors import UserError
from likeness.losses import (
    BatchHardTripletLoss,
    CentreStructuredLoss,
    ContrastiveLoss,
    LiftedStructuredLoss,
    MarginLoss,
    PairLoss,
    PairWeightingLoss,
    SmoothAPLoss,
    TripletLoss,
    WeightedContrastiveLoss,
)
from likeness.mining import (
    BatchHardMinerSpec,
    ClassAwareAttentionSpec,
    ClassBalancedMinerSpec,
    DistanceWeightedMinerSpec,
    EasyPositiveMinerSpec,
    GeneralPairWeightingMinerSpec,
    InformativeMinerSpec,
    MinerSpec,
    MultiSimilarityMinerSpec,
    NPairsMinerSpec,
    OnlineSoftMinerSpec,
    RandomMinerSpec,
    SemiHardMinerSpec,
    batch_hard,
    build_miner,
    check_combination,
    class_aware_attention,
    distance_weighted,
    easy_positive,
    informative_triplets,
    multi_similarity_pairs,
    n_pairs,
    online_soft_mining,
    random_triplets,
)
from likeness.mining.factory import check_one_label, keeps_graph
from likeness.pairs import Pairs
from likeness.selection import Selection, Triplets

HARD, SEMI = BatchHardMinerSpec(), SemiHardMinerSpec()
SOFT, ATTENTION = OnlineSoftMinerSpec(), ClassAwareAttentionSpec()
DISTANCE = DistanceWeightedMinerSpec()
WEIGHING = GeneralPairWeightingMinerSpec(loss={"name": "multi_similarity"})


class Root(Spec):
    """A configuration with a list of miners."""

    miners: list[MinerSpec]


@pytest.mark.parametrize(
    "spec",
    [
        HARD,
        SEMI,
        SemiHardMinerSpec(rule="band", per_pair=3),
        InformativeMinerSpec(anchors=2),
        RandomMinerSpec(negatives=2),
        ClassBalancedMinerSpec(count=5),
        DISTANCE,
        MultiSimilarityMinerSpec(),
        EasyPositiveMinerSpec(),
        NPairsMinerSpec(),
        WEIGHING,
        SOFT,
        ATTENTION,
    ],
)
def test_every_miner_gives_what_its_spec_says(spec: MinerSpec) -> None:
    y = torch.arange(12) % 3
    batch = Batch(y, logits={"class": torch.randn(12, 3)})
    space = "cosine" if spec in (DISTANCE, WEIGHING) else "euclidean"
    selected = build_miner(spec)(Pairs(torch.randn(12, 4), y, space=space), batch)
    assert isinstance(selected, Selection if spec.gives == "dense" else Triplets)


def test_options_reach_the_miner() -> None:
    assert build_miner(HARD) is batch_hard
    plain = {"name": "semi_hard", "rule": "band", "margin": 0.3, "per_pair": 4}
    miner = build_miner(parse(Root, {"miners": [plain]}).miners[0])
    assert miner.keywords == {"rule": "band", "margin": 0.3, "per_pair": 4}


def test_options_reach_the_miners_of_graded_labels() -> None:
    counts = {"anchors": 5, "positives": 6, "negatives": 7}
    more = {"beta": 0.1, "gamma": 0.9, "aggregate": "max", "squared": False}
    plain = [{"name": "informative_triplets"} | counts | more, {"name": "random_triplets"} | counts]
    found = [build_miner(spec).keywords for spec in parse(Root, {"miners": plain}).miners]
    assert found == [counts | more, counts]
    plain = {"name": "class_balanced_triplets", "count": 9}
    assert build_miner(parse(Root, {"miners": [plain]}).miners[0]).keywords == {"count": 9}
    # Unsaid, a miner and its spec mean the same.
    y = (torch.arange(24).view(8, 3) % 5 < 2).int()
    for name, miner in (
        ("informative_triplets", informative_triplets),
        ("random_triplets", random_triplets),
    ):
        built = build_miner(parse(Root, {"miners": [{"name": name}]}).miners[0])
        pairs = Pairs(torch.randn(8, 4), y)
        one, other = (
            each(pairs, Batch(y, generator=torch.Generator().manual_seed(0)))
            for each in (built, miner)
        )
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_options_reach_the_soft_miners() -> None:
    soft = {"variant": "caffe", "sigma": 1.0, "margin": 1.1, "differentiable": True}
    attention = {"variant": "caffe", "head": "last", "sigma": 0.5, "differentiable": True}
    plain = [{"name": "online_soft_mining"} | soft, {"name": "class_aware_attention"} | attention]
    specs = parse(Root, {"miners": plain}).miners
    assert [build_miner(spec).keywords for spec in specs] == [soft, attention]
    assert [keeps_graph([spec]) for spec in (*specs, SOFT, ATTENTION, HARD)] == [True] * 2 + [
        False
    ] * 3
    # Unsaid, a miner and its spec mean the same.
    y = torch.arange(12) % 3
    pairs, batch = Pairs(torch.randn(12, 4), y), Batch(y, logits={"class": torch.randn(12, 3)})
    for variant in ("paper", "caffe"):
        for name, miner in (
            ("online_soft_mining", online_soft_mining),
            ("class_aware_attention", class_aware_attention),
        ):
            spec = parse(Root, {"miners": [{"name": name, "variant": variant}]}).miners[0]
            found, expected = build_miner(spec)(pairs, batch), miner(pairs, batch, variant=variant)
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_options_reach_the_other_miners() -> None:
    distances = {"nearest": 0.4, "farthest": 1.3}
    plain = [
        {"name": "distance_weighted"} | distances,
        {"name": "multi_similarity", "epsilon": 0.2},
        {"name": "easy_positive", "negatives": "hard"},
        {"name": "general_pair_weighting", "loss": {"name": "circle", "scale": 32.0}},
    ]
    *found, weighing = [build_miner(s).keywords for s in parse(Root, {"miners": plain}).miners]
    assert found == [distances, {"epsilon": 0.2}, {"negatives": "hard"}]
    assert weighing["loss"].scale == 32.0
    # Unsaid, a miner and its spec mean the same.
    y = torch.arange(12) % 3
    pairs = Pairs(torch.randn(12, 4), y, space="cosine")
    for name, miner in (
        ("distance_weighted", distance_weighted),
        ("multi_similarity", multi_similarity_pairs),
        ("easy_positive", easy_positive),
        ("n_pairs", n_pairs),
    ):
        built = build_miner(parse(Root, {"miners": [{"name": name}]}).miners[0])
        one, other = (
            each(pairs, Batch(y, generator=torch.Generator().manual_seed(0)))
            for each in (built, miner)
        )
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("miner", "message"),
    [
        (
            {"name": "distance_weighted", "nearest": 1.5},
            r"miners.0.farthest must be in \(1.5, 2\], got 1.4",
        ),
        ({"name": "multi_similarity", "epsilon": -1}, "epsilon must be greater than or equal to 0"),
        ({"name": "general_pair_weighting"}, "miners.0.loss must be given, got nothing"),
        (
            {"name": "general_pair_weighting", "loss": {"name": "margin"}},
            "loss must be one of pairs alone, which keeps nothing, got 'margin'",
        ),
        (
            {"name": "general_pair_weighting", "loss": {"name": "proxy_anchor"}},
            "loss must be one of pairs alone, which keeps nothing, got 'proxy_anchor'",
        ),
    ],
)
def test_mistakes_of_the_other_miners_are_named(miner: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(Root, {"miners": [miner]})


def test_miners_that_need_a_space_are_refused_in_another() -> None:
    message = "space of MarginLoss must be 'cosine' for the miner distance_weighted, got 'euclid"
    with pytest.raises(UserError, match=message):
        check_combination(MarginLoss(boundary="global", space="euclidean"), [DISTANCE])
    message = "space of ContrastiveLoss must be 'cosine' for the miner general_pair_weighting"
    with pytest.raises(UserError, match=message):
        check_combination(ContrastiveLoss(space="euclidean"), [WEIGHING])
    with pytest.raises(UserError, match=r"give dense, got distance_weighted \(triplets\)"):
        check_combination(SmoothAPLoss(), [DISTANCE])


def test_miners_of_classes_are_refused_for_several_labels() -> None:
    miners = [HARD, NPairsMinerSpec()]
    check_one_label(miners, multilabel=False)
    check_one_label([HARD], multilabel=True)
    message = "miners must be one that does without n_pairs for several labels per image"
    with pytest.raises(UserError, match=message):
        check_one_label(miners, multilabel=True)


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="got 'semihard'"):
        parse(Root, {"miners": [{"name": "semihard"}]})
    with pytest.raises(UserError, match=r"miners.*aggregate must be 'min' or 'max', got 'mean'"):
        parse(Root, {"miners": [{"name": "informative_triplets", "aggregate": "mean"}]})
    sigma = {"name": "class_aware_attention", "sigma": 0.5}
    with pytest.raises(UserError, match=r"0.sigma must be left out for the paper variant, got 0.5"):
        parse(Root, {"miners": [sigma]})
    with pytest.raises(UserError, match="variant must be 'paper' or 'caffe', got 'port'"):
        parse(Root, {"miners": [{"name": "online_soft_mining", "variant": "port"}]})
    with pytest.raises(UserError, match="per_pair must be 1 under the facenet rule, got 2"):
        build_miner(SemiHardMinerSpec(per_pair=2))


@pytest.mark.parametrize(
    ("loss", "miners"),
    [
        (TripletLoss(), []),
        (TripletLoss(), [HARD]),
        (TripletLoss(), [HARD, SEMI]),
        (ContrastiveLoss(), [HARD, HARD]),
        (CentreStructuredLoss(2, 2), [HARD]),
        (WeightedContrastiveLoss(), [SOFT, ATTENTION]),
        (WeightedContrastiveLoss(), [HARD, ATTENTION]),
        (TripletLoss(), [SEMI, ATTENTION]),
        (MarginLoss(3), [DISTANCE]),
        (MarginLoss(3), [MultiSimilarityMinerSpec()]),
        (PairWeightingLoss(), [WEIGHING, SOFT]),
    ],
)
def test_combinations_that_make_sense(loss: PairLoss, miners: list[MinerSpec]) -> None:
    check_combination(loss, miners)


@pytest.mark.parametrize(
    "loss", [ContrastiveLoss(), LiftedStructuredLoss(), BatchHardTripletLoss()]
)
def test_triplets_for_a_loss_of_pairs_are_refused_by_name(loss: PairLoss) -> None:
    name = type(loss).__name__
    message = rf"miners of {name} must be such that give dense, got semi_hard \(triplets\)"
    with pytest.raises(UserError, match=message):
        check_combination(loss, [HARD, SEMI])


def test_two_miners_of_triplets_are_refused_by_name() -> None:
    with pytest.raises(UserError, match="at most one of triplets, got semi_hard, semi_hard"):
        check_combination(TripletLoss(), [SEMI, HARD, SEMI])


def test_a_loss_of_triplets_alone_wants_one() -> None:
    class OnlyTriplets(TripletLoss):
        """A loss without a dense reading."""

        reads = frozenset({"triplets"})

    check_combination(OnlyTriplets(), [HARD, SEMI])
    with pytest.raises(UserError, match=r"must be such that give triplets, got none \(dense\)"):
        check_combination(OnlyTriplets(), [])
