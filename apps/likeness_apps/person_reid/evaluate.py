"""`evaluate`: a model and a set of people in; the figures of a named protocol and a page out.

Legend: T tracklets, D embedding dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.bundle import Bundle
from likeness.data.manifest import Manifest
from likeness.errors import UserError, require
from likeness.files import atomic_path, sha256_file
from likeness.inference.predictor import Predictor
from likeness.inference.sets import SetPooling
from likeness_apps.person_reid.embedding import EmbeddedTracklets, embed_tracklets
from likeness_apps.person_reid.grouping import by_tracklet
from likeness_apps.person_reid.layouts.halves import TESTED_IN, with_split
from likeness_apps.person_reid.open_set import open_set_figures, stored_verdicts
from likeness_apps.person_reid.protocols import RankingProtocol, protocol_named
from likeness_apps.person_reid.reordering import ranked_again, require_kinds
from likeness_apps.person_reid.results import pointers, queries_files, show, write_result
from likeness_apps.person_reid.scoring import score_tracklets
from likeness_apps.person_reid.tracklet_table import require_rankable, tracklet_table
from likeness_apps.shell.console import say
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.members import own_bundle
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.results import provenance_of

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
    re_rank: Sequence[str] = (),
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
        re_rank: kinds of `reordering.KINDS`, reported beside the plain figures.
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
    chosen = protocol_named(protocol)
    bundle = own_bundle(domain, model)
    kinds = require_kinds(re_rank, bundle.space)
    manifest = _as_trained(domain.recognise(data), bundle)
    rows = frames_to_measure(manifest, bundle)
    require_rankable(tracklet_table(by_tracklet(rows).table), chosen)  # before hours of embedding
    predictor = Predictor(bundle, device=device, batch_size=batch_size, columns="embed")
    unseen = _unseen(bundle, rows["path"].tolist())
    asked = embed_tracklets(
        predictor, rows, manifest.root, how=frames, on_frame=unseen, quiet=quiet
    )
    scored = score_tracklets(asked.embeddings_ND, asked.good, protocol, space=bundle.space)
    again = ranked_again(asked.embeddings_ND, asked.good, scored, kinds, quiet=quiet)
    _write_features(out, asked)
    facts = _facts(bundle, frames, asked) | _inputs(out) | _set_facts(manifest, chosen)
    scored = replace(scored, metrics=scored.metrics | facts)
    metrics = write_result(
        *(out, domain, f"{domain.name}: test split", scored, again),
        tracklets=asked.good,
        features=asked.embeddings_ND,
        root=manifest.root,
        frames=rows,
        run=model if (model / "logs").is_dir() else None,
        card=bundle.card,
        include_images=include_images,
    )
    show(metrics, quiet=quiet)
    _tell_lost(rows, asked, quiet=quiet)
    files = ["report.html", "metrics.json", *queries_files(scored, again), TRACKLETS, FEATURES]
    say(f"{out}: {', '.join(files)}", quiet=quiet)
    return metrics


def _tell_lost(rows: pd.DataFrame, asked: EmbeddedTracklets, *, quiet: bool) -> None:
    """The first frames that could not be read."""
    for place, reason in list(asked.failures.items())[:TOLD]:
        say(f"left out: {rows['path'].iloc[place]}: {reason}", quiet=quiet)


def _facts(bundle: Bundle, frames: SetPooling, asked: EmbeddedTracklets) -> dict[str, Any]:
    """What belongs beside every figure of the model."""
    return {
        "split": "test",
        "frames": frames,
        "open_set": _open_set(bundle, frames, asked),
        "model_id": bundle.model_id,
        "data_licence": bundle.data_licence,
        "items": {
            "tracklets": len(asked.good),
            "tracklets_without_a_frame": len(asked.table) - len(asked.good),
            "frames": int(asked.table["used"].sum()),
            "unreadable_frames": len(asked.failures),
        },
        "provenance": provenance_of(bundle),
    }


def _set_facts(manifest: Manifest, protocol: RankingProtocol) -> dict[str, Any]:
    """What set this is, and what its figures must not be taken for."""
    images = set(manifest.table["path"])
    return {
        "layout": manifest.layout,
        "protocol_note": protocol.note(manifest.layout),
        "set_notes": [  # of the set, or of a table that came with it; an image may name somebody
            found.message
            for found in manifest.findings
            if not found.path or (found.level == "error" and found.path not in images)
        ],
    }


def _inputs(out: Path) -> dict[str, Any]:
    """Where `explain-score` finds what was scored."""
    return {"inputs": pointers(out, out / FEATURES, out / TRACKLETS), "biometric": BIOMETRIC}


def _open_set(bundle: Bundle, frames: SetPooling, asked: EmbeddedTracklets) -> dict[str, Any]:
    """What the model's thresholds do on these people, see `open_set`."""
    verdicts, reason = stored_verdicts(bundle.metrics, frames)
    return open_set_figures(asked.embeddings_ND, asked.good, verdicts, bundle.space, reason=reason)


def _as_trained(manifest: Manifest, bundle: Bundle) -> Manifest:
    """The published random split that the model was trained on, where the set has several.

    That another set has the number of the fold, too, does no harm: see `frames_to_measure`.
    """
    fold = bundle.config.get("data", {}).get("fold")
    several = TESTED_IN in manifest.table.columns
    return with_split(manifest, int(fold)) if several and fold is not None else manifest


def frames_to_measure(manifest: Manifest, bundle: Bundle) -> pd.DataFrame:
    """The frames to measure: those of the model's own test split, or those of another set.

    Of another set with several random splits they are those of all splits.

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
    if TESTED_IN in table.columns and not (own != "").any():
        return table[table[TESTED_IN] != ""].reset_index(drop=True)
    given = table[table["split"] == "test"]
    require(len(given) > 0, "data", "a set with a test split, or without any", manifest.layout)
    return given.reset_index(drop=True)


def _same_content(manifest: Manifest, saved: pd.DataFrame, path: str) -> bool:
    file = manifest.file(path)
    return file.is_file() and sha256_file(file) == saved["sha256"][path]


def _unseen(bundle: Bundle, paths: Sequence[str]) -> Callable[[int, str], None]:
    """For `embed_tracklets`: refuses a frame that the model was trained or validated on."""
    known = bundle.splits[bundle.splits["split"].isin(("train", "val"))]
    split_of = dict(zip(known["sha256"], known["split"], strict=True))

    def check(place: int, sha256: str) -> None:
        if sha256 in split_of:
            raise UserError(
                f"data must be of people whom the model never saw, got {paths[place]}, "
                f"which is in its {split_of[sha256]} split"
            )

    return check


def _write_features(out: Path, asked: EmbeddedTracklets) -> None:
    """tracklets.csv, and the features of its rows with status ok, in that order."""
    with atomic_path(out / TRACKLETS) as temporary:
        asked.table.to_csv(temporary, index=False, lineterminator="\n")
    with atomic_path(out / FEATURES) as temporary, temporary.open("wb") as handle:
        np.save(handle, asked.embeddings_ND, allow_pickle=False)
