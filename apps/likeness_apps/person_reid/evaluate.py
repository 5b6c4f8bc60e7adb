"""`evaluate`: a model and a set of people in; the figures of a named protocol and a page out.

Legend: F frames, T tracklets, D embedding dimension.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from likeness.bundle import Bundle, load_bundle
from likeness.data.manifest import Manifest
from likeness.errors import UserError, require
from likeness.files import atomic_path, sha256_file
from likeness.inference.hashed import read_hashed
from likeness.inference.predictor import Predictor
from likeness.inference.sets import SetPooling, embed_sets
from likeness.provenance import collect_provenance
from likeness_apps.person_reid.grouping import by_tracklet
from likeness_apps.person_reid.layouts.halves import TESTED_IN, with_split
from likeness_apps.person_reid.open_set import open_set_figures, stored_verdicts
from likeness_apps.person_reid.protocols import protocol_named
from likeness_apps.person_reid.report import write_report
from likeness_apps.person_reid.score import pointers, show, write_scored
from likeness_apps.person_reid.scoring import Scored, score_tracklets
from likeness_apps.shell.console import progress, say
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.outputs import require_new

TRACKLETS, FEATURES = "tracklets.csv", "features.npy"
BIOMETRIC = (
    "features.npy holds biometric data: keep it as long as its purpose needs, and no longer."
)
TOLD = 5  # frames that could not be read are named up to this number; the rest is counted


def evaluate(
    domain: Domain,
    model: Path,
    data: Path,
    out: Path,
    *,
    protocol: str = "cross-camera",
    frames: SetPooling = "mean",
    include_images: bool = False,
    batch_size: int = 64,
    device: str = "cpu",
    quiet: bool = False,
) -> dict[str, Any]:
    """Embed the test tracklets of a set and rank them.

    Args:
        domain: the application.
        model: a bundle or a run.
        data: a data set in a known layout, or a table of frames; its test rows are measured, or all
            rows if it has no splits and the model knows no frame of it.
        out: a new or empty directory.
        protocol: see `protocols`.
        frames: how the frames of a tracklet become one row, see `embed_sets`.
        include_images: put strips of tracklets into report.html.
        batch_size: frames per forward pass.
        device: where the network runs.
        quiet: no progress, no table.

    Returns:
        metrics.json.

    Raises:
        UserError: if there is nothing to measure, a frame was trained on, the protocol does not
            fit, or `out` is occupied.
    """
    require_new(out)
    protocol_named(protocol)
    bundle = load_bundle(model)
    manifest = _as_trained(domain.recognise(data), bundle)
    rows = frames_to_measure(manifest, bundle)
    predictor = Predictor(bundle, device=device, batch_size=batch_size, columns="embed")
    asked = _ask(predictor, bundle, rows, manifest.root, frames, quiet=quiet)
    scored = score_tracklets(asked.features_TD, asked.good, protocol, space=bundle.space)
    _write_features(out, asked.table, asked.features_TD)
    metrics = scored.metrics | _facts(bundle, frames, asked) | _inputs(out)
    write_scored(out, Scored(metrics, scored.queries))
    write_report(
        out / "report.html",
        domain,
        title=f"{domain.name}: test split",
        metrics=metrics,
        queries=scored.queries,
        tracklets=asked.good,
        features=asked.features_TD,
        root=manifest.root,
        frames=rows,
        run=model if (model / "logs").is_dir() else None,
        card=bundle.card,
        include_images=include_images,
    )
    show(metrics, quiet=quiet)
    for place, reason in list(asked.failures.items())[:TOLD]:
        say(f"left out: {rows['path'].iloc[place]}: {reason}", quiet=quiet)
    say(f"{out}: report.html, metrics.json, queries.csv, {TRACKLETS}, {FEATURES}", quiet=quiet)
    return metrics


class _Asked(NamedTuple):
    """What the model made of the frames.

    Attributes:
        table: one row per tracklet, with `used` (frames behind it) and `status`.
        good: the rows with status ok.
        features_TD: of these.
        failures: place of a frame -> why it could not be used.
    """

    table: pd.DataFrame
    good: pd.DataFrame
    features_TD: np.ndarray
    failures: dict[int, str]


def _ask(
    predictor: Predictor,
    bundle: Bundle,
    rows: pd.DataFrame,
    root: Path,
    frames: SetPooling,
    *,
    quiet: bool,
) -> _Asked:
    """Embed the frames, tracklet by tracklet."""
    grouped = by_tracklet(rows)
    with progress("embedding", quiet=quiet) as advance:
        embedded = embed_sets(
            predictor,
            _unseen(predictor, bundle, rows["path"].tolist(), root),
            grouped.tracklet_F,
            sets=len(grouped.table),
            how=frames,
            on_progress=advance,
        )
    ok_T = embedded.ok_S
    first = next(iter(embedded.failures.values()), "none")
    require(ok_T.any(), "data", "frames that can be read", first)
    table = grouped.table.assign(used=embedded.used_S, status=np.where(ok_T, "ok", "error"))
    good = table[ok_T].reset_index(drop=True)
    return _Asked(table, good, embedded.embeddings_SD[ok_T], embedded.failures)


def _facts(bundle: Bundle, frames: SetPooling, asked: _Asked) -> dict[str, Any]:
    """What belongs beside every figure of the model."""
    return {
        "split": "test",
        "frames": frames,
        "open_set": _open_set(bundle, frames, asked.features_TD, asked.good),
        "model_id": bundle.model_id,
        "data_licence": bundle.data_licence,
        "items": {
            "tracklets": len(asked.good),
            "tracklets_without_a_frame": len(asked.table) - len(asked.good),
            "frames": int(asked.table["used"].sum()),
            "unreadable_frames": len(asked.failures),
        },
        "provenance": collect_provenance(
            seed=int(bundle.provenance.get("seed", 0)),
            data_hash=str(bundle.provenance.get("data_hash", "")),
        ),
    }


def _inputs(out: Path) -> dict[str, Any]:
    """Where `explain-score` finds what was scored."""
    return {"inputs": pointers(out, out / FEATURES, out / TRACKLETS), "biometric": BIOMETRIC}


def _open_set(
    bundle: Bundle, frames: SetPooling, features_TD: np.ndarray, table: pd.DataFrame
) -> dict[str, Any]:
    """What the model's thresholds do on these people, see `open_set`."""
    verdicts, reason = stored_verdicts(bundle.metrics, frames)
    return open_set_figures(features_TD, table, verdicts, bundle.space, reason=reason)


def _as_trained(manifest: Manifest, bundle: Bundle) -> Manifest:
    """The published random split that the model was trained on, where the set has several."""
    fold = bundle.config.get("data", {}).get("fold")
    several = TESTED_IN in manifest.table.columns
    return with_split(manifest, int(fold)) if several and fold is not None else manifest


def frames_to_measure(manifest: Manifest, bundle: Bundle) -> pd.DataFrame:
    """The frames to measure: those of the model's own test split, or those of another set.

    Raises:
        UserError: if another set has splits, and none is for testing.
    """
    table = manifest.table
    saved = bundle.splits.set_index("path")
    own = table["path"].map(saved["split"]).fillna("")
    tested = table[own == "test"]
    if len(tested) and _same_content(manifest, saved, tested["path"].iloc[0]):
        return tested.reset_index(drop=True)
    if (table["split"] == "").all():
        return table
    given = table[table["split"] == "test"]
    require(len(given) > 0, "data", "a set with a test split, or without any", manifest.layout)
    return given.reset_index(drop=True)


def _same_content(manifest: Manifest, saved: pd.DataFrame, path: str) -> bool:
    file = manifest.file(path)
    return file.is_file() and sha256_file(file) == saved["sha256"][path]


def _unseen(
    predictor: Predictor, bundle: Bundle, paths: Sequence[str], root: Path
) -> Iterator[Any]:
    """The frames as the network takes them, each file read once.

    Raises:
        UserError: as soon as a frame is met that the model was trained or validated on.
    """
    known = bundle.splits[bundle.splits["split"].isin(("train", "val"))]
    split_of = dict(zip(known["sha256"], known["split"], strict=True))
    with closing(read_hashed(predictor, paths, root)) as reads:  # type: ignore[type-var]
        for read in reads:
            if read.sha256 and read.sha256 in split_of:
                raise UserError(
                    f"data must be of people whom the model never saw, got {paths[read.row]}, "
                    f"which is in its {split_of[read.sha256]} split"
                )
            yield read.prepared


def _write_features(out: Path, table: pd.DataFrame, features_TD: np.ndarray) -> None:
    """tracklets.csv, and the features of its rows with status ok, in that order."""
    with atomic_path(out / TRACKLETS) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    with atomic_path(out / FEATURES) as temporary, temporary.open("wb") as handle:
        np.save(handle, features_TD, allow_pickle=False)
