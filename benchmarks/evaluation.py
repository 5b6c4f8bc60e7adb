"""Retrieval evaluation side by side with pytorch-metric-learning's AccuracyCalculator.

    python benchmarks/evaluation.py                         10,000 x 128, a minute on 2 cores
    python benchmarks/evaluation.py --sizes 10000 60000     60,000 x 128, minutes and up to 7 GB

Every cell runs in a process of its own (Linux): time of one whole evaluation, best of the rounds
(wall clock, and processor time, which a busy machine disturbs less), and growth of the resident set
above what imports, data and a small warm-up hold. Two jobs:

    nearest   recall@1, R-precision, MAP@R        theirs with k="max_bin_count", faiss
    full      mAP over the full ranking           theirs with k=None, faiss; up to 10,000 rows

Embeddings: class centre + noise, D = 128, float32, shuffled; leave-one-out. Values must agree to
1e-5 or the benchmark fails: equal numbers first, then speed.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from measurements import (
    answered_in_child,
    append_json,
    arguments,
    in_child,
    in_turns,
    must_agree,
    record,
    with_growth,
)

DIM, WARM_UP = 128, 1000
JOBS = {
    "nearest": {
        "recall@1": "precision_at_1",
        "r_precision": "r_precision",
        "map@r": "mean_average_precision_at_r",
    },
    "full": {"map": "mean_average_precision"},
}
LARGEST_FULL = 10_000  # theirs holds rows x rows ids and distances: 5.9 GB here


def draw(count: int, per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and labels."""
    rng = np.random.default_rng(seed)
    labels_N = rng.permutation(np.arange(count) // per_class)
    centres = rng.normal(size=(count // per_class, DIM))
    rows_ND = centres[labels_N] + 2.5 * rng.normal(size=(count, DIM))
    return rows_ND.astype(np.float32), labels_N


def ours(rows_ND: np.ndarray, labels_N: np.ndarray, job: str) -> dict[str, float]:
    """Our numbers, in Euclidean space as theirs."""
    from likeness.evaluation.retrieval import retrieval

    result = retrieval(rows_ND, labels_N, metrics=list(JOBS[job]), space="euclidean")
    return {name: value.value for name, value in result.values().items()}


def theirs(rows_ND: np.ndarray, labels_N: np.ndarray, job: str) -> dict[str, float]:
    """Their numbers, under our names."""
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    names = JOBS[job]
    k = "max_bin_count" if job == "nearest" else None
    calculator = AccuracyCalculator(include=tuple(names.values()), k=k, device=torch.device("cpu"))
    found = calculator.get_accuracy(torch.from_numpy(rows_ND), torch.from_numpy(labels_N))
    return {name: float(found[peer]) for name, peer in names.items()}


SIDES = {"ours": ours, "theirs": theirs}


def work(
    side: str, job: str, count: int, per_class: int, seed: int, rounds: int, budget: float
) -> dict[str, Any]:
    """One side of a cell, inside its own process."""
    run, small = SIDES[side], min(WARM_UP, count)
    data = draw(count, per_class, seed)
    run(*draw(small, min(per_class, small // 2), seed), job)
    whole = {side: partial(run, *data, job)}
    taken, growth_mb = with_growth(lambda: in_turns(whole, rounds=rounds, budget_s=budget)[side])
    return {
        "best_s": min(taken.wall_s),
        "best_cpu_s": min(taken.cpu_s),
        "rounds": len(taken.wall_s),
        "growth_mb": growth_mb,
        "values": taken.value,
    }


def cell(job: str, count: int, per_class: int, threads: int, **shared: Any) -> dict[str, Any]:
    """Both sides of one cell, each in a fresh process."""
    found: dict[str, Any] = {"job": job, "count": count, "per_class": per_class}
    settings = {**found, **shared}
    for side in SIDES:
        if side == "ours" or job != "full" or count <= LARGEST_FULL:
            found[side] = in_child(__file__, {"side": side, **settings}, threads=threads)
    if "theirs" in found:
        first, second = (found[side]["values"] for side in SIDES)
        must_agree(first, second, 1e-5, f"{job}, {count} x {per_class}")
    return found


def line(found: dict[str, Any]) -> str:
    """A cell as a line of the printed table."""
    shown = f"{found['job']:8s} {found['count']:6d} {found['per_class']:4d} a class"
    for side in SIDES:
        part = found.get(side)
        if part:
            shown += f"  {part['best_s']:7.2f} s {part['best_cpu_s']:7.2f} s cpu"
            shown += f" {part['growth_mb']:6.0f} MB"
    if "theirs" in found:
        shown += f"  {found['theirs']['best_s'] / found['ours']['best_s']:5.1f} x"
    return shown


def main() -> None:
    """Measure, print and append."""
    if answered_in_child(work):
        return
    parser = arguments(__doc__, "evaluation", threads=2, seed=0, rounds=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000])
    parser.add_argument("--jobs", nargs="+", choices=list(JOBS), default=list(JOBS))
    parser.add_argument("--budget", type=float, default=10.0, help="seconds for a cell's rounds")
    chosen = parser.parse_args()
    packages = ("pytorch-metric-learning", "faiss-cpu")
    provenance = record(chosen.seed, threads=chosen.threads, packages=packages)
    shared = {key: getattr(chosen, key) for key in ("threads", "seed", "rounds", "budget")}
    print(f"{'':29s} {'likeness':33s} {'pytorch-metric-learning'}")
    cells = []
    for count in chosen.sizes:
        for job in chosen.jobs:
            for per_class in (5, 100):
                cells.append(cell(job, count, per_class, **shared))
                print(line(cells[-1]), flush=True)
    setting = {"dim": DIM, "rounds": chosen.rounds, "budget_s": chosen.budget}
    append_json(chosen.out, {"cells": cells, "provenance": provenance, "setting": setting})


if __name__ == "__main__":
    main()
