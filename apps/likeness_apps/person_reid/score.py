"""`score`: the figures of a named protocol from somebody's own features, without a model.

A result is metrics.json and queries.csv. Features of people are biometric data: a result does not
copy them, it points at them (path and SHA-256), so that `explain_score` can score again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from likeness.files import atomic_path, sha256_file, write_json
from likeness.search.space import Space
from likeness_apps.person_reid.scoring import Scored, score_tracklets
from likeness_apps.person_reid.tracklet_table import read_tracklets
from likeness_apps.shell.console import figure, say, show_table
from likeness_apps.shell.given import read_features
from likeness_apps.shell.outputs import require_new


def score(
    truth: Path,
    features: Path,
    out: Path,
    *,
    protocol: str,
    space: Space = "cosine",
    quiet: bool = False,
) -> dict[str, Any]:
    """Score features (a .npy) against a table of tracklets and write the result.

    Args:
        truth: csv or parquet with label, camera, tracklet, role; see `tracklet_table`.
        features: a .npy of floats, one row per row of `truth`.
        out: a new or empty directory for metrics.json and queries.csv.
        protocol: see `protocols.PROTOCOLS`.
        space: how features are compared: cosine, euclidean or dot.
        quiet: no table.

    Returns:
        metrics.json.

    Raises:
        UserError: as `score_tracklets`, or if a file cannot be read.
    """
    require_new(out)
    table = read_tracklets(truth)
    scored = score_tracklets(read_features(features, len(table)), table, protocol, space=space)
    metrics = scored.metrics | {"inputs": pointers(out, features, truth)}
    write_scored(out, Scored(metrics, scored.queries))
    show(metrics, quiet=quiet)
    say(f"{out}: metrics.json, queries.csv", quiet=quiet)
    return metrics


def pointers(out: Path, features: Path, table: Path) -> dict[str, dict[str, str]]:
    """Where the inputs of a result in `out` are, relative to it, and what is in them."""
    found = {}
    for name, path in (("features", features), ("table", table)):
        place = Path(os.path.relpath(path.resolve(), out.resolve())).as_posix()
        found[name] = {"path": place, "sha256": sha256_file(path)}
    return found


def write_scored(out: Path, scored: Scored) -> None:
    """queries.csv and metrics.json, which comes last: where it is, the rest is whole."""
    with atomic_path(out / "queries.csv") as temporary:
        scored.queries.to_csv(temporary, index=False, lineterminator="\n")
    write_json(out / "metrics.json", scored.metrics)


def show(metrics: dict[str, Any], *, quiet: bool = False) -> None:
    """The figures in the terminal, without a name of anybody."""
    rows = [(name, figure(value), value["count"]) for name, value in metrics["retrieval"].items()]
    columns = ("measure", "value [95 % interval]", "queries")
    show_table(f"Protocol {metrics['protocol']}", columns, rows, numeric=("queries",), quiet=quiet)
    counted = metrics["rules"]["unmatched"] == "zero"
    for reason, count in metrics["unmatched"].items():
        say(f"{count} queries {'count as 0' if counted else 'skipped'}: {reason}", quiet=quiet)
