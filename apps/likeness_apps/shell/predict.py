"""`predict` and `embed`: any number of images, one row each, in order, resumable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from likeness.inference import shards
from likeness.inference.predictor import Predictor
from likeness.inference.shards import Written
from likeness_apps.shell.console import progress, say
from likeness_apps.shell.domain import Domain


def predict(
    domain: Domain,
    model: Path,
    source: Path,
    out: Path,
    batch_size: int,
    *,
    device: str = "cpu",
    quiet: bool = False,
) -> int:
    """Write labels and probabilities of every image; returns the exit code (0 if any row is ok)."""
    predictor = Predictor(model, batch_size=batch_size, device=device)
    return _write(domain, shards.predict, predictor, source, out, quiet=quiet)


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
    predictor = Predictor(model, batch_size=batch_size, device=device)
    return _write(domain, shards.embed, predictor, source, out, quiet=quiet)


def _write(
    domain: Domain,
    work: Callable[..., Written],
    predictor: Predictor,
    source: Path,
    out: Path,
    *,
    quiet: bool,
) -> int:
    with progress(f"{domain.name}: {work.__name__}", quiet=quiet) as advance:
        written = work(predictor, source, out, on_progress=advance)
    told = f"{written.ok} ok, {written.errors} failed"
    if written.errors:
        told += " (column reason says why)"
    if written.resumed:
        told += f", {written.resumed} of them from an earlier call"
    if written.left_out:
        told += f"; {written.left_out} files left out, whose ending is no image's"
    say(f"{out}: {told}", quiet=quiet)
    return written.exit_code
