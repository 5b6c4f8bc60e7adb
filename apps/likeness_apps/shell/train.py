"""`train`: a data set and a configuration in; a run with a model directory and a report out.

Shapes: N = images, C = classes (or labels), D = embedding dimension.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch import nn

from likeness.bundle import Gallery, save_bundle
from likeness.card import Card, render_card
from likeness.config import parse
from likeness.data.appearance import appearance
from likeness.data.cache import fill_cache, load_side
from likeness.data.dataset import ImageRows, clean_batches
from likeness.data.manifest import SPLITS
from likeness.data.statistics import band_statistics, scale_of
from likeness.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from likeness.errors import UserError, require
from likeness.files import atomic_path, write_text
from likeness.inference.scope import Seen, fit_scope
from likeness.models import CLASS, EMBEDDING, Embedder, build_embedder
from likeness.objective import Objective, build_objective
from likeness.pairs import Space
from likeness.provenance import collect_provenance, read_provenance, resolve_model
from likeness.sampling import BatchPlan, build_plan
from likeness.scope_record import ScopeRecord
from likeness.training.checkpoint import has_checkpoint
from likeness.training.loop import FitResult, fit
from likeness.training.run import TrainingData
from likeness.training.spec import RunSpec
from likeness_apps.shell import configs
from likeness_apps.shell.adapt import adapt, fit_warmup
from likeness_apps.shell.console import figure, progress, say, show_table
from likeness_apps.shell.data import Prepared, prepare
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.generated import TERMS, is_generated
from likeness_apps.shell.inspect import write_findings
from likeness_apps.shell.measure import Answers
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.protocols import stated_split
from likeness_apps.shell.results import predictions_table, report_of
from likeness_apps.shell.screening import screened
from likeness_apps.shell.tasks import OperatingPoint, Task, require_fit, task_of

GIB = 2**30


@dataclass(frozen=True, eq=False)
class Raw:
    """The network's answers to the rows of one split.

    Attributes:
        embeddings_ND: raw embeddings of the default head, float32.
        logits_NC: of the class layer; no columns without one.
        kept_N: positions in the split that could be decoded.
        looks_NF: `appearance` of the images, if it was asked for.
    """

    embeddings_ND: np.ndarray
    logits_NC: np.ndarray
    kept_N: np.ndarray
    looks_NF: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Split:
    """One split, ready to be read: images, their labels, and the table rows behind them."""

    images: ImageRows
    targets: np.ndarray
    table: pd.DataFrame


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

    @property
    def task(self) -> Task:
        """What the images are labelled with."""
        return self.prepared.task


def train(
    domain: Domain,
    data: Path,
    out: Path,
    *,
    config: str | None = None,
    changes: Sequence[str] = (),
    resume: bool = False,
    tensorboard: bool = False,
    include_images: bool = False,
    quiet: bool = False,
) -> Path:
    """Train, measure on validation, and write the run.

    Args:
        domain: the application.
        data: a data set in a known layout, or a table.
        out: the run directory.
        config: a shipped name or a YAML file; None takes the domain's for this kind of labels.
        changes: `a.b=c` items.
        resume: continue a stopped run.
        tensorboard: log there too.
        include_images: put small pictures into report.html.
        quiet: no progress, no table.

    Returns:
        The run directory.

    Raises:
        UserError: for a mistake in configuration or data, or a run directory that exists.
    """
    _require_place(out, resume=resume)
    manifest = domain.recognise(screened(domain, data, quiet=quiet))
    fitting = domain.multilabel_config if manifest.multilabel else domain.default_config
    if config is None and manifest.multilabel and fitting:
        say(f"Several labels per image: --config {fitting}", quiet=quiet)
    raw = configs.load(domain.folder, config or fitting or domain.default_config, changes)
    raw = fit_warmup(raw, config=config, changes=changes, quiet=quiet)
    spec = parse(RunSpec, raw)
    require_fit(spec, task_of(manifest.classes, multilabel=manifest.multilabel), fitting)
    prepared = prepare(domain, manifest, spec.data, seed=spec.seed, quiet=quiet)
    spec = adapt(spec, prepared, raw=raw, config=config, changes=changes, quiet=quiet)
    _show_start(prepared, spec, quiet=quiet)
    setup = _set_up(spec, prepared, quiet=quiet)
    if not has_checkpoint(out / "checkpoints"):  # `fit` may still refuse to resume with these
        _write_inputs(out, setup)
    result = _fit(out, setup, resume=resume, tensorboard=tensorboard, quiet=quiet)
    if not (result.already_finished and _is_whole(out)):
        metrics, table, embeddings_ND = _finish(domain, out, setup, result)
        report_of(
            out / "report.html",
            domain,
            title=f"Training run {out.name} (validation split)",
            folder=prepared.manifest.root,
            metrics=metrics,
            predictions=table,
            embeddings_ND=embeddings_ND,
            space=spec.model.space,
            run=out,
            include_images=include_images,
        )
        _show(result, metrics, quiet=quiet)
    say(f"{out / 'model'}: the model;  {out / 'report.html'}: the report", quiet=quiet)
    if (prepared.splits["split"] == "test").any():
        _show_next(domain, "evaluate", out, data, "--out", f"{out}-test", quiet=quiet)
    return out


def _require_place(out: Path, *, resume: bool) -> None:
    """A new directory or, with `resume`, a run: nothing else is written into."""
    if not (resume and (out / "config.yaml").is_file()):
        require_new(out, "a new directory, or a run together with --resume")


def _is_whole(out: Path) -> bool:
    """Whether a finished run has its model and its report, and needs neither again."""
    try:
        read_provenance(resolve_model(out))
    except UserError:
        return False
    return (out / "report.html").is_file()


def _set_up(spec: RunSpec, prepared: Prepared, *, quiet: bool) -> Setup:
    """Build all that the configuration names, before anything is written or decoded."""
    torch.manual_seed(spec.seed)
    task, targets = prepared.task, prepared.targets("train")
    count = len(task.classes)
    outputs = 0 if spec.objective.classification is None else count
    embedder = build_embedder(spec.model, num_classes=outputs)
    objective = build_objective(
        spec.objective,
        num_classes=count,
        dims={EMBEDDING: embedder.embedding_dim},
        class_counts=task.counts(targets),
        images=len(targets),
        multilabel=task.multilabel,
    )
    plan = build_plan(spec.sampler, targets, seed=spec.seed)
    preprocessing = _preprocessing(spec, prepared)
    splits = {
        name: _split(prepared, name, spec, preprocessing, quiet=quiet) for name in ("train", "val")
    }
    return Setup(spec, prepared, embedder, objective, plan, preprocessing, splits)


def _write_inputs(out: Path, setup: Setup) -> None:
    """What the run was made from: configuration, findings, splits."""
    config = setup.spec.model_dump(mode="json")
    write_text(out / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    write_findings(out / "findings.csv", setup.prepared.checked.findings)
    with atomic_path(out / "splits.csv") as temporary:
        setup.prepared.splits.to_csv(temporary, index=False, lineterminator="\n")


def answer(embedder: nn.Module, split: Split, *, batch_size: int = 128, looks: bool = False) -> Raw:
    """Run the network over a split as it is, in evaluation mode; unreadable images are left out.

    With `looks` the appearance of the images is noted in the same pass.
    """
    mode = embedder.training
    embedder.eval()
    embeddings: list[np.ndarray] = []
    logits: list[np.ndarray] = []
    kept: list[int] = []
    seen: list[np.ndarray] = []
    device = next(embedder.parameters()).device
    with torch.inference_mode():
        for batch in clean_batches(split.images, batch_size=batch_size):
            if not batch.rows:
                continue
            outputs = embedder(batch.images_NCSS.to(device))
            found_ND = outputs.embeddings[EMBEDDING].float().cpu().numpy()
            embeddings.append(found_ND)
            has_layer = CLASS in outputs.logits
            found_NC = outputs.logits[CLASS].float().cpu().numpy() if has_layer else found_ND[:, :0]
            logits.append(found_NC)
            kept.extend(batch.rows)
            if looks:
                seen.append(appearance(batch.images_NCSS, split.images.preprocessing).numpy())
    embedder.train(mode)
    looks_NF = np.concatenate(seen) if looks else None
    return Raw(np.concatenate(embeddings), np.concatenate(logits), np.array(kept), looks_NF)


def _validate(split: Split, task: Task, space: Space, embedder: nn.Module) -> dict[str, float]:
    raw = answer(embedder, split)
    lost_N = ~(np.isfinite(raw.embeddings_ND).all(1) & np.isfinite(raw.logits_NC).all(1))
    if lost_N.any():
        first = split.table["path"].iloc[int(raw.kept_N[lost_N.argmax()])]
        raise UserError(
            f"answers to validation images must be finite, got {lost_N.sum()} of {len(lost_N)} "
            f"that are not, the first {first}; lower optimiser.lr or set clip_norm, in a new run"
        )
    point = task.plain() if raw.logits_NC.shape[1] else None
    return task.figures.validation_scores(_answers(raw, split, task, space, point))


def _answers(
    raw: Raw, split: Split, task: Task, space: Space, point: OperatingPoint | None
) -> Answers:
    said = None if point is None else point.read(raw.embeddings_ND, raw.logits_NC)
    return Answers(
        truth_N=split.targets[raw.kept_N],
        classes=task.classes,
        groups_N=split.table["group"].to_numpy()[raw.kept_N],
        readouts={} if point is None or said is None else {point.readout: said.labels_N},
        probabilities_NC=None if said is None else said.scores_NC,
        embeddings_ND=raw.embeddings_ND,
        space=space,
    )


def _fit(out: Path, setup: Setup, *, resume: bool, tensorboard: bool, quiet: bool) -> FitResult:
    training, validation = setup.splits["train"], setup.splits["val"]
    groups = pd.factorize(training.table["group"])[0]
    return fit(
        out,
        setup.spec,
        setup.embedder,
        setup.objective,
        TrainingData(
            images=training.images,
            labels=torch.from_numpy(training.targets),
            names=training.table["path"].tolist(),
            columns={"group": torch.from_numpy(groups)},
            hash=setup.prepared.data_hash,
        ),
        setup.plan,
        partial(_validate, validation, setup.task, setup.spec.model.space),
        resume=resume,
        quiet=quiet,
        tensorboard=tensorboard,
    )


def _finish(
    domain: Domain, out: Path, setup: Setup, result: FitResult
) -> tuple[dict[str, Any], pd.DataFrame, np.ndarray]:
    """Read-outs from training images, operating point and figures from validation, the bundle.

    Returns:
        The metrics, the predictions and the embeddings of the validation split.
    """
    spec, embedder, manifest = setup.spec, setup.embedder, setup.prepared.manifest
    task, space, validation = setup.task, spec.model.space, setup.splits["val"]
    known, held = (
        answer(embedder, setup.splits[name], looks=spec.data.scope_check)
        for name in ("train", "val")
    )
    targets = setup.splits["train"].targets[known.kept_N]
    if embedder.num_classes:
        point = task.fitted(held.logits_NC, validation.targets[held.kept_N])
    else:
        point = task.without_layer(known.embeddings_ND, targets, space)
    answers = _answers(held, validation, task, space, point)
    measured = task.figures.measure(answers)
    metrics = {
        **measured.metrics,
        **stated_split(domain, spec.data.protocol, spec.data.fold),
        "split": "val",
        **point.metrics,
        "best_epoch": result.best_epoch,
    }
    rows = validation.table.iloc[held.kept_N].reset_index(drop=True)
    if domain.measures is not None:
        field = domain.measures()
        metrics[field.name] = field.recorded(answers, rows)
    scope, told = _scope(known, held, space)
    metrics |= told
    centres_CD = task.centres(known.embeddings_ND, targets, space)
    licence = TERMS if is_generated(manifest.root) else domain.licences.get(manifest.layout)
    provenance = collect_provenance(
        seed=spec.seed, data_hash=setup.prepared.data_hash, data_licence=licence
    )
    model_id = save_bundle(
        out / "model",
        embedder,
        config=spec.model_dump(mode="json"),
        classes=task.classes,
        preprocessing=setup.preprocessing,
        splits=setup.prepared.splits,
        metrics=metrics,
        provenance=provenance | {"layout": manifest.layout},
        card=render_card(_card(domain, setup, licence, point.text), metrics),
        centres_CD=None if centres_CD is None else torch.from_numpy(centres_CD),
        gallery=_gallery(setup, known, targets),
        multilabel=task.multilabel,
        scope=scope,
    )
    return metrics, predictions_table(rows, answers, measured, model_id), held.embeddings_ND


def _scope(known: Raw, held: Raw, space: Space) -> tuple[ScopeRecord | None, dict[str, Any]]:
    """What training images look like and what to say of it, if that was noted."""
    if known.looks_NF is None or held.looks_NF is None:
        return None, {}
    training = Seen(known.looks_NF, known.embeddings_ND)
    validation = Seen(held.looks_NF, held.embeddings_ND)
    record, told = fit_scope(training, validation, space=space)
    return record, {"scope": told}


def _gallery(setup: Setup, known: Raw, targets: np.ndarray) -> Gallery:
    """The answers to the training images, and which rows of the saved splits they belong to."""
    rows = np.flatnonzero(setup.prepared.splits["split"] == "train")[known.kept_N]
    parts = (torch.from_numpy(part) for part in (known.embeddings_ND, targets, rows))
    return Gallery(*parts)


def _card(domain: Domain, setup: Setup, licence: str | None, operating_point: str) -> Card:
    table, layout = setup.prepared.manifest.table, setup.prepared.manifest.layout
    counts = table["split"].value_counts()
    numbers = ", ".join(f"{counts.get(name, 0)} for {name}" for name in SPLITS)
    return Card(
        title=f"{domain.name}: {len(setup.task.classes)} classes, {setup.spec.model.backbone}",
        intended_use=domain.card.intended_use,
        out_of_scope=domain.card.out_of_scope,
        data=(
            f"Layout `{layout}`, {len(table)} images: {numbers}. "
            f"Classes: {', '.join(setup.task.classes)}."
        ),
        data_licence=licence,
        data_terms=licence or "",
        consent=domain.card.consent,
        limits=domain.card.limits,
        operating_point=operating_point,
    )


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
            side=load_side(preprocessing, augmentation),
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


def _show_start(prepared: Prepared, spec: RunSpec, *, quiet: bool) -> None:
    counts = prepared.manifest.table["split"].value_counts()
    numbers = ", ".join(f"{counts.get(name, 0)} for {name}" for name in SPLITS)
    layout, classes = prepared.manifest.layout, len(prepared.manifest.classes)
    model = f"{spec.model.backbone}, {spec.model.image_size} px, epochs: {spec.epochs}"
    say(f"{layout}: {classes} classes; images: {numbers}; {model}", quiet=quiet)


def _show_next(domain: Domain, *words: str | Path, quiet: bool) -> None:
    say(f"Next: likeness {domain.name} {shlex.join(map(str, words))}", quiet=quiet)


def _show(result: FitResult, metrics: dict[str, Any], *, quiet: bool) -> None:
    rows = [
        (name, figure(value))
        for family in ("classification", "retrieval")
        for name, value in metrics.get(family, {}).items()
    ]
    title = f"Validation, best epoch {result.best_epoch} of {result.epochs}"
    show_table(title, ("measure", "value [95 % interval]"), rows, quiet=quiet)
