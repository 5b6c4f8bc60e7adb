"""Does the centre-based structured metric help on AID scenes? Protocol: benchmarks/aid_scenes.md.

    LIKENESS_DATA=... python benchmarks/aid_scenes.py run [--jobs 2]    resumes where it stopped
    LIKENESS_DATA=... python benchmarks/aid_scenes.py speed     images/s of the arms; machine idle
    python benchmarks/aid_scenes.py summary                     tables from the recorded runs

Every run is a row of results/aid_scenes.csv; what each model said of each test image is in
results/aid_scenes_items.parquet (file names, labels, ranks: nothing of the images).
"""

from __future__ import annotations

import argparse
import csv
import datetime
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).parent
TABLE = HERE / "results" / "aid_scenes.csv"
ITEMS = HERE / "results" / "aid_scenes_items.parquet"
SPEED = HERE / "results" / "aid_scenes_speed.csv"
WORK = HERE.parent / "runs" / "aid_scenes"

EPOCHS, FOLDS, FOLD_SEED = 20, 5, 0
OPTIMISER = "optimiser={name: adamw, lr: 0.002, weight_decay: 0.01}"
BALANCED = "sampler={name: class_balanced, classes_per_batch: 16, per_class: 4}"
ARMS: dict[str, tuple[str, ...]] = {
    "a": (),
    "b": (BALANCED,),
    "c": (
        BALANCED,
        "objective.terms=[{weight: 0.02, loss: {name: centre, centres: grad, space: cosine}}]",
    ),
    "d": (
        BALANCED,
        "objective.terms=[{weight: 0.1, loss: {name: lifted_structured, space: cosine}}]",
    ),
    "e": (BALANCED, "objective.terms=[{weight: 1.0, loss: {name: centre_structured}}]"),
}
SCHEMES = ("blocked", "random")
COLUMNS = [
    *("arm", "scheme", "fold", "seed", "status"),
    *("accuracy", "kappa", "centre_accuracy", "map_at_r", "recall_at_1"),
    *("val_accuracy", "best_epoch", "images_per_s", "seconds"),
    *("threads", "torch", "commit", "date", "note"),
]


@dataclass(frozen=True)
class Job:
    """One training run of the experiment."""

    arm: str
    scheme: str
    fold: int

    @property
    def name(self) -> str:
        """Folder name and key."""
        return f"{self.arm}-{self.scheme}-{self.fold}"


def jobs() -> list[Job]:
    """Blocked folds first: they carry the primary measure. Fold by fold, so arms stay paired.

    Of the random folds, (a) and (e) come first: the gap needs no more.
    """
    order = [("blocked", tuple(ARMS)), ("random", ("a", "e")), ("random", ("b", "c", "d"))]
    return [
        Job(arm, scheme, fold) for scheme, arms in order for fold in range(FOLDS) for arm in arms
    ]


def run_one(job: Job) -> None:
    """Train and test one arm on one fold, and record it."""
    began = time.perf_counter()
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row |= {"arm": job.arm, "scheme": job.scheme, "fold": job.fold, "seed": job.fold}
    try:
        measured = _train_and_test(job)
    except Exception as error:
        row |= {"status": "failed", "note": " ".join(str(error).split())[:300]}
    else:
        row |= measured | {"status": "done"}
    row |= _circumstances() | {"seconds": round(time.perf_counter() - began, 1)}
    with _locked():
        new = not TABLE.exists()
        with TABLE.open("a", newline="") as handle:
            writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)


def _train(job: Job, run: Path, *, epochs: int) -> tuple[Any, Path, Any]:
    """Train one arm on one fold; the domain with the folds, the data and the log of epochs."""
    import pandas as pd

    from likeness_apps.remote_sensing.domain import DOMAIN
    from likeness_apps.remote_sensing.layouts import recognise
    from likeness_apps.shell.train import train

    data = Path(os.environ["LIKENESS_DATA"]) / "aid"
    manifest = _with_folds(recognise(data), job)
    domain = replace(DOMAIN, recognise=lambda path: manifest)
    changes = [
        f"seed={job.fold}",
        f"epochs={epochs}",
        "workers=0",
        OPTIMISER,
        f"schedule={{name: cosine, warmup_epochs: {min(3, epochs)}}}",
        f"data.groups={'group' if job.scheme == 'blocked' else 'none'}",
        *ARMS[job.arm],
    ]
    train(domain, data, run, config="cross_entropy", changes=changes, resume=True, quiet=True)
    return domain, data, pd.read_csv(run / "logs" / "epochs.csv")


def _train_and_test(job: Job) -> dict[str, Any]:
    import pandas as pd

    from likeness_apps.shell.evaluate import evaluate

    run, result = WORK / job.name, WORK / f"{job.name}-result"
    shutil.rmtree(result, ignore_errors=True)
    domain, data, epochs = _train(job, run, epochs=EPOCHS)
    metrics = evaluate(domain, run, data, result, quiet=True)
    best = json.loads((run / "model" / "metrics.json").read_text())["best_epoch"]
    _record_items(job, pd.read_csv(result / "predictions.csv"))
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    readouts = metrics["readouts"]
    return {
        "accuracy": readouts["softmax"]["overall_accuracy"]["value"],
        "kappa": readouts["softmax"]["kappa"]["value"],
        "centre_accuracy": readouts["nearest_centre"]["overall_accuracy"]["value"],
        "map_at_r": metrics["retrieval"]["map@r"]["value"],
        "recall_at_1": metrics["retrieval"]["recall@1"]["value"],
        "val_accuracy": float(epochs["val_accuracy"].max()),
        "best_epoch": best,
        "images_per_s": round(float(epochs["images_per_s"].median()), 1),
    }


def measure_speed(rounds: int) -> None:
    """Images/s of every arm in turn, two epochs on blocked fold 0, several rounds; all recorded."""
    import pandas as pd

    rows = []
    for number in range(1, rounds + 1):
        for arm in ARMS:
            run = WORK / f"speed-{arm}"
            shutil.rmtree(run, ignore_errors=True)
            _, _, epochs = _train(Job(arm, "blocked", 0), run, epochs=2)
            speed = round(float(epochs["images_per_s"].iloc[-1]), 1)
            rows.append({"arm": arm, "round": number, "images_per_s": speed} | _circumstances())
            print(rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(SPEED, index=False)


def _with_folds(manifest: Any, job: Job) -> Any:
    """Test = one fold; a tenth of the rest, cut in the same way, is validation."""
    from likeness.data.splits import cross_fit, split_by_group

    groups: Literal["group", "none"] = "group" if job.scheme == "blocked" else "none"
    table = manifest.table.copy()
    folds = cross_fit(table, folds=FOLDS, seed=FOLD_SEED, groups=groups)
    table["split"] = "test"
    rest = table[folds != job.fold]
    cut = split_by_group(rest, val=0.1, test=0.0, seed=job.fold, groups=groups)
    table.loc[rest.index, "split"] = cut["split"]
    return manifest.with_table(table)


def _record_items(job: Job, predictions: Any) -> None:
    import pandas as pd

    kept = predictions[["path", "group", "truth", "label", "correct", "recall@1", "map@r"]].copy()
    kept.insert(0, "fold", job.fold)
    kept.insert(0, "scheme", job.scheme)
    kept.insert(0, "arm", job.arm)
    with _locked():
        if ITEMS.exists():
            old = pd.read_parquet(ITEMS)
            same = (
                (old["arm"] == job.arm) & (old["scheme"] == job.scheme) & (old["fold"] == job.fold)
            )
            kept = pd.concat([old[~same], kept], ignore_index=True)
        temporary = ITEMS.with_suffix(".part")
        kept.to_parquet(temporary, index=False, compression="zstd")
        temporary.replace(ITEMS)


def _circumstances() -> dict[str, Any]:
    import torch

    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": commit,
        "date": datetime.date.today().isoformat(),
    }


@contextmanager
def _locked() -> Iterator[None]:
    for folder in (WORK, TABLE.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with (WORK / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def finished() -> set[tuple[str, str, int]]:
    """Runs that need not be repeated; failed ones are tried again, their rows stay."""
    if not TABLE.exists():
        return set()
    with TABLE.open() as handle:
        rows = list(csv.DictReader(handle))
    return {(r["arm"], r["scheme"], int(r["fold"])) for r in rows if r["status"] == "done"}


def run_all(parallel: int, schemes: list[str]) -> None:
    """Run what is left, `parallel` processes at a time with one thread each."""
    done = finished()
    waiting = [
        job
        for job in jobs()
        if job.scheme in schemes and (job.arm, job.scheme, job.fold) not in done
    ]
    running: list[subprocess.Popen[bytes]] = []
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // parallel))}
    while waiting or running:
        running = [process for process in running if process.poll() is None]
        if waiting and len(running) < parallel:
            job = waiting.pop(0)
            words = [sys.executable, __file__, "one", job.arm, job.scheme, str(job.fold)]
            running.append(subprocess.Popen(words, env=environment))
            print(f"{job.name}: started, {len(waiting)} wait", flush=True)
        time.sleep(1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    every = commands.add_parser("run")
    every.add_argument("--jobs", type=int, default=2)
    every.add_argument("--schemes", nargs="+", choices=SCHEMES, default=list(SCHEMES))
    one = commands.add_parser("one")
    one.add_argument("arm", choices=sorted(ARMS))
    one.add_argument("scheme", choices=SCHEMES)
    one.add_argument("fold", type=int)
    speed = commands.add_parser("speed")
    speed.add_argument("--rounds", type=int, default=3)
    commands.add_parser("summary")
    options = parser.parse_args()
    if options.command == "run":
        print(platform.platform(), os.cpu_count(), "cores")
        run_all(options.jobs, options.schemes)
    elif options.command == "one":
        run_one(Job(options.arm, options.scheme, options.fold))
    elif options.command == "speed":
        measure_speed(options.rounds)
    else:
        from aid_scenes_summary import summarise

        summarise(TABLE, ITEMS)


if __name__ == "__main__":
    main()
