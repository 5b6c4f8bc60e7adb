"""Floors: what simple features reach on the very splits of the experiments.

    LIKENESS_DATA=... python benchmarks/floors.py       resumes; a few minutes on one core

Logistic regression on standardised features, classes weighted equally, nothing tuned (C = 0.01),
trained on the train and validation rows of a split and tested on its test rows. Writes
results/floors.json and results/floors.md. Intervals are over groups (evaluation noise only).

hand_made   histograms of hue, saturation and value, moments of L*a*b*, oriented gradients (HOG),
            local binary patterns: a trained network that does not beat these is broken
metadata    age, sex and site as levels, not known = a level of its own
thumbnail   the image at 16 x 16 pixels
border      the outermost 3 of 32 pixels on each side: skin, vignette and camera, hardly any lesion

What the last three reach is confounding: it can be had without looking at the lesion's structure.
Of faces:

cells       oriented gradients (HOG) of cells of 8 pixels, local binary patterns of 4 x 4 parts
thumbnail   as above
nothing     no feature: the shares of the classes in training, so always the most frequent one

Legend: N images, S side of a square, D features, C classes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import aid_scenes
import expressions
from experiments import RESULTS
from expressions_measures import recognition
from likeness.data.manifest import Manifest
from likeness.evaluation.resampling import Interval, Sums, interval, mean_of_sums
from skin_lesions import HAM, ISIC, Study, grouped
from skin_lesions_measures import measures
from summaries import BOOTSTRAP, Measure, means_by_group, table

FLOORS = RESULTS / "floors.json"
SIDE, THUMBNAIL, RING, RING_SIDE = 96, 16, 3, 32
METADATA = ("age", "sex", "localization")
NAMES = {
    "hand_made": "hand-made features",
    "metadata": "metadata only",
    "thumbnail": "16 px thumbnail",
    "border": "border pixels only",
}
NOTHING = "nothing"
FACES = {
    "cells": "gradients and texture of cells",
    "thumbnail": NAMES["thumbnail"],
    NOTHING: "majority class",
}
FACE, CELL, PARTS = 48, 8, 4  # side of a face and of a cell in pixels; parts of a side
STRENGTH = 0.01  # C of the logistic regression

Picture = np.ndarray  # (H, W, 3) uint8
Floor = Mapping[str, float]  # value, low, high


@dataclass(frozen=True)
class Bench:
    """A data set, its splits, and what is measured on their test rows.

    Attributes:
        features: names of the features that are tried.
        load: the data set with its groups.
        splits: its table once for each run, with the column `split` of that run.
        measures: the figures.
    """

    features: tuple[str, ...]
    load: Callable[[], Manifest]
    splits: Callable[[Manifest], list[pd.DataFrame]]
    measures: Mapping[str, Measure]


def hand_made(image_HW3: Picture) -> np.ndarray:
    """Colour, gradients and texture of the image at 96 x 96 pixels."""
    from skimage.color import rgb2gray, rgb2hsv, rgb2lab
    from skimage.feature import hog, local_binary_pattern

    image_SS3 = resized(image_HW3, SIDE)
    hsv_M3, lab_M3 = rgb2hsv(image_SS3).reshape(-1, 3), rgb2lab(image_SS3).reshape(-1, 3)
    colours = [np.histogram(hsv_M3[:, band], 16, (0.0, 1.0))[0] / len(hsv_M3) for band in range(3)]
    centred_M3 = lab_M3 - lab_M3.mean(axis=0)
    third_3 = np.cbrt((centred_M3**3).mean(axis=0))
    moments = [lab_M3.mean(axis=0), lab_M3.std(axis=0), third_3]
    grey_SS = rgb2gray(image_SS3)
    gradients = hog(grey_SS, orientations=9, pixels_per_cell=(24, 24), cells_per_block=(2, 2))
    grey_SS = (255 * grey_SS).astype(np.uint8)
    texture = []
    for radius in (1, 2):
        points = 8 * radius
        codes_SS = local_binary_pattern(grey_SS, points, radius, "uniform")  # type: ignore[no-untyped-call]
        texture.append(np.histogram(codes_SS, points + 2, (0, points + 2))[0] / codes_SS.size)
    return np.concatenate([*colours, *moments, gradients, *texture])


def cells(image_HW3: Picture) -> np.ndarray:
    """Gradients and texture of a face, where they are in it; grey at 48 x 48 pixels."""
    from skimage.color import rgb2gray
    from skimage.feature import hog, local_binary_pattern

    grey_SS = rgb2gray(resized(image_HW3, FACE))
    gradients = hog(grey_SS, orientations=9, pixels_per_cell=(CELL, CELL), cells_per_block=(2, 2))
    grey_SS = (255 * grey_SS).astype(np.uint8)
    codes_SS = local_binary_pattern(grey_SS, 8, 1, "uniform")  # type: ignore[no-untyped-call]
    parts = [part for row in np.split(codes_SS, PARTS) for part in np.split(row, PARTS, axis=1)]
    texture = [np.histogram(part, 10, (0, 10))[0] / part.size for part in parts]
    return np.concatenate([gradients, *texture])


def thumbnail(image_HW3: Picture) -> np.ndarray:
    """All pixels of the image at 16 x 16."""
    return resized(image_HW3, THUMBNAIL).reshape(-1) / 255


def border(image_HW3: Picture) -> np.ndarray:
    """The outermost pixels of the image at 32 x 32."""
    inside = slice(RING, RING_SIDE - RING)
    outer_SS = np.ones((RING_SIDE, RING_SIDE), dtype=bool)
    outer_SS[inside, inside] = False
    return resized(image_HW3, RING_SIDE)[outer_SS].reshape(-1) / 255


def resized(image_HW3: Picture, side: int) -> Picture:
    """Squashed to a square, antialiased."""
    from PIL import Image

    picture = Image.fromarray(image_HW3).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(picture)


PICTURES: Mapping[str, Callable[[Picture], np.ndarray]] = {
    "hand_made": hand_made,
    "cells": cells,
    "thumbnail": thumbnail,
    "border": border,
}


def features_of(manifest: Manifest, names: Sequence[str]) -> dict[str, np.ndarray]:
    """(N, D) of each name; every file is read once."""
    from likeness.data.decode import decode
    from likeness.data.transforms import match_bands

    found: dict[str, np.ndarray] = {}
    if "metadata" in names:
        columns = [name for name in METADATA if name in manifest.table]
        found["metadata"] = pd.get_dummies(manifest.table[columns]).to_numpy(np.float64)
    if NOTHING in names:
        found[NOTHING] = np.empty((len(manifest.table), 0))
    drawn = [name for name in names if name in PICTURES]
    rows: dict[str, list[np.ndarray]] = {name: [] for name in drawn}
    for path in manifest.table["path"] if drawn else ():
        image_HW3 = match_bands(decode(manifest.file(path), min_side=SIDE), 3)
        for name in drawn:
            rows[name].append(PICTURES[name](image_HW3))
    return found | {name: np.stack(vectors) for name, vectors in rows.items()}


def asked_items(features_ND: np.ndarray, splits: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """What a regression says of the test rows of each split; see `skin_lesions_measures`."""
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    parts = []
    for run, split in enumerate(splits):
        known = split["split"].isin(["train", "val"]).to_numpy()
        asked = (split["split"] == "test").to_numpy()
        model: Any = DummyClassifier(strategy="prior")
        if features_ND.shape[1]:
            regression = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=2000)
            model = make_pipeline(StandardScaler(), regression)
        model.fit(features_ND[known], split["label"][known])
        said_NC = model.predict_proba(features_ND[asked])
        rows = split[asked]
        items = pd.DataFrame({"group": rows["group"], "truth": rows["label"], "run": run})
        items[[f"p_{name}" for name in model.classes_]] = said_NC
        parts.append(items)
    return pd.concat(parts, ignore_index=True)


def _lesions(study: Study) -> Bench:
    runs = range(study.runs) if study is ISIC else (0,)  # every seed of HAM10000 has one test split

    def splits(manifest: Manifest) -> list[pd.DataFrame]:
        return [study.split(manifest.table, run) for run in runs]

    return Bench(tuple(NAMES), lambda: grouped(study), splits, measures(study.name))


def _scenes() -> Bench:
    from likeness_apps.remote_sensing.layouts import recognise

    def splits(manifest: Manifest) -> list[pd.DataFrame]:
        jobs = [aid_scenes.Job("a", "blocked", fold) for fold in range(aid_scenes.FOLDS)]
        return [aid_scenes.with_folds(manifest, job).table for job in jobs]

    accuracy = {"accuracy": Measure("accuracy", _right, mean_of_sums)}
    folder = Path(os.environ["LIKENESS_DATA"]) / "aid"
    return Bench(("hand_made",), lambda: recognise(folder), splits, accuracy)


def _faces() -> Bench:
    def splits(manifest: Manifest) -> list[pd.DataFrame]:
        return [expressions.with_splits(manifest.table, copies=False)]  # the same in all seeds

    return Bench(tuple(FACES), expressions.faces, splits, recognition())


def _right(items: pd.DataFrame) -> Sums:
    columns = [name for name in items if name.startswith("p_")]
    said = items[columns].idxmax(axis=1).str.removeprefix("p_")
    return means_by_group(items.assign(right=said == items["truth"]), "right")


def main() -> None:
    """Measure what is not there yet, and write."""
    from likeness.files import write_json, write_text
    from likeness.provenance import collect_provenance

    floors = read_floors()
    benches = {"ham": _lesions(HAM), "isic": _lesions(ISIC), "aid": _scenes(), "ferplus": _faces()}
    for name, bench in benches.items():
        done = floors.setdefault(name, {})
        left = [features for features in bench.features if features not in done]
        if not left:
            continue
        manifest = bench.load()
        splits = bench.splits(manifest)
        for features, rows_ND in features_of(manifest, left).items():
            items = asked_items(rows_ND, splits)
            done[features] = {
                figure: _plain(interval(m.sums(items), m.statistic, BOOTSTRAP))
                for figure, m in bench.measures.items()
            }
            provenance = collect_provenance(seed=0, data_hash="the splits of the experiments")
            write_json(FLOORS, {"floors": floors, "provenance": provenance})
            print(name, features, done[features], flush=True)
    write_text(FLOORS.with_suffix(".md"), render(floors))


def _plain(found: Interval) -> Floor:
    return {name: round(getattr(found, name), 4) for name in ("value", "low", "high")}


def read_floors() -> dict[str, dict[str, dict[str, Floor]]]:
    """Set -> features -> figure -> what was measured so far."""
    if not FLOORS.exists():
        return {}
    found: dict[str, Any] = json.loads(FLOORS.read_text(encoding="utf-8"))["floors"]
    return found


def shown(floor: Floor) -> str:
    """`value [low, high]`."""
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**floor)


def render(floors: Mapping[str, Mapping[str, Mapping[str, Floor]]]) -> str:
    """All floors as one table."""
    words = [
        "# Floors",
        "",
        "Made by `benchmarks/floors.py`, which says what the features are. 95 % intervals over",
        "groups (evaluation noise only).",
        "",
    ]
    rows = [
        [name, (NAMES | FACES)[features], figure, shown(floor)]
        for name, by_features in sorted(floors.items())
        for features, figures in sorted(by_features.items())
        for figure, floor in sorted(figures.items())
    ]
    return "\n".join([*words, table(["set", "features", "figure", "value"], rows), ""])


if __name__ == "__main__":
    main()
