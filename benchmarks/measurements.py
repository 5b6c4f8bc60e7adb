"""What the measurements share: clocks, memory, a process of its own, and the record.

A measurement puts two ways to the same numbers side by side: first it makes sure that the numbers
agree, then it times both in turns, so that a busy machine slows both alike.

    parser = arguments(__doc__, "losses", threads=2, seed=0)    --threads, --seed, --out
    taken = in_turns({"ours": ours, "theirs": theirs}, rounds=8)
    taken["ours"].wall_s, taken["ours"].cpu_s                   seconds of each round
    found, growth_mb = with_growth(work)                        of the resident set; Linux
    peak_bytes(work)                                            of torch's tensors on the CPU
    must_agree(ours, theirs, 1e-5, "10,000 rows")
    write_json(out, {"cells": cells, "provenance": record(seed), "setting": setting})

Whatever memory depends on is measured in a fresh process, one for each cell. A script whose `main`
begins with `if answered_in_child(work): return` may call

    in_child(__file__, {"side": "ours", "count": 1000}, threads=2)

which runs the script again, calls `work(side="ours", count=1000)` there and gives what it returned.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

RESULTS = Path(__file__).parent / "results"
CHILD = "--in-child"  # first word of the command line of a cell's own process
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
T = TypeVar("T")


# --- clocks ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rounds:
    """How long some work took.

    Attributes:
        wall_s: seconds of the wall clock of each round, which other programs disturb.
        cpu_s: seconds of the processor, of all threads; disturbed less.
        value: what the work returned in the last round.
    """

    wall_s: Sequence[float]
    cpu_s: Sequence[float]
    value: Any

    def images_per_second(self, images: int) -> dict[str, float]:
        """Best and median by the wall clock, and best by the processor's."""
        return {
            "best_images_per_s": images / min(self.wall_s),
            "median_images_per_s": images / statistics.median(self.wall_s),
            "best_images_per_cpu_s": images / min(self.cpu_s),
        }


def timed(work: Callable[[], Any]) -> Rounds:
    """One round."""
    wall, cpu = time.perf_counter(), time.process_time()
    value = work()
    return Rounds([time.perf_counter() - wall], [time.process_time() - cpu], value)


def in_turns(
    works: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    least: int = 1,
    budget_s: float = float("inf"),
) -> dict[str, Rounds]:
    """Every work once in each round.

    Args:
        works: what is timed, by name; warmed up already.
        rounds: how often, at most.
        least: how often, whatever it takes.
        budget_s: after so many seconds no round begins.
    """
    walls: dict[str, list[float]] = {name: [] for name in works}
    cpus: dict[str, list[float]] = {name: [] for name in works}
    values: dict[str, Any] = {}
    began, turn = time.perf_counter(), 0
    while turn < rounds and (turn < least or time.perf_counter() - began < budget_s):
        for name, work in works.items():
            one = timed(work)
            walls[name] += one.wall_s
            cpus[name] += one.cpu_s
            values[name] = one.value
        turn += 1
    return {name: Rounds(walls[name], cpus[name], values[name]) for name in works}


# --- memory ---------------------------------------------------------------------------------------


def with_growth(work: Callable[[], T]) -> tuple[T, float]:
    """What `work` returns, and how far the resident set of this process grew meanwhile, in MB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts here
    before = resident("VmRSS")
    value = work()
    return value, resident("VmHWM") - before


def resident(field: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def peak_bytes(work: Callable[[], object]) -> int:
    """Largest sum of tensor bytes held at once, beyond what there was before."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


# --- a process of its own -------------------------------------------------------------------------


def in_child(
    script: str,
    settings: Mapping[str, Any],
    *,
    threads: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What the script's `work` finds with these settings in a fresh process.

    Args:
        script: its file; see the top of this file.
        settings: the arguments of `work`, plain data.
        threads: of every pool; None leaves them alone.
        environment: further variables.
    """
    pools = dict.fromkeys(POOLS, str(threads)) if threads else {}
    done = subprocess.run(
        [sys.executable, script, CHILD, json.dumps(settings)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **pools, **(environment or {})},
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def answered_in_child(work: Callable[..., dict[str, Any]]) -> bool:
    """Whether `in_child` started this process; then the work is done and its answer printed."""
    if sys.argv[1:2] != [CHILD]:
        return False
    print(json.dumps(work(**json.loads(sys.argv[2]))))
    return True


# --- what is written ------------------------------------------------------------------------------


def arguments(about: str | None, name: str, **numbers: int) -> argparse.ArgumentParser:
    """A command line with `--out` (results/NAME.json) and an option for each of the numbers."""
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json")
    for option, default in numbers.items():
        parser.add_argument(f"--{option}", type=int, default=default, help=f"default: {default}")
    return parser


def record(
    seed: int, *, data: str = "generated", threads: int | None = None, packages: Sequence[str] = ()
) -> dict[str, Any]:
    """Versions, hardware, seed, date, command and load; called before anything is measured.

    Args:
        seed: of what was drawn.
        data: what was measured on, or its hash.
        threads: of the cells' processes; None takes this process's.
        packages: whose versions are recorded besides our own requirements'.
    """
    from likeness.provenance import collect_provenance

    found = collect_provenance(seed=seed, data_hash=data)
    found["load_average_at_start"] = os.getloadavg()
    found["versions"] |= {name: metadata.version(name) for name in packages}
    return found if threads is None else found | {"threads": threads}


def must_agree(
    ours: Mapping[str, float], theirs: Mapping[str, float], within: float, where: str
) -> None:
    """Equal numbers first, then speed.

    Raises:
        SystemExit: if a number of theirs is not `within` ours.
    """
    for name, value in theirs.items():
        gap = abs(value - ours[name])
        if not gap < within:
            raise SystemExit(f"{name} differs by {gap} at {where}")


def append_json(path: Path, entry: Mapping[str, Any]) -> None:
    """Add an entry to the list that a file holds, so that earlier measurements stay."""
    from likeness.files import write_json

    earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    write_json(path, [*earlier, dict(entry)])
