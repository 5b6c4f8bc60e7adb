"""`search`: an index of people answers one image, one tracklet, or a set of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from likeness.inference.predictor import Predictor
from likeness_apps.person_reid.archive.embedding import STRIP, Embedded, embed_people
from likeness_apps.person_reid.archive.inputs import people_in, query_in
from likeness_apps.person_reid.archive.ranking import (
    NO_THRESHOLD,
    NOT_CALIBRATED,
    Judge,
    Ranking,
    answers,
    joined,
    judge_of,
    rank,
    require_prior,
    unanswered,
    verdicts_of,
)
from likeness_apps.person_reid.archive.sheet import write_people_sheet
from likeness_apps.person_reid.archive.store import CROP, open_for_search
from likeness_apps.person_reid.strips import strips_of
from likeness_apps.shell.answers import SHOWN, require_outputs, write_found
from likeness_apps.shell.console import say, show_table
from likeness_apps.shell.domain import Domain


def search(
    domain: Domain,
    archive: Path,
    query: Path,
    *,
    k: int = 10,
    out: Path | None = None,
    sheet: Path | None = None,
    include_images: bool = False,
    data: Path | None = None,
    prior: float | None = None,
    false_accept_rate: float | None = None,
    device: str = "cpu",
    quiet: bool = False,
) -> pd.DataFrame:
    """The most similar tracklets of each query, and what the model's thresholds say of them.

    Args:
        domain: the application.
        archive: what `index` wrote.
        query: an image, a folder of frames (one tracklet), a folder of such folders, or a set.
        k: ranks per query; a smaller index gives as many as it has.
        out: also write the table here (.csv or .parquet).
        sheet: also draw a contact sheet (PNG).
        include_images: with pictures: those of the index, or of `data`.
        data: what `index` was given, for pictures if the index has none.
        prior: presumed share of right ones among the pairs; None: one row of the index is right.
        false_accept_rate: of the threshold of "same", see `verdicts_of`.
        device: where the network runs.
        quiet: say nothing.

    Returns:
        A table of `ranking.COLUMNS`.

    Raises:
        UserError: if the index is damaged or past its retention, or no query can be read.
    """
    require_outputs(out, sheet)
    require_prior(prior)
    bundle, opened = open_for_search(archive)
    judge = judge_of(verdicts_of(bundle, false_accept_rate), len(opened.opened), prior)
    predictor = Predictor(bundle, columns="embed", device=device)
    asking = embed_people(
        predictor, query_in(domain, query, quiet=quiet), name="query", quiet=quiet
    )
    gallery = opened.embedded()
    if data is not None and include_images and not (gallery.rows[CROP] != "").any():
        gallery = _with_pictures(domain, gallery, data)
    found = rank(asking, gallery, bundle.space, Ranking(k))
    table = answers(asking, gallery, found, slice(None), judge)
    table = joined(table, unanswered(asking.failed))
    if out is not None:
        write_found(table, out)
    if sheet is not None:
        sides = asking, gallery, found, judge
        write_people_sheet(domain, sheet, *sides, include_images=include_images, quiet=quiet)
    _show(table, judge, quiet=quiet)
    return table


def _with_pictures(domain: Domain, gallery: Embedded, data: Path) -> Embedded:
    """The same with pictures of the frames that lie in `data` now."""
    manifest = people_in(domain, data)
    strip_of, names = strips_of(manifest.table, manifest.root, STRIP), gallery.rows["tracklet"]
    return replace(gallery, picture=lambda row: strip_of(names.iloc[row]))


def _show(table: pd.DataFrame, judge: Judge, *, quiet: bool) -> None:
    """The first rows, in the terminal."""
    good = table[table["status"] == "ok"]
    rows = [
        (
            hit.query,
            hit.rank,
            f"{hit.score:.4f}",
            hit.decision,
            _percent(hit.probability),
            hit.tracklet,
        )
        for hit in good.head(SHOWN).itertuples()
    ]
    columns = ("query", "rank", "score", "decision", "probability", "tracklet")
    show_table("Nearest", columns, rows, numeric=("rank", "score", "probability"), quiet=quiet)
    if len(good) > SHOWN:
        say(f"{len(good) - SHOWN} more rows; use --out for all", quiet=quiet)
    for failed in table[table["status"] != "ok"].itertuples():
        say(f"cannot be asked: {failed.query}: {failed.reason}", quiet=quiet)
    if judge.verdicts is None:
        say(f"Every pair is unknown: {NOT_CALIBRATED}; {NO_THRESHOLD}.", quiet=quiet)
    else:
        say(f"Probabilities presume a share of {judge.prior:g} right ones.", quiet=quiet)


def _percent(probability: float) -> str:
    return "" if pd.isna(probability) else f"{probability:.3f}"
