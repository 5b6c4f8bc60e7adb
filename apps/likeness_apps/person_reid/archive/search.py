"""`search`: an index of people answers one image, one tracklet, or a set of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from likeness.errors import require
from likeness.files import atomic_path
from likeness.inference.predictor import Predictor
from likeness_apps.person_reid.archive.embedding import Embedded, embed_tracklets
from likeness_apps.person_reid.archive.inputs import people_in, query_in
from likeness_apps.person_reid.archive.pictures import evenly, strip
from likeness_apps.person_reid.archive.ranking import (
    Judge,
    Ranking,
    answers,
    joined,
    judge_of,
    rank,
    require_prior,
    unanswered,
)
from likeness_apps.person_reid.archive.sheet import require_png, write_people_sheet
from likeness_apps.person_reid.archive.store import CROP, open_for_search
from likeness_apps.shell.console import say, show_table
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.report.data import Picture

_SHOWN = 50  # rows in the terminal


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
        device: where the network runs.
        quiet: say nothing.

    Returns:
        A table of `ranking.COLUMNS`.

    Raises:
        UserError: if the index is damaged or past its retention, or no query can be read.
    """
    require_png(sheet)
    require_prior(prior)
    fits = out is None or out.suffix in (".csv", ".parquet")
    require(fits, "out", "a .csv or .parquet file", str(out))
    bundle, opened = open_for_search(archive)
    judge = judge_of(bundle, len(opened.opened), prior)
    predictor = Predictor(bundle, columns="embed", device=device)
    asking = embed_tracklets(predictor, query_in(domain, query), name="query", quiet=quiet)
    gallery = opened.embedded()
    if data is not None and include_images and not (gallery.rows[CROP] != "").any():
        gallery = _with_pictures(domain, gallery, data)
    found = rank(asking, gallery, bundle.space, Ranking(k))
    table = answers(asking, gallery, found, slice(None), judge)
    table = joined(table, unanswered(asking.failed))
    if out is not None:
        _write(table, out)
    if sheet is not None:
        sides = asking, gallery, found, judge
        write_people_sheet(domain, sheet, *sides, include_images=include_images, quiet=quiet)
    _show(table, judge, quiet=quiet)
    return table


def _with_pictures(domain: Domain, gallery: Embedded, data: Path) -> Embedded:
    """The same with pictures of the frames that lie in `data` now."""
    manifest = people_in(domain, data)
    frames = manifest.table.groupby("tracklet")["path"].apply(list).to_dict()

    def picture(row: int) -> Picture | None:
        files = frames.get(gallery.rows["tracklet"].iloc[row], [])
        return strip([manifest.file(files[place]) for place in evenly(len(files))])

    return replace(gallery, picture=picture)


def _write(table: pd.DataFrame, out: Path) -> None:
    with atomic_path(out) as temporary:
        if out.suffix == ".csv":
            table.to_csv(temporary, index=False, lineterminator="\n")
        else:
            table.to_parquet(temporary, index=False)


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
        for hit in good.head(_SHOWN).itertuples()
    ]
    columns = ("query", "rank", "score", "decision", "probability", "tracklet")
    show_table("Nearest", columns, rows, numeric=("rank", "score", "probability"), quiet=quiet)
    if len(good) > _SHOWN:
        say(f"{len(good) - _SHOWN} more rows; use --out for all", quiet=quiet)
    for failed in table[table["status"] != "ok"].itertuples():
        say(f"cannot be asked: {failed.query}: {failed.reason}", quiet=quiet)
    if judge.verdicts is None:
        say("Every pair is unknown: the model has no calibrated threshold.", quiet=quiet)
    else:
        say(f"Probabilities presume a share of {judge.prior:g} right ones.", quiet=quiet)


def _percent(probability: float) -> str:
    return "" if pd.isna(probability) else f"{probability:.3f}"
