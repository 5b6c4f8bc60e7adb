"""Queries against a gallery side by side with torchreid's Python and Cython evaluation.

    python benchmarks/query_gallery.py --torchreid PATH           MARS, 128-d and 1024-d: minutes
    python benchmarks/query_gallery.py --torchreid PATH --sizes 1980x100000 --dims 128
                                                                  minutes, theirs some 6 GB

PATH is an unpacked torchreid; its Cython evaluation takes part if somebody built it there
(`torchreid_rank`). The rules are torchreid's: queries out of the gallery, the query's identity in
its own camera removed, AP in steps. Every cell runs in a process of its own (Linux): time of one
whole evaluation from features to figures, best of the rounds, and growth of the resident set above
what imports, data and a small warm-up hold.

    ranking            ours: CMC, mAP, mINP
    score              ours as `score` runs it: with camera pairs and 2,000 identity bootstraps
    torchreid_python   distance matrix, then rank.py: CMC, mAP
    torchreid_cython   distance matrix, then rank_cy: CMC, mAP in float32

Features: identity + camera + noise, float32; a quarter distractors, as in MARS. Values must agree
to 1e-4 (theirs are rounded to float32 and order near-ties by chance) or the benchmark fails: equal
numbers first, then speed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import torchreid_rank
from evaluation import resident

RESULTS = Path(__file__).parent / "results" / "query_gallery.json"
SIDES = ("ranking", "score", "torchreid_python", "torchreid_cython")
AT = (1, 5, 10, 20)
CAMERAS, DISTRACTORS = 6, 0.27  # of MARS
AGREE = 1e-4


def draw(queries: int, gallery: int, dim: int, seed: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Features and the table of tracklets: the queries, then the gallery."""
    from likeness_apps.person_reid.identities import DISTRACTOR

    generator = np.random.default_rng(seed)
    people = max(2, queries // 3)
    who = generator.integers(people, size=queries + gallery)
    camera = generator.integers(CAMERAS, size=len(who))
    centres, views = generator.normal(size=(people, dim)), generator.normal(size=(CAMERAS, dim))
    features_ND = (centres[who] + 0.5 * views[camera]).astype(np.float32)
    features_ND += 2.0 * generator.standard_normal(features_ND.shape, dtype=np.float32)
    labels = np.array([f"{one:05d}" for one in who], dtype=object)
    labels[queries:][generator.random(gallery) < DISTRACTORS] = DISTRACTOR
    table = pd.DataFrame(
        {
            "label": labels,
            "camera": camera.astype(str),
            "tracklet": [f"T{number:06d}" for number in range(len(who))],
            "role": ["query"] * queries + ["gallery"] * gallery,
        }
    )
    return features_ND, table


def ours(features_ND: np.ndarray, table: pd.DataFrame, *, whole: bool) -> dict[str, float]:
    """Our figures: the ranking alone, or all that `score` computes."""
    from likeness_apps.person_reid import scoring
    from likeness_apps.person_reid.protocols import protocol_named

    if whole:
        metrics = scoring.score_tracklets(features_ND, table, "mars-torchreid").metrics
        return {name: value["value"] for name, value in metrics["retrieval"].items()}
    protocol = protocol_named("mars-torchreid")
    return scoring.headline(scoring.rank_parts(features_ND, table, protocol, with_pairs=False))


def theirs(
    peer: torchreid_rank.Peer, features_ND: np.ndarray, table: pd.DataFrame
) -> dict[str, float]:
    """Their figures, under our names."""
    asks_N = (table["role"] == "query").to_numpy()
    numbers = [pd.factorize(table[name])[0] for name in ("label", "camera")]
    sides = [column[rows] for column in numbers for rows in (asks_N, ~asks_N)]
    distances_QG = peer.distances(features_ND[asks_N], features_ND[~asks_N])
    cmc, mean_ap = peer.evaluate(distances_QG, *sides, max_rank=max(AT))
    return {**{f"cmc@{k}": float(cmc[k - 1]) for k in AT}, "map": float(mean_ap)}


def work(chosen: argparse.Namespace) -> dict[str, Any]:
    """One cell, inside its own process."""
    import torch

    torch.set_num_threads(chosen.threads)
    peer = None
    if chosen.side.startswith("torchreid"):
        peer = torchreid_rank.load(chosen.torchreid, cython=chosen.side.endswith("cython"))

    def run(features_ND: np.ndarray, table: pd.DataFrame) -> dict[str, float]:
        if peer is not None:
            return theirs(peer, features_ND, table)
        return ours(features_ND, table, whole=chosen.side == "score")

    queries, gallery = _counts(chosen.size)
    data = draw(queries, gallery, chosen.dim, chosen.seed)
    run(*draw(60, 300, chosen.dim, chosen.seed))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts here
    before = resident("VmRSS")
    times: list[float] = []
    while len(times) < chosen.rounds and sum(times) < chosen.budget:
        started = time.perf_counter()
        values = run(*data)
        times.append(time.perf_counter() - started)
    return {
        "best_s": min(times),
        "rounds": len(times),
        "growth_mb": resident("VmHWM") - before,
        "version": peer.version if peer else "likeness",
        "values": values,
    }


def cell(size: str, dim: int, sides: list[str], chosen: argparse.Namespace) -> dict[str, Any]:
    """All sides of one cell, each in a fresh process."""
    found: dict[str, Any] = {"size": size, "dim": dim, "sides": {}}
    pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    for side in sides:
        options = {"side": side, "size": size, "dim": dim}
        options |= {key: getattr(chosen, key) for key in _PASSED}
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        done = subprocess.run(
            [sys.executable, __file__, *words],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **dict.fromkeys(pools, str(chosen.threads))},
        )
        found["sides"][side] = json.loads(done.stdout.splitlines()[-1])
        print(line(size, dim, side, found["sides"][side]), flush=True)
    for side, part in found["sides"].items():
        for name, value in part["values"].items():
            gap = abs(value - found["sides"]["ranking"]["values"][name])
            if not gap < AGREE:
                raise SystemExit(f"{name} of {side} differs by {gap} at {size} x {dim}")
    return found


def line(size: str, dim: int, side: str, part: dict[str, Any]) -> str:
    """A side of a cell as a line of the printed table."""
    figures = f"mAP {part['values']['map']:.4f}"
    shown = f"{size:12s} {dim:5d}-d  {side:18s} {part['best_s']:8.2f} s"
    return f"{shown} {part['growth_mb']:7.0f} MB  {figures}"


def _counts(size: str) -> tuple[int, int]:
    queries, gallery = size.split("x")
    return int(queries), int(gallery)


_PASSED = ("seed", "threads", "rounds", "budget", "torchreid")


def main() -> None:
    """Measure, print and append."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--torchreid", type=Path, required=True, help="an unpacked torchreid")
    parser.add_argument("--sizes", nargs="+", default=["1980x12180"], help="queries x gallery")
    parser.add_argument("--dims", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--budget", type=float, default=10.0, help="seconds for the rounds of a cell"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--side", help=argparse.SUPPRESS)  # a cell's own process
    parser.add_argument("--size", help=argparse.SUPPRESS)
    parser.add_argument("--dim", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side:
        print(json.dumps(work(chosen)))
        return
    from likeness.files import write_json
    from likeness.provenance import collect_provenance, record_as

    built = torchreid_rank.has_cython(chosen.torchreid)
    sides = [side for side in SIDES if built or side != "torchreid_cython"]
    record_as(chosen.torchreid, "TORCHREID")
    record = collect_provenance(seed=chosen.seed, data_hash="generated")
    record["threads"] = chosen.threads
    cells = [cell(size, dim, sides, chosen) for size in chosen.sizes for dim in chosen.dims]
    for side in sides:
        if side.startswith("torchreid"):
            record["versions"][side] = cells[0]["sides"][side]["version"]
    earlier = json.loads(chosen.out.read_text(encoding="utf-8")) if chosen.out.is_file() else []
    setting = {"rounds": chosen.rounds, "budget_s": chosen.budget, "cython_built": built}
    write_json(chosen.out, [*earlier, {"cells": cells, "provenance": record, "setting": setting}])


if __name__ == "__main__":
    main()
