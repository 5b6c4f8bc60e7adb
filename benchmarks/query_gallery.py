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

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import torchreid_rank
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


def work(
    side: str, size: str, dim: int, seed: int, rounds: int, budget: float, torchreid: str
) -> dict[str, Any]:
    """One side of a cell, inside its own process."""
    if side.startswith("torchreid"):
        peer = torchreid_rank.load(Path(torchreid), cython=side.endswith("cython"))
        run, version = partial(theirs, peer), peer.version
    else:
        run, version = partial(ours, whole=side == "score"), "likeness"
    queries, gallery = map(int, size.split("x"))
    data = draw(queries, gallery, dim, seed)
    run(*draw(60, 300, dim, seed))
    whole = {side: partial(run, *data)}
    taken, growth_mb = with_growth(lambda: in_turns(whole, rounds=rounds, budget_s=budget)[side])
    return {
        "best_s": min(taken.wall_s),
        "rounds": len(taken.wall_s),
        "growth_mb": growth_mb,
        "version": version,
        "values": taken.value,
    }


def cell(size: str, dim: int, sides: list[str], threads: int, **shared: Any) -> dict[str, Any]:
    """All sides of one cell, each in a fresh process."""
    found: dict[str, Any] = {}
    for side in sides:
        settings = {"side": side, "size": size, "dim": dim, **shared}
        found[side] = in_child(__file__, settings, threads=threads)
        print(line(size, dim, side, found[side]), flush=True)
        must_agree(
            found["ranking"]["values"], found[side]["values"], AGREE, f"{side}, {size} x {dim}"
        )
    return {"size": size, "dim": dim, "sides": found}


def line(size: str, dim: int, side: str, part: dict[str, Any]) -> str:
    """A side of a cell as a line of the printed table."""
    figures = f"mAP {part['values']['map']:.4f}"
    shown = f"{size:12s} {dim:5d}-d  {side:18s} {part['best_s']:8.2f} s"
    return f"{shown} {part['growth_mb']:7.0f} MB  {figures}"


def main() -> None:
    """Measure, print and append."""
    if answered_in_child(work):
        return
    parser = arguments(__doc__, "query_gallery", threads=2, seed=0, rounds=5)
    parser.add_argument("--torchreid", type=Path, required=True, help="an unpacked torchreid")
    parser.add_argument("--sizes", nargs="+", default=["1980x12180"], help="queries x gallery")
    parser.add_argument("--dims", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--budget", type=float, default=10.0, help="seconds for a cell's rounds")
    chosen = parser.parse_args()
    from likeness.provenance import record_as

    built = torchreid_rank.has_cython(chosen.torchreid)
    sides = [side for side in SIDES if built or side != "torchreid_cython"]
    record_as(chosen.torchreid, "TORCHREID")
    provenance = record(chosen.seed, threads=chosen.threads)
    shared = {key: getattr(chosen, key) for key in ("threads", "seed", "rounds", "budget")}
    shared["torchreid"] = str(chosen.torchreid)
    cells = [cell(size, dim, sides, **shared) for size in chosen.sizes for dim in chosen.dims]
    peers = [side for side in sides if side.startswith("torchreid")]
    provenance["versions"] |= {side: cells[0]["sides"][side]["version"] for side in peers}
    setting = {"rounds": chosen.rounds, "budget_s": chosen.budget, "cython_built": built}
    append_json(chosen.out, {"cells": cells, "provenance": provenance, "setting": setting})


if __name__ == "__main__":
    main()
