"""Classes of AID scenes that were never trained, known from 1 to 20 images each.

    LIKENESS_DATA=... python benchmarks/imprinting.py run [--jobs 2]   resumes where it stopped
    python benchmarks/imprinting.py summary                            tables of the recorded runs

Protocol. Three draws (seeds 0, 1, 2): 20 of the 30 classes are old, 10 are new. Of every old class
70 % of the images train, 10 % validate and 20 % test; of every new class 20 images at random are
shots, of which the first n are used (so 5 shots hold the 2), and all others test. ResNet-18 without
pretrained weights at 64 px, embeddings of 64 numbers, a class layer of cosines, 15 epochs on the
old classes, the best by validation accuracy (convolutions in bfloat16 where a network is trained,
which shortens it by 40 %: changed before the first score; the rest and all testing in float32).
Then, with n = 1, 2, 5, 10, 20 shots of each new class and all 30 classes as possible answers:

- averaged: each new class is imprinted (mean direction of its shots) beside the trained vectors of
  the old ones: the paper's method;
- anew: the vectors of the old classes are imprinted, too (`imprint` does so where trained ones
  lose);
- nearest: every training image and every shot is kept, the most similar one gives the class;
- random: new rows at random, the floor.

And after fine-tuning of the whole network on the old training images and the shots (5 epochs, a
tenth of the learning rate, batches of 16 classes x 4 images, last epoch): averaged and nearest on
the network that began imprinted, anew and random on those that began so. n = 1 is not
fine-tuned: `train` asks for two images of a class.

Measured on test images: accuracy of old and of new classes (mean over the classes of either), and
their harmonic mean. The question is whether averaged is at least as good as nearest (paper: yes,
from 2 shots on), and what fine-tuning costs the old classes. Three draws give ranges, no test. The
data were not looked at otherwise; nothing is chosen on test images. A row of results/imprinting.csv
is one cell; failed ones stay.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments import CIRCUMSTANCES, RESULTS, Experiment, RunTable, Words, command_line

OLD, SHOT_POOL, DRAWS = 20, 20, 3
SHOTS = (1, 2, 5, 10, 20)
ARMS = ("averaged", "anew", "nearest", "random")
BASE = (
    *("epochs=15", "schedule={name: cosine, warmup_epochs: 3}", "monitor=accuracy"),
    "optimiser={name: adamw, lr: 0.002, weight_decay: 0.01}",
)
TUNED = (
    *("epochs=5", "schedule={name: cosine, warmup_epochs: 1}", "monitor=null"),
    "optimiser={name: adamw, lr: 0.0002, weight_decay: 0.01}",
)
SHARED = (
    *("workers=0", "precision=bf16-mixed", "data.groups=none"),
    *("model.class_layer=cosine", "model.image_size=64"),
    "model.embedding_dim=64",  # as the paper: no rectifier behind it, so directions spread
    "sampler={name: class_balanced, classes_per_batch: 16, per_class: 4}",
)
KNOWN: dict[Path, dict[str, Any]] = {}  # model directory -> path -> embedding, in this process
TABLE = RunTable(
    "imprinting",
    columns=(
        *("draw", "shots", "tuned", "arm", "status"),
        *("old_accuracy", "new_accuracy", "harmonic_mean", "old_images", "new_images"),
        *("seconds", *CIRCUMSTANCES, "note"),
    ),
    keys=("draw", "shots", "tuned", "arm"),
)


def cells(job: Words) -> list[Words]:
    """The rows of a draw."""
    (draw,) = job
    tuned = [(n, how) for n in SHOTS for how in ("no", "yes") if n > 1 or how == "no"]
    return [(draw, str(n), how, arm) for n, how in tuned for arm in ARMS]


def run_draw(draw: str) -> None:
    """The network of a draw, and every cell that is not there yet."""
    done = TABLE.finished()
    left = [cell for cell in cells((draw,)) if cell not in done]
    if not left:
        return
    manifest = drawn(int(draw))
    base = _train(manifest, TABLE.work / f"draw{draw}", int(draw), BASE)
    for _, shots, tuned, arm in left:
        known = {"draw": draw, "shots": shots, "tuned": tuned, "arm": arm}
        TABLE.record(known, lambda known=known: measure(manifest, base, known))  # type: ignore[misc]


def drawn(draw: int) -> Any:
    """AID with a column `role` (old, new) and the splits of the protocol; `shot` numbers shots."""
    import numpy as np

    from likeness_apps.remote_sensing.layouts import recognise

    manifest = recognise(Path(os.environ["LIKENESS_DATA"]) / "aid")
    random = np.random.default_rng(draw)
    old = set(random.permutation(manifest.classes)[:OLD].tolist())
    table = manifest.table.assign(split="test", role="old", shot=-1)
    for label, rows in table.groupby("label").groups.items():
        order = random.permutation(rows.to_numpy())
        if label in old:
            train, val = int(0.7 * len(order)), int(0.8 * len(order))
            table.loc[order[:train], "split"] = "train"
            table.loc[order[train:val], "split"] = "val"
        else:
            table.loc[order, "role"] = "new"
            table.loc[order[:SHOT_POOL], "split"] = ""
            table.loc[order[:SHOT_POOL], "shot"] = np.arange(SHOT_POOL)
    return manifest.with_table(table)


def _train(manifest: Any, run: Path, seed: int, changes: tuple[str, ...], shots: int = 0) -> Path:
    """A run on the old classes, and with shots on all; goes on where it stopped."""
    from likeness_apps.remote_sensing.domain import DOMAIN
    from likeness_apps.shell.train import train

    if (run / "model").exists():
        return run
    table = manifest.table
    used = (table["role"] == "old") | ((table["shot"] >= 0) & (table["shot"] < shots))
    table = table.assign(split=table["split"].where(table["role"] == "old", "train"))[used]
    chosen = manifest.with_table(table.drop(columns=["role", "shot"]))
    domain = replace(DOMAIN, recognise=lambda path: chosen)
    asked = [f"seed={seed}", *SHARED, *changes]
    options: dict[str, Any] = {"config": "cross_entropy", "resume": True, "quiet": True}
    train(domain, manifest.root, run, changes=asked, **options)
    return run


def measure(manifest: Any, base: Path, known: Mapping[str, str]) -> dict[str, Any]:
    """One cell: accuracy of old and of new classes."""
    import numpy as np

    from likeness.bundle import load_bundle

    shots, arm = int(known["shots"]), known["arm"]
    start = "averaged" if arm == "nearest" else arm
    model = begun(manifest, load_bundle(base), shots, start)
    if known["tuned"] == "yes":
        model = tuned(manifest, model, base, int(known["draw"]), shots, start)
    table = manifest.table
    test = table[table["split"] == "test"]
    said = answers(manifest, model, test["path"].tolist(), shots, nearest=arm == "nearest")
    right = test.assign(right=np.array(said) == test["label"].to_numpy())
    of_classes = right.groupby(["role", "label"])["right"].mean().groupby("role").mean()
    old, new = float(of_classes["old"]), float(of_classes["new"])
    counts = test["role"].value_counts()
    return {
        "old_accuracy": old,
        "new_accuracy": new,
        "harmonic_mean": 2 * old * new / (old + new) if old + new else 0.0,
        "old_images": int(counts["old"]),
        "new_images": int(counts["new"]),
    }


def begun(manifest: Any, bundle: Any, shots: int, arm: str) -> Any:
    """The model with a class layer for all classes, which begins as the arm says."""
    import copy

    import torch

    embedder = copy.deepcopy(bundle.embedder)
    layer, labels = embedder.classifiers["class"], list(bundle.classes)
    if arm == "anew":
        layer.imprint(bundle.gallery.embeddings_MD, bundle.gallery.labels_M)
    torch.manual_seed(shots)
    layer.grow(len(manifest.classes) - OLD)
    for label, rows in shots_of(manifest, shots):
        labels.append(label)
        if arm != "random":
            examples = torch.from_numpy(embedded(bundle, manifest, rows["path"].tolist()))
            layer.imprint(examples, torch.full((len(rows),), len(labels) - 1))
    embedder.num_classes = len(labels)
    return replace(bundle, embedder=embedder, classes=labels)


def tuned(manifest: Any, bundle: Any, base: Path, draw: int, shots: int, start: str) -> Any:
    """The model after training on the old images and the shots; made once for several cells."""
    from likeness.bundle import load_bundle, save_bundle

    run = base.with_name(f"{base.name}-{shots}-{start}")
    begin = run.with_name(f"{run.name}-start")
    if not begin.exists():
        parts = {name: getattr(bundle, name) for name in ("config", "classes", "splits", "card")}
        save_bundle(
            begin,
            bundle.embedder,
            preprocessing=bundle.preprocessing,
            metrics=bundle.metrics,
            provenance=bundle.provenance,
            **parts,
        )
    return load_bundle(_train(manifest, run, draw, (*TUNED, f"start={begin}"), shots))


def answers(
    manifest: Any, bundle: Any, paths: list[str], shots: int, *, nearest: bool
) -> list[str]:
    """What the model says of images: by its class layer, or by the most similar example."""
    import torch

    from likeness.imprinting import nearest_instance

    asked = torch.from_numpy(embedded(bundle, manifest, paths))
    if not nearest:
        with torch.no_grad():
            scores = bundle.embedder.classifiers["class"](asked)
    else:
        table = manifest.table
        shot = (table["shot"] >= 0) & (table["shot"] < shots)
        kept = table[(table["split"] == "train") | shot]
        examples = torch.from_numpy(embedded(bundle, manifest, kept["path"].tolist()))
        numbers = torch.tensor([bundle.classes.index(label) for label in kept["label"]])
        scores = nearest_instance(asked, examples, numbers, len(bundle.classes))
    return [bundle.classes[number] for number in scores.argmax(1).tolist()]


def shots_of(manifest: Any, shots: int) -> Iterator[tuple[str, Any]]:
    """The first shots of each new class."""
    table = manifest.table
    chosen = table[(table["shot"] >= 0) & (table["shot"] < shots)]
    yield from ((str(label), rows) for label, rows in chosen.groupby("label"))


def embedded(bundle: Any, manifest: Any, paths: list[str]) -> Any:
    """Embeddings of images as the model's space compares them, (N, D); each is made once.

    Imprinting changes none: a model is known by the directory that its network came from.
    """
    import numpy as np

    from likeness.inference.predictor import Predictor

    known = KNOWN.setdefault(bundle.path, {})
    missing = [path for path in paths if path not in known]
    if missing:
        predictor = Predictor(bundle, columns="embed", root=manifest.root, threads=2)
        known.update(zip(missing, predictor({"path": missing})["embedding"], strict=True))
    return np.stack([known[path] for path in paths])


EXPERIMENT = Experiment(TABLE, [(str(draw),) for draw in range(DRAWS)], run_draw, rows=cells)


def summary() -> None:
    """Means over the draws with their range, and averaged minus nearest, from the recorded runs."""
    import pandas as pd

    runs = TABLE.read()
    runs = runs[runs["status"] == "done"]
    lines = [f"# Imprinting on AID: {runs['draw'].nunique()} of {DRAWS} draws", ""]
    measures = ("old_accuracy", "new_accuracy", "harmonic_mean")
    lines += ["| shots | fine-tuned | arm | " + " | ".join(measures) + " |", "|---" * 6 + "|"]
    for (shots, how, arm), rows in runs.groupby(["shots", "tuned", "arm"]):
        figures = [
            f"{100 * rows[name].mean():.1f} ({100 * rows[name].min():.1f} to "
            f"{100 * rows[name].max():.1f})"
            for name in measures
        ]
        lines.append(f"| {shots} | {how} | {arm} | " + " | ".join(figures) + " |")
    lines += ["", "Averaged minus nearest, new classes, points by draw:", ""]
    wide = runs.pivot_table(index=["shots", "tuned", "draw"], columns="arm", values="new_accuracy")
    if {"averaged", "nearest"} <= set(wide.columns):
        gap: pd.Series = 100 * (wide["averaged"] - wide["nearest"])
        for (shots, how), values in gap.groupby(level=["shots", "tuned"]):
            told = ", ".join(f"{value:+.1f}" for value in values)
            lines.append(f"- {shots} shots, fine-tuned {how}: {told}")
    path = RESULTS / "imprinting_summary.md"
    path.write_text("\n".join(lines) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    command_line(EXPERIMENT, __file__, __doc__, {"summary": summary})
