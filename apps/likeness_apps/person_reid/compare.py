"""`compare`: two results over the same queries, paired, with intervals by drawing identities.

Legend: Q queries.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.data.tables import load_frame
from likeness.errors import UserError, require
from likeness.evaluation.resampling import (
    DEFAULT,
    EVALUATION_NOISE,
    RUNS_AND_GROUPS,
    Bootstrap,
    Interval,
    mean_intervals,
    mean_of_sums,
    mean_sums,
    two_level_interval,
)
from likeness.files import write_json
from likeness_apps.person_reid.scoring import PER_QUERY
from likeness_apps.shell.compare import add_holm, show

KEY = ["split", "tracklet"]
SAME = ["label", "camera", "ranked", "relevant"]  # of a query, if both met the same gallery
_CMC = "cmc@"


def compare_results(
    first: Path, second: Path, *, out: Path | None = None, seed: int = 0
) -> dict[str, Any]:
    """A minus B for every figure that both have, over queries that met the same gallery.

    Over several random splits the figures are means over splits, and splits are drawn first, then
    identities.

    Args:
        first: a directory of `score` or `evaluate`: result A.
        second: result B.
        out: also write comparison.json into this directory.
        seed: of the bootstrap.

    Returns:
        comparison.json: for each figure the difference, its interval, p-value and Holm's p-value.

    Raises:
        UserError: if a result is missing, they differ in protocol or rules, or their queries are
            not the same.
    """
    protocol = _same_protocol(first, second)
    tables = [_queries(folder, name) for folder, name in ((first, "A"), (second, "B"))]
    found = differences(tables[0], tables[1], Bootstrap(seed=seed))
    add_holm(found)
    result = {
        "app": "person-reid",
        "a": str(first),
        "b": str(second),
        "protocol": protocol,
        "items": len(tables[0]),
        "only_in": {"a": 0, "b": 0},
        "differences": found,
    }
    if out is not None:
        write_json(out / "comparison.json", result)
    several = tables[0]["split"].nunique() > 1
    show(result, "queries", RUNS_AND_GROUPS if several else EVALUATION_NOISE)
    return result


def differences(
    a: pd.DataFrame, b: pd.DataFrame, bootstrap: Bootstrap = DEFAULT
) -> dict[str, dict[str, Any]]:
    """A minus B for every figure of two tables of queries, as in queries.csv.

    Returns:
        Figure -> the fields of `Interval`, and `a` and `b`, the value of either side.

    Raises:
        UserError: if one has other queries, or a query met another gallery.
    """
    both = _paired(a, b)
    names = [name for name in _figures(a) if name in b.columns]
    titles = {column: figure for figure, column in PER_QUERY.items()}
    intervals = _intervals(both, names, bootstrap)
    return {
        titles.get(name, name): asdict(intervals[name])
        | {side: _mean(both, f"{name}_{side}") for side in "ab"}
        for name in names
    }


def _same_protocol(first: Path, second: Path) -> str:
    """The name of the protocol of both.

    Raises:
        UserError: if they have none, or differ in its name or in a rule.
    """
    stated = []
    for folder, name in ((first, "RESULT_A"), (second, "RESULT_B")):
        path = folder / "metrics.json"
        require(path.is_file(), name, "a directory with metrics.json", str(folder))
        try:
            metrics = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise UserError(f"{name}/metrics.json must be JSON, got {path}") from None
        known = metrics if isinstance(metrics, dict) else {}
        has = "protocol" in known and isinstance(known.get("rules"), dict)
        require(has, f"{name}/metrics.json", "of a ranking, with protocol and rules", str(path))
        stated.append((str(metrics["protocol"]), metrics["rules"]))
    (name_a, rules_a), (name_b, rules_b) = stated
    rule = "of one protocol (explain-score tells what protocols change)"
    require(name_a == name_b, "results", rule, f"{name_a} and {name_b}")
    differ = sorted(key for key in {*rules_a, *rules_b} if rules_a.get(key) != rules_b.get(key))
    require(not differ, "results", f"with the same rules of {name_a}", f"others: {differ}")
    return name_a


def _queries(folder: Path, name: str) -> pd.DataFrame:
    """queries.csv with its figures as numbers, nan for a query that was left out."""
    path = folder / "queries.csv"
    require(path.is_file(), f"RESULT_{name}", "a directory with queries.csv", str(folder))
    table = load_frame(path)
    needed = [*KEY, *SAME]
    missing = [column for column in needed if column not in table.columns]
    rule = f"with the columns {', '.join(needed)}"
    require(not missing, f"RESULT_{name}/queries.csv", rule, f"none called {missing}")
    twice = int(table.duplicated(KEY).sum())
    rule = "a list of different queries"
    require(not twice, f"RESULT_{name}/queries.csv", rule, f"{twice} that are listed twice")
    figures = {}
    for column in _figures(table):
        cells = table[column]
        figures[column] = pd.to_numeric(cells, errors="coerce")
        wrong = cells[figures[column].isna() & (cells != "")].tolist()[:1]
        require(not wrong, f"RESULT_{name}/queries.csv, {column}", "a number or empty", wrong)
    return table[needed].assign(**figures)


def _figures(table: pd.DataFrame) -> list[str]:
    """The columns that figures are means of."""
    return [name for name in table.columns if name.startswith(_CMC) or name in PER_QUERY.values()]


def _paired(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """The queries of both, in the order of A.

    Raises:
        UserError: if one has other queries, or a query met another gallery.
    """
    both = a.merge(b, on=KEY, how="outer", suffixes=("_a", "_b"), indicator=True)
    alone = {side: int((both["_merge"] == f"{side}_only").sum()) for side in ("left", "right")}
    got = f"{alone['left']} that only A has and {alone['right']} that only B has"
    require(not any(alone.values()), "results", "over the same queries", got)
    sides = [both[[f"{name}_{side}" for name in SAME]].to_numpy(str) for side in "ab"]
    other = int((sides[0] != sides[1]).any(axis=1).sum())
    got = f"{other} of {len(both)} with another identity, camera or gallery"
    require(not other, "results", "over the same queries and gallery", got)
    order = a[KEY].merge(both, on=KEY, how="left")
    return order.assign(label=order["label_a"])


def _intervals(both: pd.DataFrame, names: list[str], bootstrap: Bootstrap) -> dict[str, Interval]:
    """A minus B with interval and p-value: over identities, or over splits, then identities."""
    columns = {name: (both[f"{name}_a"] - both[f"{name}_b"]).to_numpy(float) for name in names}
    label_Q = both["label"].to_numpy(str)
    splits = [np.flatnonzero(both["split"] == split) for split in both["split"].unique()]
    if len(splits) == 1:
        return mean_intervals(columns, label_Q, bootstrap, test_zero=True)
    return {
        name: two_level_interval(
            [mean_sums(value_Q[rows], label_Q[rows]) for rows in splits],
            mean_of_sums,
            bootstrap,
            shared_groups=False,
            test_zero=True,
        )
        for name, value_Q in columns.items()
    }


def _mean(both: pd.DataFrame, column: str) -> float | None:
    """The figure: the mean over queries, then over splits; None where no query counts."""
    value = float(both.groupby("split", sort=False)[column].mean().mean())
    return None if np.isnan(value) else value
