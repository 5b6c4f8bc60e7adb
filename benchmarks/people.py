"""Do soft mining and class-aware attention find people again? Protocol: benchmarks/people.md.

    LIKENESS_DATA=... TMPDIR=/dev/shm python benchmarks/people.py run [--jobs 2]    resumes
    python benchmarks/people.py summary                           tables from the recorded runs

Every run is a row of results/people.csv; what each query found is in results/people_*_items.parquet
(public tracklet numbers and figures: nothing of the images, no embedding). No model is kept. A run
lasts under a minute and is done again if it is cut off; its checkpoints (0.3 GB) go into a
temporary folder, best in memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import CIRCUMSTANCES, Experiment, RunTable, Words, command_line
from people_arms import ARMS, FLOOR, ask_floor, ask_network, set_up_arm, train

if TYPE_CHECKING:
    import pandas as pd

    from likeness.data.manifest import Manifest

HALVES, GENERATED_SETS = 20, 5
SHARES = (0, 10, 20, 40)  # per cent of the training tracklets that get a wrong identity
SPLIT_SEED = 0
ITEMS = ["tracklet", "label", "camera", "ap", "cmc@1"]

TABLE = RunTable(
    "people",
    columns=(
        *("study", "run", "share", "arm", "status", "map", "rank_1"),
        *("train_loss", "images_per_s", "seconds", *CIRCUMSTANCES, "note"),
    ),
    keys=("study", "run", "share", "arm"),
)


@dataclass(frozen=True)
class Study:
    """One kind of data and its runs.

    Attributes:
        name: of the study.
        runs: how many; run i has training seed i and the people that `load` gives for i.
        shares: per cent of wrong identities, each of them with every arm.
        shared_people: whether several runs test the same people, as halves of one set do.
        load: run -> the set, every frame in the split train or test.
    """

    name: str
    runs: int
    shares: tuple[int, ...]
    shared_people: bool
    load: Callable[[int], Manifest]

    @property
    def items(self) -> Path:
        """What every query found."""
        return TABLE.items(self.name)

    def jobs(self) -> list[Words]:
        """Study, run and share of what one process does, run by run, so that arms stay paired."""
        return [
            (self.name, str(run), str(share)) for run in range(self.runs) for share in self.shares
        ]


def random_half(run: int) -> Manifest:
    """PKU-Reid with one of the random halves of its people to be tested."""
    from likeness_apps.person_reid.layouts import recognise
    from likeness_apps.person_reid.layouts.halves import seeded_halves

    manifest = recognise(Path(os.environ["LIKENESS_DATA"]) / "pku-reid")
    table = manifest.table
    _, tested = seeded_halves(table["label"].unique(), count=HALVES, seed=SPLIT_SEED)[run]
    split = np.where(table["label"].isin(tested), "test", "train")
    return manifest.with_table(table.assign(split=split))


def generated_set(run: int) -> Manifest:
    """Generated walkers in the layout of MARS, drawn once for each run."""
    from likeness.files import atomic_directory
    from likeness_apps.person_reid.layouts import recognise
    from likeness_apps.person_reid.sample import write_sample

    folder = TABLE.work / f"generated-{run}"
    if not folder.is_dir():
        with atomic_directory(folder) as temporary:
            write_sample(temporary, seed=run)
    return recognise(folder)


PKU = Study("pku", HALVES, SHARES, shared_people=True, load=random_half)
GENERATED = Study("generated", GENERATED_SETS, (0,), shared_people=False, load=generated_set)
STUDIES = {study.name: study for study in (PKU, GENERATED)}


def wrong_tracklets(tracklets: int, share: int) -> int:
    """How many of the training tracklets `share` per cent are."""
    return round(tracklets * share / 100)


def with_wrong(table: pd.DataFrame, share: int, run: int) -> pd.DataFrame:
    """The frames with `share` per cent of the training tracklets under a wrong identity.

    Tracklets of one camera, drawn by the run, hand their identities round in a circle: every
    identity keeps one tracklet by each camera, and only who is who changes. A tracklet that is
    wrong at a share is wrong at all larger ones. `group` stays the true identity.
    """
    generator = np.random.default_rng((SPLIT_SEED, run))
    training = table[table["split"] == "train"].drop_duplicates("tracklet").sort_values("tracklet")
    cameras = sorted(training["camera"].unique())
    counts = np.array_split(np.arange(wrong_tracklets(len(training), share)), len(cameras))
    given: dict[str, str] = {}
    for camera, count in zip(cameras, map(len, counts), strict=True):
        seen = training[training["camera"] == camera]
        chosen = seen.iloc[generator.permutation(len(seen))[:count]]
        given |= dict(zip(chosen["tracklet"], np.roll(chosen["label"].to_numpy(), 1), strict=True))
    labels = [
        given.get(tracklet, label)
        for tracklet, label in zip(table["tracklet"], table["label"], strict=True)
    ]
    return table.assign(label=labels)


def measure(study: Study, run: int, share: int, arm: str) -> dict[str, Any]:
    """Train and test one arm once, keep what its queries found, and give the row's figures."""
    manifest = study.load(run)
    found: dict[str, Any] = {}
    if arm == FLOOR:
        queries = ask_floor(manifest)
    else:
        manifest = manifest.with_table(with_wrong(manifest.table, share, run))
        setup = set_up_arm(arm, run, manifest)
        epochs = train(setup)
        queries = ask_network(setup, manifest)
        found["train_loss"] = round(float(epochs["train_loss"].iloc[-1]), 4)
        found["images_per_s"] = round(float(epochs["images_per_s"].median()), 1)
    items = queries.loc[queries["status"] == "ok", ITEMS]
    TABLE.keep_items(study.items, {"arm": arm, "run": run, "share": share}, items)
    figures = {"map": items["ap"].mean(), "rank_1": items["cmc@1"].mean()}
    return found | {name: round(float(value), 6) for name, value in figures.items()}


def arms_of(share: int) -> list[str]:
    """The arms of a job; wrong identities are nothing to a floor that learns none."""
    return [*ARMS, FLOOR] if share == 0 else list(ARMS)


def rows_of(job: Words) -> list[Words]:
    """The runs of a job: all arms on the same tracklets."""
    return [(*job, arm) for arm in arms_of(int(job[2]))]


def run_job(study: str, run: str, share: str) -> None:
    """Record what is left of one run and share."""
    done = TABLE.finished()
    for *_, arm in rows_of((study, run, share)):
        if (study, run, share, arm) not in done:
            known = {"study": study, "run": run, "share": share, "arm": arm}
            TABLE.record(known, partial(measure, STUDIES[study], int(run), int(share), arm))


JOBS = [job for study in STUDIES.values() for job in study.jobs()]
EXPERIMENT = Experiment(TABLE, JOBS, run_job, rows_of)


def summary() -> None:
    """Tables from the recorded runs."""
    from people_summary import summarise

    summarise()


if __name__ == "__main__":
    command_line(EXPERIMENT, __file__, __doc__, {"summary": summary})
