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
from likeness.losses.soft_targets import check_distributions
from likeness.models import Embedder, build_embedder
from likeness.objective import Objective, build_objective
from likeness.sampling import BatchPlan, build_plan
from likeness.training.spec import RunSpec
from likeness.training.start import Start, load_start, take_weights
from likeness_apps.shell.console import progress, say
from likeness_apps.shell.data import Prepared
from likeness_apps.shell.domain import Distributions
from likeness_apps.shell.matching import require_apart
from likeness_apps.shell.teacher import Teacher

GIB = 2**30


# What a table may know of an image beside its label -> what losses and batch plans call it.
COLUMNS = {"group": "group", "camera": "camera", "modality": "modality", "tracklet": "sequence"}


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
    """Everything that a run is made of before its first step; splits are `train` and `val`.

    `distributions_NC` is what annotators said of the training images, where the run learns from it;
    `started_from` the id of the model whose network the run starts from, or None; `teacher` the
    model that it is distilled from, or None.
    """

    spec: RunSpec
    prepared: Prepared
    embedder: Embedder
    objective: Objective
    plan: BatchPlan
    preprocessing: Preprocessing
    splits: dict[str, Split]
    distributions_NC: np.ndarray | None = None
    started_from: str | None = None
    teacher: Teacher | None = None

    @property
    def origin(self) -> dict[str, str]:
        """What the model's provenance says of its beginnings: data layout, models it came from."""
        origin = {"layout": self.prepared.manifest.layout}
        if self.started_from is not None:
            origin["started_from"] = self.started_from
        if self.teacher is not None:
            origin["distilled_from"] = self.teacher.model_id
        return origin

    @property
    def run_hash(self) -> str:
        """Of images, labels and splits, and of the model started from: a resumed run has the same.

        (The path alone may hold another model by then.)
        """
        known = self.prepared.data_hash
        return known if self.started_from is None else f"{known} from {self.started_from}"


def set_up(
    spec: RunSpec,
    prepared: Prepared,
    *,
    quiet: bool,
    distributions: Distributions | None = None,
    preprocessing: Preprocessing | None = None,
) -> Setup:
    """Build all that the configuration names, before anything is written or decoded.

    Args:
        spec: the configuration.
        prepared: the data.
        quiet: say nothing.
        distributions: what annotators said of the rows of a table; see `Domain`.
        preprocessing: that of weights which will be put in; None fits it to the training images.

    Raises:
        UserError: if parts do not fit each other or the data, or there is no model to start from.
    """
    start = None if spec.start is None else load_start(spec.start, spec.model)
    if start is not None:
        require_apart("start", start.bundle, prepared.splits)
    torch.manual_seed(spec.seed)
    labels, targets = prepared.labels, prepared.targets("train")
    said_NC = _said(spec, prepared, distributions)
    count = len(labels.classes)
    outputs = 0 if spec.objective.classification is None else count
    embedder = build_embedder(spec.model, num_classes=outputs)
    if start is not None:
        taken = take_weights(embedder, start, labels.classes, multilabel=labels.multilabel)
        rest = "" if taken else "; the class layer starts at random: the classes differ"
        say(f"starts from the model {start.model_id}{rest}", quiet=quiet)
    objective = build_objective(
        spec.objective,
        num_classes=count if spec.pseudo_labels is None else spec.pseudo_labels.clusters,
        dims=embedder.head_lengths,
        class_counts=labels.counts(targets) if said_NC is None else said_NC.sum(axis=0).tolist(),
        images=len(targets),
        multilabel=labels.multilabel,
        subclasses=None if spec.subclasses is None else spec.subclasses.most,
    )
    training = prepared.manifest.rows("train")
    columns = columns_of(training)
    if "frame" in training.columns:  # a number already, and only plans read it
        columns["frame"] = training["frame"].to_numpy(np.int64)
    plan = build_plan(spec.sampler, targets, columns=columns, seed=spec.seed)
    if preprocessing is None:
        preprocessing = _preprocessing(spec, prepared, start)
    splits = {
        name: _split(prepared, name, spec, preprocessing, quiet=quiet) for name in ("train", "val")
    }
    return Setup(
        *(spec, prepared, embedder, objective, plan, preprocessing, splits),
        distributions_NC=said_NC,
        started_from=None if start is None else start.model_id,
    )


def columns_of(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """The `COLUMNS` that a table has, each as numbers from 0, in order of appearance."""
    return {
        name: pd.factorize(table[column])[0]
        for column, name in COLUMNS.items()
        if column in table.columns
    }


def _said(
    spec: RunSpec, prepared: Prepared, distributions: Distributions | None
) -> np.ndarray | None:
    """What annotators said of the training images; None where nothing is learned from it.

    Raises:
        UserError: if the run shall learn from it and the set has nothing of the kind.
    """
    term = spec.objective.classification
    if term is None or term.targets == "label":
        return None
    rows = prepared.manifest.rows("train")
    classes = prepared.labels.classes
    said_NC = None if distributions is None else distributions(rows, classes)
    rule = "'label' for a set that does not say how its annotators voted"
    require(said_NC is not None, "objective.classification.targets", rule, term.targets)
    assert said_NC is not None
    names = rows["path"].tolist()
    check_distributions(torch.from_numpy(said_NC), classes=len(classes), name_of=names.__getitem__)
    return said_NC.astype(np.float32)


def _preprocessing(spec: RunSpec, prepared: Prepared, start: Start | None) -> Preprocessing:
    bands, scale = spec.model.bands, scale_of(prepared.dtype)
    steps = spec.data.steps
    rule = "empty for images that are not of uint8 with three bands"
    # Of other types, no fixed scale makes colours as there.
    fits = not steps or (bands == 3 and prepared.dtype == "uint8")
    require(fits, "data.steps", rule, [step.name for step in steps])
    mean, std = _normalisation(spec, prepared, start, scale)
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
        grey=spec.data.grey,
        per_image_standardisation=spec.data.per_image_standardisation,
    )


def _normalisation(
    spec: RunSpec, prepared: Prepared, start: Start | None, scale: float
) -> tuple[list[float], list[float]]:
    """Mean and deviation of each band: those of the weights, or of the training images."""
    bands, own = spec.model.bands, spec.data.per_image_standardisation
    if start is not None:
        return start.normalisation(scale=scale, standardised=own)
    if own:
        return [0.0] * bands, [1.0] * bands
    if spec.model.weights == "imagenet" and bands == 3 and prepared.dtype == "uint8":
        return list(IMAGENET_MEAN), list(IMAGENET_STD)
    mean, std = band_statistics(
        prepared.manifest.root,
        prepared.manifest.rows("train")["path"].tolist(),
        scale=scale,
        bands=prepared.band_numbers,
        steps=spec.data.steps,
        grey=spec.data.grey,
        seed=spec.seed,
    )
    return (mean * 3, std * 3) if len(mean) == 1 and bands == 3 else (mean, std)


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
