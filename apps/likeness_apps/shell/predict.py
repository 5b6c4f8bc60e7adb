"""`predict` and `embed`: any number of images, one row each, in order, resumable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from likeness.inference import shards
from likeness.inference.blocks import Model
from likeness.inference.predictor import Predictor
from likeness.inference.shards import Written
from likeness_apps.shell.console import progress, say
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.members import own_bundle, predictor_of
from likeness_apps.shell.screening import screened


def predict(
    domain: Domain,
    model: Path,
    source: Path,
    out: Path,
    batch_size: int,
    *,
    also: Sequence[Path] = (),
    tta: str = "one",
    device: str = "cpu",
    facts: Mapping[str, str] | None = None,
    quiet: bool = False,
) -> int:
    """Write labels and probabilities of every image; returns the exit code (0 if any row is ok).

    Args:
        domain: the application.
        model: a bundle or a run.
        source: a folder, a table or an image.
        out: a new table.
        batch_size: images per forward pass.
        also: further models; probabilities are the mean over all.
        tta: views of each image, see `Predictor`.
        device: where the networks run.
        facts: more metadata of the table.
        quiet: no progress.
    """
    models = [own_bundle(domain, one) for one in (model, *also)]
    predictor = predictor_of(models, batch_size=batch_size, device=device, tta=tta)
    return _write(domain, shards.predict, predictor, source, out, facts=facts, quiet=quiet)


def embed(
    domain: Domain,
    model: Path,
    source: Path,
    out: Path,
    batch_size: int,
    *,
    device: str = "cpu",
    quiet: bool = False,
) -> int:
    """Write the embedding of every image; returns the exit code (0 if any row is ok)."""
    bundle = own_bundle(domain, model)
    predictor = Predictor(bundle, batch_size=batch_size, device=device, columns="embed")
    return _write(domain, shards.embed, predictor, source, out, quiet=quiet)


def _write(
    domain: Domain,
    work: Callable[..., Written],
    predictor: Model,
    source: Path,
    out: Path,
    *,
    facts: Mapping[str, str] | None = None,
    quiet: bool,
) -> int:
    shown = screened(domain, source, quiet=quiet)
    with progress(f"{domain.name}: {work.__name__}", quiet=quiet) as advance:
        written = work(predictor, shown, out, facts=facts, on_progress=advance)
    told = f"{written.ok} ok, {written.errors} failed"
    if written.refused:
        told += f", {written.refused} out of scope"
    if written.errors or written.refused:
        told += " (column reason says why)"
    if written.resumed:
        told += f", {written.resumed} of them from an earlier call"
    if written.left_out:
        told += f"; {written.left_out} files left out: other endings, or masks"
    say(f"{out}: {told}", quiet=quiet)
    return written.exit_code
