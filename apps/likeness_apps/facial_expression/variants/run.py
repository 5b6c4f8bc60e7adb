"""`subclasses`: what variants a model found inside the classes, and whether others find them too.

It writes subclasses.csv (one row per sub-class), subclasses.json, subclasses.html and, with a set
of pictures, assigned.csv.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from likeness.files import atomic_path, write_json
from likeness_apps.facial_expression.report.variants_page import write_page
from likeness_apps.facial_expression.variants.assign import TRAINED, assign
from likeness_apps.facial_expression.variants.found import Divided, divided, subclass_table
from likeness_apps.facial_expression.variants.stability import (
    LIKELY,
    STABLE_FROM,
    Stability,
    in_words,
    stability,
)
from likeness_apps.shell.console import progress, say, show_table
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.screening import screened
from likeness_apps.shell.search import archive_of

MEANING = (
    "A sub-class is a group of training pictures of one displayed expression that lie together in "
    "the embedding. Its number says nothing of what the pictures have in common."
)


def subclasses(
    domain: Domain,
    model: Path,
    data: Path | None,
    out: Path,
    *,
    also: Sequence[Path] = (),
    draws: int = 199,
    seed: int = 0,
    include_images: bool = False,
    batch_size: int = 64,
    device: str = "cpu",
    quiet: bool = False,
) -> dict[str, Any]:
    """Write what sub-classes a model found.

    Args:
        domain: the application.
        model: a bundle or a run; if it was trained without sub-classes, they are looked for now.
        data: pictures that are assigned to the sub-classes; the set it was trained on shows its
            faces. None assigns and shows none.
        out: a new or empty directory.
        also: models that were trained on the same pictures with other seeds; those trained without
            sub-classes are divided as `model` is.
        draws: random divisions of equal sizes.
        seed: of them.
        include_images: put small pictures into the page.
        batch_size: pictures per forward pass.
        device: where the network runs.
        quiet: no progress, no table.

    Returns:
        subclasses.json.

    Raises:
        UserError: if a model keeps no training pictures, models do not fit each other, or `out` is
            occupied.
    """
    require_new(out)
    manifest = None
    if data is not None:
        manifest = archive_of(domain, screened(domain, data, quiet=quiet))
    models = _divided([model, *also], quiet=quiet)
    one, table = models[0], subclass_table(models[0])
    told = stability(models, draws=draws, seed=seed)
    assigned = None
    if manifest is not None:
        assigned = assign(one, manifest, batch_size=batch_size, device=device, quiet=quiet)
    facts = _facts(one, models, table, told, assigned, draws=draws, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "subclasses.csv", table)
    if assigned is not None:
        _write(out / "assigned.csv", assigned)
    page = out / "subclasses.html"
    shown = (manifest, assigned) if manifest is not None and assigned is not None else None
    write_page(page, domain, one, table, told, facts, shown=shown, include_images=include_images)
    write_json(out / "subclasses.json", facts)
    _show(out, table, told, assigned is not None, quiet=quiet)
    return facts


def _divided(paths: Sequence[Path], *, quiet: bool) -> list[Divided]:
    """The models; those trained without sub-classes are divided as the first one is."""
    models: list[Divided] = []
    with progress("fitting mixtures", quiet=quiet) as advance:
        for path in paths:
            models.append(divided(path, models[0].spec) if models else divided(path))
            advance(len(models), len(paths))
    return models


def _facts(
    one: Divided,
    models: Sequence[Divided],
    table: pd.DataFrame,
    told: Stability,
    assigned: pd.DataFrame | None,
    *,
    draws: int,
    seed: int,
) -> dict[str, Any]:
    names = {model.bundle.model_id: str(model.bundle.path) for model in models}
    return {
        "meaning": MEANING,
        "model_id": one.bundle.model_id,
        "models": [
            {
                "model_id": model.bundle.model_id,
                "path": names[model.bundle.model_id],
                "seed": model.bundle.config.get("seed"),
                "started_from": model.started_from or None,
            }
            for model in models
        ],
        "trained_with_subclasses": one.trained,
        "sizes_as_kept": one.as_kept,
        "looked_for": one.spec.model_dump(mode="json"),
        "subclasses": table.to_dict("records"),
        "stability": {
            "verdict": told.verdict,
            "told": in_words(told),
            "by_class": told.verdicts,
            "rule": {"ari_from": STABLE_FROM, "p_value_to": LIKELY},
            "ari": None if math.isnan(told.agreement) else told.agreement,
            "pairs": [asdict(pair) for pair in told.pairs],
            "random_splits": {"draws": draws, "seed": seed},
            "in_other_models": [asdict(judged) for judged in told.judged],
            "in_its_own_embedding": asdict(told.own),
        },
        "assigned": None if assigned is None else _counted(assigned),
    }


def _counted(assigned: pd.DataFrame) -> dict[str, Any]:
    good = assigned[assigned["status"] == "ok"]
    return {
        "pictures": len(assigned),
        "unreadable": len(assigned) - len(good),
        "trained_on": int((good["how"] == TRAINED).sum()),
        "by_subclass": good["subclass"].value_counts(sort=False).to_dict(),
    }


def _write(path: Path, table: pd.DataFrame) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def _show(
    out: Path, table: pd.DataFrame, told: Stability, with_assigned: bool, *, quiet: bool
) -> None:
    rows = [
        (
            row["subclass"],
            f"{row['pictures']:,}",
            f"{row['share']:.0%}",
            f"{row['spread']:.3f}",
            told.verdicts[row["class"]],
        )
        for row in table.to_dict("records")
    ]
    columns = ("sub-class", "pictures", "of its class", "spread", "its class's division")
    show_table("Sub-classes", columns, rows, numeric=columns[1:4], quiet=quiet)
    say(in_words(told), quiet=quiet)
    files = "subclasses.html, subclasses.csv, subclasses.json"
    say(f"{out}: {files}{', assigned.csv' if with_assigned else ''}", quiet=quiet)
