"""`match`: the people of one folder looked for in another, with a record of who asked and why.

Frames are read as a stream; what stays in memory is an embedding per tracklet and K answers per
query. Nothing is written before all is embedded: a call that was stopped begins again. Who asks
the same gallery often makes an index of it, which is embedded once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from likeness.bundle import Bundle
from likeness.errors import require
from likeness.files import atomic_path, sha256_file, write_json
from likeness.inference.predictor import Predictor
from likeness_apps.person_reid.archive.embedding import Embedded, embed_people
from likeness_apps.person_reid.archive.inputs import people_in, query_in
from likeness_apps.person_reid.archive.ranking import (
    NO_THRESHOLD,
    NOT_CALIBRATED,
    Judge,
    Ranked,
    Ranking,
    answers,
    joined,
    judge_of,
    rank,
    require_prior,
    unanswered,
    unusable,
    verdicts_of,
)
from likeness_apps.person_reid.archive.sheet import write_people_sheet
from likeness_apps.person_reid.archive.statements import require_kept, stated_purpose
from likeness_apps.person_reid.archive.store import is_archive, open_archive
from likeness_apps.shell.answers import require_outputs
from likeness_apps.shell.console import say
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.members import own_bundle
from likeness_apps.shell.results import provenance_of

_BLOCK = 4096  # queries whose rows are written together
_STATED = ("purpose", "legal_basis", "retention")


def match(
    domain: Domain,
    model: Path,
    query: Path,
    gallery: Path,
    out: Path,
    *,
    purpose: str,
    operator: str = "",
    ranking: Ranking,
    prior: float | None = None,
    false_accept_rate: float | None = None,
    sheet: Path | None = None,
    include_images: bool = False,
    batch_size: int = 64,
    device: str = "cpu",
    quiet: bool = False,
) -> dict[str, Any]:
    """Write one row per query and rank to `out`, and what was done to `out`.audit.json.

    Args:
        domain: the application.
        model: a bundle or a run.
        query: a set, table, folder or image, see `inputs.query_in`.
        gallery: likewise, see `inputs.people_in`; or an index made by this model.
        out: the table, .csv; new.
        purpose: why this is asked.
        operator: who answers for it; "" = not stated.
        ranking: how many ranks, and how they are made.
        prior: presumed share of right ones among the pairs; None: one gallery row is right.
        false_accept_rate: of the threshold of "same", see `verdicts_of`.
        sheet: also draw a contact sheet (PNG).
        include_images: with pictures.
        batch_size: frames per forward pass.
        device: where the network runs.
        quiet: say nothing.

    Returns:
        The audit record.

    Raises:
        UserError: if the purpose is missing, `out` is there already, nothing can be read, the model
            has no threshold for the rate, or the gallery is an index past its retention.
    """
    purpose = stated_purpose(purpose)
    require_outputs(None, sheet)
    require_prior(prior)
    require(out.suffix == ".csv" and not out.exists(), "out", "a new .csv file", str(out))
    bundle = own_bundle(domain, model)
    verdicts = verdicts_of(bundle, false_accept_rate)
    predictor = Predictor(bundle, batch_size=batch_size, columns="embed", device=device)
    asked = query_in(domain, query, quiet=quiet)
    answering, facts = _gallery(domain, predictor, gallery, quiet=quiet)
    judge = judge_of(verdicts, len(answering), prior)
    asking = embed_people(predictor, asked, name="query", quiet=quiet)
    found = rank(asking, answering, bundle.space, ranking)
    record = {
        "purpose": purpose,
        "operator": operator or "not stated",
        "ranking": ranking.described(len(asking), len(answering)),
        "index": {name: facts[name] for name in _STATED if name in facts} or None,
    }
    with atomic_path(out) as temporary:
        counted = _write_rows(temporary, _blocks(asking, answering, found, judge))
        record |= _audit(domain, bundle, asking, answering, judge, counted)
        record["table"] = {"name": out.name, "sha256": sha256_file(temporary)}
        write_json(audit_of(out), record)
    if sheet is not None:
        sides = asking, answering, found, judge
        write_people_sheet(domain, sheet, *sides, include_images=include_images, quiet=quiet)
    _tell(out, record, quiet=quiet)
    return record


def audit_of(out: Path) -> Path:
    """Where the record of a table is."""
    return out.with_name(f"{out.name}.audit.json")


def _gallery(
    domain: Domain, predictor: Predictor, gallery: Path, *, quiet: bool
) -> tuple[Embedded, dict[str, Any]]:
    """The gallery, embedded now or taken from an index, whose facts come along."""
    if not is_archive(gallery):
        manifest = people_in(domain, gallery, name="gallery")
        return embed_people(predictor, manifest, name="gallery", quiet=quiet), {}
    archive = open_archive(gallery, model_id=predictor.model_id)
    require_kept(gallery, archive.facts)
    return archive.embedded(), archive.facts


def _blocks(
    query: Embedded, gallery: Embedded, found: Ranked, judge: Judge
) -> Iterator[pd.DataFrame]:
    """The table, part by part: answers, then tracklets of either side that could not take part."""
    for start in range(0, len(query), _BLOCK):
        yield answers(query, gallery, found, slice(start, start + _BLOCK), judge)
    yield joined(unanswered(query.failed), unusable(gallery.failed))


def _write_rows(path: Path, blocks: Iterable[pd.DataFrame]) -> Counter[str]:
    """The table; returns how often each decision was made."""
    counted: Counter[str] = Counter()
    with path.open("w", encoding="utf-8", newline="") as handle:
        for number, block in enumerate(blocks):
            block.to_csv(handle, index=False, header=number == 0, lineterminator="\n")
            counted.update(block["decision"][block["status"] == "ok"])
    return counted


def _audit(
    domain: Domain,
    bundle: Bundle,
    query: Embedded,
    gallery: Embedded,
    judge: Judge,
    counted: Counter[str],
) -> dict[str, Any]:
    """What was compared by which model and rules, in numbers."""
    provenance = provenance_of(bundle)
    return {
        "app": domain.name,
        "model_id": bundle.model_id,
        "data_licence": bundle.data_licence or "not stated",
        "query": query.counts(),
        "gallery": gallery.counts(),
        "decisions": dict(sorted(counted.items())),
        "thresholds": judge.described(len(gallery)),
        "notice": domain.notice,
        "provenance": {name: provenance[name] for name in ("command", "created", "versions")},
    }


def _tell(out: Path, record: dict[str, Any], *, quiet: bool) -> None:
    """What came out, in numbers."""
    decisions = ", ".join(f"{count} {name}" for name, count in record["decisions"].items())
    say(f"{out}: {record['query']['tracklets']} queries: {decisions}", quiet=quiet)
    for side in ("query", "gallery"):
        failed = record[side]["tracklets_without_a_frame"]
        say(f"{failed} tracklets of the {side} without a usable frame", quiet=quiet or not failed)
    thresholds = record["thresholds"]
    if not thresholds["calibrated"]:
        say(f"Every pair is unknown: {NOT_CALIBRATED}; {NO_THRESHOLD}.", quiet=quiet)
        return
    strangers = thresholds["strangers_called_same_per_query"]
    say(
        f"The false-accept rate is one of pairs: up to {strangers:.2g} strangers of this gallery "
        f"may be called the same as a query. Probabilities presume a share of "
        f"{thresholds['prior']:g} right ones.",
        quiet=quiet,
    )
