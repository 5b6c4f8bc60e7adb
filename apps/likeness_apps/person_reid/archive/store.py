"""An index of people on disk: written whole, opened with its statements, read by searches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from likeness.bundle import Bundle, load_bundle, save_bundle
from likeness.errors import UserError, require
from likeness.files import atomic_directory, settle_directory, whole_directory, write_text
from likeness.search.index import Index, open_index, write_index
from likeness.threads import prefetched
from likeness_apps.person_reid.archive.embedding import COLUMNS, Embedded
from likeness_apps.person_reid.archive.statements import Statements, now, require_kept
from likeness_apps.person_reid.strips import write_strip
from likeness_apps.shell.console import progress
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.report.data import Picture
from likeness_apps.shell.results import thumbnail

FACTS, MODEL, CROPS, AUDIT, README = "index.json", "model", "crops", "audit.jsonl", "README.md"
CROP = "crop"  # column: file of the small picture, "" if there is none
_NOT_SEALED = ("files", "digest", "format_version")  # of a provenance: what `save_bundle` adds


@dataclass(frozen=True, eq=False)
class Archive:
    """An opened index of people.

    Attributes:
        path: where it is.
        opened: embeddings and rows; the rows have `embedding.COLUMNS` and `CROP`.
    """

    path: Path
    opened: Index

    @property
    def facts(self) -> dict[str, Any]:
        """Statements, licence and the like."""
        return self.opened.facts

    def embedded(self) -> Embedded:
        """Its tracklets as the gallery of a match, with the small pictures that it has."""
        files = self.opened.rows[CROP].tolist()

        def picture(row: int) -> Picture | None:
            return thumbnail(self.path / files[row]) if files[row] else None

        none = pd.DataFrame(columns=["tracklet", "label", "camera", "reason"], dtype=str)
        return Embedded(self.opened.rows, self.opened.embeddings_GD, none, 0, picture)


def is_archive(path: Path) -> bool:
    """Whether a folder is an index, or one that was emptied."""
    folder = whole_directory(path)
    return (folder / FACTS).is_file() or (folder / AUDIT).is_file()


def require_archive_or_new(out: Path) -> None:
    """An older index may be replaced, and nothing else."""
    if not is_archive(out):
        require_new(out, "a new or empty directory, or an older index")


def open_archive(path: Path, *, model_id: str | None = None) -> Archive:
    """Open an index of people, whatever its retention.

    Raises:
        UserError: if it is none, is damaged, or holds nobody.
    """
    folder = whole_directory(path)
    emptied = (folder / AUDIT).is_file() and not (folder / FACTS).is_file()
    require(not emptied, "index", "one that holds somebody", f"{path}, which was emptied")
    opened = open_index(folder, model_id=model_id)
    ours = "retention" in opened.facts and CROP in opened.rows.columns
    rule = "made by `likeness person-reid index`, with purpose, legal basis and retention"
    require(ours, "index", rule, str(path))
    return Archive(folder, opened)


def open_for_search(path: Path) -> tuple[Bundle, Archive]:
    """An index within its retention, and the model that it carries.

    Raises:
        UserError: as `open_archive`, or if the retention has ended.
    """
    archive = open_archive(path)
    require_kept(path, archive.facts)
    bundle = load_bundle(archive.path / MODEL)
    same = bundle.model_id == archive.opened.model_id
    require(same, "index", "beside the model that made it", str(path))
    return bundle, archive


def write_archive(
    domain: Domain,
    bundle: Bundle,
    people: Embedded,
    out: Path,
    statements: Statements,
    *,
    include_images: bool,
    quiet: bool,
) -> None:
    """Write an index; the directory appears whole or not at all.

    Args:
        domain: the application.
        bundle: the model that made the embeddings; it is carried along.
        people: what to keep.
        out: the directory; an index that is there is replaced, and its audit log goes on.
        statements: purpose, legal basis, retention.
        include_images: keep a small picture of each tracklet.
        quiet: no progress.

    Raises:
        UserError: if the model holds embeddings of its own.
    """
    own = bundle.gallery is not None or bundle.centres_CD is not None
    require(not own, "model", "one that holds no embedding of its training images", bundle.model_id)
    log = read_log(out)
    crops = [f"{CROPS}/{number:06d}.jpg" for number in range(1, len(people) + 1)]
    rows = people.rows[list(COLUMNS)].assign(**{CROP: crops if include_images else ""})
    facts = {
        "root": "",  # a folder's name may say who is in it
        "app": domain.name,
        "multilabel": False,
        "data_licence": bundle.data_licence or "not stated",
        "created": now(),
        **statements.facts(),
    }
    with atomic_directory(out) as folder:
        write_index(
            folder,
            people.embeddings_ND,
            rows,
            space=bundle.space,
            model_id=bundle.model_id,
            facts=facts,
        )
        _carry_model(bundle, folder / MODEL)
        if include_images:
            _write_crops(people, folder, crops, quiet=quiet)
        write_readme(folder, facts, rows)
        write_log(folder, [*log, {"when": facts["created"], "event": "index", **people.counts()}])
    settle_directory(out)  # an older index must be gone


def read_log(path: Path) -> list[dict[str, Any]]:
    """The audit log of an index; empty if there is none.

    Raises:
        UserError: if it cannot be read.
    """
    file = whole_directory(path) / AUDIT
    if not file.is_file():
        return []
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise UserError(f"index must have a readable {AUDIT}, got {file}: {error}") from error


def write_log(folder: Path, entries: list[dict[str, Any]]) -> None:
    """Write the audit log: a JSON object per line."""
    write_text(folder / AUDIT, "".join(json.dumps(entry) + "\n" for entry in entries))


def write_readme(folder: Path, facts: Mapping[str, Any], rows: pd.DataFrame) -> None:
    """Say what an index is, what it may be used for and until when; without anybody's name."""
    kept = int((rows[CROP] != "").sum())
    pictures = f"{kept} small pictures of them (`{CROPS}/`)" if kept else "no picture of anybody"
    text = f"""# Index of people: biometric data

- Purpose: {facts["purpose"]}
- Legal basis: {facts["legal_basis"]}
- Retention: until {facts["retention"]}; after that day it answers no more.
- Made: {facts["created"]}. Licence of the model's training data: {facts["data_licence"]}.

It holds embeddings of {len(rows)} tracklets (pieces of a film that follow one person),
the names that their files have (`rows.parquet`), and {pictures}.
Embeddings tell people apart: they are biometric data (GDPR Art. 4 and 9, and laws like it).

What it finds is a suggestion to look, never an identification.

`likeness person-reid forget INDEX --id X` removes a person (or one tracklet) from every file in
here, `--expired` everybody once the retention has ended; `{AUDIT}` counts what was removed and
names nobody. Recordings, tables and pictures elsewhere, and copies of this folder, are beyond its
reach. `{MODEL}/` is the network without the names of those whom it was trained on.
"""
    write_text(folder / README, text)


def _carry_model(bundle: Bundle, target: Path) -> None:
    """The network with its thresholds and its card; numbers instead of its training identities."""
    save_bundle(
        target,
        bundle.embedder,
        config={name: part for name, part in bundle.config.items() if name != "model"},
        classes=[str(number) for number in range(len(bundle.classes))],
        preprocessing=bundle.preprocessing,
        splits=bundle.splits.iloc[:0],
        metrics=bundle.metrics,
        provenance={k: v for k, v in bundle.provenance.items() if k not in _NOT_SEALED},
        card=bundle.card,
    )


def _write_crops(people: Embedded, folder: Path, crops: list[str], *, quiet: bool) -> None:
    """The small picture of every row, in threads."""
    (folder / CROPS).mkdir()

    def write(row: int) -> None:
        picture = people.picture(row)
        if picture is not None:
            write_strip(folder / crops[row], picture)

    with progress("pictures", quiet=quiet) as advance:
        for done, _ in enumerate(prefetched(range(len(people)), write, threads=4), start=1):
            advance(done, len(people))
