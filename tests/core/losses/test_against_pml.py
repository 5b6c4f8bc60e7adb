"""The same value and gradient as pytorch-metric-learning, where the definition is the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from pytorch_metric_learning import distances, losses, miners, reducers
from torch import Tensor

from likeness.batch import Batch
from likeness.losses import (
    BatchHardTripletLoss,
    CircleLoss,
    ContrastiveLoss,
    GeneralisedLiftedLoss,
    LiftedStructuredLoss,
    MarginLoss,
    MultiSimilarityLoss,
    NCALoss,
    NTXentLoss,
    PairLoss,
    SupConLoss,
    TripletLoss,
)
from likeness.mining import batch_hard, semi_hard
from likeness.pairs import Pairs

RAW = distances.LpDistance(normalize_embeddings=False)
MEAN = reducers.MeanReducer


class Twin(NamedTuple):
    name: str
    ours: PairLoss
    theirs: Callable[[Tensor, Tensor], Tensor]


def mined(miner: object, loss: object) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, y: loss(x, y, miner(x, y))


TWINS = [
    Twin(
        "contrastive",
        ContrastiveLoss(power=1, reduction="active"),
        losses.ContrastiveLoss(),
    ),
    Twin(
        "contrastive margins",
        ContrastiveLoss(
            positive_margin=0.4, negative_margin=1.3, power=1, reduction="all", space="euclidean"
        ),
        losses.ContrastiveLoss(pos_margin=0.4, neg_margin=1.3, distance=RAW, reducer=MEAN()),
    ),
    Twin("triplet", TripletLoss(margin=0.05), losses.TripletMarginLoss()),
    Twin(
        "triplet all",
        TripletLoss(margin=0.7, reduction="all", space="euclidean"),
        losses.TripletMarginLoss(margin=0.7, distance=RAW, reducer=MEAN()),
    ),
    Twin(
        "triplet squared",
        TripletLoss(margin=0.2, squared=True),
        losses.TripletMarginLoss(margin=0.2, distance=distances.LpDistance(power=2)),
    ),
    Twin(
        "batch hard",
        BatchHardTripletLoss(margin=0.2, reduction="active"),
        mined(miners.BatchHardMiner(), losses.TripletMarginLoss(margin=0.2)),
    ),
    Twin(
        "batch hard soft",
        BatchHardTripletLoss(margin=0.1, variant="soft"),
        mined(
            miners.BatchHardMiner(),
            losses.TripletMarginLoss(margin=0.1, smooth_loss=True, reducer=MEAN()),
        ),
    ),
    Twin(
        "lifted",
        LiftedStructuredLoss(),
        losses.LiftedStructureLoss(distance=RAW),
    ),
    Twin("lifted cosine", LiftedStructuredLoss(space="cosine"), losses.LiftedStructureLoss()),
    Twin(
        "generalised lifted",
        GeneralisedLiftedLoss(),
        losses.GeneralizedLiftedStructureLoss(),
    ),
    Twin(
        "multi-similarity",
        MultiSimilarityLoss(),
        mined(miners.MultiSimilarityMiner(), losses.MultiSimilarityLoss()),
    ),
    Twin(
        "multi-similarity all",
        MultiSimilarityLoss(alpha=3.0, beta=20.0, base=0.3, epsilon=None),
        losses.MultiSimilarityLoss(alpha=3, beta=20, base=0.3),
    ),
    Twin("circle", CircleLoss(), losses.CircleLoss()),
    Twin("circle faces", CircleLoss(margin=0.25, scale=256.0), losses.CircleLoss(0.25, 256)),
    Twin("margin", MarginLoss(beta=1.25, boundary="global"), losses.MarginLoss(beta=1.25)),
    Twin(
        "margin of classes",
        MarginLoss(501, beta=1.25, boundary_weight=0.1),
        losses.MarginLoss(beta=1.25, nu=0.1, learn_beta=True, num_classes=501),
    ),
    Twin("supcon", SupConLoss(), losses.SupConLoss()),
    Twin("supcon warm", SupConLoss(temperature=0.7), losses.SupConLoss(temperature=0.7)),
    Twin("nt-xent", NTXentLoss(), losses.NTXentLoss()),
    Twin("nca", NCALoss(), losses.NCALoss()),
    Twin(
        "nca euclidean",
        NCALoss(temperature=0.5, space="euclidean"),
        losses.NCALoss(
            softmax_scale=2, distance=distances.LpDistance(normalize_embeddings=False, power=2)
        ),
    ),
]


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name)
@pytest.mark.parametrize("seed", [0, 1])
def test_value_and_gradient(twin: Twin, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(24, 8, generator=generator, dtype=torch.float64)
    y = (torch.arange(24) % 6)[torch.randperm(24, generator=generator)] * 100
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    value, expected = twin.ours(ours, y), twin.theirs(theirs, y)
    assert expected > 0
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-9)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-8)


def batch(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(5, (20,), generator=generator)
    return torch.randn(20, 6, generator=generator, dtype=torch.float64), y


@pytest.mark.parametrize("margin", [0.05, 0.4])
def test_the_band_rule_selects_the_same_triplets(margin: float) -> None:
    x, y = batch(0)
    pairs = Pairs(x, y, space="cosine")
    ours = semi_hard(pairs, Batch(y), rule="band", margin=margin, per_pair=20)
    kept = ours.weight_T > 0
    found = {tuple(t) for t in torch.stack(ours[:3], 1)[kept].tolist()}
    theirs = miners.TripletMarginMiner(margin=margin, type_of_triplets="semihard")(x, y)
    assert found == {tuple(t) for t in torch.stack(theirs, 1).tolist()}
    assert len(found) == int(kept.sum()) > 10
    value = TripletLoss(margin=margin).on_pairs(pairs, ours).value
    expected = losses.TripletMarginLoss(margin=margin)(x, y, theirs)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-9)


def test_batch_hard_selects_the_same_triplets() -> None:
    x, y = batch(1)
    ours = batch_hard(Pairs(x, y, space="cosine"), Batch(y))
    anchors, positives, negatives = miners.BatchHardMiner()(x, y)
    for a, p, n in zip(anchors, positives, negatives, strict=True):
        assert ours.positive_NM[a].nonzero().tolist() == [[p]]
        assert ours.negative_NM[a].nonzero().tolist() == [[n]]
