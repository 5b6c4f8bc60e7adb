"""The usual aim: models that tell the class, or the labels, of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from likeness.data.manifest import Manifest
from likeness.training.loop import FitResult
from likeness.training.spec import RunSpec
from likeness_apps.shell.console import figure, show_table
from likeness_apps.shell.data import Prepared, prepare
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.finish import answer, answers_of, finish, require_finite, task_of_run
from likeness_apps.shell.results import report_of
from likeness_apps.shell.setup import Setup
from likeness_apps.shell.tasks import require_fit, task_of


class Labelled:
    """See `domain.Aim`."""

    def require_fit(self, domain: Domain, spec: RunSpec, manifest: Manifest) -> None:
        """Classification, losses and sampler must be for as many labels as an image has."""
        fitting = domain.multilabel_config if manifest.multilabel else domain.default_config
        task = task_of(manifest.classes, multilabel=manifest.multilabel)
        require_fit(spec, task, fitting)

    def prepare(
        self, domain: Domain, manifest: Manifest, spec: RunSpec, *, quiet: bool
    ) -> Prepared:
        """See `data.prepare`."""
        return prepare(domain, manifest, spec.data, seed=spec.seed, quiet=quiet)

    def validate(self, setup: Setup, embedder: nn.Module) -> dict[str, float]:
        """The scores of the set's task."""
        split, task = setup.splits["val"], task_of_run(setup)
        raw = answer(embedder, split)
        require_finite(raw, split)
        point = task.plain() if raw.logits_NC.shape[1] else None
        said = answers_of(raw, split, task, setup.spec.model.space, point)
        return task.figures.validation_scores(said)

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
        """Read-outs, operating point, card and figures of the validation split."""
        metrics, table, embeddings_ND = finish(domain, out, setup, result)
        report_of(
            out / "report.html",
            domain,
            title=f"Training run {out.name} (validation split)",
            folder=setup.prepared.manifest.root,
            metrics=metrics,
            predictions=table,
            embeddings_ND=embeddings_ND,
            space=setup.spec.model.space,
            run=out,
            include_images=include_images,
        )
        _show(result, metrics, quiet=quiet)


def _show(result: FitResult, metrics: dict[str, Any], *, quiet: bool) -> None:
    rows = [
        (name, figure(value))
        for family in ("classification", "retrieval")
        for name, value in metrics.get(family, {}).items()
    ]
    title = f"Validation, best epoch {result.best_epoch} of {result.epochs}"
    show_table(title, ("measure", "value [95 % interval]"), rows, quiet=quiet)
