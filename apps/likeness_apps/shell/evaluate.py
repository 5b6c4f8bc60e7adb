"""`evaluate`: a model and a data set in; metrics.json, predictions.csv and report.html out.

Rows are matched to the model's saved splits by the content of the files (`matching`). Every file is
read once: its bytes are hashed, and decoded where they are wanted.

Shapes: N = items, C = classes, D = embedding dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.bundle import Bundle
from likeness.data.manifest import SPLITS, Manifest
from likeness.errors import require
from likeness.inference.blocks import Block
from likeness.inference.ensemble import Ensemble
from likeness.inference.hashed import answer_hashed
from likeness.inference.predictor import Predictor
from likeness.inference.readers import available_readouts, reader_of
from likeness_apps.shell.coarser import brought_to
from likeness_apps.shell.console import figure, progress, say, show_table
from likeness_apps.shell.coverage import with_absent
from likeness_apps.shell.domain import Coarser, Domain
from likeness_apps.shell.matching import select_rows, strangers_only, wanted_rows
from likeness_apps.shell.measure import Answers, Measured, with_field
from likeness_apps.shell.members import (
    own_bundle,
    predictor_of,
    require_unseen,
    stated_models,
    stated_scope,
    with_scope,
)
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.results import (
    predictions_table,
    provenance_of,
    report_of,
    thumbnail_of,
    with_failures,
    write_results,
)
from likeness_apps.shell.screening import screened
from likeness_apps.shell.tasks import task_of
from likeness_apps.shell.terms import Terms, terms_of
from likeness_apps.shell.training_items import training_items


def evaluate(
    domain: Domain,
    model: Path,
    data: Path,
    out: Path,
    *,
    split: str = "test",
    protocol: str | None = None,
    against: Sequence[Path] = (),
    also: Sequence[Path] = (),
    tta: str = "one",
    include_images: bool = False,
    batch_size: int = 64,
    device: str = "cpu",
    quiet: bool = False,
) -> dict[str, Any]:
    """Measure a model on one split of a data set.

    Args:
        domain: the application.
        model: a bundle or a run.
        data: the data set, where the pictures of the saved splits are found by content; a set of
            which no picture is known counts as a whole (split `external`).
        out: a new or empty directory.
        split: test, val, train, or all.
        protocol: a named protocol that the model's split must follow; None states the one it has.
            A protocol for models of other data, or with coarser classes, takes a set of which the
            model saw no picture.
        against: sets that the model was trained on, to be searched for pictures of `data`.
        also: further models; probabilities are the mean over all, the split is the first one's, and
            none may have been trained on a picture of it.
        tta: views of each image, see `Predictor`.
        include_images: put small pictures into report.html.
        batch_size: images per forward pass.
        device: where the network runs, see `Predictor`.
        quiet: no progress, no table.

    Returns:
        metrics.json.

    Raises:
        UserError: if there is nothing to measure, a label is unknown to the model, the protocol is
            another one, or `out` is occupied.
    """
    require(split in (*SPLITS, "all"), "split", f"one of {', '.join(SPLITS)}, all", split)
    require_new(out)
    bundle, *others = (own_bundle(domain, one) for one in (model, *also))
    own = bundle.splits[bundle.splits["split"] == split]
    require_unseen(others, split, own["sha256"], own["path"])
    terms = terms_of(domain, bundle, protocol)
    manifest = domain.recognise(screened(domain, data, quiet=quiet))
    _require_same_form(manifest, bundle)
    manifest, how = terms.applied(domain, bundle, manifest, split, against, quiet=quiet)
    predictor = predictor_of([bundle, *others], batch_size=batch_size, device=device, tta=tta)
    if others:  # no gallery fits embeddings of several models
        bundle = replace(bundle, gallery=None, centres_CD=None, scope=None, subclasses=None)
    asked = predictor, bundle, others, manifest
    rows, blocks, measured_split = _ask(*asked, split, terms, quiet=quiet)
    stated = terms.stated_of(measured_split)
    measures = domain, bundle, predictor, terms.coarser
    answers, measured, table = _measure(*measures, rows, blocks)
    table, covered = with_absent(
        domain, bundle, manifest, terms, measured_split, table, answers.classes
    )
    counted = len(answers.truth_N)
    metrics = {
        **measured.metrics,
        **_facts(domain, bundle),
        **stated,
        **how,
        **stated_models([bundle, *others], tta),
        **stated_scope(predictor, blocks),
        **covered,
        "model_id": predictor.model_id,
        "classes": answers.classes,
        "split": measured_split,
        "items": {"measured": counted, "unreadable": len(rows) - counted},
    }
    write_results(out, metrics, table, answers.embeddings_ND)
    _report(out, domain, bundle, model, manifest.root, metrics, table, answers, include_images)
    task = task_of(answers.classes, multilabel=bundle.multilabel)
    _show(out, metrics, task.shown, quiet=quiet)
    if domain.measures is not None:
        field = domain.measures()
        field.show(metrics[field.name], quiet=quiet)
    return metrics


def _facts(domain: Domain, bundle: Bundle) -> dict[str, Any]:
    """What of the model belongs beside every figure of it."""
    return {
        "app": domain.name,
        "model_id": bundle.model_id,
        "space": bundle.space,
        "data_licence": bundle.data_licence,
        "provenance": provenance_of(bundle),
    }


def _report(
    out: Path,
    domain: Domain,
    bundle: Bundle,
    model: Path,
    folder: Path,
    metrics: dict[str, Any],
    table: pd.DataFrame,
    answers: Answers,
    include_images: bool,
) -> None:
    report_of(
        out / "report.html",
        domain,
        title=f"{domain.name}: {metrics['split']} split",
        folder=folder,
        metrics=metrics,
        predictions=table,
        embeddings_ND=answers.embeddings_ND,
        space=bundle.space,
        run=model if (model / "logs").is_dir() else None,
        card=bundle.card,
        provenance=metrics["provenance"],
        include_images=include_images,
        training=training_items(bundle, metrics, folder, thumbnail_of(domain)),
    )


def _ask(
    predictor: Predictor | Ensemble,
    bundle: Bundle,
    others: Sequence[Bundle],
    manifest: Manifest,
    split: str,
    terms: Terms,
    *,
    quiet: bool,
) -> tuple[pd.DataFrame, list[Block], str]:
    """The rows to measure, the model's answers to them in blocks, and the name of their split."""
    classes = bundle.classes if terms.coarser is None else terms.coarser.classes
    wanted: Callable[[int, str], bool] = wanted_rows(manifest, bundle, split, classes)
    if terms.rule:
        wanted = strangers_only(manifest, bundle, terms.rule)
    paths = manifest.table["path"].tolist()
    with progress("measuring", quiet=quiet) as advance:
        asked = answer_hashed(predictor, paths, manifest.root, wanted=wanted, on_progress=advance)
    rows, measured_split = select_rows(manifest, bundle, split, asked.sha256, quiet=quiet)
    terms.require_known(manifest.with_table(rows), classes)
    rows = rows.assign(sha256=[asked.sha256[row] for row in rows.index])
    require_unseen(others, split, rows["sha256"], rows["path"])
    # More was asked than is measured: strangers that turned out not to be a set of their own.
    kept_A = np.isin(asked.rows_A, rows.index)
    ends = np.cumsum([len(block.ok_B) for block in asked.blocks])
    marks = np.split(kept_A, ends[:-1]) if len(ends) else []
    blocks = [block.marked(kept) for block, kept in zip(asked.blocks, marks, strict=True)]
    return rows.reset_index(drop=True), blocks, measured_split


def _measure(
    domain: Domain,
    bundle: Bundle,
    predictor: Predictor | Ensemble,
    coarser: Coarser | None,
    rows: pd.DataFrame,
    blocks: list[Block],
) -> tuple[Answers, Measured, pd.DataFrame]:
    """The table has all rows, the answers those that the model could read."""
    ok_N = np.concatenate([block.ok_B for block in blocks])
    require(ok_N.any(), "data", "at least one readable image", _first_reason(blocks))
    good = rows[ok_N].reset_index(drop=True)
    answers = _answers(bundle, predictor, coarser, blocks, good)
    task = task_of(answers.classes, multilabel=bundle.multilabel)
    measured = task.figures.measure(answers)
    if domain.measures is not None:
        field = domain.measures()
        measured = with_field(measured, field.name, field.measured(answers, good, bundle))
    table = predictions_table(good, answers, measured, predictor.model_id)
    whole = with_failures(rows, ok_N, table, blocks)
    return answers, measured, with_scope(predictor, whole, blocks)


def _require_same_form(manifest: Manifest, bundle: Bundle) -> None:
    require((manifest.table["label"] != "").any(), "data", "images with labels", "none")
    forms = {True: "several labels per image", False: "one class per image"}
    same = manifest.multilabel == bundle.multilabel
    rule = f"labelled with {forms[bundle.multilabel]}, as the model's were"
    require(same, "data", rule, forms[manifest.multilabel])


def _answers(
    bundle: Bundle,
    predictor: Predictor | Ensemble,
    coarser: Coarser | None,
    blocks: list[Block],
    good: pd.DataFrame,
) -> Answers:
    """What the model said of the good rows, in its own classes or in coarser ones."""

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(block, name)[block.ok_B] for block in blocks])

    embeddings_ND, logits_NC = joined("embeddings_BD"), joined("logits_BL")
    assert predictor.reader is not None
    headline = predictor.reader.name
    labels = [label for block in blocks for label in compress(block.labels, block.ok_B)]
    own = task_of(bundle.classes, multilabel=bundle.multilabel)
    readouts: dict[str, np.ndarray] = {headline: own.targets(labels)}
    for name in (name for name in available_readouts(bundle) if name != headline):
        reader = reader_of(bundle, name)
        assert reader is not None
        readouts[name] = reader(embeddings_ND, logits_NC).labels_N
    classes, probabilities_NC = bundle.classes, joined("probabilities_BC")
    if coarser is not None and tuple(classes) != coarser.classes:
        readouts, probabilities_NC = brought_to(coarser, classes, readouts, probabilities_NC)
        classes = list(coarser.classes)
    task = task_of(classes, multilabel=bundle.multilabel)
    return Answers(
        truth_N=task.targets(good["label"].tolist()),
        classes=classes,
        groups_N=good["group"].to_numpy(),
        readouts=readouts,
        probabilities_NC=probabilities_NC,
        embeddings_ND=embeddings_ND,
        space=bundle.space,
    )


def _first_reason(blocks: list[Block]) -> str:
    return next((reason for block in blocks for reason in block.reasons if reason), "no image")


def _show(out: Path, metrics: dict[str, Any], shown: tuple[str, ...], *, quiet: bool) -> None:
    rows = [
        (readout, name, figure(value), value["count"])
        for readout, values in metrics["readouts"].items()
        for name, value in values.items()
        if name in shown
    ]
    rows += [
        ("retrieval", name, figure(value), value["count"])
        for name, value in metrics.get("retrieval", {}).items()
    ]
    fold = f", fold {metrics['fold']}" if "fold" in metrics else ""
    title = f"Protocol {metrics['protocol']}{fold}, {metrics['split']} split"
    columns = ("read-out", "measure", "value [95 % interval]", "items")
    show_table(title, columns, rows, numeric=("items",), quiet=quiet)
    say(f"{out}: metrics.json, predictions.csv, embeddings.npy, report.html", quiet=quiet)
