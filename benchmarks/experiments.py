"""What the experiments share: a table of runs that is resumed, and tables shown in documents.

An experiment is a protocol (.md) and a runner beside it. Every run is a row of its table, failed
ones too; what a model said of each test image is a row of its items (names, labels, scores, ranks:
nothing of the images).
"""

from __future__ import annotations

import csv
import datetime
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from likeness.evaluation.resampling import Interval

HERE = Path(__file__).parent
RESULTS = HERE / "results"
RUNS = HERE.parent / "runs"  # models and whatever is made of images: never committed
CIRCUMSTANCES = ("threads", "torch", "commit", "date")


@dataclass(frozen=True)
class RunTable:
    """The runs of one experiment, for several processes at a time.

    Attributes:
        name: of its files in `results` and of its folder in `runs`.
        columns: of the table of runs; the keys, `status`, `seconds`, `note` and `CIRCUMSTANCES` are
            among them.
        keys: the columns that name a run.
        results: the folder of the tables.
        runs: the folder of the experiment's folder.
    """

    name: str
    columns: Sequence[str]
    keys: Sequence[str]
    results: Path = RESULTS
    runs: Path = RUNS

    @property
    def path(self) -> Path:
        """The table of runs."""
        return self.results / f"{self.name}.csv"

    @property
    def work(self) -> Path:
        """Where runs are kept."""
        return self.runs / self.name

    def finished(self) -> set[tuple[str, ...]]:
        """Keys of the runs that need not be repeated; failed ones are tried again."""
        if not self.path.exists():
            return set()
        with self.path.open() as handle:
            rows = list(csv.DictReader(handle))
        return {tuple(row[key] for key in self.keys) for row in rows if row["status"] == "done"}

    def record(self, known: Mapping[str, Any], measure: Callable[[], dict[str, Any]]) -> None:
        """Do one run and append its row: what is `known` of it, and what `measure` found.

        A run that fails is a row too, with the reason as its note.
        """
        began = time.perf_counter()
        row: dict[str, Any] = dict.fromkeys(self.columns, "") | dict(known)
        try:
            row |= measure() | {"status": "done"}
        except Exception as error:
            row |= {
                "status": "failed",
                "note": " ".join(f"{type(error).__name__}: {error}".split())[:300],
            }
        row |= circumstances() | {"seconds": round(time.perf_counter() - began, 1)}
        with self.locked():
            new = not self.path.exists()
            with self.path.open("a", newline="") as handle:
                writer = csv.DictWriter(handle, self.columns, lineterminator="\n")
                if new:
                    writer.writeheader()
                writer.writerow(row)

    def keep_items(self, path: Path, keys: Mapping[str, Any], items: pd.DataFrame) -> None:
        """Put the items of one run, named by `keys`, into a parquet file in place of older ones."""
        import numpy as np
        import pandas as pd

        kept = items.reset_index(drop=True)
        for place, (name, value) in enumerate(keys.items()):
            kept.insert(place, name, value)
        with self.locked():
            if path.exists():
                old = pd.read_parquet(path)
                same = np.logical_and.reduce([old[name] == value for name, value in keys.items()])
                kept = pd.concat([old[~same], kept], ignore_index=True)
            temporary = path.with_suffix(".part")
            kept.to_parquet(temporary, index=False, compression="zstd")
            temporary.replace(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time writes the tables."""
        for folder in (self.work, self.results):
            folder.mkdir(parents=True, exist_ok=True)
        with (self.work / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def run_side_by_side(script: str, waiting: Sequence[Sequence[str]], parallel: int) -> None:
    """`script one WORDS` for each entry, `parallel` processes at a time that share the cores."""
    left = list(waiting)
    running: list[subprocess.Popen[bytes]] = []
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // parallel))}
    while left or running:
        running = [process for process in running if process.poll() is None]
        if left and len(running) < parallel:
            words = left.pop(0)
            running.append(
                subprocess.Popen([sys.executable, script, "one", *words], env=environment)
            )
            print(f"{'-'.join(words)}: started, {len(left)} wait", flush=True)
        else:
            time.sleep(0.2)


def circumstances() -> dict[str, Any]:
    """Under which a run was made: threads, torch, commit, date."""
    import torch

    words = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": commit,
        "date": datetime.date.today().isoformat(),
    }


def marks(name: str, command: str) -> tuple[str, str]:
    """The lines around a table in a document; `command` made it."""
    return f"<!-- {name}:begin (made by {command}) -->", f"<!-- {name}:end -->"


def between(text: str, around: tuple[str, str], block: str) -> str:
    """The document with `block` between its marks; at its end if it has none yet."""
    begin, end = around
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    return f"{before}{begin}\n{block}\n{end}{after}"


def shown(found: Interval) -> str:
    """`value [low, high]`."""
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def total_of_runs(runs: pd.DataFrame, table: str) -> str:
    """How many runs there are, failed and abandoned ones too."""
    counts = runs["status"].value_counts()
    total = ", ".join(f"{count} {name}" for name, count in counts.items()) or "none yet"
    return f"## Runs\n\n{total}; all rows in `{table}`."
