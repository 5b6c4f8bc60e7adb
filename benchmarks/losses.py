"""Losses and miners side by side with pytorch-metric-learning, in one process.

    python benchmarks/losses.py                      about a minute on 2 cores
    python benchmarks/losses.py --sizes 256 1024
    python benchmarks/losses.py --oml FOLDER         beside open-metric-learning, too

For every batch size N: time of a forward and backward pass and peak bytes of tensors beyond the
embeddings, from the allocator's own events. Rounds are interleaved, so that a busy machine slows
all alike; best and median of the wall clock, and the best of the processor time, which other
programs disturb least (with `--threads 1` hardly at all). On a busy machine set
OMP_WAIT_POLICY=passive, so that threads that wait do not spin. The column `gram` is the limit: the
N x N matrix product alone, forward and backward. What is measured stands in `losses_rows.py`; how
many times the limit each part takes at N = 1,024, beside what it aims at, is printed last.
Embeddings: class centre + noise, D = 128, 4 samples per class, shuffled.

FOLDER holds open-metric-learning 4.0.0, which does not install beside this project's versions:
`pip install --no-deps --target FOLDER open-metric-learning gdown omegaconf validators requests
urllib3 beautifulsoup4 soupsieve idna certifi charset-normalizer`.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from likeness.files import write_json
from likeness.provenance import record_as
from losses_rows import AIMS, DIM, PER_CLASS, Row, Scalar, rows, with_oml
from measurements import arguments, in_turns, peak_bytes, record

PEERS = ("theirs", "oml")  # pytorch-metric-learning, open-metric-learning
LIMIT_AT = 1024


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
    """One cell of the table: the limit, ours, and the peers'."""
    x, y = draw(count, seed)
    runs = {
        "gram": step(lambda x, y: (x @ x.T).sum(), x, y),
        "ours": step(row.ours(count // PER_CLASS), x, y),
    }
    if row.theirs is not None and count <= row.largest:
        runs["theirs"] = step(row.theirs, x, y)
    if row.oml is not None and count <= row.oml_largest:
        runs["oml"] = step(row.oml, x, y)
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
    for name in ("gram", "ours", *PEERS):
        part = cell.get(name)
        text = f"{part['best_ms']:8.2f} ms {part['peak_mib']:7.1f} MiB" if part else ""
        shown.append(f"{text:24s}")
    peers = [cell[name] for name in PEERS if name in cell]
    if peers:
        clocks = ("best_ms", "best_cpu_ms")
        fastest = (min(peer[key] for peer in peers) / cell["ours"][key] for key in clocks)
        shown.extend(f"{times:6.1f} x" for times in fastest)
    return " ".join(shown).rstrip()


def against_the_limit(
    known: Iterable[Row], cells: Iterable[dict[str, Any]]
) -> list[dict[str, Any]]:
    """How many times the Gram matrix each part takes at N = 1,024, its aim, and what it does."""
    times = {cell["loss"]: cell for cell in cells if cell["n"] == LIMIT_AT}
    found = []
    for row in known:
        if row.name not in times:
            continue
        ours, gram = times[row.name]["ours"], times[row.name]["gram"]
        clocks = {"wall": "best_ms", "processor": "best_cpu_ms"}
        ratios = {name: ours[key] / gram[key] for name, key in clocks.items()}
        aim = AIMS[row.kind]
        facts = {"loss": row.name, "kind": row.kind, "aim": aim, **ratios, "why": row.why}
        found.append(facts | {"kept": None if aim is None else ratios["processor"] <= aim})
    return found


def limit_line(found: dict[str, Any]) -> str:
    """One part against the limit, printed."""
    aim = "" if found["aim"] is None else f"aim {found['aim']:g}"
    kept = {None: "", True: "kept", False: "ABOVE"}[found["kept"]]
    ratios = f"{found['wall']:6.1f} x wall {found['processor']:6.1f} x processor"
    name = f"{found['loss']:30s} {found['kind']:8s} {aim:6s}"
    return f"{name} {ratios}  {kept:6s} {found['why']}".rstrip()


def main() -> None:
    """Measure, print and write."""
    parser = arguments(__doc__, "losses", threads=2, seed=0)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512, 1024, 2048])
    parser.add_argument("--budget", type=float, default=0.25, help="seconds for each column")
    parser.add_argument("--oml", type=Path, help="folder with open-metric-learning; see above")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    known = rows()
    if chosen.oml is not None:
        record_as(chosen.oml, "FOLDER")
        sys.path.append(str(chosen.oml))  # last: its requirements hide none of ours
        known = with_oml(known)
    provenance = record(chosen.seed, packages=["pytorch-metric-learning"])
    provenance["wait_policy"] = os.environ.get("OMP_WAIT_POLICY", "default")
    heads = ("gram alone", "likeness", "pytorch-metric-learning", "open-metric-learning")
    print(" " * 36, " ".join(f"{head:24s}" for head in heads), "faster: wall, processor")
    cells = []
    for count in chosen.sizes:
        for row in known:
            if row.name == "semi_hard_band_mined_triplet" and count > row.largest:
                continue  # all triplets of the band are O(N^3) for anybody
            cells.append(measure(row, count, chosen.seed, chosen.budget))
            print(line(cells[-1]), flush=True)
    limits = against_the_limit(known, cells)
    for found in limits:
        print(limit_line(found))
    setting = {"dim": DIM, "per_class": PER_CLASS, "budget_s": chosen.budget}
    setting["oml"] = chosen.oml is not None
    whole = {"cells": cells, "limit": limits, "provenance": provenance, "setting": setting}
    write_json(chosen.out, whole)


if __name__ == "__main__":
    main()
