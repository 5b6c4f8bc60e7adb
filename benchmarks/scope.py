"""Is an image of the kind that a model was trained on? What `likeness.inference.scope` can tell.

    LIKENESS_DATA=/path/to/data python benchmarks/scope.py            half a minute on one core

Fitted on dermoscopic images of HAM10000, its threshold on other lesions of it. Asked are: further
lesions of HAM10000 (the share that is refused is what a user loses), ISIC 2017 (the same kind from
other clinics), aerial tiles (AID), grey faces (FER+), people (PKU-Reid), cuts of the photographs
that come with scikit-image and scikit-learn, blanks and noise. Each kind's AUC is against the
further lesions of HAM10000, for looks alone, embeddings alone, and both together, which is what
`predict` uses; `refused` is the share beyond the threshold. The network is untrained unless --model
names a run: that is the hard case, in which the embedding knows nothing but what chance gave it.

Not measured, because no such images are at hand: photographs of skin without a dermatoscope.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from skimage import data as sample_images
from sklearn.datasets import load_sample_images
from sklearn.metrics import roc_auc_score

from likeness.bundle import load_bundle
from likeness.data.appearance import appearance
from likeness.data.cache import load_image
from likeness.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    resize_image,
    to_tensor,
)
from likeness.files import write_json
from likeness.inference.scope import Scope, Seen, fit_scope
from likeness.models import EMBEDDING, Embedder, ModelSpec, build_embedder
from measurements import arguments, record

SIZE = 64
FITTED, HELD, ASKED = 2000, 600, 300  # images: training, validation, each kind
OWN = "ham10000, other lesions"
SETS = {
    "isic 2017": "isic2017/ISIC-2017_Training_Data/ISIC_???????.jpg",
    "aerial tiles (aid)": "aid/AID/*/*.jpg",
    "faces (ferplus)": "ferplus/data/FER2013Train/*.png",
    "people (pku-reid)": "pku-reid/PKU-Reid/*/*.png",
}


def lesions(root: Path, generator: np.random.Generator) -> dict[str, list[Path]]:
    """Training, validation and further images of HAM10000; no lesion is in two of them."""
    table = pd.read_csv(root / "ham10000" / "HAM10000_metadata.csv")
    files = {path.stem: path for path in (root / "ham10000").glob("*/*.jpg")}
    table = table[table["image_id"].isin(set(files))]
    names = generator.permutation(np.sort(table["lesion_id"].unique()))
    parts = np.split(names, [int(0.6 * len(names)), int(0.8 * len(names))])
    found = {}
    wanted = zip(("training", "validation", OWN), parts, (FITTED, HELD, ASKED), strict=True)
    for name, part, count in wanted:
        rows = sorted(table["image_id"][table["lesion_id"].isin(set(part))])
        found[name] = [files[row] for row in generator.permutation(rows)[:count]]
    return found


def drawn(paths: Sequence[Path], generator: np.random.Generator) -> list[Path]:
    """At most `ASKED` of the files."""
    ordered = sorted(paths)
    return [ordered[place] for place in generator.permutation(len(ordered))[:ASKED]]


def made(generator: np.random.Generator) -> dict[str, list[np.ndarray]]:
    """Blanks, noise, and square cuts of photographs."""
    names = ("astronaut", "chelsea", "coffee", "rocket")
    photographs = [getattr(sample_images, name)() for name in names]
    photographs += load_sample_images().images
    cuts = []
    for number in range(ASKED):
        whole = photographs[number % len(photographs)]
        side = int(min(whole.shape[:2]) * generator.uniform(0.35, 1))
        top, left = (int(generator.integers(0, edge - side + 1)) for edge in whole.shape[:2])
        cuts.append(whole[top : top + side, left : left + side])
    colours = generator.integers(0, 256, (ASKED - 2, 1, 1, 3), dtype=np.uint8)
    blanks = [np.full((1, 1, 3), level, np.uint8) for level in (0, 255)] + list(colours)
    noise = generator.integers(0, 256, (ASKED // 3, SIZE, SIZE, 3), dtype=np.uint8)
    return {"photographs": cuts, "blanks": blanks, "noise": list(noise)}


def seen(embedder: Embedder, preprocessing: Preprocessing, images: Sequence[Any]) -> Seen:
    """Looks and embeddings of files or arrays."""
    looks, embeddings = [], []
    for start in range(0, len(images), 64):
        pixels = [
            load_image(image, preprocessing)
            if isinstance(image, Path)
            else resize_image(image, preprocessing)
            for image in images[start : start + 64]
        ]
        batch_NCSS = torch.stack([to_tensor(picture, preprocessing) for picture in pixels])
        looks.append(appearance(batch_NCSS, preprocessing).numpy())
        with torch.inference_mode():
            embeddings.append(embedder(batch_NCSS).embeddings[EMBEDDING].numpy())
    return Seen(np.concatenate(looks), np.concatenate(embeddings))


def network(model: Path | None, seed: int) -> tuple[Embedder, Preprocessing, str]:
    """Of a run, or an untrained one."""
    if model is not None:
        bundle = load_bundle(model)
        return bundle.embedder, bundle.preprocessing, f"of model {bundle.model_id}"
    torch.manual_seed(seed)
    spec = ModelSpec(backbone="resnet18", stem="standard", image_size=SIZE)
    prepared = Preprocessing(size=SIZE, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return build_embedder(spec, num_classes=2).eval(), prepared, "resnet18, untrained"


def row_of(kind: str, asked: Seen, own: Seen, scope: Scope) -> dict[str, Any]:
    """One line of the table."""
    units_2 = scope.record.units_2.numpy()
    parts = [scope.distances(some) / units_2 for some in (own, asked)]
    truth = np.repeat([0, 1], [len(part) for part in parts])
    joined = np.concatenate(parts)
    columns = {"looks": joined[:, 0], "embedding": joined[:, 1], "both": joined.max(axis=1)}
    scores = parts[1].max(axis=1)
    row: dict[str, Any] = {"kind": kind, "images": len(scores), "median_score": np.median(scores)}
    row["refused"] = float((scores > scope.threshold).mean())
    if kind != OWN:
        row["auc"] = {name: roc_auc_score(truth, column) for name, column in columns.items()}
    return row


def line(row: dict[str, Any]) -> str:
    """A row as a line of the printed table."""
    areas = " ".join(f"{area:9.3f}" for area in row.get("auc", {}).values())
    return f"{row['kind']:28s} {row['images']:6d} {row['refused']:8.1%} {areas}"


def main() -> None:
    """Measure, print and write."""
    parser = arguments(__doc__, "scope", seed=0)
    parser.add_argument("--data", type=Path, default=os.environ.get("LIKENESS_DATA"))
    parser.add_argument("--model", type=Path, help="a run; default: an untrained network")
    chosen = parser.parse_args()
    if chosen.data is None:
        parser.error("LIKENESS_DATA or --data must name the folder of the data")
    started, generator = time.perf_counter(), np.random.default_rng(chosen.seed)
    kinds: dict[str, Sequence[Any]] = dict(lesions(chosen.data, generator))
    for name, pattern in SETS.items():
        kinds[name] = drawn(list(chosen.data.glob(pattern)), generator)
    names = [image.name for images in kinds.values() for image in images if isinstance(image, Path)]
    kinds |= made(generator)
    embedder, preprocessing, described = network(chosen.model, chosen.seed)
    data_hash = hashlib.sha256("\n".join(names).encode()).hexdigest()
    provenance = record(chosen.seed, data=data_hash)
    training, validation, own = (
        seen(embedder, preprocessing, kinds.pop(name)) for name in ("training", "validation", OWN)
    )
    space = embedder.spec.space
    fitted, told = fit_scope(training, validation, space=space)
    scope = Scope(fitted, training.embeddings_ND, space)
    print(f"{'kind':28s} images  refused  AUC looks embedding      both")
    rows = [row_of(OWN, own, own, scope)]
    print(line(rows[0]), flush=True)
    for kind, images in kinds.items():
        rows.append(row_of(kind, seen(embedder, preprocessing, images), own, scope))
        print(line(rows[-1]), flush=True)
    setting = {
        "network": described,
        "size": preprocessing.size,
        "fit": told,
        "space": space,
        "seconds": time.perf_counter() - started,
    }
    write_json(chosen.out, {"cells": rows, "provenance": provenance, "setting": setting})


if __name__ == "__main__":
    main()
