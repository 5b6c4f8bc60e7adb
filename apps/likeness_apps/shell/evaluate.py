"""`evaluate`: a model and a data set in; metrics.json, predictions.csv and report.html out.

Rows are matched to the model's saved splits by the content of the files, so that a picture that was
trained on is never mistaken for a test picture, whatever its name or folder.

Shapes: N = items, C = classes, D = embedding dimension.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.bundle import Bundle, load_bundle
from likeness.data.manifest import SPLITS, Manifest
from likeness.errors import UserError, require
from likeness.inference.blocks import Block, answer_paths
from likeness.inference.predictor import Predictor
from likeness.inference.readers import available_readouts, reader_of
from likeness.provenance import collect_provenance
from likeness_apps.shell.console import figure, progress, say, show_table
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.measure import Answers, Measured, measure
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.results import predictions_table, report_of, write_results

EXTERNAL = "external"  # no picture of this set was in the model's splits


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
    rows, measured_split = _select(manifest, bundle, split, quiet=quiet)
    if measured_split == EXTERNAL:  # whatever protocol the model's own split follows
        require(protocol is None, "data", f"the data set of protocol {protocol}", "another one")
        stated = EXTERNAL
    _require_known_labels(rows, bundle.classes)
    answers, measured, table = _measure(bundle, manifest.root, rows, batch_size, quiet=quiet)
    counted = len(answers.truth_N)
    metrics = {
        **measured.metrics,
        **_facts(domain, bundle),
        "protocol": stated,
        "split": measured_split,
        "items": {"measured": counted, "unreadable": len(rows) - counted},
    }
    write_results(out, metrics, table, answers.embeddings_ND)
    _report(out, domain, bundle, model, manifest.root, metrics, table, answers, include_images)
    _show(out, metrics, quiet=quiet)
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


def _measure(
    bundle: Bundle, root: Path, rows: pd.DataFrame, batch_size: int, *, quiet: bool
) -> tuple[Answers, Measured, pd.DataFrame]:
    """Ask the model about the rows; the table has all of them, the answers those it could read."""
    predictor = Predictor(bundle, batch_size=batch_size)
    with progress("measuring", quiet=quiet) as advance:
        blocks = list(_watched(predictor, rows["path"].tolist(), root, advance))
    ok_N = np.concatenate([block.ok_B for block in blocks])
    require(ok_N.any(), "data", "at least one readable image", _first_reason(blocks))
    good = rows[ok_N].reset_index(drop=True)
    answers = _answers(bundle, blocks, good)
    measured = measure(answers)
    table = predictions_table(good, answers, measured, bundle.model_id)
    return answers, measured, _with_failures(rows, ok_N, table, blocks)


def content_hashes(manifest: Manifest, *, quiet: bool) -> list[str]:
    """SHA-256 of every file of the manifest; "" where it cannot be read."""
    hashes = []
    paths = manifest.table["path"].tolist()
    with progress("matching", quiet=quiet) as advance:
        for done, name in enumerate(paths, start=1):
            try:
                with manifest.file(name).open("rb") as handle:
                    hashes.append(hashlib.file_digest(handle, "sha256").hexdigest())
            except OSError:
                hashes.append("")
            advance(done, len(paths))
    return hashes


def split_of(manifest: Manifest, bundle: Bundle, *, quiet: bool) -> pd.Series:
    """The saved split of every row by content, "" for a picture that the model never knew."""
    hashes = content_hashes(manifest, quiet=quiet)
    saved = bundle.splits
    names = match_rows(hashes, manifest.table["path"], saved["sha256"], saved["path"])
    splits = saved["split"].tolist()
    return pd.Series([splits[row] if row >= 0 else "" for row in names], dtype=str)


def match_rows(
    hashes: Iterable[str], paths: Iterable[str], saved_hashes: pd.Series, saved_paths: pd.Series
) -> list[int]:
    """For each file the saved row with the same content, or -1; no row is given twice.

    Where several rows have one content, equal paths go together first and the rest in saved order,
    so that copies of one picture neither multiply nor change their split.

    Args:
        hashes: of the files; "" never matches.
        paths: of the files.
        saved_hashes: of the saved rows.
        saved_paths: of the saved rows.
    """
    saved_keys = zip(saved_hashes, saved_paths, strict=True)
    exact = {key: row for row, key in enumerate(saved_keys) if key[0]}
    keys = list(zip(hashes, paths, strict=True))
    found = [exact.get(key, -1) for key in keys]
    taken = set(found)
    free: defaultdict[str, deque[int]] = defaultdict(deque)
    for row, content in enumerate(saved_hashes):
        if content and row not in taken:
            free[content].append(row)
    for place, (content, _) in enumerate(keys):
        if found[place] < 0 and free.get(content):
            found[place] = free[content].popleft()
    return found


def _select(
    manifest: Manifest, bundle: Bundle, split: str, *, quiet: bool
) -> tuple[pd.DataFrame, str]:
    found = split_of(manifest, bundle, quiet=quiet)
    labelled = manifest.table["label"] != ""
    require(labelled.any(), "data", "images with labels", "none")
    if split == "all":
        return manifest.table[labelled].reset_index(drop=True), "all"
    if (found == split).any():
        chosen = labelled & (found == split).to_numpy()
        missing = int((bundle.splits["split"] == split).sum()) - int((found == split).sum())
        if missing:
            say(f"{missing} images of the model's {split} split are not in the data", quiet=quiet)
        return manifest.table[chosen].reset_index(drop=True), split
    if split == "test" and not (found != "").any():
        # A set that the model never saw is one test set, labels and all.
        return manifest.table[labelled].reset_index(drop=True), EXTERNAL
    seen = ", ".join(f"{count} of {name}" for name, count in found.value_counts().items() if name)
    raise UserError(
        f"data must hold pictures of the model's {split} split, got {seen or 'none of any split'}"
    )


def _protocol(domain: Domain, bundle: Bundle, wanted: str | None) -> str:
    """The protocol of the model's own split; a wanted one must be it."""
    known = ", ".join(domain.protocols) or "none"
    require(wanted is None or wanted in domain.protocols, "protocol", f"one of {known}", wanted)
    own = str((bundle.config.get("data") or {}).get("protocol") or "holdout")
    if wanted is not None and wanted != own:
        raise UserError(
            f"protocol must be the one of the model's own split, {own!r}, got {wanted!r}; "
            f"train with --set data.protocol={wanted}"
        )
    return own


def _require_known_labels(rows: pd.DataFrame, classes: list[str]) -> None:
    unknown = sorted(set(rows["label"]) - set(classes))
    require(not unknown, "labels", f"among the model's {len(classes)} classes", unknown[:5])


def _watched(predictor: Predictor, paths: list[str], root: Path, advance: Any) -> Iterator[Block]:
    done = 0
    for block in answer_paths(predictor, paths, root):
        done += len(block.ok_B)
        advance(done, len(paths))
        yield block


def _answers(bundle: Bundle, blocks: list[Block], good: pd.DataFrame) -> Answers:
    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(block, name)[block.ok_B] for block in blocks])

    number = {label: index for index, label in enumerate(bundle.classes)}
    embeddings_ND, logits_NC = joined("embeddings_BD"), joined("logits_BL")
    readouts: dict[str, np.ndarray] = {}
    for name in available_readouts(bundle):
        reader = reader_of(bundle, name)
        assert reader is not None
        readouts[name] = reader(embeddings_ND, logits_NC).labels_N
    return Answers(
        truth_N=np.array([number[label] for label in good["label"]], dtype=np.int64),
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


def _show(out: Path, metrics: dict[str, Any], *, quiet: bool) -> None:
    rows = [
        (readout, name, figure(value), value["count"])
        for readout, values in metrics["readouts"].items()
        for name, value in values.items()
        if name in ("overall_accuracy", "average_accuracy", "kappa")
    ]
    rows += [
        ("retrieval", name, figure(value), value["count"])
        for name, value in metrics.get("retrieval", {}).items()
    ]
    title = f"Protocol {metrics['protocol']}, {metrics['split']} split"
    columns = ("read-out", "measure", "value [95 % interval]", "items")
    show_table(title, columns, rows, numeric=("items",), quiet=quiet)
    say(f"{out}: metrics.json, predictions.csv, embeddings.npy, report.html", quiet=quiet)
