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

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from pytorch_metric_learning import distances, losses, miners
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from likeness.batch import Batch
from likeness.files import write_json
from likeness.losses import (
    BatchHardTripletLoss,
    CentreLoss,
    CentreStructuredLoss,
    ContrastiveLoss,
    GeneralisedLiftedLoss,
    LiftedStructuredLoss,
    PairLoss,
    SemiHardTripletLoss,
    TripletLoss,
    WeightedContrastiveLoss,
)
from likeness.mining import class_aware_attention, online_soft_mining, semi_hard
from likeness.pairs import Pairs
from likeness.provenance import collect_provenance
from likeness.selection import pipeline

RESULTS = Path(__file__).parent / "results" / "losses.json"
DIM, PER_CLASS = 128, 4

Scalar = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    Attributes:
        name: what is computed.
        ours: from embeddings and labels to the loss, built for a number of classes.
        theirs: the same of pytorch-metric-learning, None where it has none.
        largest: largest N at which theirs is run (beyond it needs gigabytes or many seconds).
    """

    name: str
    ours: Callable[[int], Scalar]
    theirs: Scalar | None = None
    largest: int = 2048


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
        Row("contrastive_squared", lambda c: ContrastiveLoss()),
        Row("weighted_contrastive", lambda c: WeightedContrastiveLoss()),
        Row("weighted_contrastive_caffe", lambda c: WeightedContrastiveLoss(variant="caffe")),
        Row("osm_caa_weighted_contrastive", lambda c: partial(_osm_caa, c)),
        Row("semi_hard_triplet", lambda c: SemiHardTripletLoss()),
        Row("centre", lambda c: CentreLoss(c, DIM)),
        Row("centre_structured", lambda c: CentreStructuredLoss(c, DIM)),
    ]


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


def peak_bytes(run: Callable[[], object]) -> int:
    """Largest sum of tensor bytes held at once, beyond what there was before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def interleaved(runs: Sequence[Callable[[], object]], budget_s: float) -> list[dict[str, float]]:
    """Time the runs in turn, at least 3 and at most 40 rounds, until the budget is spent."""
    walls: list[list[float]] = [[] for _ in runs]
    cpus: list[list[float]] = [[] for _ in runs]
    started, rounds = time.perf_counter(), 0
    while rounds < 3 or (rounds < 40 and time.perf_counter() - started < budget_s * len(runs)):
        for run, wall, cpu in zip(runs, walls, cpus, strict=True):
            before, used = time.perf_counter(), time.process_time()
            run()
            cpu.append(1e3 * (time.process_time() - used))
            wall.append(1e3 * (time.perf_counter() - before))
        rounds += 1
    return [
        {
            "best_ms": min(wall),
            "median_ms": statistics.median(wall),
            "best_cpu_ms": min(cpu),
            "rounds": rounds,
        }
        for wall, cpu in zip(walls, cpus, strict=True)
    ]


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
    found = dict(zip(runs, interleaved(list(runs.values()), budget_s), strict=True))
    for name, run in runs.items():
        found[name] |= {"value": values[name], "peak_mib": peak_bytes(run) / 2**20}
    return {"loss": row.name, "n": count, **found}


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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512, 1024, 2048])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=0.25, help="seconds for each column")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    record = collect_provenance(seed=chosen.seed, data_hash="generated")
    record["wait_policy"] = os.environ.get("OMP_WAIT_POLICY", "default")
    record["load_average_at_start"] = os.getloadavg()
    record["versions"]["pytorch-metric-learning"] = metadata.version("pytorch-metric-learning")
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
    write_json(chosen.out, {"cells": cells, "provenance": record, "setting": setting})


if __name__ == "__main__":
    main()
