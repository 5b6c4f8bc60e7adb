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
    PairLoss,
    TripletLoss,
)
from likeness.mining import (
    BatchHardMinerSpec,
    MinerSpec,
    SemiHardMinerSpec,
    batch_hard,
    build_miner,
    check_combination,
)
from likeness.pairs import Pairs
from likeness.selection import Selection, Triplets

HARD, SEMI = BatchHardMinerSpec(), SemiHardMinerSpec()


class Root(Spec):
    """A configuration with a list of miners."""

    miners: list[MinerSpec]


@pytest.mark.parametrize("spec", [HARD, SEMI, SemiHardMinerSpec(rule="band", per_pair=3)])
def test_every_miner_gives_what_its_spec_says(spec: MinerSpec) -> None:
    y = torch.arange(12) % 3
    selected = build_miner(spec)(Pairs(torch.randn(12, 4), y), Batch(y))
    assert isinstance(selected, Selection if spec.gives == "dense" else Triplets)


def test_options_reach_the_miner() -> None:
    assert build_miner(HARD) is batch_hard
    plain = {"name": "semi_hard", "rule": "band", "margin": 0.3, "per_pair": 4}
    miner = build_miner(parse(Root, {"miners": [plain]}).miners[0])
    assert miner.keywords == {"rule": "band", "margin": 0.3, "per_pair": 4}


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="got 'semihard'"):
        parse(Root, {"miners": [{"name": "semihard"}]})
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
