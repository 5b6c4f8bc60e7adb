"""`index`: one row per tracklet, kept for a stated purpose until a stated day."""

from __future__ import annotations

import shlex
from pathlib import Path

from likeness.inference.predictor import Predictor
from likeness_apps.person_reid.archive.embedding import embed_people
from likeness_apps.person_reid.archive.inputs import people_in
from likeness_apps.person_reid.archive.statements import stated
from likeness_apps.person_reid.archive.store import require_archive_or_new, write_archive
from likeness_apps.shell.console import say
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.members import own_bundle

_TOLD = 5  # tracklets without a usable frame are named up to this number


def index(
    domain: Domain,
    model: Path,
    data: Path,
    out: Path,
    *,
    purpose: str,
    legal_basis: str,
    retention: str,
    include_images: bool = False,
    batch_size: int = 64,
    device: str = "cpu",
    quiet: bool = False,
) -> Path:
    """Embed the tracklets of a set and keep them.

    Args:
        domain: the application.
        model: a bundle or a run.
        data: a set, a table, or a folder, see `inputs.people_in`.
        out: the index; an older one there is replaced.
        purpose: what it is for.
        legal_basis: why it may be kept.
        retention: until when, YYYY-MM-DD.
        include_images: keep a small picture of each tracklet.
        batch_size: frames per forward pass.
        device: where the network runs.
        quiet: say nothing.

    Raises:
        UserError: if a statement is missing, nothing can be read, or `out` holds something else.
    """
    statements = stated(purpose, legal_basis, retention)
    require_archive_or_new(out)
    bundle = own_bundle(domain, model)
    predictor = Predictor(bundle, batch_size=batch_size, columns="embed", device=device)
    people = embed_people(predictor, people_in(domain, data), name="data", quiet=quiet)
    write_archive(
        domain, bundle, people, out, statements, include_images=include_images, quiet=quiet
    )
    for failed in people.failed.head(_TOLD).itertuples():
        say(f"left out: {failed.tracklet}: {failed.reason}", quiet=quiet)
    left_out = f", {len(people.failed)} left out" if len(people.failed) else ""
    say(f"{out}: {len(people)} tracklets{left_out}, until {statements.retention}", quiet=quiet)
    place = shlex.quote(str(out))
    say(f"Next: likeness {domain.name} search {place} IMAGE|FOLDER", quiet=quiet)
    return out
