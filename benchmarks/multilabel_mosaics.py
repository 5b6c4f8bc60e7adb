"""Do informative triplets pay on multi-label scenes? Protocol: benchmarks/multilabel_mosaics.md.

    LIKENESS_DATA=... python benchmarks/multilabel_mosaics.py run     resumes where it stopped
    LIKENESS_DATA=... python benchmarks/multilabel_mosaics.py speed   seconds per epoch, when idle
    python benchmarks/multilabel_mosaics.py summary                   tables from the recorded runs

Mosaics, models and results stay under runs/ (made of images for academic use); what is kept is
results/multilabel_mosaics.csv and, per test mosaic, scores in multilabel_mosaics_items.parquet.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import (
    CIRCUMSTANCES,
    RESULTS,
    Experiment,
    RunTable,
    command_line,
    measure_in_turns,
)

if TYPE_CHECKING:
    import pandas as pd

SPEED = RESULTS / "multilabel_mosaics_speed.csv"

TILE, SEEDS, EPOCHS = 64, (0, 1, 2), 16
# split -> (blocks of each class, classes of a region, mosaics)
SPLITS = {"train": (4, 8, 1600), "val": (1, 6, 400), "test": (2, 6, 800)}
TRIPLETS = "anchors: 16, positives: 8, negatives: 8"
LOSS = "loss: {name: triplet, margin: 1.0, squared: true, reduction: all, space: cosine}"
ARMS = {
    "informative": f"[{{{LOSS}, miners: [{{name: informative_triplets, {TRIPLETS}}}]}}]",
    "random": f"[{{{LOSS}, miners: [{{name: random_triplets, {TRIPLETS}}}]}}]",
    "all": f"[{{{LOSS}}}]",
}
MEASURES = ("wap@20", "ndcg@20", "acg@20", "map", "example_f1@20")
TABLE = RunTable(
    "multilabel_mosaics",
    columns=(
        *("arm", "seed", "status", *MEASURES, "val_best", "best_epoch", "epoch_95"),
        *("seconds_per_epoch", "seconds", *CIRCUMSTANCES, "note"),
    ),
    keys=("arm", "seed"),
)


def make_mosaics() -> Path:
    """The mosaics and their table; made once, while other processes wait."""
    out = TABLE.work / "mosaics"
    with TABLE.locked():
        if not (out / "mosaics.csv").is_file():
            write_mosaics(out)
    return out / "mosaics.csv"


def write_mosaics(out: Path) -> None:
    """Draw the mosaics of every split and write them and their table."""
    import pandas as pd
    from PIL import Image

    from likeness.data.manifest import join_labels
    from likeness_apps.remote_sensing.layouts import recognise

    manifest = recognise(Path(os.environ["LIKENESS_DATA"]) / "aid")
    generator = np.random.default_rng(0)
    rows: list[dict[str, str]] = []
    for split, regions in deal_regions(manifest.table, generator).items():
        (out / split).mkdir(parents=True, exist_ok=True)
        for number in range(SPLITS[split][2]):
            region = number % len(regions)
            tiles = draw_tiles(regions[region], generator)
            path = f"{split}/{number:04d}.png"
            Image.fromarray(mosaic([manifest.file(tile) for tile, _ in tiles])).save(out / path)
            labels = join_labels(label for _, label in tiles)
            group = f"{split}-region-{region}"
            rows.append({"path": path, "labels": labels, "split": split, "group": group})
    pd.DataFrame(rows).to_csv(out / "mosaics.csv", index=False)


def mosaic(files: list[Path]) -> np.ndarray:
    """Four tiles, row by row from the north-west."""
    from likeness.data.decode import decode

    north_west, north_east, south_west, south_east = (small(decode(file)) for file in files)
    north = np.concatenate([north_west, north_east], axis=1)
    south = np.concatenate([south_west, south_east], axis=1)
    return np.concatenate([north, south])


def deal_regions(
    table: pd.DataFrame, generator: np.random.Generator
) -> dict[str, list[list[tuple[str, list[str]]]]]:
    """Split -> regions -> (class, tiles of one block); each block is in one region."""
    blocks = {
        (label, group): part["path"].tolist()
        for (label, group), part in table.groupby(["label", "group"], sort=True)
    }
    classes = sorted(set(table["label"]))
    dealt: dict[str, list[list[tuple[str, list[str]]]]] = {name: [] for name in SPLITS}
    order = {
        label: generator.permutation(sorted(g for k, g in blocks if k == label)).tolist()
        for label in classes
    }
    for split, (per_class, width, _) in SPLITS.items():
        line: list[tuple[str, list[str]]] = []
        for _ in range(per_class):  # one round of all classes after another: no class twice nearby
            shuffled = generator.permutation(classes).tolist()
            line += [(label, blocks[label, order[label].pop()]) for label in shuffled]
        dealt[split] = [line[start : start + width] for start in range(0, len(line), width)]
    return dealt


def draw_tiles(
    region: list[tuple[str, list[str]]], generator: np.random.Generator
) -> list[tuple[str, str]]:
    """Four (path, class) from one region, of one to four classes."""
    names = sorted({label for label, _ in region})
    chosen = generator.choice(
        names, size=min(len(names), int(generator.integers(1, 5))), replace=False
    )
    labels = [*chosen, *generator.choice(chosen, size=4 - len(chosen))]
    drawn = []
    for label in generator.permutation(labels).tolist():
        paths = [path for name, tiles in region if name == label for path in tiles]
        drawn.append((paths[int(generator.integers(len(paths)))], label))
    return drawn


def small(tile_HWC: np.ndarray) -> np.ndarray:
    """A tile at the side that it has in a mosaic."""
    from PIL import Image

    picture = Image.fromarray(tile_HWC).resize((TILE, TILE), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def train_arm(arm: str, seed: int, epochs: int, run: Path) -> pd.DataFrame:
    """Train one arm; the log of epochs."""
    import pandas as pd

    from likeness_apps.remote_sensing.domain import DOMAIN
    from likeness_apps.shell.train import train

    changes = [
        f"seed={seed}",
        f"epochs={epochs}",
        "workers=0",
        "monitor=map",
        "model.embedding_dim=128",
        "model.image_size=64",
        "sampler={name: shuffled, batch_size: 64}",
        "optimiser={name: adamw, lr: 0.001, weight_decay: 0.01}",
        f"schedule={{name: cosine, warmup_epochs: {min(2, epochs)}}}",
        "data.augmentation.crop_scale_min=0.8",
        "objective.classification=null",
        f"objective.terms={ARMS[arm]}",
    ]
    config = "multilabel_triplets"
    train(DOMAIN, make_mosaics(), run, config=config, changes=changes, resume=True, quiet=True)
    return pd.read_csv(run / "logs" / "epochs.csv")


def run_one(arm: str, seed: str) -> None:
    """Train and test one arm with one seed, and record it."""
    TABLE.record({"arm": arm, "seed": seed}, lambda: _train_and_test(arm, int(seed)))


def _train_and_test(arm: str, seed: int) -> dict[str, Any]:
    import pandas as pd

    from likeness.data.manifest import label_matrix
    from likeness.evaluation.retrieval import retrieval
    from likeness_apps.remote_sensing.domain import DOMAIN
    from likeness_apps.shell.evaluate import evaluate

    run, result = TABLE.work / f"{arm}-{seed}", TABLE.work / f"{arm}-{seed}-result"
    epochs = train_arm(arm, seed, EPOCHS, run)
    shutil.rmtree(result, ignore_errors=True)
    evaluate(DOMAIN, run, make_mosaics(), result, quiet=True)
    said = pd.read_csv(result / "predictions.csv", keep_default_na=False)
    truth = said[said["status"] == "ok"]
    classes = sorted({name for cell in truth["truth"] for name in cell.split("|")})
    table_NL = label_matrix(truth["truth"].tolist(), classes).astype(bool)
    found = retrieval(np.load(result / "embeddings.npy"), table_NL, metrics=MEASURES)
    _record_items(arm, seed, truth, found.per_query)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    scores = epochs["val_map"].to_numpy()
    return {
        **{name: float(np.nanmean(found.per_query[name])) for name in MEASURES},
        "val_best": float(np.nanmax(scores)),
        "best_epoch": int(np.nanargmax(scores)) + 1,
        "epoch_95": int(np.argmax(scores >= 0.95 * np.nanmax(scores))) + 1,
        "seconds_per_epoch": round(float(epochs["seconds"].median()), 2),
    }


def _record_items(arm: str, seed: int, truth: pd.DataFrame, per_query: dict[str, Any]) -> None:
    kept = truth[["path", "group"]].assign(**{name: per_query[name] for name in MEASURES})
    TABLE.keep_items(TABLE.items(), {"arm": arm, "seed": seed}, kept)


JOBS = [(arm, str(seed)) for seed in SEEDS for arm in ARMS]
EXPERIMENT = Experiment(TABLE, JOBS, run_one, processes=1)


def speed_of(arm: str) -> dict[str, Any]:
    """Seconds of the second of two epochs."""
    run = TABLE.work / f"speed-{arm}"
    shutil.rmtree(run, ignore_errors=True)
    return {"seconds": float(train_arm(arm, 0, 2, run)["seconds"].iloc[-1])}


def speed() -> None:
    """Seconds of an epoch of every arm, in turns; the machine idle."""
    measure_in_turns(SPEED, ARMS, speed_of)


def summary() -> None:
    """Tables from the recorded runs."""
    from multilabel_mosaics_summary import summarise

    summarise()


if __name__ == "__main__":
    command_line(EXPERIMENT, __file__, __doc__, {"speed": speed, "summary": summary})
