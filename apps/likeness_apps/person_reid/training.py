"""`train` for people: embeddings that rank, and a threshold that means something.

Validation identities are others than those trained on. They choose the epoch (ranking across
cameras), and the thresholds of same, different and unknown.

Legend: N tracklets, D embedding dimension.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from likeness.bundle import save_bundle
from likeness.card import Card, render_card
from likeness.data.manifest import SPLITS, Manifest
from likeness.errors import UserError, require
from likeness.evaluation.query_gallery import rank_queries
from likeness.evaluation.verdict import calibrate, thresholds_at
from likeness.models.sets import pool_sets
from likeness.pairs import Space
from likeness.provenance import collect_provenance
from likeness.training.loop import FitResult
from likeness.training.spec import RunSpec
from likeness_apps.person_reid.data import prepare_people
from likeness_apps.person_reid.grouping import by_tracklet
from likeness_apps.person_reid.open_set import (
    open_set_figures,
    stored_verdicts,
    tracklet_pairs,
)
from likeness_apps.person_reid.protocols import protocol_named
from likeness_apps.person_reid.report import write_report
from likeness_apps.person_reid.scoring import score_tracklets
from likeness_apps.person_reid.tracklet_table import sets_of, tracklet_table
from likeness_apps.shell.console import figure, show_table
from likeness_apps.shell.data import Prepared
from likeness_apps.shell.domain import APPLICATION, Domain
from likeness_apps.shell.finish import answer, require_finite
from likeness_apps.shell.generated import TERMS, is_generated
from likeness_apps.shell.setup import Setup
from likeness_apps.shell.teacher import card_with, terms_with

MONITORS = ("rank_1", "map")
WITHIN = "cross-camera"  # how validation tracklets are ranked
FALSE_ACCEPT_RATE = FALSE_REJECT_RATE = 0.01
# What `--false-accept-rate` can ask for, where there are validation pairs enough.
FALSE_ACCEPT_RATES = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)
PRIOR = 0.5


class People:
    """See `shell.domain.Aim`."""

    def require_fit(self, domain: Domain, spec: RunSpec, manifest: Manifest) -> None:
        """A configuration that ranks: cosine space, and a monitor of ranking."""
        monitors = (None, *MONITORS)
        names = f"one of {', '.join(MONITORS)}, null"
        require(spec.monitor in monitors, "monitor", names, spec.monitor)
        space = spec.model.space
        require(
            space == "cosine", "model.space", "cosine: thresholds are those of unit rows", space
        )
        chosen = spec.objective.classification
        name = None if chosen is None else chosen.name
        rule = "null, cross_entropy or focal: a frame is of one identity"
        wrong = name == "binary_cross_entropy"
        require(not wrong, "objective.classification.name", rule, name)

    def prepare(
        self, domain: Domain, manifest: Manifest, spec: RunSpec, *, quiet: bool
    ) -> Prepared:
        """See `prepare_people`."""
        return prepare_people(domain, manifest, spec, quiet=quiet)

    def validate(self, setup: Setup, embedder: nn.Module) -> dict[str, float]:
        """Rank-1 and mAP of the validation tracklets, every one asking the other cameras."""
        features_ND, table = _validation_tracklets(setup, embedder)
        protocol = protocol_named(WITHIN)
        (items,) = (each.items for each in sets_of(tracklet_table(table), protocol))
        ranked = rank_queries(features_ND, items, protocol.rules, cmc_at=[1], with_pairs=False)
        values = ranked.values()
        return {"rank_1": values["cmc@1"].value, "map": values["map"].value}

    def conclude(
        self,
        domain: Domain,
        out: Path,
        setup: Setup,
        result: FitResult,
        *,
        include_images: bool,
        quiet: bool,
    ) -> None:
        """Figures and thresholds of the validation identities, card, bundle and report."""
        features_ND, table = _validation_tracklets(setup, setup.embedder)
        scored = score_tracklets(features_ND, table, WITHIN)
        metrics = {
            **scored.metrics,
            "split": "val",
            "best_epoch": result.best_epoch,
            "frames": "mean",
            **thresholds(features_ND, table, setup.spec.model.space),
        }
        saved = _save(domain, out, setup, metrics)
        verdicts, reason = stored_verdicts(metrics, "mean")
        figures = open_set_figures(
            features_ND, table, verdicts, setup.spec.model.space, reason=reason
        )
        write_report(
            out / "report.html",
            domain,
            title=f"Training run {out.name} (validation identities)",
            metrics=metrics | saved | {"open_set": figures},
            queries=scored.queries,
            tracklets=table,
            features=features_ND,
            root=setup.prepared.manifest.root,
            frames=setup.splits["val"].table,
            run=out,
            include_images=include_images,
        )
        rows = [(name, figure(value)) for name, value in metrics["retrieval"].items()]
        title = f"Validation, best epoch {result.best_epoch} of {result.epochs}"
        show_table(title, ("measure", "value [95 % interval]"), rows, quiet=quiet)


def thresholds(features_ND: np.ndarray, table: pd.DataFrame, space: Space) -> dict[str, Any]:
    """Thresholds of same, different and unknown, from pairs of tracklets of different cameras.

    Args:
        features_ND: of validation tracklets.
        table: with label and camera.
        space: how features are compared.

    Returns:
        open_set: `Verdicts.as_dict()`, or the `reason` why there are too few pairs;
        thresholds_at: its thresholds at other false-accept rates, see `thresholds_at`.
    """
    pairs = tracklet_pairs(features_ND, table, space=space)
    try:
        found = calibrate(
            pairs,
            false_accept_rate=FALSE_ACCEPT_RATE,
            false_reject_rate=FALSE_REJECT_RATE,
            prior=PRIOR,
        )
    except UserError as error:
        return {"open_set": {"reason": str(error)}, "thresholds_at": []}
    points = thresholds_at(pairs, FALSE_ACCEPT_RATES, false_reject_rate=FALSE_REJECT_RATE)
    return {"open_set": found.as_dict(), "thresholds_at": points}


def _validation_tracklets(setup: Setup, embedder: nn.Module) -> tuple[np.ndarray, pd.DataFrame]:
    """Mean embeddings of the validation tracklets, not normalised, and who they are."""
    split = setup.splits["val"]
    raw = answer(embedder, split)
    require_finite(raw, split)
    grouped = by_tracklet(split.table.iloc[raw.kept_N])
    pooled = pool_sets(
        torch.from_numpy(raw.embeddings_ND),
        torch.from_numpy(grouped.tracklet_F),
        sets=len(grouped.table),
    )
    return pooled.numpy(), grouped.table.assign(role="")


def _save(domain: Domain, out: Path, setup: Setup, metrics: dict[str, Any]) -> dict[str, Any]:
    """The bundle, and what identifies it. It holds no embedding of anybody: they are biometric."""
    manifest, licence = setup.prepared.manifest, None
    licence = TERMS if is_generated(manifest.root) else domain.licences.get(manifest.layout)
    licence = terms_with(setup.teacher, licence)
    provenance = collect_provenance(
        seed=setup.spec.seed, data_hash=setup.prepared.data_hash, data_licence=licence
    )
    model_id = save_bundle(
        out / "model",
        setup.embedder,
        config=setup.spec.model_dump(mode="json"),
        classes=setup.prepared.labels.classes,
        preprocessing=setup.preprocessing,
        splits=setup.prepared.splits,
        metrics=metrics,
        provenance=provenance | setup.origin | {APPLICATION: domain.name},
        card=render_card(_card(domain, setup, licence, metrics["open_set"]), metrics),
    )
    return {"model_id": model_id, "data_licence": licence, "provenance": provenance}


def _card(domain: Domain, setup: Setup, licence: str | None, verdicts: dict[str, Any]) -> Card:
    table, layout = setup.prepared.manifest.table, setup.prepared.manifest.layout
    parts = {name: table[table["split"] == name] for name in SPLITS}
    numbers = "; ".join(
        f"{name}: {part['label'].nunique()} identities, {part['tracklet'].nunique()} tracklets, "
        f"{len(part)} frames"
        for name, part in parts.items()
    )
    card = Card(
        title=f"{domain.name}: {setup.spec.model.backbone}",
        intended_use=domain.card.intended_use,
        out_of_scope=domain.card.out_of_scope,
        data=f"Layout `{layout}`. {numbers}.",
        data_licence=licence,
        data_terms=licence or "",
        consent=domain.card.consent,
        limits=domain.card.limits,
        operating_point=_operating_point(verdicts),
    )
    return card_with(setup.teacher, card)


def _operating_point(verdicts: dict[str, Any]) -> str:
    if "reason" in verdicts:
        return f"Every pair is *unknown*: no threshold could be fixed ({verdicts['reason']})."
    same, different = verdicts["same_from"], verdicts["different_below"]
    told = [
        f"*same* from similarity {same:.3f}" if same is not None else "never *same*",
        f"*different* below {different:.3f}" if different is not None else "never *different*",
    ]
    return (
        f"Two tracklets of different cameras are {told[0]}, {told[1]}, and *unknown* otherwise. "
        f"Similarity is minus the distance of unit embeddings. Fixed on validation identities at a "
        f"false-accept rate of {verdicts['false_accept_rate']:g} "
        f"({verdicts['impostor_pairs']} pairs) and a false-reject rate of "
        f"{verdicts['false_reject_rate']:g} ({verdicts['genuine_pairs']} pairs)."
    )
