"""`benchmark retrieval`: several methods, one budget, classes that none of them trained on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likeness.config import parse
from likeness.data.manifest import Manifest
from likeness.provenance import collect_provenance, hash_table
from likeness.training.spec import RunSpec
from likeness_apps.benchmark import table
from likeness_apps.benchmark.layouts import recognise
from likeness_apps.benchmark.protocol import divided, is_published
from likeness_apps.benchmark.recipes import UNTRAINED, checked
from likeness_apps.benchmark.training import asked, build, readable, seeded, train
from likeness_apps.shell import configs
from likeness_apps.shell.console import say, show_table

FOLDER = "benchmark"  # of the shared configurations


@dataclass(frozen=True, eq=False)
class Bench:
    """What all runs of one benchmark share."""

    out: Path
    manifest: Manifest
    changes: Sequence[str]
    quiet: bool


def retrieval(
    data: Path,
    out: Path,
    *,
    methods: Sequence[str],
    config: str = "retrieval",
    changes: Sequence[str] = (),
    repeats: int = 1,
    quiet: bool = False,
) -> int:
    """Train and measure every method, as often as asked; goes on where it was stopped.

    Args:
        data: the set.
        out: a new directory, or the one of a benchmark that was stopped.
        methods: see `recipes`.
        config: the shared configuration: a shipped name or a file.
        changes: `a.b=c` items on top of it.
        repeats: with a published division into classes other seeds, else other random halves, too.
        quiet: no progress, no table.

    Returns:
        How many runs failed; their reasons are in the table of runs.

    Raises:
        UserError: for a mistake in the configuration, a method or the data.
    """
    base = configs.load(FOLDER, config, changes)
    specs = checked(base, methods)
    manifest = recognise(data)
    divided(manifest, 0)  # refuses before every file is read
    manifest = readable(manifest, quiet=quiet)
    shared = parse(RunSpec, base)
    facts = _facts(manifest, shared)
    table.begin(out, facts, {name: spec.model_dump(mode="json") for name, spec in specs.items()})
    bench, failed = Bench(out, manifest, changes, quiet), 0
    for repeat in range(repeats):
        for method, spec in specs.items():
            if not table.is_done(table.read_runs(out), method, repeat):
                say(f"{method}, repeat {repeat + 1} of {repeats}", quiet=quiet)
                failed += not _run(bench, method, repeat, spec)
    made = collect_provenance(seed=shared.seed, data_hash=facts["data"])
    found = table.summarise(out, list(specs), made, shared=is_published(manifest))
    heads, rows = table.rows_of(found)
    show_table(f"{manifest.layout}, classes nobody trained on", heads, rows, quiet=quiet)
    say(f"{out / table.RUNS}: every run;  {out / 'summary.md'}: the table", quiet=quiet)
    return failed


def _facts(manifest: Manifest, base: RunSpec) -> dict[str, Any]:
    """What all runs of one table have in common."""
    listed = manifest.table[["path", "label", "split", "sha256"]]
    return {
        "layout": manifest.layout,
        "data": hash_table(listed),
        "config": base.model_dump(mode="json"),
        "division": "published" if is_published(manifest) else "random halves of the classes",
    }


def _run(bench: Bench, method: str, repeat: int, spec: RunSpec) -> bool:
    """One row of the table, also of a run that fails, with its reason. Whether it succeeded."""
    began = time.perf_counter()
    row: dict[str, Any] = dict.fromkeys(table.KEYS, "") | {"method": method, "repeat": repeat}
    try:
        row |= _measure(bench, method, repeat, spec) | {"status": "done"}
    except Exception as error:
        note = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        row |= {"status": "failed", "note": note}
        say(f"{method} failed: {note}", quiet=bench.quiet)
    table.add_run(bench.out, row | {"seconds": round(time.perf_counter() - began, 1)})
    return bool(row["status"] == "done")


def _measure(bench: Bench, method: str, repeat: int, spec: RunSpec) -> dict[str, Any]:
    """Train a method once, keep what its queries found, and give the row's figures."""
    manifest, quiet = divided(bench.manifest, repeat), bench.quiet
    setup = build(seeded(spec, repeat), manifest, changes=bench.changes, quiet=quiet)
    shown = 0
    if method != UNTRAINED:
        folder = bench.out / "runs" / f"{method}-{repeat}"
        train(setup, folder, quiet=quiet)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        shown = setup.spec.epochs * sum(map(len, setup.plan.batches(0)))
    found = asked(setup)
    table.keep_queries(bench.out, method, repeat, found)
    return {**{name: round(value, 6) for name, value in found.values.items()}, "images": shown}
