"""The runs of a benchmark: every method as often as asked; goes on where it was stopped."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from likeness.training.spec import RunSpec
from likeness_apps.benchmark import table
from likeness_apps.benchmark.protocol import Found
from likeness_apps.benchmark.recipes import UNTRAINED
from likeness_apps.benchmark.training import seeded, train
from likeness_apps.shell.console import say
from likeness_apps.shell.setup import Setup


@dataclass(frozen=True, eq=False)
class Bench:
    """What all runs of one benchmark share.

    Attributes:
        out: its directory, begun with `table.begin`.
        build: (configuration, repeat) -> a network before its first step, with the repeat's data.
        ask: what a trained network finds.
        quiet: no progress.
    """

    out: Path
    build: Callable[[RunSpec, int], Setup]
    ask: Callable[[Setup], Found]
    quiet: bool


def run_all(bench: Bench, specs: Mapping[str, RunSpec], repeats: int) -> int:
    """Make every run that is not done yet.

    Args:
        bench: what they share.
        specs: method -> configuration.
        repeats: runs of each method.

    Returns:
        How many failed; their reasons are in the table of runs.
    """
    failed = 0
    for repeat in range(repeats):
        for method, spec in specs.items():
            if not table.is_done(table.read_runs(bench.out), method, repeat):
                say(f"{method}, repeat {repeat + 1} of {repeats}", quiet=bench.quiet)
                measure = partial(_measured, bench, method, repeat, spec)
                failed += not recorded(bench.out, method, repeat, measure, quiet=bench.quiet)
    return failed


def recorded(
    out: Path, method: str, repeat: int, measure: Callable[[], dict[str, Any]], *, quiet: bool
) -> bool:
    """One row of the table, also of a run that fails, with its reason. Whether it succeeded.

    Args:
        out: the benchmark's directory.
        method: its name.
        repeat: which one.
        measure: makes the run, keeps what its queries found, and gives the row's figures.
        quiet: do not say why it failed.
    """
    began = time.perf_counter()
    row: dict[str, Any] = dict.fromkeys(table.KEYS, "") | {"method": method, "repeat": repeat}
    try:
        row |= measure() | {"status": "done"}
    except Exception as error:
        note = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        row |= {"status": "failed", "note": note}
        say(f"{method} failed: {note}", quiet=quiet)
    table.add_run(out, row | {"seconds": round(time.perf_counter() - began, 1)})
    return bool(row["status"] == "done")


def rounded(found: Found) -> dict[str, float]:
    """The figures of a row."""
    return {name: round(value, 6) for name, value in found.values.items()}


def _measured(bench: Bench, method: str, repeat: int, spec: RunSpec) -> dict[str, Any]:
    """Train a method once, keep what its queries found, and give the row's figures."""
    setup = bench.build(seeded(spec, repeat), repeat)
    shown = 0
    if method != UNTRAINED:
        folder = bench.out / "runs" / f"{method}-{repeat}"
        train(setup, folder, quiet=bench.quiet)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        shown = setup.spec.epochs * sum(map(len, setup.plan.batches(0)))
    found = bench.ask(setup)
    table.keep_queries(bench.out, method, repeat, found)
    return {**rounded(found), "images": shown}
