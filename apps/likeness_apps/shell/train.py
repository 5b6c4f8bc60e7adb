"""`train`: a data set and a configuration in; a run with a model directory and a report out."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from likeness.config import parse
from likeness.data.manifest import SPLITS
from likeness.errors import UserError, require
from likeness.files import atomic_path, write_text
from likeness.image_size import in_words
from likeness.provenance import read_provenance, resolve_model
from likeness.training.checkpoint import has_checkpoint
from likeness.training.data import TrainingData
from likeness.training.loop import FitResult, fit
from likeness.training.spec import RunSpec
from likeness_apps.shell import configs
from likeness_apps.shell.adapt import adapt, fit_warmup
from likeness_apps.shell.console import say
from likeness_apps.shell.data import Prepared
from likeness_apps.shell.domain import Aim, Domain
from likeness_apps.shell.inspect import write_findings
from likeness_apps.shell.labelled import Labelled
from likeness_apps.shell.matching import require_apart
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.screening import screened
from likeness_apps.shell.setup import Setup, set_up
from likeness_apps.shell.teacher import (
    CACHE,
    Teacher,
    load_teacher,
    taught_embeddings,
    with_distillation,
)

TRUST = "trust.csv"  # of a run with `self_paced`


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
    teacher: Path | None = None,
    quiet: bool = False,
) -> Path:
    """Train, measure on validation, and write the run; with a teacher that is `distill`.

    Args:
        domain: the application.
        data: a data set in a known layout, or a table.
        out: the run directory.
        config: a shipped name or a YAML file; None takes the domain's for this kind of labels.
        changes: `a.b=c` items.
        resume: continue a stopped run.
        tensorboard: log there too.
        include_images: put small pictures into report.html.
        teacher: a bundle or a run whose embeddings are learned from.
        quiet: no progress, no table.

    Returns:
        The run directory.

    Raises:
        UserError: for a mistake in configuration or data, or a run directory that exists.
    """
    _require_place(out, resume=resume)
    manifest = domain.recognise(screened(domain, data, quiet=quiet))
    raw = _asked_for(domain, config, changes, multilabel=manifest.multilabel, quiet=quiet)
    source = None if teacher is None else load_teacher(teacher)
    raw = raw if source is None else with_distillation(raw, quiet=quiet)
    spec = parse(RunSpec, raw)
    _require_teacher(spec, source)
    aim = Labelled() if domain.aim is None else domain.aim()
    aim.require_fit(domain, spec, manifest)
    prepared = aim.prepare(domain, manifest, spec, quiet=quiet)
    if source is not None:
        require_apart("teacher", source.bundle, prepared.splits)
    spec = adapt(spec, prepared, raw=raw, config=config, changes=changes, quiet=quiet)
    _show_start(prepared, spec, quiet=quiet)
    setup = set_up(spec, prepared, quiet=quiet, distributions=domain.distributions)
    setup = replace(setup, teacher=source)
    if not has_checkpoint(out / "checkpoints"):  # `fit` may still refuse to resume with these
        _write_inputs(out, setup)
    with _taken_back(out, resume=resume or teacher is not None):
        result = _fit(out, setup, aim, resume=resume, tensorboard=tensorboard, quiet=quiet)
    if not (result.already_finished and _is_whole(out)):
        aim.conclude(domain, out, setup, result, include_images=include_images, quiet=quiet)
    if domain.biometric:
        (out / CACHE).unlink(missing_ok=True)
    _write_trust(out, setup, result, quiet=quiet)
    say(f"{out / 'model'}: the model;  {out / 'report.html'}: the report", quiet=quiet)
    if (prepared.splits["split"] == "test").any():
        _show_next(domain, "evaluate", out, data, "--out", f"{out}-test", quiet=quiet)
    return out


def _require_place(out: Path, *, resume: bool) -> None:
    """A new directory or, with `resume`, a run: nothing else is written into."""
    if not (resume and (out / "config.yaml").is_file()):
        require_new(out, "a new directory, or a run together with --resume")


@contextmanager
def _taken_back(out: Path, *, resume: bool) -> Iterator[None]:
    """A run that is refused before its first step leaves nothing in its new directory.

    One to resume stays, and so does what a teacher said of the images.
    """
    try:
        yield
    except UserError:
        began = any((out / name).exists() for name in ("logs", "checkpoints"))
        if not (resume or began):
            shutil.rmtree(out, ignore_errors=True)
        raise


def _asked_for(
    domain: Domain, config: str | None, changes: Sequence[str], *, multilabel: bool, quiet: bool
) -> dict[str, Any]:
    """The configuration with its changes, not yet checked; without one that of these labels."""
    fitting = domain.multilabel_config if multilabel else domain.default_config
    if config is None and multilabel and fitting:
        say(f"Several labels per image: --config {fitting}", quiet=quiet)
    raw = configs.load(domain.folder, config or fitting or domain.default_config, changes)
    return fit_warmup(raw, config=config, changes=changes, quiet=quiet)


def _require_teacher(spec: RunSpec, teacher: Teacher | None) -> None:
    """A teacher that the configuration speaks of must be there."""
    names = [term.loss.name for term in spec.objective.distillation]
    rule = "empty without a teacher, whom `distill` names"
    require(teacher is not None or not names, "objective.distillation", rule, names)


def _is_whole(out: Path) -> bool:
    """Whether a finished run has its model and its report, and needs neither again."""
    try:
        read_provenance(resolve_model(out))
    except UserError:
        return False
    return (out / "report.html").is_file()


def _write_inputs(out: Path, setup: Setup) -> None:
    """What the run was made from: configuration, findings, splits."""
    config = setup.spec.model_dump(mode="json")
    write_text(out / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    write_findings(out / "findings.csv", setup.prepared.checked.findings)
    with atomic_path(out / "splits.csv") as temporary:
        setup.prepared.splits.to_csv(temporary, index=False, lineterminator="\n")


def _fit(
    out: Path, setup: Setup, aim: Aim, *, resume: bool, tensorboard: bool, quiet: bool
) -> FitResult:
    training, said_NC = setup.splits["train"], setup.distributions_NC
    taught_NT = None
    if setup.teacher is not None:
        taught_NT = taught_embeddings(setup.teacher, setup, out, quiet=quiet)
    return fit(
        out,
        setup.spec,
        setup.embedder,
        setup.objective,
        TrainingData(
            images=training.images,
            labels=torch.from_numpy(training.targets),
            names=training.table["path"].tolist(),
            columns={name: torch.from_numpy(codes) for name, codes in training.columns.items()},
            hash=setup.run_hash,
            targets=None if said_NC is None else torch.from_numpy(said_NC),
            teacher=taught_NT,
        ),
        setup.plan,
        partial(aim.validate, setup),
        resume=resume,
        quiet=quiet,
        tensorboard=tensorboard,
    )


def _write_trust(out: Path, setup: Setup, result: FitResult, *, quiet: bool) -> None:
    """After self-paced training: how far each training image was trusted, the least first."""
    if result.weights_N is None:
        return
    table = setup.splits["train"].table[["path", "label"]]
    table = table.assign(weight=result.weights_N.numpy().round(4)).sort_values(
        "weight", kind="stable"
    )
    with atomic_path(out / TRUST) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    told = f"{int((table['weight'] == 1).sum())} of {len(table)} training images are trusted fully"
    say(f"{out / TRUST}: {told}; the labels of the others are worth a look", quiet=quiet)


def _show_start(prepared: Prepared, spec: RunSpec, *, quiet: bool) -> None:
    counts = prepared.manifest.table["split"].value_counts()
    numbers = ", ".join(f"{counts.get(name, 0)} for {name}" for name in SPLITS)
    layout, classes = prepared.manifest.layout, len(prepared.labels.classes)
    model = f"{spec.model.backbone}, {in_words(spec.model.image_size)} px, epochs: {spec.epochs}"
    say(f"{layout}: {classes} classes; images: {numbers}; {model}", quiet=quiet)
    for name in ("val", "test"):
        missing = _missing_classes(prepared, name)
        if missing:
            few = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            told = f"{classes - len(missing)} of {classes} classes, not {few}"
            say(f"{name} holds {told}: its figures say nothing of these", quiet=quiet)


def _missing_classes(prepared: Prepared, split: str) -> list[str]:
    """Classes of which a split has no image; none where it is of other classes by intention."""
    manifest = prepared.manifest
    there = {name for cell in manifest.rows(split)["label"] for name in manifest.names(cell)}
    classes = prepared.labels.classes
    return [name for name in classes if name not in there] if there & set(classes) else []


def _show_next(domain: Domain, *words: str | Path, quiet: bool) -> None:
    say(f"Next: likeness {domain.name} {shlex.join(map(str, words))}", quiet=quiet)
