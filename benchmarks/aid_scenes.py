"""Does the centre-based structured metric help on AID scenes? Protocol: benchmarks/aid_scenes.md.

    LIKENESS_DATA=... python benchmarks/aid_scenes.py run [--jobs 2]    resumes where it stopped
    LIKENESS_DATA=... python benchmarks/aid_scenes.py speed     images/s of the arms; machine idle
    python benchmarks/aid_scenes.py summary                     tables from the recorded runs

Every run is a row of results/aid_scenes.csv; what each model said of each test image is in
results/aid_scenes_items.parquet (file names, labels, ranks: nothing of the images).
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from experiments import (
    CIRCUMSTANCES,
    RESULTS,
    Experiment,
    RunTable,
    command_line,
    measure_in_turns,
)

SPEED = RESULTS / "aid_scenes_speed.csv"

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
TABLE = RunTable(
    "aid_scenes",
    columns=(
        *("arm", "scheme", "fold", "seed", "status"),
        *("accuracy", "kappa", "centre_accuracy", "map_at_r", "recall_at_1"),
        *("val_accuracy", "best_epoch", "images_per_s", "seconds"),
        *(*CIRCUMSTANCES, "note"),
    ),
    keys=("arm", "scheme", "fold"),
)


@dataclass(frozen=True)
class Job:
    """One training run of the experiment."""

    arm: str
    scheme: str
    fold: int

    @property
    def words(self) -> tuple[str, str, str]:
        """Its key."""
        return self.arm, self.scheme, str(self.fold)

    @property
    def name(self) -> str:
        """Its folder."""
        return "-".join(self.words)


def jobs() -> list[Job]:
    """Blocked folds first: they carry the primary measure. Fold by fold, so arms stay paired.

    Of the random folds, (a) and (e) come first: the gap needs no more.
    """
    order = [("blocked", tuple(ARMS)), ("random", ("a", "e")), ("random", ("b", "c", "d"))]
    return [
        Job(arm, scheme, fold) for scheme, arms in order for fold in range(FOLDS) for arm in arms
    ]


def run_one(arm: str, scheme: str, fold: str) -> None:
    """Train and test one arm on one fold, and record it."""
    job = Job(arm, scheme, int(fold))
    TABLE.record({**vars(job), "seed": job.fold}, lambda: _train_and_test(job))


def _train(job: Job, run: Path, *, epochs: int) -> tuple[Any, Path, Any]:
    """Train one arm on one fold; the domain with the folds, the data and the log of epochs."""
    import pandas as pd

    from likeness_apps.remote_sensing.domain import DOMAIN
    from likeness_apps.remote_sensing.layouts import recognise
    from likeness_apps.shell.train import train

    data = Path(os.environ["LIKENESS_DATA"]) / "aid"
    manifest = with_folds(recognise(data), job)
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

    run, result = TABLE.work / job.name, TABLE.work / f"{job.name}-result"
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


def speed_of(arm: str) -> dict[str, Any]:
    """Images/s of the second of two epochs on blocked fold 0."""
    run = TABLE.work / f"speed-{arm}"
    shutil.rmtree(run, ignore_errors=True)
    _, _, epochs = _train(Job(arm, "blocked", 0), run, epochs=2)
    return {"images_per_s": round(float(epochs["images_per_s"].iloc[-1]), 1)}


def with_folds(manifest: Any, job: Job) -> Any:
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
    kept = predictions[["path", "group", "truth", "label", "correct", "recall@1", "map@r"]]
    TABLE.keep_items(TABLE.items(), vars(job), kept)


EXPERIMENT = Experiment(TABLE, [job.words for job in jobs()], run_one)


def speed() -> None:
    """Images/s of the arms, in turns; the machine idle."""
    measure_in_turns(SPEED, ARMS, speed_of)


def summary() -> None:
    """Tables from the recorded runs."""
    from aid_scenes_summary import summarise

    summarise()


if __name__ == "__main__":
    command_line(EXPERIMENT, __file__, __doc__, {"speed": speed, "summary": summary})
