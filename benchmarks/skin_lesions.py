"""Do attention and triplets help on dermoscopic images? Protocol: benchmarks/skin_lesions.md.

    LIKENESS_DATA=... python benchmarks/skin_lesions.py run [--jobs 2]   resumes where it stopped
    LIKENESS_DATA=... python benchmarks/skin_lesions.py check            the untouched images, once
    python benchmarks/skin_lesions.py summary                   tables from the recorded runs

Research only, not a medical device. Every run is a row of results/skin_lesions.csv; what each model
said of each test image is in results/skin_lesions_*.parquet (public image numbers, labels,
probabilities: nothing of the images). Models stay under runs/.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import CIRCUMSTANCES, RESULTS, Experiment, RunTable, Words, command_line

if TYPE_CHECKING:
    import pandas as pd

    from likeness.data.manifest import Manifest
    from likeness_apps.shell.domain import Domain

SPLIT_SEED, FOLDS = 0, 5
VALIDATION = 0.05  # of what is trained on: fits a temperature, chooses nothing
CHECK = RESULTS / "skin_lesions_isic_check.parquet"
FIXED = (
    "workers=0",
    "monitor=null",
    "precision=bf16-mixed",
    "optimiser={name: adamw, lr: 0.001, weight_decay: 0.01}",
    "data.resize=squash",
    "data.scope_check=false",
    "data.augmentation={flips: true, rotate90: true, crop_scale_min: 0.7, brightness: 0.2, "
    "contrast: 0.2, colour: 0.1}",
)
NO_ATTENTION, NO_TRIPLETS = "model.attention=none", "objective.terms=[]"
ARMS = {  # taken away from the shipped configuration `attention_triplet`
    "a": (NO_ATTENTION, NO_TRIPLETS),
    "b": (NO_TRIPLETS,),
    "c": (),
    "d": (NO_ATTENTION,),
}
FIGURES = (  # see skin_lesions_measures
    *("balanced_accuracy", "melanoma_auc", "malignant_auc", "keratosis_auc", "macro_auc"),
    *("map_at_r", "recall_at_1", "ece"),
)
TABLE = RunTable(
    "skin_lesions",
    columns=(
        *("study", "arm", "run", "seed", "status", *FIGURES),
        *("train_loss", "images_per_s", "seconds", *CIRCUMSTANCES, "note"),
    ),
    keys=("study", "arm", "run"),
)


@dataclass(frozen=True)
class Study:
    """One data set with its splits, arms and budget.

    Attributes:
        name: of the study.
        folder: of its data in LIKENESS_DATA.
        arms: the arms that are run.
        runs: how many; run i has training seed i and the split that `split` gives for i.
        epochs: all of them; the last one's weights are tested.
        sampler: batches with equally many images of every class.
        copies: columns of the check whose equal values join groups.
        split: (table of the whole set, run) -> the table with train, val and test; "" is not used.
        side: of the square that the network sees, in pixels.
    """

    name: str
    folder: str
    arms: str
    runs: int
    epochs: int
    sampler: str
    copies: tuple[str, ...]
    split: Callable[[pd.DataFrame, int], pd.DataFrame]
    side: int = 96

    @property
    def items(self) -> Path:
        """What was said of each test image."""
        return TABLE.items(self.name)

    def jobs(self) -> list[Words]:
        """Keys of all its runs, seed by seed (fold by fold), so that arms stay paired."""
        return [(self.name, arm, str(run)) for run in range(self.runs) for arm in self.arms]


def held_out_lesions(table: pd.DataFrame, run: int) -> pd.DataFrame:
    """The same fifth of the lesions is tested in every run: seeds are paired on these."""
    from likeness.data.splits import split_by_group

    return split_by_group(table, val=VALIDATION, test=0.2, seed=SPLIT_SEED)


def training_folds(table: pd.DataFrame, run: int) -> pd.DataFrame:
    """Fold `run` of the published training part is tested; the other parts are not used."""
    from likeness.data.splits import cross_fit, split_by_group

    training = table[table["split"] == "train"]
    folds = cross_fit(training, folds=FOLDS, seed=SPLIT_SEED)
    rest = training[folds != run]
    cut = split_by_group(rest, val=VALIDATION, test=0.0, seed=run)
    chosen = table.assign(split="")
    chosen.loc[training.index, "split"] = "test"
    chosen.loc[rest.index, "split"] = cut["split"]
    return chosen


HAM = Study(
    name="ham",
    folder="ham10000",
    arms="abcd",
    runs=3,
    epochs=10,
    sampler="{name: class_balanced, classes_per_batch: 7, per_class: 9}",
    copies=("pixels",),
    split=held_out_lesions,
)
ISIC = Study(
    name="isic",
    folder="isic2017",
    arms="ac",
    runs=FOLDS,
    epochs=16,
    sampler="{name: class_balanced, classes_per_batch: 3, per_class: 21}",
    copies=("pixels", "twin"),
    split=training_folds,
)
STUDIES = {study.name: study for study in (HAM, ISIC)}


def grouped(study: Study) -> Manifest:
    """The data set as published; groups are its lesions, copies of a picture in one group."""
    from likeness.data.checks import check
    from likeness.data.splits import join_duplicates
    from likeness_apps.skin_lesion.layouts import recognise

    manifest = recognise(Path(os.environ["LIKENESS_DATA"]) / study.folder)
    told = check(manifest).table[[*manifest.table.columns, *study.copies]]
    return manifest.with_table(join_duplicates(told)[list(manifest.table.columns)])


def untouched(table: pd.DataFrame) -> pd.DataFrame:
    """The published validation part without what looks like an image of the training part."""
    trained = set(table["group"][table["split"] == "train"])
    return table[(table["split"] == "val") & ~table["group"].isin(trained)]


def _showing(manifest: Manifest) -> Domain:
    """The application with this data set, under its public image numbers, wherever it is asked."""
    from likeness_apps.skin_lesion.domain import DOMAIN

    return replace(DOMAIN, recognise=lambda path: manifest, screen=None)


def train_arm(study: Study, arm: str, run: int, manifest: Manifest, out: Path) -> pd.DataFrame:
    """Train one arm on the splits of the manifest; the log of epochs."""
    import pandas as pd

    from likeness_apps.shell.train import train

    changes = [
        *FIXED,
        f"seed={run}",
        f"epochs={study.epochs}",
        "schedule={name: cosine, warmup_epochs: 1}",
        f"model.image_size={study.side}",
        f"sampler={study.sampler}",
        *ARMS[arm],
    ]
    domain = _showing(manifest)
    config = "attention_triplet"
    train(domain, manifest.root, out, config=config, changes=changes, resume=True, quiet=True)
    return pd.read_csv(out / "logs" / "epochs.csv")


def answers(model: Path, manifest: Manifest, result: Path) -> pd.DataFrame:
    """What a model says of the test images: probabilities, and its ranking of the others.

    A test image asks all others of the test split but those of its own lesion.
    """
    import numpy as np
    import pandas as pd

    from likeness.evaluation.retrieval import retrieval
    from likeness_apps.shell.evaluate import evaluate

    shutil.rmtree(result, ignore_errors=True)
    domain = _showing(manifest)
    evaluate(domain, model, manifest.root, result, quiet=True)
    said = pd.read_csv(result / "predictions.csv", keep_default_na=False)
    said = said[said["status"] == "ok"].reset_index(drop=True)
    groups, truth = (said[name].to_numpy(dtype=str) for name in ("group", "truth"))
    embeddings_ND = np.load(result / "embeddings.npy")
    names = ("map@r", "recall@1")
    found = retrieval(embeddings_ND, truth, metrics=names, exclude=[(groups, groups)])
    images = [Path(path).stem for path in said["path"]]
    items = pd.DataFrame({"image": images, "group": groups, "truth": truth})
    for name in [column for column in said if column.startswith("p_")]:
        items[name] = said[name].astype(np.float32)
    return items.assign(**{name: found.per_query[name].astype(np.float32) for name in names})


def run_one(study: str, arm: str, run: str) -> None:
    """Train and test one arm once, and record it."""
    known = {"study": study, "arm": arm, "run": run, "seed": run}
    TABLE.record(known, lambda: _train_and_test(STUDIES[study], arm, int(run)))


def _train_and_test(study: Study, arm: str, run: int) -> dict[str, Any]:
    from skin_lesions_measures import figures

    manifest = grouped(study)
    table = study.split(manifest.table, run)
    manifest = manifest.with_table(table[table["split"] != ""])
    folder = TABLE.work / f"{study.name}-{arm}-{run}"
    epochs = train_arm(study, arm, run, manifest, folder)
    items = answers(folder, manifest, folder.with_name(f"{folder.name}-result"))
    TABLE.keep_items(study.items, {"arm": arm, "run": run}, items)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return {
        **figures(study.name, items),
        "train_loss": round(float(epochs["train_loss"].iloc[-1]), 4),
        "images_per_s": round(float(epochs["images_per_s"].median()), 1),
    }


def check_once() -> None:
    """Ask the fold models of ISIC 2017 about the untouched images; a second time is refused."""
    import pandas as pd

    from likeness.files import atomic_path

    left = [job for job in ISIC.jobs() if job not in TABLE.finished()]
    if left or CHECK.exists():
        reason = f"{len(left)} runs are missing" if left else f"{CHECK.name} is there"
        raise SystemExit(f"the untouched images are asked once, after all runs: {reason}")
    manifest = grouped(ISIC)
    manifest = manifest.with_table(untouched(manifest.table).assign(split=""))
    parts = []
    for _, arm, run in ISIC.jobs():
        model = TABLE.work / f"isic-{arm}-{run}"
        found = answers(model, manifest, model.with_name(f"{model.name}-check"))
        parts.append(found.assign(arm=arm, run=int(run)))
    with atomic_path(CHECK) as temporary:
        pd.concat(parts, ignore_index=True).to_parquet(temporary, index=False, compression="zstd")


JOBS = [job for study in STUDIES.values() for job in study.jobs()]
EXPERIMENT = Experiment(TABLE, JOBS, run_one)


def summary() -> None:
    """Tables from the recorded runs."""
    from skin_lesions_summary import summarise

    summarise()


if __name__ == "__main__":
    command_line(EXPERIMENT, __file__, __doc__, {"check": check_once, "summary": summary})
