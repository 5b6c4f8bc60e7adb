"""`evaluate`: a model and a data set in; metrics.json, predictions.csv and report.html out.

Rows are matched to the model's saved splits by the content of the files (`matching`). Every file is
read once: its bytes are hashed, and decoded where they are wanted.

Shapes: N = items, C = classes, D = embedding dimension.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.bundle import Bundle, load_bundle
from likeness.data.manifest import SPLITS, Manifest
from likeness.errors import UserError, require
from likeness.inference.blocks import Block
from likeness.inference.hashed import answer_hashed
from likeness.inference.predictor import Predictor
from likeness.inference.readers import available_readouts, reader_of
from likeness.provenance import collect_provenance
from likeness_apps.shell.console import figure, progress, say, show_table
from likeness_apps.shell.domain import Domain, FieldMeasures
from likeness_apps.shell.matching import EXTERNAL, select_rows, wanted_rows
from likeness_apps.shell.measure import Answers, Measured
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.protocols import named, stated_split
from likeness_apps.shell.results import predictions_table, report_of, write_results
from likeness_apps.shell.tasks import Task, task_of


def evaluate(
    domain: Domain,
    model: Path,
    data: Path,
    out: Path,
    *,
    split: str = "test",
    protocol: str | None = None,
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
    bundle = load_bundle(model)
    stated = _protocol(domain, bundle, protocol)
    manifest = domain.recognise(data)
    _require_same_form(manifest, bundle)
    predictor = Predictor(bundle, batch_size=batch_size, device=device)
    rows, blocks, measured_split = _ask(predictor, bundle, manifest, split, quiet=quiet)
    if measured_split == EXTERNAL:  # whatever protocol the model's own split follows
        require(protocol is None, "data", f"the data set of protocol {protocol}", "another one")
        stated = {"protocol": EXTERNAL}
    task = task_of(bundle.classes, multilabel=bundle.multilabel)
    answers, measured, table = _measure(domain, bundle, task, rows, blocks)
    counted = len(answers.truth_N)
    metrics = {
        **measured.metrics,
        **_facts(domain, bundle),
        **stated,
        "split": measured_split,
        "items": {"measured": counted, "unreadable": len(rows) - counted},
    }
    write_results(out, metrics, table, answers.embeddings_ND)
    _report(out, domain, bundle, model, manifest.root, metrics, table, answers, include_images)
    _show(out, metrics, task.shown, quiet=quiet)
    return metrics


def _facts(domain: Domain, bundle: Bundle) -> dict[str, Any]:
    """What of the model belongs beside every figure of it."""
    return {
        "app": domain.name,
        "model_id": bundle.model_id,
        "classes": bundle.classes,
        "space": bundle.space,
        "data_licence": bundle.data_licence,
        "provenance": collect_provenance(
            seed=int(bundle.provenance.get("seed", 0)),
            data_hash=str(bundle.provenance.get("data_hash", "")),
        ),
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
    )


def _ask(
    predictor: Predictor, bundle: Bundle, manifest: Manifest, split: str, *, quiet: bool
) -> tuple[pd.DataFrame, list[Block], str]:
    """The rows to measure, the model's answers to them in blocks, and the name of their split."""
    wanted = wanted_rows(manifest, bundle, split)
    paths = manifest.table["path"].tolist()
    with progress("measuring", quiet=quiet) as advance:
        asked = answer_hashed(predictor, paths, manifest.root, wanted=wanted, on_progress=advance)
    rows, measured_split = select_rows(manifest, bundle, split, asked.sha256, quiet=quiet)
    _require_known_labels(manifest.with_table(rows), bundle)
    # More was asked than is measured: strangers that turned out not to be a set of their own.
    kept_A = np.isin(asked.rows_A, rows.index)
    ends = np.cumsum([len(block.ok_B) for block in asked.blocks])
    marks = np.split(kept_A, ends[:-1]) if len(ends) else []
    blocks = [block.marked(kept) for block, kept in zip(asked.blocks, marks, strict=True)]
    return rows.reset_index(drop=True), blocks, measured_split


def _measure(
    domain: Domain, bundle: Bundle, task: Task, rows: pd.DataFrame, blocks: list[Block]
) -> tuple[Answers, Measured, pd.DataFrame]:
    """The table has all rows, the answers those that the model could read."""
    ok_N = np.concatenate([block.ok_B for block in blocks])
    require(ok_N.any(), "data", "at least one readable image", _first_reason(blocks))
    good = rows[ok_N].reset_index(drop=True)
    answers = _answers(bundle, task, blocks, good)
    measured = task.figures.measure(answers)
    if domain.measures is not None:
        measured = _with_field(domain.measures(), measured, answers, good, bundle)
    table = predictions_table(good, answers, measured, bundle.model_id)
    return answers, measured, _with_failures(rows, ok_N, table, blocks)


def _with_field(
    field: FieldMeasures, measured: Measured, answers: Answers, rows: pd.DataFrame, bundle: Bundle
) -> Measured:
    own = field.measured(answers, rows, bundle)
    columns = pd.concat([measured.per_item, own.per_item.set_axis(measured.per_item.index)], axis=1)
    return Measured({**measured.metrics, field.name: own.metrics}, columns)


def _protocol(domain: Domain, bundle: Bundle, wanted: str | None) -> dict[str, Any]:
    """The protocol (and fold) of the model's own split; a wanted one must be it."""
    if wanted is not None:
        named(domain, wanted)
    config = bundle.config.get("data") or {}
    facts = stated_split(domain, config.get("protocol"), config.get("fold"))
    own = facts["protocol"]
    if wanted is not None and wanted != own:
        raise UserError(
            f"protocol must be the one of the model's own split, {own!r}, got {wanted!r}; "
            f"train with --set data.protocol={wanted}"
        )
    return facts


def _require_same_form(manifest: Manifest, bundle: Bundle) -> None:
    require((manifest.table["label"] != "").any(), "data", "images with labels", "none")
    forms = {True: "several labels per image", False: "one class per image"}
    same = manifest.multilabel == bundle.multilabel
    rule = f"labelled with {forms[bundle.multilabel]}, as the model's were"
    require(same, "data", rule, forms[manifest.multilabel])


def _require_known_labels(manifest: Manifest, bundle: Bundle) -> None:
    unknown = sorted(set(manifest.classes) - set(bundle.classes))
    count = len(bundle.classes)
    require(not unknown, "labels", f"among the model's {count} classes", unknown[:5])


def _answers(bundle: Bundle, task: Task, blocks: list[Block], good: pd.DataFrame) -> Answers:
    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(block, name)[block.ok_B] for block in blocks])

    embeddings_ND, logits_NC = joined("embeddings_BD"), joined("logits_BL")
    readouts: dict[str, np.ndarray] = {}
    for name in available_readouts(bundle):
        reader = reader_of(bundle, name)
        assert reader is not None
        readouts[name] = reader(embeddings_ND, logits_NC).labels_N
    return Answers(
        truth_N=task.targets(good["label"].tolist()),
        classes=bundle.classes,
        groups_N=good["group"].to_numpy(),
        readouts=readouts,
        probabilities_NC=joined("probabilities_BC"),
        embeddings_ND=embeddings_ND,
        space=bundle.space,
    )


def _with_failures(
    rows: pd.DataFrame, ok_N: np.ndarray, table: pd.DataFrame, blocks: list[Block]
) -> pd.DataFrame:
    """All rows in their order; those without an answer say why."""
    if ok_N.all():
        return table
    reasons = [reason for block in blocks for reason in block.reasons]
    failed = pd.DataFrame(
        {
            "path": rows["path"].to_numpy(),
            "status": "error",
            "reason": reasons,
            "truth": rows["label"].to_numpy(),
            "label": "",
            "group": rows["group"].to_numpy(),
        }
    )[~ok_N]
    table.index = pd.Index(np.flatnonzero(ok_N))
    return pd.concat([table, failed]).sort_index().reset_index(drop=True)


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
