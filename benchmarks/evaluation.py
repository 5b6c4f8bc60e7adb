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

import argparse
import json
import os
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "evaluation.json"
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


def resident(field: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def work(chosen: argparse.Namespace) -> dict[str, Any]:
    """One cell, inside its own process."""
    import torch

    torch.set_num_threads(chosen.threads)
    run = ours if chosen.side == "ours" else theirs
    rows_ND, labels_N = draw(chosen.count, chosen.per_class, chosen.seed)
    small = min(WARM_UP, chosen.count)
    run(*draw(small, min(chosen.per_class, small // 2), chosen.seed), chosen.job)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts here
    before = resident("VmRSS")
    times: list[tuple[float, float]] = []
    while len(times) < chosen.rounds and sum(wall for wall, _ in times) < chosen.budget:
        started, used = time.perf_counter(), time.process_time()
        values = run(rows_ND, labels_N, chosen.job)
        times.append((time.perf_counter() - started, time.process_time() - used))
    return {
        "best_s": min(wall for wall, _ in times),
        "best_cpu_s": min(cpu for _, cpu in times),
        "rounds": len(times),
        "growth_mb": resident("VmHWM") - before,
        "values": values,
    }


def cell(job: str, count: int, per_class: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """Both sides of one cell, each in a fresh process."""
    found: dict[str, Any] = {"job": job, "count": count, "per_class": per_class}
    for side in ("ours", "theirs"):
        if side == "theirs" and job == "full" and count > LARGEST_FULL:
            continue
        options = {"side": side, "job": job, "count": count, "per-class": per_class}
        options |= {key: getattr(chosen, key) for key in ("seed", "threads", "rounds", "budget")}
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        done = subprocess.run(
            [sys.executable, __file__, *words],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **dict.fromkeys(pools, str(chosen.threads))},
        )
        found[side] = json.loads(done.stdout)
    for name, value in found.get("theirs", {}).get("values", {}).items():
        gap = abs(value - found["ours"]["values"][name])
        if not gap < 1e-5:
            raise SystemExit(f"{name} differs by {gap} at {job}, {count} x {per_class}")
    return found


def line(found: dict[str, Any]) -> str:
    """A cell as a line of the printed table."""
    shown = f"{found['job']:8s} {found['count']:6d} {found['per_class']:4d} a class"
    for side in ("ours", "theirs"):
        part = found.get(side)
        if part:
            shown += f"  {part['best_s']:7.2f} s {part['best_cpu_s']:7.2f} s cpu"
            shown += f" {part['growth_mb']:6.0f} MB"
    if "theirs" in found:
        shown += f"  {found['theirs']['best_s'] / found['ours']['best_s']:5.1f} x"
    return shown


def main() -> None:
    """Measure, print and append."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000])
    parser.add_argument("--jobs", nargs="+", choices=list(JOBS), default=list(JOBS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--budget", type=float, default=10.0, help="seconds for the rounds of a cell"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    for name in ("side", "job", "count", "per-class"):  # a cell's own process
        kind = int if name in ("count", "per-class") else str
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side:
        print(json.dumps(work(chosen)))
        return
    from likeness.files import write_json
    from likeness.provenance import collect_provenance

    record = collect_provenance(seed=chosen.seed, data_hash="generated")
    record["threads"] = chosen.threads
    for name in ("pytorch-metric-learning", "faiss-cpu"):
        record["versions"][name] = metadata.version(name)
    print(f"{'':29s} {'likeness':33s} {'pytorch-metric-learning'}")
    cells = []
    for count in chosen.sizes:
        for job in chosen.jobs:
            for per_class in (5, 100):
                cells.append(cell(job, count, per_class, chosen))
                print(line(cells[-1]), flush=True)
    earlier = json.loads(chosen.out.read_text(encoding="utf-8")) if chosen.out.is_file() else []
    setting = {"dim": DIM, "rounds": chosen.rounds, "budget_s": chosen.budget}
    write_json(chosen.out, [*earlier, {"cells": cells, "provenance": record, "setting": setting}])


if __name__ == "__main__":
    main()
