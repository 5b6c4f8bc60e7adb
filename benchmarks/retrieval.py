"""Which method finds scenes of classes that nobody trained on? Protocol: benchmarks/retrieval.md.

    LIKENESS_DATA=... TMPDIR=/dev/shm python benchmarks/retrieval.py run [--jobs 2]    resumes
    python benchmarks/retrieval.py summary                        tables from the recorded runs

Every run, trials too, is a row of results/retrieval.csv; what each query found is in
results/retrieval_*_items.parquet (file names, labels, figures: nothing of the images). No model is
kept; a run lasts about a minute and is done again if it is cut off.
"""

from __future__ import annotations

import os
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import CIRCUMSTANCES, Experiment, RunTable, Words, command_line
from retrieval_arms import (
    HAND_MADE,
    NOISY,
    TRIAL_EPOCHS,
    TRIALS,
    TRIED,
    base,
    by_hand,
    halves_of_training,
    spec_of,
    trained,
    untrained,
)

if TYPE_CHECKING:
    import pandas as pd

    from likeness.data.manifest import Manifest
    from likeness_apps.benchmark.protocol import Found

SPLITS = 3
SHARES = (0, 20, 40)  # per cent of wrong training labels
UNTRAINED, TEST = "untrained", "test"
FLOORS = (UNTRAINED, HAND_MADE)
MAIN, NOISE = "main", "noise"
FIGURES = ("map@r", "recall@1", "recall@2", "recall@4", "recall@8", "r_precision", "nmi")
TABLE = RunTable(
    "retrieval",
    columns=(
        *("study", "split", "arm", "part", "status", *FIGURES, "lr", "value"),
        *("seconds", *CIRCUMSTANCES, "note"),
    ),
    keys=("study", "split", "arm", "part"),
)


@cache
def divided_set(split: int) -> Manifest:
    """AID with a random half of its classes to be tested."""
    from likeness_apps.benchmark.layouts import recognise
    from likeness_apps.benchmark.protocol import divided
    from likeness_apps.benchmark.training import readable

    data = Path(os.environ["LIKENESS_DATA"]) / "aid"
    return divided(readable(recognise(data), quiet=True), split)


def with_wrong(manifest: Manifest, share: int, split: int) -> Manifest:
    """The set with `share` per cent of its training labels wrong; what is tested stays right."""
    import numpy as np

    from likeness.data.label_noise import symmetric_noise

    table = manifest.table.copy()
    training = (table["split"] == "train").to_numpy()
    classes, codes_N = np.unique(table.loc[training, "label"], return_inverse=True)
    noisy_N = symmetric_noise(codes_N, share / 100, seed=split).labels_N
    table.loc[training, "label"] = classes[noisy_N]
    return manifest.with_table(table)


def parts_of(study: str, arm: str) -> list[str]:
    """The runs of a job: trials and the test, or the shares of wrong labels."""
    if study == NOISE:
        return [str(share) for share in SHARES]
    return [TEST] if arm in FLOORS else [*map(str, range(len(TRIALS))), TEST]


def rows_of(job: Words) -> list[Words]:
    """The rows that a job makes."""
    return [(*job, part) for part in parts_of(job[0], job[2])]


def run_job(study: str, split: str, arm: str) -> None:
    """Record what is left of one arm on one split; trials before the test that they choose for."""
    for *_, part in rows_of((study, split, arm)):
        if (study, split, arm, part) not in TABLE.finished():
            known = {"study": study, "split": split, "arm": arm, "part": part}
            TABLE.record(known, partial(measure, study, int(split), arm, part))


def measure(study: str, split: int, arm: str, part: str) -> dict[str, Any]:
    """One run; the figures of its row."""
    if study == NOISE:
        return _noisy(split, arm, int(part))
    if part != TEST:
        return _trial(split, arm, int(part))
    manifest, chosen = divided_set(split), {}
    if arm == UNTRAINED:
        found = untrained(manifest, split)
    elif arm == HAND_MADE:
        found = by_hand(manifest)
    else:
        chosen = choice(TABLE.read(), split, arm)
        found = trained(spec_of(arm, chosen["lr"], chosen["value"]), manifest, split)
    _keep(study, {"arm": arm, "split": split}, found)
    return _figures(found) | {name: float(number) for name, number in chosen.items()}


def _trial(split: int, arm: str, number: int) -> dict[str, Any]:
    rate, place = TRIALS[number]
    value = TRIED[arm][1][place]
    spec = spec_of(arm, rate, value, epochs=TRIAL_EPOCHS)
    found = trained(spec, halves_of_training(divided_set(split), split), split)
    return _figures(found) | {"lr": rate, "value": float(value)}


def _noisy(split: int, arm: str, share: int) -> dict[str, Any]:
    from likeness_apps.benchmark.recipes import with_recipe

    spec = with_recipe(base(), arm, NOISY[arm])
    found = trained(spec, with_wrong(divided_set(split), share, split), split)
    _keep(NOISE, {"arm": arm, "split": split, "share": share}, found)
    return _figures(found)


def choice(runs: pd.DataFrame, split: int, arm: str) -> dict[str, Any]:
    """Learning rate and value of the trial with the best MAP@R; of equal ones the first.

    Raises:
        RuntimeError: if no trial of the arm was finished on this split.
    """
    own = runs[(runs["study"] == MAIN) & (runs["split"] == split) & (runs["arm"] == arm)]
    trials = own[(own["part"] != TEST) & (own["status"] == "done")]
    if trials.empty:
        raise RuntimeError(f"no finished trial of {arm} on split {split}")
    best = trials.sort_values("part", kind="stable")["map@r"].idxmax()
    value = TRIED[arm][1][0]
    return {
        "lr": float(trials.loc[best, "lr"]),
        "value": type(value)(float(trials.loc[best, "value"])),
    }


def _figures(found: Found) -> dict[str, Any]:
    return {name: round(found.values[name], 6) for name in FIGURES}


def _keep(study: str, keys: dict[str, Any], found: Found) -> None:
    items = found.queries.drop(columns="label").assign(group=found.queries["label"])
    TABLE.keep_items(TABLE.items(study), keys, items)


JOBS = [
    *((MAIN, str(split), arm) for split in range(SPLITS) for arm in (*FLOORS, *TRIED)),
    *((NOISE, str(split), arm) for split in range(SPLITS) for arm in NOISY),
]
EXPERIMENT = Experiment(TABLE, JOBS, run_job, rows_of)


def summary() -> None:
    """Tables from the recorded runs."""
    from retrieval_summary import summarise

    summarise()


if __name__ == "__main__":
    command_line(EXPERIMENT, __file__, __doc__, {"summary": summary})
