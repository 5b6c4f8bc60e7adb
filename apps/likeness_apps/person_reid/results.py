"""The files of a ranking, the same from `evaluate` and from `score`, and its figures in a terminal.

metrics.json, queries.csv (and one for every kind of re-ranking), report.html. Features of people
are biometric data: a result points at them (path and SHA-256), so that `explain_score` can score
again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.files import atomic_path, sha256_file, write_json
from likeness_apps.person_reid.report import write_report
from likeness_apps.person_reid.scoring import Scored
from likeness_apps.shell.console import figure, say, show_table
from likeness_apps.shell.domain import Domain

QUERIES = "queries.csv"


def write_result(
    out: Path,
    domain: Domain,
    title: str,
    scored: Scored,
    again: Mapping[str, Scored],
    *,
    tracklets: pd.DataFrame,
    features: np.ndarray,
    **shown: Any,
) -> dict[str, Any]:
    """All files of a result; metrics.json comes last: where it is, the rest is whole.

    Args:
        out: the directory.
        domain: the application.
        title: of the page.
        scored: the figures, with all that metrics.json shall say beside them.
        again: what `ranked_again` gave.
        tracklets: the rows that were ranked.
        features: one row for each.
        shown: what else `write_report` shall know.

    Returns:
        metrics.json.
    """
    metrics = dict(scored.metrics)
    if again:
        metrics["reordered"] = {kind: each.metrics for kind, each in again.items()}
    for name, queries in queries_files(scored, again).items():
        with atomic_path(out / name) as temporary:
            queries.to_csv(temporary, index=False, lineterminator="\n")
    write_report(
        out / "report.html",
        domain,
        title=title,
        metrics=metrics,
        queries=scored.queries,
        tracklets=tracklets,
        features=features,
        **shown,
    )
    write_json(out / "metrics.json", metrics)
    return metrics


def queries_files(scored: Scored, again: Mapping[str, Scored]) -> dict[str, pd.DataFrame]:
    """Name of a file -> one row per query, of the plain ranking first."""
    others = {f"queries-{kind}.csv": each.queries for kind, each in again.items()}
    return {QUERIES: scored.queries} | others


def pointers(out: Path, features: Path, table: Path) -> dict[str, dict[str, str]]:
    """Where the inputs of a result in `out` are, relative to it, and what is in them."""
    found = {}
    for name, path in (("features", features), ("table", table)):
        place = Path(os.path.relpath(path.resolve(), out.resolve())).as_posix()
        found[name] = {"path": place, "sha256": sha256_file(path)}
    return found


def show(metrics: Mapping[str, Any], *, quiet: bool = False) -> None:
    """The figures in the terminal, without a name of anybody."""
    title = f"Protocol {metrics['protocol']}"
    _show_figures(title, metrics["retrieval"], quiet=quiet)
    if note := metrics.get("protocol_note"):
        say(f"{title} is {note}.", quiet=quiet)
    for note in metrics.get("set_notes", ()):
        say(f"Of this set: {note}", quiet=quiet)
    counted = metrics["rules"]["unmatched"] == "zero"
    for reason, count in metrics["unmatched"].items():
        say(
            f"Queries that {'count as 0' if counted else 'are skipped'}: {count} ({reason})",
            quiet=quiet,
        )
    for kind, again in metrics.get("reordered", {}).items():
        _show_figures(f"{title}, {kind}", again["retrieval"], again["gain"], quiet=quiet)


def _show_figures(
    title: str,
    retrieval: Mapping[str, Any],
    gain: Mapping[str, Any] | None = None,
    *,
    quiet: bool,
) -> None:
    columns = ["measure", "value [95 % interval]", "queries"]
    rows = [[name, figure(value), value["count"]] for name, value in retrieval.items()]
    if gain is not None:
        columns.insert(2, "more than plain")
        for row in rows:
            row.insert(2, figure(gain[row[0]]))
    show_table(title, columns, rows, numeric=("queries",), quiet=quiet)
