"""From a trained network to a model: read-outs, operating point, figures, card and bundle.

Shapes: N = images, C = classes (or labels), D = embedding dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from likeness.bundle import Gallery, save_bundle
from likeness.card import Card, render_card
from likeness.data.appearance import appearance
from likeness.data.dataset import clean_batches
from likeness.data.manifest import SPLITS
from likeness.errors import UserError
from likeness.inference.readers import Reader, calibrated, mean_readers
from likeness.inference.readouts import ReadoutName
from likeness.inference.scope import Seen, fit_scope
from likeness.models import CLASS, EMBEDDING
from likeness.pairs import Space
from likeness.provenance import collect_provenance
from likeness.scope_record import ScopeRecord
from likeness.subclasses import SubclassRecord
from likeness.training.loop import FitResult
from likeness_apps.shell.domain import APPLICATION, Domain
from likeness_apps.shell.generated import TERMS, is_generated
from likeness_apps.shell.measure import Answers
from likeness_apps.shell.protocols import stated_split
from likeness_apps.shell.results import predictions_table
from likeness_apps.shell.setup import Setup, Split
from likeness_apps.shell.subclasses import conclude_subclasses
from likeness_apps.shell.tasks import OperatingPoint, Task, task_of
from likeness_apps.shell.teacher import card_with, terms_with


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
class ReadOuts:
    """How a model comes from its answers to classes.

    Attributes:
        centres_CD: of the training images of each class; None where the read-outs need none.
        subclasses: of the run's method, or None.
        point: where the headline read-out decides.
        facts: what the metrics say of all this.
    """

    centres_CD: np.ndarray | None
    subclasses: SubclassRecord | None
    point: OperatingPoint
    facts: dict[str, Any]


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
            outputs = embedder(batch.images_NCHW.to(device))
            found_ND = outputs.embeddings[EMBEDDING].float().cpu().numpy()
            embeddings.append(found_ND)
            has_layer = CLASS in outputs.logits
            found_NC = outputs.logits[CLASS].float().cpu().numpy() if has_layer else found_ND[:, :0]
            logits.append(found_NC)
            kept.extend(batch.rows)
            if looks:
                seen.append(appearance(batch.images_NCHW, split.images.preprocessing).numpy())
    embedder.train(mode)
    looks_NF = np.concatenate(seen) if looks else None
    return Raw(np.concatenate(embeddings), np.concatenate(logits), np.array(kept), looks_NF)


def require_finite(raw: Raw, split: Split) -> None:
    """Refuse answers that are not finite: they choose no epoch.

    Raises:
        UserError: naming the first image and what to do.
    """
    lost_N = ~(np.isfinite(raw.embeddings_ND).all(1) & np.isfinite(raw.logits_NC).all(1))
    if lost_N.any():
        first = split.table["path"].iloc[int(raw.kept_N[lost_N.argmax()])]
        raise UserError(
            f"answers to validation images must be finite, got {lost_N.sum()} of {len(lost_N)} "
            f"that are not, the first {first}; lower optimiser.lr or set clip_norm, in a new run"
        )


def answers_of(
    raw: Raw, split: Split, task: Task, space: Space, point: OperatingPoint | None
) -> Answers:
    """What is measured of a split; without an operating point nothing was said, only embedded."""
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


def task_of_run(setup: Setup) -> Task:
    """What the images of a run are labelled with."""
    manifest = setup.prepared.manifest
    return task_of(manifest.classes, multilabel=manifest.multilabel)


def finish(
    domain: Domain, out: Path, setup: Setup, result: FitResult
) -> tuple[dict[str, Any], pd.DataFrame, np.ndarray]:
    """Read-outs from training images, operating point and figures from validation, the bundle.

    Returns:
        The metrics, the predictions and the embeddings of the validation split.
    """
    spec, embedder = setup.spec, setup.embedder
    task, space, validation = task_of_run(setup), spec.model.space, setup.splits["val"]
    known, held = (
        answer(embedder, setup.splits[name], looks=spec.data.scope_check)
        for name in ("train", "val")
    )
    reads = _read_outs(out, setup, result, known, held)
    answers = answers_of(held, validation, task, space, reads.point)
    measured = task.figures.measure(answers)
    metrics = {
        **measured.metrics,
        **stated_split(domain, spec.data.protocol, spec.data.fold),
        "split": "val",
        **reads.facts,
        "best_epoch": result.best_epoch,
    }
    rows = validation.table.iloc[held.kept_N].reset_index(drop=True)
    if domain.measures is not None:
        field = domain.measures()
        metrics[field.name] = field.recorded(answers, rows)
    scope, told = _scope(known, held, space)
    metrics |= told
    licence = _licence(domain, setup)
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
        provenance=provenance | setup.origin | {APPLICATION: domain.name},
        card=render_card(_card(domain, setup, licence, reads.point.text), metrics),
        centres_CD=None if reads.centres_CD is None else torch.from_numpy(reads.centres_CD),
        gallery=_gallery(setup, known),
        multilabel=task.multilabel,
        scope=scope,
        subclasses=reads.subclasses,
    )
    return metrics, predictions_table(rows, answers, measured, model_id), held.embeddings_ND


def _read_outs(out: Path, setup: Setup, result: FitResult, known: Raw, held: Raw) -> ReadOuts:
    """What the answers to training and validation images fix; sub-classes are written to `out`."""
    task, space = task_of_run(setup), setup.spec.model.space
    targets = _targets(setup, known)
    centres_CD = task.centres(known.embeddings_ND, targets, space)
    subclasses, variants = conclude_subclasses(
        out, setup, result, known.embeddings_ND, known.kept_N
    )
    readers = _mean_readers(setup, centres_CD, subclasses, held)
    if setup.embedder.num_classes:
        point = task.fitted(held.logits_NC, setup.splits["val"].targets[held.kept_N])
    else:
        point = task.without_layer(known.embeddings_ND, targets, space, readers)
    return ReadOuts(centres_CD, subclasses, point, _operating(point, readers) | variants)


def _targets(setup: Setup, known: Raw) -> np.ndarray:
    """The labels of the training images that were answered."""
    targets: np.ndarray = setup.splits["train"].targets[known.kept_N]
    return targets


def _mean_readers(
    setup: Setup, centres_CD: np.ndarray | None, subclasses: SubclassRecord | None, held: Raw
) -> dict[ReadoutName, Reader]:
    """The read-outs by means of training images, each with the temperature of the validation."""
    if centres_CD is None:
        return {}
    config, space = setup.spec.model_dump(mode="json"), setup.spec.model.space
    asked = held.embeddings_ND, held.logits_NC, setup.splits["val"].targets[held.kept_N]
    readers = mean_readers(config, space, centres_CD, subclasses)
    return {name: calibrated(reader, *asked) for name, reader in readers.items()}


def _operating(point: OperatingPoint, readers: Mapping[ReadoutName, Reader]) -> dict[str, Any]:
    """What the model records of its read-outs."""
    if not readers:
        return point.metrics
    temperature = {name: reader.temperature for name, reader in readers.items()}
    return {**point.metrics, "temperature": temperature | point.metrics.get("temperature", {})}


def _scope(known: Raw, held: Raw, space: Space) -> tuple[ScopeRecord | None, dict[str, Any]]:
    """What training images look like and what to say of it, if that was noted."""
    if known.looks_NF is None or held.looks_NF is None:
        return None, {}
    training = Seen(known.looks_NF, known.embeddings_ND)
    validation = Seen(held.looks_NF, held.embeddings_ND)
    record, told = fit_scope(training, validation, space=space)
    return record, {"scope": told}


def _gallery(setup: Setup, known: Raw) -> Gallery:
    """The answers to the training images, and which rows of the saved splits they belong to."""
    rows = np.flatnonzero(setup.prepared.splits["split"] == "train")[known.kept_N]
    parts = (torch.from_numpy(part) for part in (known.embeddings_ND, _targets(setup, known), rows))
    return Gallery(*parts)


def _licence(domain: Domain, setup: Setup) -> str | None:
    """The terms of the data, and of the teacher's where there is one; None where nobody knows."""
    manifest = setup.prepared.manifest
    licence = TERMS if is_generated(manifest.root) else domain.licences.get(manifest.layout)
    return terms_with(setup.teacher, licence)


def _card(domain: Domain, setup: Setup, licence: str | None, operating_point: str) -> Card:
    table, layout = setup.prepared.manifest.table, setup.prepared.manifest.layout
    classes = setup.prepared.labels.classes
    counts = table["split"].value_counts()
    numbers = ", ".join(f"{counts.get(name, 0)} for {name}" for name in SPLITS)
    card = Card(
        title=f"{domain.name}: {len(classes)} classes, {setup.spec.model.backbone}",
        intended_use=domain.card.intended_use,
        out_of_scope=domain.card.out_of_scope,
        data=(f"Layout `{layout}`, {len(table)} images: {numbers}. Classes: {', '.join(classes)}."),
        data_licence=licence,
        data_terms=licence or "",
        consent=domain.card.consent,
        limits=domain.card.limits,
        operating_point=operating_point,
    )
    return card_with(setup.teacher, card)
