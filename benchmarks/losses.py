"""Losses and miners side by side with pytorch-metric-learning, in one process.

    python benchmarks/losses.py                      about a minute on 2 cores
    python benchmarks/losses.py --sizes 256 1024

For every batch size N: time of a forward and backward pass and peak bytes of tensors beyond the
embeddings, from the allocator's own events. Rounds are interleaved, so that a busy machine slows
all alike; best and median of the wall clock, and the best of the processor time, which other
programs disturb least (with `--threads 1` hardly at all). On a busy machine set
OMP_WAIT_POLICY=passive, so that threads that wait do not spin. The column `gram` is the limit: the
N x N matrix product alone.
Embeddings: class centre + noise, D = 128, 4 samples per class, shuffled.
"""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from pytorch_metric_learning import distances, losses, miners
from torch import Tensor

from likeness.batch import Batch
from likeness.files import write_json
from likeness.losses import (
    ArcFaceLoss,
    BatchHardTripletLoss,
    CentreLoss,
    CentreStructuredLoss,
    CircleLoss,
    ContrastiveBayesianLoss,
    ContrastiveLoss,
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
from likeness.pairs import Pairs
from likeness.selection import AnySelection, Miner, pipeline
from measurements import arguments, in_turns, peak_bytes, record

DIM, PER_CLASS = 128, 4
PROXIES = 512  # classes of the losses with proxies, whatever the batch holds

Scalar = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    Attributes:
        name: what is computed.
        ours: from embeddings and labels to the loss, built for a number of classes.
        theirs: the same of pytorch-metric-learning, None where it has none.
        largest: largest N at which theirs is run (beyond it needs gigabytes or many seconds).
        same_value: whether both give one number; not where the peer draws at random, adds constants
            or is wrong on a shuffled batch.
    """

    name: str
    ours: Callable[[int], Scalar]
    theirs: Scalar | None = None
    largest: int = 2048
    same_value: bool = True


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
        Row("triplet", lambda c: TripletLoss(), triplet, largest=1024),
        Row(
            "batch_hard_triplet",
            lambda c: BatchHardTripletLoss(reduction="active"),
            lambda x, y: triplet(x, y, hardest(x, y)),
        ),
        Row(
            "semi_hard_band_mined_triplet",
            lambda c: _band_mined,
            lambda x, y: triplet(x, y, band(x, y)),
            largest=512,
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
        Row("osm_caa_weighted_contrastive", lambda c: partial(_osm_caa, c)),
        Row("semi_hard_triplet", lambda c: SemiHardTripletLoss()),
        Row("centre", lambda c: CentreLoss(c, DIM)),
        Row("centre_structured", lambda c: CentreStructuredLoss(c, DIM)),
        Row("multi_proxies_anchor", lambda c: MultiProxiesAnchorLoss(c, DIM)),
    ]


def pair_rows() -> list[Row]:
    """Further losses of pairs, with their miners."""
    similar, border = losses.MultiSimilarityLoss(), miners.MultiSimilarityMiner()
    raw_products = distances.DotProductSimilarity(normalize_embeddings=False)
    boundary, weighted = losses.MarginLoss(beta=1.25), miners.DistanceWeightedMiner()
    fixed = MarginLoss(beta=1.25, boundary="fixed")
    ranks = RankedListLoss(negative_temperature=4.0)
    return [
        Row(
            "multi_similarity",
            lambda c: MultiSimilarityLoss(),
            lambda x, y: similar(x, y, border(x, y)),
        ),
        Row("circle", lambda c: CircleLoss(), losses.CircleLoss()),
        Row(
            "n_pair",
            lambda c: _anchors_against_positives,
            losses.NPairsLoss(distance=raw_products),
        ),
        Row("n_pair_mined", lambda c: partial(_mined, NPairLoss(), n_pairs)),
        Row("margin", lambda c: fixed, boundary, largest=512),
        Row(
            "distance_weighted_margin",
            lambda c: partial(_mined, fixed, distance_weighted),
            lambda x, y: boundary(x, y, weighted(x, y)),
            largest=1024,
            same_value=False,
        ),
        Row(
            "ranked_list",
            lambda c: ranks,
            losses.RankedListLoss(margin=0.4, Tn=4),
            same_value=False,
        ),
        Row(
            "smooth_ap",
            lambda c: SmoothAPLoss(),
            losses.SmoothAPLoss(),
            largest=256,
            same_value=False,
        ),
        Row("contrastive_bayesian", lambda c: ContrastiveBayesianLoss()),
        Row("margin_discriminate", lambda c: MarginDiscriminateLoss()),
        Row("easy_positive_nt_xent", lambda c: partial(_mined, NTXentLoss(), easy_positive)),
        Row("general_pair_weighting", lambda c: partial(_mined, PairWeightingLoss(), _weights)),
    ]


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
    ]


def _proxied(name: str, ours: ProxyLoss, theirs: torch.nn.Module) -> Row:
    rows_CD = ours.bank.weight.detach()
    (proxies,) = theirs.parameters()
    proxies.data = rows_CD.clone() if proxies.shape == rows_CD.shape else rows_CD.T.clone()
    return Row(
        name, lambda c: lambda x, y: ours(x, y % PROXIES), lambda x, y: theirs(x, y % PROXIES)
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


def draw(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Embeddings that require a gradient, and labels."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) // PER_CLASS
    y = y[torch.randperm(count, generator=generator)]
    centre = torch.randn(count // PER_CLASS, DIM, generator=generator)
    x = centre[y] + torch.randn(count, DIM, generator=generator)
    return x.requires_grad_(), y


def step(call: Scalar, x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    """One forward and backward pass."""

    def run() -> Tensor:
        x.grad = None
        value = call(x, y)
        value.backward()
        return value.detach()

    return run


def measure(row: Row, count: int, seed: int, budget_s: float) -> dict[str, Any]:
    """One cell of the table: the limit, ours, theirs."""
    x, y = draw(count, seed)
    runs = {
        "gram": step(lambda x, y: (x @ x.T).sum(), x, y),
        "ours": step(row.ours(count // PER_CLASS), x, y),
    }
    if row.theirs is not None and count <= row.largest:
        runs["theirs"] = step(row.theirs, x, y)
    values = {name: float(run()) for name, run in runs.items()}  # the first call warms up
    found: dict[str, Any] = {"loss": row.name, "n": count}
    for name, taken in in_turns(runs, rounds=40, least=3, budget_s=budget_s * len(runs)).items():
        found[name] = {
            "best_ms": 1e3 * min(taken.wall_s),
            "median_ms": 1e3 * statistics.median(taken.wall_s),
            "best_cpu_ms": 1e3 * min(taken.cpu_s),
            "rounds": len(taken.wall_s),
            "value": values[name],
            "peak_mib": peak_bytes(runs[name]) / 2**20,
        }
    return found


def line(cell: dict[str, Any]) -> str:
    """A cell as a line of the printed table."""
    shown = [f"{cell['loss']:30s} {cell['n']:5d}"]
    for name in ("gram", "ours", "theirs"):
        part = cell.get(name)
        text = f"{part['best_ms']:8.2f} ms {part['peak_mib']:7.1f} MiB" if part else ""
        shown.append(f"{text:24s}")
    if "theirs" in cell:
        clocks = ("best_ms", "best_cpu_ms")
        shown.extend(f"{cell['theirs'][key] / cell['ours'][key]:6.1f} x" for key in clocks)
    return " ".join(shown).rstrip()


def main() -> None:
    """Measure, print and write."""
    parser = arguments(__doc__, "losses", threads=2, seed=0)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512, 1024, 2048])
    parser.add_argument("--budget", type=float, default=0.25, help="seconds for each column")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    provenance = record(chosen.seed, packages=["pytorch-metric-learning"])
    provenance["wait_policy"] = os.environ.get("OMP_WAIT_POLICY", "default")
    heads = ("gram alone", "likeness", "pytorch-metric-learning", "faster: wall, processor")
    print(" " * 36, " ".join(f"{head:24s}" for head in heads))
    cells = []
    for count in chosen.sizes:
        for row in rows():
            if row.name == "semi_hard_band_mined_triplet" and count > row.largest:
                continue  # all triplets of the band are O(N^3) for anybody
            cells.append(measure(row, count, chosen.seed, chosen.budget))
            print(line(cells[-1]), flush=True)
    setting = {"dim": DIM, "per_class": PER_CLASS, "budget_s": chosen.budget}
    write_json(chosen.out, {"cells": cells, "provenance": provenance, "setting": setting})


if __name__ == "__main__":
    main()
