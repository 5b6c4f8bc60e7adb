"""What `losses.py` measures: every loss and miner, with the peers that have the same part.

A row says how much of the limit it may take (`kind`) and, where it takes more than most of its
kind, what for (`why`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from pytorch_metric_learning import distances, losses, miners
from torch import Tensor

from likeness.batch import Batch
from likeness.losses import (
    ArcFaceLoss,
    BatchHardTripletLoss,
    CentreLoss,
    CentreStructuredLoss,
    CircleLoss,
    ContrastiveBayesianLoss,
    ContrastiveLoss,
    CosFaceLoss,
    GeneralisedLiftedLoss,
    LiftedStructuredLoss,
    MarginDiscriminateLoss,
    MarginLoss,
    MultiProxiesAnchorLoss,
    MultiSimilarityLoss,
    NCALoss,
    NormalisedSoftmaxLoss,
    NPairLoss,
    NTXentLoss,
    PairLoss,
    PairWeightingLoss,
    ProxyAnchorLoss,
    ProxyLoss,
    ProxyNCALoss,
    RankedListLoss,
    SemiHardTripletLoss,
    SmoothAPLoss,
    SoftTripleLoss,
    SupConLoss,
    TripletLoss,
    WeightedContrastiveLoss,
)
from likeness.mining import (
    class_aware_attention,
    distance_weighted,
    easy_positive,
    general_pair_weighting,
    n_pairs,
    online_soft_mining,
    semi_hard,
)
from likeness.objective import CrossBatchMemory
from likeness.pairs import Pairs
from likeness.selection import AnySelection, Miner, pipeline

DIM, PER_CLASS = 128, 4
PROXIES = 512  # classes of the losses with proxies, whatever the batch holds

REMEMBERED = 4096  # references of the cross-batch memory, those of the batch among them

Scalar = Callable[[Tensor, Tensor], Tensor]
Kind = Literal["pair", "mined", "counted", "others"]
# How many times the Gram matrix, forward and backward at N = 1,024, a part may take. What compares
# the batch with others (proxies, a memory) has another matrix, and no such limit.
AIMS: Mapping[Kind, float | None] = {"pair": 4, "mined": 6, "counted": 8, "others": None}


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    Attributes:
        name: what is computed.
        ours: from embeddings and labels to the loss, built for a number of classes.
        theirs: the same of pytorch-metric-learning, None where it has none.
        largest: largest N at which theirs is run (beyond it needs gigabytes or many seconds).
        same_value: whether all give one number; not where a peer draws at random, adds constants
            or is wrong on a shuffled batch.
        kind: which aim it has.
        why: what it computes beyond most of its kind.
        oml: the same of open-metric-learning, where that is given and has it.
        oml_largest: largest N at which that is run.
        proxies: the class vectors of ours, for a peer to take over.
    """

    name: str
    ours: Callable[[int], Scalar]
    theirs: Scalar | None = None
    largest: int = 2048
    same_value: bool = True
    kind: Kind = "pair"
    why: str = ""
    oml: Scalar | None = None
    oml_largest: int = 2048
    proxies: Tensor | None = None


def rows() -> list[Row]:
    """Every loss; those with a peer of the same definition first."""
    raw = distances.LpDistance(normalize_embeddings=False)
    triplet = losses.TripletMarginLoss(margin=0.2)
    hardest = miners.BatchHardMiner()
    band = miners.TripletMarginMiner(margin=0.2, type_of_triplets="semihard")
    return [
        Row(
            "contrastive",
            lambda c: ContrastiveLoss(power=1, reduction="active"),
            losses.ContrastiveLoss(),
        ),
        Row(
            "triplet",
            lambda c: TripletLoss(),
            triplet,
            largest=1024,
            kind="counted",
            why="a search of every distance among the row's positives, which counts its triplets",
        ),
        Row(
            "triplet_mean",
            lambda c: TripletLoss(reduction="all", space="euclidean"),
            kind="counted",
            why="as triplet",
        ),
        Row(
            "batch_hard_triplet",
            lambda c: BatchHardTripletLoss(reduction="active"),
            lambda x, y: triplet(x, y, hardest(x, y)),
            kind="mined",
        ),
        Row(
            "batch_hard_triplet_mean",
            lambda c: BatchHardTripletLoss(space="euclidean"),
            kind="mined",
        ),
        Row(
            "semi_hard_band_mined_triplet",
            lambda c: _band_mined,
            lambda x, y: triplet(x, y, band(x, y)),
            largest=512,
            kind="mined",
            why="all triplets of the band, O(N^3) of them",
        ),
        Row(
            "lifted_structured",
            lambda c: LiftedStructuredLoss(),
            losses.LiftedStructureLoss(distance=raw),
            largest=128,
        ),
        Row(
            "generalised_lifted",
            lambda c: GeneralisedLiftedLoss(),
            losses.GeneralizedLiftedStructureLoss(),
        ),
        Row("supcon", lambda c: SupConLoss(), losses.SupConLoss()),
        Row("nt_xent", lambda c: NTXentLoss(), losses.NTXentLoss(), largest=128),
        Row("nca", lambda c: NCALoss(), losses.NCALoss()),
        *proxy_rows(),
        *pair_rows(),
        Row("contrastive_squared", lambda c: ContrastiveLoss()),
        Row("weighted_contrastive", lambda c: WeightedContrastiveLoss()),
        Row("weighted_contrastive_caffe", lambda c: WeightedContrastiveLoss(variant="caffe")),
        Row(
            "osm_caa_weighted_contrastive",
            lambda c: partial(_osm_caa, c),
            kind="mined",
            why="two matrices of float weights, multiplied with each other and the masks",
        ),
        Row("semi_hard_triplet", lambda c: SemiHardTripletLoss(), kind="mined"),
        Row("centre", lambda c: CentreLoss(c, DIM), kind="others"),
        Row(
            "centre_structured",
            lambda c: CentreStructuredLoss(c, DIM),
            why="a lifted loss, and centres against each other, C x C",
        ),
        Row(
            "multi_proxies_anchor",
            lambda c: MultiProxiesAnchorLoss(c, DIM),
            kind="others",
            why="ten proxies for a class: N x 10 C cosines and a softmax over each ten",
        ),
    ]


def pair_rows() -> list[Row]:
    """Further losses of pairs, with their miners."""
    similar, border = losses.MultiSimilarityLoss(), miners.MultiSimilarityMiner()
    raw_products = distances.DotProductSimilarity(normalize_embeddings=False)
    boundary, weighted = losses.MarginLoss(beta=1.25), miners.DistanceWeightedMiner()
    fixed = MarginLoss(beta=1.25, boundary="fixed")
    ranks = RankedListLoss(negative_temperature=4.0)
    easy, cross = miners.BatchEasyHardMiner(), losses.NTXentLoss()
    return [
        Row(
            "multi_similarity",
            lambda c: MultiSimilarityLoss(),
            lambda x, y: similar(x, y, border(x, y)),
            kind="mined",
        ),
        Row("circle", lambda c: CircleLoss(), losses.CircleLoss()),
        Row(
            "n_pair",
            lambda c: _anchors_against_positives,
            losses.NPairsLoss(distance=raw_products),
        ),
        Row("n_pair_mined", lambda c: partial(_mined, NPairLoss(), n_pairs), kind="mined"),
        Row("margin", lambda c: fixed, boundary, largest=512),
        Row(
            "distance_weighted_margin",
            lambda c: partial(_mined, fixed, distance_weighted),
            lambda x, y: boundary(x, y, weighted(x, y)),
            largest=1024,
            same_value=False,
            kind="mined",
            why="two logarithms of every distance, a softmax and a cumulative sum along every row",
        ),
        Row(
            "ranked_list",
            lambda c: ranks,
            losses.RankedListLoss(margin=0.4, Tn=4),
            same_value=False,
            why="an exponential weight for every pair beside its cost",
        ),
        Row(
            "smooth_ap",
            lambda c: SmoothAPLoss(),
            losses.SmoothAPLoss(),
            largest=256,
            same_value=False,
            kind="counted",
            why="a sigmoid along the whole row for each of its positives",
        ),
        Row(
            "contrastive_bayesian",
            lambda c: ContrastiveBayesianLoss(),
            kind="mined",
            why="mining, two log-sum-exps, and the variance over all pairs",
        ),
        Row("margin_discriminate", lambda c: MarginDiscriminateLoss()),
        Row(
            "easy_positive_nt_xent",
            lambda c: partial(_mined, NTXentLoss(), easy_positive),
            lambda x, y: cross(x, y, easy(x, y)),
            kind="mined",
            why="two arg-minima along every row, and masks made of them",
        ),
        Row(
            "general_pair_weighting",
            lambda c: partial(_mined, PairWeightingLoss(), _weights),
            kind="mined",
            why="the weighting loss, forward and backward, inside the miner",
        ),
        Row(
            "memory_contrastive",
            lambda c: _remembering(REMEMBERED - c * PER_CLASS),
            _their_memory(),
            same_value=False,
            kind="others",
            why=f"{REMEMBERED} references on both sides, the batch among them",
        ),
    ]


def _remembering(size: int) -> Scalar:
    """The contrastive loss of a batch with itself and a full memory, which then takes the batch."""
    loss = ContrastiveLoss(power=1, reduction="active")
    memory, past = CrossBatchMemory(size, DIM), torch.arange(size)
    memory.remember(torch.randn(size, DIM), Batch(past // PER_CLASS, ids=past + REMEMBERED))

    def run(x: Tensor, y: Tensor) -> Tensor:
        batch = Batch(y, ids=torch.arange(len(y)))
        value: Tensor = memory(loss, x, batch)
        memory.remember(x, batch)
        return value

    return run


def _their_memory() -> losses.CrossBatchMemory:
    """The same of the peer, which holds the batch itself too; full from the start."""
    memory = losses.CrossBatchMemory(losses.ContrastiveLoss(), DIM, memory_size=REMEMBERED)
    memory.embedding_memory = torch.randn(REMEMBERED, DIM)
    memory.label_memory = torch.arange(REMEMBERED) // PER_CLASS
    memory.has_been_filled = True
    return memory


def _mined(loss: PairLoss, miner: Miner, x: Tensor, y: Tensor) -> Tensor:
    """A loss on what a miner selects."""
    pairs = Pairs(x, y, space=loss.space)
    return loss.on_pairs(pairs, miner(pairs.detach(), Batch(y))).value


def _anchors_against_positives(x: Tensor, y: Tensor) -> Tensor:
    """The N-pair loss of the first two samples of every class, as the peer chooses them."""
    order = y.argsort(stable=True)
    first, second = order[0::PER_CLASS], order[1::PER_CLASS]
    pairs = Pairs(x[first], y[first], reference=x[second], reference_labels=y[second], space="dot")
    return NPairLoss(norm_weight=0.0).on_pairs(pairs).value


def _weights(pairs: Pairs, batch: Batch) -> AnySelection:
    """The weights of the multi-similarity loss."""
    return general_pair_weighting(pairs, batch, loss=MultiSimilarityLoss())


def proxy_rows() -> list[Row]:
    """Losses with proxies for equally many classes at every N; equal proxies on both sides."""
    size = (PROXIES, DIM)
    arcface = losses.ArcFaceLoss(*size, margin=math.degrees(0.5))
    return [
        _proxied("proxy_nca", ProxyNCALoss(*size), losses.ProxyNCALoss(*size, softmax_scale=9)),
        _proxied("proxy_anchor", ProxyAnchorLoss(*size), losses.ProxyAnchorLoss(*size)),
        _proxied(
            "normalised_softmax", NormalisedSoftmaxLoss(*size), losses.NormalizedSoftmaxLoss(*size)
        ),
        _proxied("arcface", ArcFaceLoss(*size), arcface),
        _proxied("cosface", CosFaceLoss(*size), losses.CosFaceLoss(*size)),
        _proxied(
            "soft_triple",  # the peer has no penalty of its own
            SoftTripleLoss(*size, merge_weight=0.0),
            losses.SoftTripleLoss(*size),
        ),
    ]


def with_oml(known: list[Row]) -> list[Row]:
    """The rows with what open-metric-learning 4.0.0 has of them; it must be importable.

    It reads embeddings as they are, means over all triplets and normalises for ArcFace only.
    """
    from oml.losses.arcface import ArcFaceLoss as TheirArcFace
    from oml.losses.triplet import TripletLossWithMiner
    from oml.miners.inbatch_hard_tri import HardTripletsMiner

    every = TripletLossWithMiner(margin=0.2)
    hard = TripletLossWithMiner(margin=0.2, miner=HardTripletsMiner())
    arcface = TheirArcFace(DIM, PROXIES, m=0.5, s=64)
    peers: dict[str, tuple[Scalar, int]] = {
        "triplet_mean": (every, 256),
        "batch_hard_triplet_mean": (hard, 2048),
        "arcface": (lambda x, y: arcface(x, y % PROXIES), 2048),
    }
    found = []
    for row in known:
        oml, largest = peers.get(row.name, (None, 0))
        if row.name == "arcface" and row.proxies is not None:
            arcface.weight.data = row.proxies.clone()
        found.append(replace(row, oml=oml, oml_largest=largest))
    return found


def _proxied(name: str, ours: ProxyLoss, theirs: torch.nn.Module) -> Row:
    rows_CD = ours.bank.weight.detach()
    (proxies,) = theirs.parameters()
    proxies.data = rows_CD.clone() if proxies.shape == rows_CD.shape else rows_CD.T.clone()
    return Row(
        name,
        lambda c: lambda x, y: ours(x, y % PROXIES),
        lambda x, y: theirs(x, y % PROXIES),
        kind="others",
        proxies=rows_CD,
    )


def _band_mined(x: Tensor, y: Tensor) -> Tensor:
    """All triplets of the band, as the peer's miner takes them."""
    loss: PairLoss = TripletLoss()
    pairs = Pairs(x, y, space=loss.space)
    selection = semi_hard(pairs, Batch(y), rule="band", per_pair=len(y))
    return loss.on_pairs(pairs, selection).value


def _osm_caa(classes: int, x: Tensor, y: Tensor) -> Tensor:
    """Soft mining and attention, the latter on logits that are there already."""
    loss: PairLoss = WeightedContrastiveLoss()
    pairs = Pairs(x, y, space=loss.space)
    batch = Batch(y, logits={"class": torch.zeros(len(y), classes)})
    selection = pipeline(online_soft_mining, class_aware_attention)(pairs.detach(), batch)
    return loss.on_pairs(pairs, selection).value
