"""k-reciprocal re-ranking at 94,000 items, and beside the dense algorithm where that can be held.

    python benchmarks/reranking.py                      4,000 items dense and ours, 94,000 ours
    python benchmarks/reranking.py --count 8000 --dense 2000      a check in seconds

Every cell runs in a process of its own (Linux): wall clock and processor time, and growth of the
resident set above what imports, features and a small warm-up hold. `prepare` finds neighbours and
encodes them, `answer` makes every re-ranked distance of every query block by block and keeps the
100 nearest; nothing of size queries x gallery is kept. An eighth of the items are queries, as in
MSMT17 (11,659 of 93,820).

The dense algorithm is written below from the paper (Zhong et al., CVPR 2017) with full matrices, in
numpy, set by set; it is given the neighbour lists of a full sort. Its distances must agree with
ours to 1e-5 or the benchmark fails: equal numbers first, then speed. At 94,000 items it would hold
three matrices of 35 GB.

Features: 256 numbers, unit length, a centre per identity + noise; about twelve items an identity.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from measurements import (
    Rounds,
    answered_in_child,
    append_json,
    arguments,
    in_child,
    record,
    timed,
    with_growth,
)

DIM, PER_IDENTITY, WARM_UP, KEPT = 256, 12, 500, 100


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries and gallery, clustered, float32, of unit length."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(1, count // PER_IDENTITY), DIM)).astype(np.float32)
    rows_ND = centres[rng.integers(0, len(centres), count)]
    rows_ND += 1.2 * rng.standard_normal((count, DIM), dtype=np.float32)
    rows_ND /= np.linalg.norm(rows_ND, axis=1, keepdims=True)
    return rows_ND[: count // 8], rows_ND[count // 8 :]


def ours(query_QD: np.ndarray, gallery_GD: np.ndarray) -> tuple[dict[str, Rounds], np.ndarray]:
    """Times, and the distances of the first queries."""
    from likeness.search.reciprocal import ReciprocalSearch

    prepare = timed(lambda: ReciprocalSearch(query_QD, gallery_GD))
    search: ReciprocalSearch = prepare.value
    answer = timed(lambda: search.nearest(min(KEPT, len(gallery_GD))))
    return {"prepare": prepare, "answer": answer}, search.distances(slice(0, 20))


def dense(query_QD: np.ndarray, gallery_GD: np.ndarray) -> tuple[dict[str, Rounds], np.ndarray]:
    """The same by full matrices."""
    answer = timed(lambda: dense_distances(query_QD, gallery_GD))
    return {"answer": answer}, answer.value[:20]


def dense_distances(
    query_QD: np.ndarray, gallery_GD: np.ndarray, k1: int = 20, k2: int = 6, weight: float = 0.3
) -> np.ndarray:
    """Zhong et al. 2017 with N x N matrices, (Q, G)."""
    items_ND = np.concatenate([query_QD, gallery_GD]).astype(np.float64)
    original_NN = np.maximum(2 - 2 * items_ND @ items_ND.T, 0).astype(np.float32)
    np.fill_diagonal(original_NN, 0)
    lists_NN = np.argsort(original_NN, axis=1, kind="stable").astype(np.int32)
    original_NN /= original_NN.max(axis=1, keepdims=True)
    near = [mutual(lists_NN, item, k1) for item in range(len(items_ND))]
    half = [mutual(lists_NN, item, round(k1 / 2)) for item in range(len(items_ND))]
    vectors_NN = np.zeros_like(original_NN)
    for item, core in enumerate(near):
        grown = [half[j] for j in core if 3 * len(np.intersect1d(half[j], core)) > 2 * len(half[j])]
        members = np.unique(np.concatenate([core, *grown]))
        weights = np.exp(-original_NN[item, members])
        vectors_NN[item, members] = weights / weights.sum()
    mean_NN = np.stack([vectors_NN[row].mean(axis=0) for row in lists_NN[:, :k2]])
    del vectors_NN
    final_QG = np.empty((len(query_QD), len(gallery_GD)), np.float32)
    for query, mean_N in enumerate(mean_NN[: len(query_QD)]):
        entries = np.flatnonzero(mean_N)
        shared_G = np.minimum(mean_N[entries], mean_NN[len(query_QD) :, entries]).sum(axis=1)
        jaccard_G = 1 - shared_G / (2 - shared_G)
        original_G = original_NN[query, len(query_QD) :]
        final_QG[query] = weight * original_G + (1 - weight) * jaccard_G
    return final_QG


def mutual(lists_NN: np.ndarray, item: int, k: int) -> np.ndarray:
    """The k nearest of an item, and itself, that have it among theirs."""
    listed = lists_NN[item, : k + 1]
    return np.asarray(listed[(lists_NN[listed, : k + 1] == item).any(axis=1)])


SIDES = {"ours": ours, "dense": dense}


def work(side: str, items: int, seed: int, keep: str) -> dict[str, Any]:
    """One cell, inside its own process; the first distances go into the file `keep`."""
    query_QD, gallery_GD = draw(items, seed)
    SIDES[side](*draw(min(WARM_UP, items), seed))
    (taken, first_QG), growth_mb = with_growth(lambda: SIDES[side](query_QD, gallery_GD))
    np.save(keep, first_QG)
    seconds = {name: {"s": one.wall_s[0], "cpu_s": one.cpu_s[0]} for name, one in taken.items()}
    found = {"side": side, "items": items, "queries": len(query_QD), **seconds}
    return found | {"growth_mb": growth_mb}


def cell(side: str, items: int, seed: int, keep: Path, threads: int) -> dict[str, Any]:
    """One side at one size, in a fresh process."""
    settings = {"side": side, "items": items, "seed": seed, "keep": str(keep)}
    found = in_child(__file__, settings, threads=threads)
    parts = [
        f"{name} {found[name]['s']:.1f} s ({found[name]['cpu_s']:.1f} s cpu)"
        for name in ("prepare", "answer")
        if name in found
    ]
    shown = f"{side:6s} {items:6d} items  {', '.join(parts)}  {found['growth_mb']:.0f} MB"
    print(shown, flush=True)
    return found


def compare(folder: Path, items: int, seed: int, threads: int) -> dict[str, Any]:
    """Both sides at the size that both can hold; they must agree."""
    kept = {side: folder / f"{side}.npy" for side in SIDES}
    cells = [cell(side, items, seed, keep, threads) for side, keep in kept.items()]
    gap = float(np.abs(np.load(kept["ours"]) - np.load(kept["dense"])).max())
    if not gap < 1e-5:
        raise SystemExit(f"the distances differ by {gap} at {items} items")
    return {"cells": cells, "largest_difference": gap}


def main() -> None:
    """Measure, print and append."""
    if answered_in_child(work):
        return
    parser = arguments(__doc__, "reranking", threads=2, seed=0)
    parser.add_argument("--count", type=int, default=94_000, help="items of the large cell")
    parser.add_argument("--dense", type=int, default=4_000, help="items of the compared cells")
    chosen = parser.parse_args()
    seed, threads = chosen.seed, chosen.threads
    provenance = record(seed, threads=threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compared = compare(folder, chosen.dense, seed, threads)
        large = cell("ours", chosen.count, seed, folder / "large.npy", threads)
    setting = {"dim": DIM, "per_identity": PER_IDENTITY, "kept": KEPT, "k1": 20, "k2": 6}
    found = {"compared": compared, "large": large, "provenance": provenance, "setting": setting}
    append_json(chosen.out, found)


if __name__ == "__main__":
    main()
