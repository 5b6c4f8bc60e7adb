"""Does Gaussian structure make better embeddings of displayed expressions? See expressions.md.

    LIKENESS_DATA=... python benchmarks/expressions.py run [--jobs 2]     resumes where it stopped
    LIKENESS_DATA=... python benchmarks/expressions.py run --only preact  the authors' network alone
    python benchmarks/expressions.py subclasses     are they the same in all seeds? asks the models
    python benchmarks/expressions.py summary        tables from the recorded runs

Displayed expressions as judged by annotators, never what a person feels. Every run is a row of
results/expressions.csv; what a model said of each test picture is in
results/expressions_items.parquet (public picture numbers, votes, probabilities: nothing made of the
pictures, no embedding). Models stay under runs/.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import CIRCUMSTANCES, Experiment, RunTable, Words, command_line
from expressions_arms import COPIES, EXPLORED, FOLLOWERS, START, configuration
from expressions_measures import FIGURES, figures

if TYPE_CHECKING:
    import pandas as pd

    from likeness.data.manifest import Manifest

SEEDS, SPLIT_SEED = 3, 0
VALIDATION = 0.1  # of what is trained on: fits temperatures, chooses nothing
TABLE = RunTable(
    "expressions",
    columns=(
        *("arm", "seed", "status", *FIGURES, "nmi", "trained_on", "train_loss"),
        *("images_per_s", "epoch_seconds", "seconds", *CIRCUMSTANCES, "note"),
    ),
    keys=("arm", "seed"),
)


# --- who is trained on and who is tested ----------------------------------------------------------


def faces() -> Manifest:
    """FER+ as published; copies of a picture, to the pixel, are one group."""
    from likeness.data.checks import check
    from likeness.data.splits import join_duplicates
    from likeness_apps.facial_expression.layouts import recognise

    manifest = recognise(Path(os.environ["LIKENESS_DATA"]) / "ferplus")
    told = check(manifest, near_distance=None).table[[*manifest.table.columns, "pixels"]]
    return manifest.with_table(join_duplicates(told)[list(manifest.table.columns)])


def with_splits(table: pd.DataFrame, *, copies: bool) -> pd.DataFrame:
    """The rows with the split of the experiment, the same in all seeds; "" is not used.

    Args:
        table: of `faces`.
        copies: whether training keeps the copies of test pictures.

    Returns:
        The table with `label` by the rule of FER+'s authors, and `copied`: whether the published
        training part has a copy of this test picture, whatever the label of the copy.
    """
    from likeness.data.splits import split_by_group

    table = table.assign(label=table["label_official"])
    labelled = table["label"] != ""
    tested = labelled & (table["split"] == "val")
    trained = labelled & (table["split"] == "train")
    in_both = set(table["group"][tested]) & set(table["group"][trained])
    copied = table["group"].isin(in_both)
    cut = split_by_group(table[trained & ~copied], val=VALIDATION, test=0.0, seed=SPLIT_SEED)
    split = cut["split"].reindex(table.index, fill_value="").mask(tested, "test")
    if copies:
        split = split.mask(trained & copied, "train")
    return table.assign(split=split, copied=tested & copied)


# --- one run --------------------------------------------------------------------------------------


def folder_of(arm: str, seed: int) -> Path:
    """The run's folder."""
    return TABLE.work / f"{arm}-{seed}"


def train_arm(arm: str, seed: int, manifest: Manifest) -> pd.DataFrame:
    """Train one arm on the splits of the manifest; the log of epochs."""
    import pandas as pd
    import yaml

    from likeness.files import write_text
    from likeness_apps.facial_expression.domain import DOMAIN
    from likeness_apps.shell.train import train

    out = folder_of(arm, seed)
    config = out.with_name(f"{out.name}.yaml")
    write_text(config, yaml.safe_dump(configuration(arm, seed, folder_of(START, seed))))
    domain = replace(DOMAIN, recognise=lambda path: manifest)
    train(domain, manifest.root, out, config=str(config), resume=True, quiet=True)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return pd.read_csv(out / "logs" / "epochs.csv")


def train_and_test(arm: str, seed: int) -> dict[str, Any]:
    """Train and test one arm once, keep what it said, and give the row's figures."""
    from expressions_answers import answers
    from likeness.bundle import load_bundle

    manifest = faces()
    table = with_splits(manifest.table, copies=arm == COPIES)
    manifest = manifest.with_table(table[table["split"] != ""])
    epochs = train_arm(arm, seed, manifest)
    items, nmi = answers(load_bundle(folder_of(arm, seed)), manifest)
    TABLE.keep_items(TABLE.items(), {"arm": arm, "seed": seed}, items)
    return {
        **figures(items),
        "nmi": round(nmi, 6),
        "trained_on": len(manifest.rows("train")),
        "train_loss": round(float(epochs["train_loss"].iloc[-1]), 4),
        "images_per_s": round(float(epochs["images_per_s"].median()), 1),
        "epoch_seconds": round(float(epochs["seconds"].median()), 1),
    }


# --- all of them ----------------------------------------------------------------------------------


def rows_of(job: Words) -> list[Words]:
    """The runs of a job: one, or (c) and those that go on from it."""
    arm, seed = job
    return [(one, seed) for one in ((START, *FOLLOWERS) if arm == START else (arm,))]


def run_job(arm: str, seed: str) -> None:
    """Record what is left of a job."""
    done = TABLE.finished()
    for one, _ in rows_of((arm, seed)):
        if (one, seed) not in done:
            known = {"arm": one, "seed": seed}
            TABLE.record(known, partial(train_and_test, one, int(seed)))


JOBS: list[Words] = [
    *((arm, str(seed)) for seed in range(SEEDS) for arm in (START, "a", "b", "e", "s", COPIES)),
    *((arm, str(seed)) for seed in range(SEEDS) for arm in EXPLORED),
    ("preact", "0"),
]
EXPERIMENT = Experiment(TABLE, JOBS, run_job, rows_of)


def subclasses() -> None:
    """Are the sub-classes of (d) the same in all seeds? Asks the models; after all runs."""
    from expressions_subclasses import SUBCLASSES, compared
    from likeness.files import write_json
    from likeness_apps.facial_expression.variants.found import divided

    left = {("d", str(seed)) for seed in range(SEEDS)} - TABLE.finished()
    if left:
        raise SystemExit(
            f"the sub-classes are compared after all runs of (d), got {len(left)} left"
        )
    write_json(SUBCLASSES, compared([divided(folder_of("d", seed)) for seed in range(SEEDS)]))


def summary() -> None:
    """Tables from the recorded runs."""
    from expressions_summary import summarise

    summarise()


if __name__ == "__main__":
    command_line(EXPERIMENT, __file__, __doc__, {"subclasses": subclasses, "summary": summary})
