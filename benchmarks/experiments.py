"""What the experiments share: a table of runs that is resumed, and the command line of a runner.

An experiment is a question with a protocol that is committed before the first test score:

    NAME.md                      the protocol
    NAME.py                      the runner: arms, jobs, training (parts from this file)
    NAME_summary.py              the tables, of recorded runs alone (parts from `summaries`)
    results/NAME.csv             every run is a row, failed ones too
    results/NAME*_items.parquet  what a model said of each test item: names, labels, scores, ranks;
                                 nothing made of the images
    results/NAME_summary.md      the tables; the first of them also stand in a document

A runner says what a run is called and how it is made; the command line follows:

    TABLE = RunTable(
        "faces",
        columns=("arm", "seed", "status", "accuracy", "seconds", *CIRCUMSTANCES, "note"),
        keys=("arm", "seed"),
    )

    def run_one(arm: str, seed: str) -> None:
        TABLE.record({"arm": arm, "seed": seed}, lambda: train_and_test(arm, int(seed)))

    JOBS = [(arm, str(seed)) for seed in range(3) for arm in ARMS]   # in the order they are run
    EXPERIMENT = Experiment(TABLE, JOBS, run_one)

    command_line(EXPERIMENT, __file__, __doc__, {"summary": summary})

`train_and_test` gives its items to `TABLE.keep_items` and returns what the row is to hold. Then

    python benchmarks/NAME.py run [--jobs 2] [--only WORD ...]    what is left, so it resumes
    python benchmarks/NAME.py one WORD ...                        one job, in this process
    python benchmarks/NAME.py summary                             the tables
"""

from __future__ import annotations

import argparse
import csv
import datetime
import fcntl
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
RUNS = ROOT / "runs"  # models and whatever is made of images: never committed
CIRCUMSTANCES = ("threads", "torch", "commit", "date")
Words = tuple[str, ...]


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

    def items(self, study: str = "") -> Path:
        """The items of the experiment, or of one of its studies."""
        return self.results / f"{self.name}{'_' if study else ''}{study}_items.parquet"

    def read(self) -> pd.DataFrame:
        """Every run, failed ones too; no rows before the first."""
        import pandas as pd

        return pd.read_csv(self.path) if self.path.exists() else pd.DataFrame(columns=self.columns)

    def finished(self) -> set[Words]:
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
            # Bytes of numbers side by side: a third less, and not a digit lost.
            numbers = list(kept.select_dtypes("floating").columns)
            words = [name for name in kept.columns if name not in numbers]
            how = {"use_dictionary": words, "use_byte_stream_split": numbers}
            temporary = path.with_suffix(".part")
            kept.to_parquet(temporary, index=False, compression="zstd", **how)
            temporary.replace(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time writes the tables."""
        for folder in (self.work, self.results):
            folder.mkdir(parents=True, exist_ok=True)
        with (self.work / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def itself(job: Words) -> Sequence[Words]:
    """The rows of a job that is one run."""
    return [job]


@dataclass(frozen=True)
class Experiment:
    """What the command line of a runner needs.

    Attributes:
        table: of its runs.
        jobs: what one process does at a time, in the order of the runs.
        one: does a job, given its words.
        rows: job -> the keys of the runs that it makes.
        processes: how many jobs go side by side unless `--jobs` says otherwise.
    """

    table: RunTable
    jobs: Sequence[Words]
    one: Callable[..., None]
    rows: Callable[[Words], Sequence[Words]] = itself
    processes: int = 2

    def left(self, only: Iterable[str] = ()) -> list[Words]:
        """The jobs that lack a finished run; of these the ones that hold a word of `only`."""
        done, wanted = self.table.finished(), set(only)
        chosen = [job for job in self.jobs if not wanted or not wanted.isdisjoint(job)]
        return [job for job in chosen if not done.issuperset(self.rows(job))]


def command_line(
    experiment: Experiment, script: str, about: str | None, own: Mapping[str, Callable[[], None]]
) -> None:
    """The command line of a runner.

    Args:
        experiment: for `run` and `one`.
        script: the runner's file, which the processes of `run` are given.
        about: the runner's docstring.
        own: its other commands, `summary` among them.
    """
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="what is left, several processes side by side")
    run.add_argument("--jobs", type=int, default=experiment.processes, help="processes at a time")
    parts = sorted({word for job in experiment.jobs for word in job if not word.isdigit()})
    run.add_argument("--only", nargs="+", choices=parts, default=[], help="jobs with such a word")
    one = commands.add_parser("one", help="one job, in this process")
    one.add_argument("word", nargs="+", help="as the columns that name a run")
    for name, call in own.items():
        commands.add_parser(name, help=(call.__doc__ or "").partition("\n")[0])
    options = parser.parse_args()
    if options.command == "run":
        print(platform.platform(), os.cpu_count(), "cores")
        run_side_by_side(script, experiment.left(options.only), options.jobs)
    elif options.command == "one":
        if tuple(options.word) not in experiment.jobs:
            parser.error(f"one must be a job of the experiment, got {' '.join(options.word)}")
        experiment.one(*options.word)
    else:
        own[options.command]()


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


def measure_in_turns(
    path: Path, arms: Iterable[str], measure: Callable[[str], dict[str, Any]], *, rounds: int = 3
) -> None:
    """`measure` every arm in turn, several times, on an idle machine; each time is a row."""
    import pandas as pd

    rows = []
    for number in range(1, rounds + 1):
        for arm in arms:
            rows.append({"arm": arm, "round": number} | measure(arm) | circumstances())
            print(rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(path, index=False)


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
