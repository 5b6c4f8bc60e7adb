"""`benchmark low-shot`: novel classes from a few images each, imprinted and otherwise.

Shapes: N = images of the set, T = test images, C = base and novel classes.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from likeness.config import parse
from likeness.data.manifest import Manifest
from likeness.errors import require
from likeness.files import write_json, write_text
from likeness.imprinting import nearest_instance
from likeness.models.heads import CLASS, EMBEDDING, wiring
from likeness.pairs import unit_rows
from likeness.provenance import collect_provenance, hash_table
from likeness.training.spec import RunSpec, StepSpec
from likeness_apps.benchmark import table
from likeness_apps.benchmark.layouts import cub200, recognise
from likeness_apps.benchmark.low_shot.division import divided
from likeness_apps.benchmark.low_shot.networks import STARTS, Networks
from likeness_apps.benchmark.protocol import Found, is_published
from likeness_apps.benchmark.rounds import recorded, rounded
from likeness_apps.benchmark.training import readable, require_trainable, seeded
from likeness_apps.shell import configs
from likeness_apps.shell.adapt import fit_warmup
from likeness_apps.shell.console import say

FOLDER = "benchmark"  # of the shared configurations
NEAREST, TUNED = "nearest", "_tuned"
# Answers by class vectors, and by the most similar labelled image; each after fine-tuning, too.
METHODS = tuple(f"{name}{then}" for then in ("", TUNED) for name in (*STARTS, NEAREST))
SHOTS = (1, 2, 5, 10, 20)  # Qi et al.
PARTS = NOVEL, BASE, ALL = "novel_accuracy", "base_accuracy", "accuracy"


@dataclass(frozen=True)
class Request:
    """What a person asked for.

    Attributes:
        data: the set.
        out: a new directory, or the one of a benchmark that was stopped.
        methods: of `METHODS`.
        shots: images shown of each novel class, ascending; see `shots_of`.
        tuning_epochs: of fine-tuning; None is a third of the configuration's.
        tuning_rate: what the learning rate is multiplied by in it.
        config: the base network: a shipped name or a file.
        changes: `a.b=c` items on top of it.
        repeats: other shown images and seeds; where no halves of the classes are published, other
            classes, too.
        quiet: no progress, no table.
    """

    data: Path
    out: Path
    methods: tuple[str, ...] = METHODS
    shots: tuple[int, ...] = SHOTS
    tuning_epochs: int | None = None
    tuning_rate: float = 0.1
    config: str = "low_shot"
    changes: tuple[str, ...] = ()
    repeats: int = 1
    quiet: bool = False


def shots_of(text: str) -> tuple[int, ...]:
    """The numbers of shown images, from a list by commas.

    Raises:
        UserError: if they are no ascending whole numbers.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    shots = tuple(int(part) for part in parts if part.isdecimal())
    ascending = list(shots) == sorted(set(shots)) and min(shots, default=0) >= 1
    fits = ascending and len(shots) == len(parts)
    require(fits, "shots", "ascending whole numbers from 1", text)
    return shots


def low_shot(request: Request) -> int:
    """Train, show, fine-tune and test; goes on where it was stopped.

    Returns:
        How many methods failed; their reasons are in the table of runs.

    Raises:
        UserError: for a mistake in the request, the configuration or the data.
    """
    out, quiet = request.out, request.quiet
    _require_fits(request)
    raw = configs.load(FOLDER, request.config, request.changes)
    spec = base_spec(fit_warmup(raw, config=request.config, changes=request.changes, quiet=quiet))
    tuning = tuning_of(spec, request.tuning_epochs, request.tuning_rate)
    manifest = recognise(request.data)
    first = divided(manifest, 0, request.shots[-1]).training(0)
    require_trainable(spec, first, changes=request.changes)
    table.require_place(out)
    manifest = readable(manifest, quiet=quiet)
    facts = _facts(manifest, request, spec, tuning)
    table.begin(out, facts, {name: {} for name in request.methods})
    failed = 0
    for repeat in range(request.repeats):
        folder = out / "runs" / str(repeat)
        networks = Networks(
            divided(manifest, repeat, request.shots[-1]),
            seeded(spec, repeat),
            seeded(tuning, repeat),
            folder,
            changes=request.changes,
            quiet=quiet,
        )
        for method in request.methods:
            if not table.is_done(table.read_runs(out), method, repeat):
                say(f"{method}, repeat {repeat + 1} of {request.repeats}", quiet=quiet)
                measure = partial(_measured, request, networks, method, repeat)
                failed += not recorded(out, method, repeat, measure)
        if not failed:
            shutil.rmtree(folder / "base" / "checkpoints", ignore_errors=True)
    _conclude(request, manifest, facts, spec)
    return failed


def base_spec(raw: dict[str, Any]) -> RunSpec:
    """The configuration of the base network.

    Raises:
        UserError: if its class layer is not one of cosines on the embedding.
    """
    spec = parse(RunSpec, raw)
    rule = "cosine: linear class vectors are not comparable with embeddings"
    require(spec.model.class_layer == "cosine", "model.class_layer", rule, spec.model.class_layer)
    require(spec.objective.classification is not None, "objective.classification", "given", None)
    fits = wiring(spec.model).classifiers == {CLASS: EMBEDDING}
    require(fits, "model", "a network with one head", "several class layers")
    return spec


def tuning_of(spec: RunSpec, epochs: int | None, rate: float) -> RunSpec:
    """The budget of fine-tuning: the base's schedule in fewer epochs, at a lower rate.

    Args:
        spec: of the base network.
        epochs: None is a third of its epochs.
        rate: what its learning rate is multiplied by.
    """
    epochs = max(1, spec.epochs // 3) if epochs is None else epochs
    share, schedule = epochs / spec.epochs, spec.schedule
    fewer: dict[str, Any] = {"warmup_epochs": share * schedule.warmup_epochs}
    if isinstance(schedule, StepSpec):
        fewer["milestones"] = tuple(max(1, round(share * one)) for one in schedule.milestones)
    return spec.model_copy(
        update={
            "epochs": epochs,
            "schedule": schedule.model_copy(update=fewer),
            "optimiser": spec.optimiser.model_copy(update={"lr": rate * spec.optimiser.lr}),
        }
    )


def asked(networks: Networks, method: str, shots: Sequence[int]) -> Found:
    """What a method says of the test images; base and novel classes are possible answers.

    Returns:
        `novel_accuracy@n`, `base_accuracy@n` and `accuracy@n` for each number of shown images n:
        shares of the test images of novel classes, of base classes, and of all.
    """
    division = networks.division
    tested = division.tested
    truth_T, novel_T = division.numbers_N[tested], division.novel_N[tested]
    columns: dict[str, np.ndarray] = {}
    for count in shots:
        right_T = (_said(networks, method, count) == truth_T).astype(np.float64)
        columns[f"{NOVEL}@{count}"] = np.where(novel_T, right_T, np.nan)
        columns[f"{BASE}@{count}"] = np.where(novel_T, np.nan, right_T)
        columns[f"{ALL}@{count}"] = right_T
    values = {name: float(np.nanmean(column_T)) for name, column_T in columns.items()}
    rows = division.manifest.table.iloc[tested][["path", "label"]].reset_index(drop=True)
    return Found(values, rows.assign(**columns), {"answers": "base and novel classes"})


def _said(networks: Networks, method: str, shots: int) -> np.ndarray:
    """The class of each test image by a method, (T,)."""
    division, start = networks.division, method.removesuffix(TUNED)
    begins = STARTS[0] if start == NEAREST else start
    tuned = networks.tuned(begins, shots) if method.endswith(TUNED) else None
    embeddings_ND = (networks.base if tuned is None else tuned).embeddings_ND
    tested_TD = embeddings_ND[division.tested]
    if start == NEAREST:
        examples = division.examples(shots)
        numbers = torch.from_numpy(division.numbers_N[examples])
        known = embeddings_ND[examples], numbers, len(division.classes)
        scores_TC = nearest_instance(tested_TD, *known)
    else:
        vectors_CD = networks.begun(begins, shots) if tuned is None else tuned.vectors_CD
        scores_TC = unit_rows(tested_TD) @ vectors_CD.T
    return scores_TC.argmax(1).numpy()


def _measured(request: Request, networks: Networks, method: str, repeat: int) -> dict[str, Any]:
    """Ask a method, keep what it said of each test image, and give the row's figures."""
    found = asked(networks, method, request.shots)
    table.keep_queries(request.out, method, repeat, found)
    return dict(rounded(found))


def _require_fits(request: Request) -> None:
    for method in request.methods:
        require(method in METHODS, "methods", f"of {', '.join(METHODS)}", method)
    require(request.methods, "methods", "at least one", "none")


def _facts(manifest: Manifest, request: Request, spec: RunSpec, tuning: RunSpec) -> dict[str, Any]:
    """What all runs of one table have in common."""
    published = manifest.layout == cub200.NAME
    return {
        "layout": manifest.layout,
        "data": hash_table(manifest.table[["path", "label", "split", "sha256"]]),
        "config": spec.model_dump(mode="json"),
        "tuning": tuning.model_dump(mode="json"),
        "shots": list(request.shots),
        "classes": "published halves" if is_published(manifest) else "two thirds are base",
        "tested": "the set's own test images" if published else "a fifth of base images",
    }


def _conclude(request: Request, manifest: Manifest, facts: dict[str, Any], spec: RunSpec) -> None:
    """Figures over the repeats, for people and for programs."""
    out, quiet = request.out, request.quiet
    shared = is_published(manifest)
    found = table.summarise(out, request.methods, shared=shared)
    if found:
        made = collect_provenance(seed=spec.seed, data_hash=facts["data"])
        write_json(out / "summary.json", {"methods": found, "provenance": made, **facts})
        rows = _by_shots(found, request.shots)
        write_text(out / "summary.md", f"{table.markdown(rows)}\n")
        title = f"{manifest.layout}, novel classes known from a few images"
        table.show(title, rows, out / "summary.md", quiet=quiet)
    say(table.places(out, found), quiet=quiet)


def _by_shots(
    found: Mapping[str, Mapping[str, Any]], shots: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """A row per method and number of shown images: what novel classes gain base classes may lose.

    Args:
        found: method -> figure@n -> value.
        shots: every n.
    """
    return {
        f"{method}@{count}": {
            **{part: figures[f"{part}@{count}"] for part in PARTS},
            "repeats": figures["repeats"],
        }
        for count in shots
        for method, figures in found.items()
    }
