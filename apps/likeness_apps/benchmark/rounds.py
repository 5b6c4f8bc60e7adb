"""The runs of a benchmark: every method as often as asked; goes on where it was stopped."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from likeness.data.manifest import Manifest
from likeness.training.spec import RunSpec
from likeness_apps.benchmark import table
from likeness_apps.benchmark.protocol import Found
from likeness_apps.benchmark.recipes import UNTRAINED, of_method
from likeness_apps.benchmark.training import require_trainable, seeded, train
from likeness_apps.shell.commands import USER_MISTAKES
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


def require_all_trainable(
    specs: Mapping[str, RunSpec], manifest: Manifest, changes: Sequence[str]
) -> None:
    """Refuse what would fail at its first step, before anything is read or trained.

    Args:
        specs: method -> configuration.
        manifest: a divided set.
        changes: what the person set.

    Raises:
        UserError: naming the method.
    """
    for method, spec in specs.items():
        with of_method(method):
            require_trainable(spec, manifest, changes=changes)


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
                failed += not recorded(bench.out, method, repeat, measure)
    return failed


def recorded(out: Path, method: str, repeat: int, measure: Callable[[], dict[str, Any]]) -> bool:
    """One row of the table, also of a run that fails, with its reason. Whether it succeeded.

    A failure is said on stderr in any case.

    Args:
        out: the benchmark's directory.
        method: its name.
        repeat: which one.
        measure: makes the run, keeps what its queries found, and gives the row's figures.
    """
    began = time.perf_counter()
    row: dict[str, Any] = dict.fromkeys(table.KEYS, "") | {"method": method, "repeat": repeat}
    try:
        row |= measure() | {"status": "done"}
    except Exception as error:
        kind = type(error).__name__
        reason = str(error) if kind in USER_MISTAKES else f"{kind}: {error}"
        note = " ".join(reason.split())[:300]
        row |= {"status": "failed", "note": note}
        print(f"{method} failed: {note}", file=sys.stderr)
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
