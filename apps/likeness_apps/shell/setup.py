"""What a run is made of before its first step, from a configuration and checked data.

Shapes: N = images, C = classes (or labels), D = embedding dimension.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from likeness.data.cache import fill_cache, load_size
from likeness.data.dataset import ImageRows
from likeness.data.statistics import band_statistics, scale_of
from likeness.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from likeness.errors import require
from likeness.models import EMBEDDING, Embedder, build_embedder
from likeness.objective import Objective, build_objective
from likeness.sampling import BatchPlan, build_plan
from likeness.training.spec import RunSpec
from likeness_apps.shell.console import progress
from likeness_apps.shell.data import Prepared

GIB = 2**30


# What a table may know of an image beside its label -> what losses and batch plans call it.
COLUMNS = {"group": "group", "camera": "camera", "tracklet": "sequence"}


@dataclass(frozen=True, eq=False)
class Split:
    """One split, ready to be read: images, their labels, and the table rows behind them."""

    images: ImageRows
    targets: np.ndarray
    table: pd.DataFrame

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """`COLUMNS` of the table as numbers from 0."""
        return columns_of(self.table)


@dataclass(frozen=True, eq=False)
class Setup:
    """Everything that a run is made of before its first step; splits are `train` and `val`."""

    spec: RunSpec
    prepared: Prepared
    embedder: Embedder
    objective: Objective
    plan: BatchPlan
    preprocessing: Preprocessing
    splits: dict[str, Split]


def set_up(spec: RunSpec, prepared: Prepared, *, quiet: bool) -> Setup:
    """Build all that the configuration names, before anything is written or decoded."""
    torch.manual_seed(spec.seed)
    labels, targets = prepared.labels, prepared.targets("train")
    count = len(labels.classes)
    outputs = 0 if spec.objective.classification is None else count
    embedder = build_embedder(spec.model, num_classes=outputs)
    objective = build_objective(
        spec.objective,
        num_classes=count,
        dims={EMBEDDING: embedder.embedding_dim},
        class_counts=labels.counts(targets),
        images=len(targets),
        multilabel=labels.multilabel,
    )
    training = prepared.manifest.rows("train")
    columns = columns_of(training)
    if "frame" in training.columns:  # a number already, and only plans read it
        columns["frame"] = training["frame"].to_numpy(np.int64)
    plan = build_plan(spec.sampler, targets, columns=columns, seed=spec.seed)
    preprocessing = _preprocessing(spec, prepared)
    splits = {
        name: _split(prepared, name, spec, preprocessing, quiet=quiet) for name in ("train", "val")
    }
    return Setup(spec, prepared, embedder, objective, plan, preprocessing, splits)


def columns_of(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """The `COLUMNS` that a table has, each as numbers from 0, in order of appearance."""
    return {
        name: pd.factorize(table[column])[0]
        for column, name in COLUMNS.items()
        if column in table.columns
    }


def _preprocessing(spec: RunSpec, prepared: Prepared) -> Preprocessing:
    bands, scale = spec.model.bands, scale_of(prepared.dtype)
    eight_bit = prepared.dtype == "uint8"  # of others, no fixed scale makes colours as there
    steps = spec.data.steps
    rule = "empty for images that are not of uint8 with three bands"
    fits = not steps or (bands == 3 and eight_bit)
    require(fits, "data.steps", rule, [step.name for step in steps])
    if spec.model.weights == "imagenet" and bands == 3 and eight_bit:
        mean, std = list(IMAGENET_MEAN), list(IMAGENET_STD)
    else:
        paths = prepared.manifest.rows("train")["path"].tolist()
        numbers = prepared.band_numbers
        mean, std = band_statistics(
            prepared.manifest.root,
            paths,
            scale=scale,
            bands=numbers,
            steps=steps,
            seed=spec.seed,
        )
        if len(mean) == 1 and bands == 3:
            mean, std = mean * 3, std * 3
    return Preprocessing(
        bands=bands,
        size=spec.model.image_size,
        resize=spec.data.resize,
        mean=mean,
        std=std,
        scale=scale,
        band_numbers=prepared.band_numbers,
        band_names=prepared.band_names,
        dtype=prepared.dtype,
        resolution=prepared.resolution,
        chip=prepared.chip,
        steps=steps,
    )


def _split(
    prepared: Prepared, name: str, spec: RunSpec, preprocessing: Preprocessing, *, quiet: bool
) -> Split:
    rows = prepared.manifest.rows(name).reset_index(drop=True)
    augmentation = spec.data.augmentation if name == "train" else None
    paths = rows["path"].tolist()
    with progress(f"decoding {name}", quiet=quiet) as advance:
        cache = fill_cache(
            prepared.manifest.root,
            paths,
            preprocessing,
            size=load_size(preprocessing, augmentation),
            limit_bytes=int(spec.data.cache_gib * GIB),
            on_progress=advance,
        )
    images = ImageRows(
        prepared.manifest.root,
        paths,
        preprocessing,
        augmentation=augmentation,
        cache=cache,
        seed=spec.seed,
    )
    return Split(images, prepared.targets(name), rows)
