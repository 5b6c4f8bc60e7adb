"""The table of a benchmark's runs, and the figures over repeats that come of it.

OUT/benchmark.json     what is compared on what: a later call must ask for the same
OUT/runs.csv           one row per run, failed ones too
OUT/queries/           what each query of a run found: names, labels, figures, nothing of pictures
OUT/summary.json, .md  figures over the repeats
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.errors import require
from likeness.evaluation.resampling import (
    Interval,
    interval,
    mean_of_sums,
    mean_sums,
    two_level_interval,
)
from likeness.files import atomic_path, write_json
from likeness_apps.benchmark.protocol import Found
from likeness_apps.shell.outputs import require_new

FACTS, RUNS = "benchmark.json", "runs.csv"
KEYS = ["method", "repeat", "status", "seconds", "images", "note"]


def begin(out: Path, facts: Mapping[str, Any], methods: Mapping[str, Any]) -> None:
    """Start a benchmark, or go on with the same one; more methods may come to it.

    Args:
        out: its directory.
        facts: what all its runs have in common.
        methods: name -> configuration of those asked for.

    Raises:
        UserError: if `out` holds something else, a benchmark of another set or configuration, or a
            method of that name which was another one.
    """
    old: dict[str, Any] = {"methods": {}}
    if (out / FACTS).is_file():
        old = json.loads((out / FACTS).read_text(encoding="utf-8"))
    else:
        require_new(out, "a new directory, or one of this benchmark")
    asked = json.loads(json.dumps(dict(facts)))
    for name, value in asked.items():
        rule = f"as it was when {out} was begun, {old.get(name)}"
        require(name not in old or old[name] == value, name, rule, value)
    for name, config in methods.items():
        same = old["methods"].get(name, config) == config
        require(same, name, f"the method that it was in {out}", "another one of that name")
    write_json(out / FACTS, {**asked, "methods": old["methods"] | dict(methods)})


def read_runs(out: Path) -> pd.DataFrame:
    """The runs so far, in the order they were made."""
    path = out / RUNS
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=KEYS)


def done_runs(out: Path) -> pd.DataFrame:
    """Those that succeeded."""
    runs = read_runs(out)
    return runs[runs["status"] == "done"]


def is_done(runs: pd.DataFrame, method: str, repeat: int) -> bool:
    """Whether a run need not be made again; failed ones are."""
    row = (runs["method"] == method) & (runs["repeat"] == repeat) & (runs["status"] == "done")
    return bool(row.any())


def add_run(out: Path, row: Mapping[str, Any]) -> None:
    """Append a row."""
    runs = read_runs(out)
    kept = [runs] if len(runs) else []
    table = pd.concat([*kept, pd.DataFrame([row])], ignore_index=True)
    with atomic_path(out / RUNS) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def keep_queries(out: Path, method: str, repeat: int, found: Found) -> None:
    """Write what each query found."""
    with atomic_path(_queries(out, method, repeat)) as temporary:
        found.queries.to_parquet(temporary, index=False)


def _queries(out: Path, method: str, repeat: int) -> Path:
    return out / "queries" / f"{method}-{repeat}.parquet"


def summarise(
    out: Path, methods: Sequence[str], *, shared: bool, by: str = "label"
) -> dict[str, dict[str, Any]]:
    """Method -> figure -> value with its interval over what was run, and repeats.

    Args:
        out: the benchmark.
        methods: in the order of the table.
        shared: all repeats test the same groups of queries.
        by: see `figures_over`.
    """
    done = done_runs(out)
    found = {}
    for method in methods:
        repeats = sorted(done.loc[done["method"] == method, "repeat"].unique())
        if repeats:
            tables = [pd.read_parquet(_queries(out, method, int(one))) for one in repeats]
            figures = figures_over(tables, shared=shared, by=by)
            found[method] = figures | {"repeats": len(repeats)}
    return found


def figures_over(
    tables: Sequence[pd.DataFrame], *, shared: bool, by: str = "label"
) -> dict[str, Any]:
    """Figure -> value, low, high, label over the queries of one repeat or of several.

    With one repeat groups of queries are drawn, and the interval is evaluation noise only; with
    more, repeats are drawn, then groups.

    Args:
        tables: the queries of each repeat.
        shared: all repeats test the same groups.
        by: the column that says which queries are drawn together.
    """
    names = [name for name in tables[0] if name not in ("path", "label", by)]
    figures: dict[str, Any] = {}
    for name in names:
        sums = [mean_sums(one[name].to_numpy(), one[by].to_numpy(str)) for one in tables]
        got: Interval
        if len(sums) == 1:
            got = interval(sums[0], mean_of_sums)
        else:
            got = two_level_interval(sums, mean_of_sums, shared_groups=shared)
        figures[name] = {"value": got.value, "low": got.low, "high": got.high, "label": got.label}
    return figures


def rows_of(found: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows for a person."""
    first: Mapping[str, Any] = next(iter(found.values()), {})
    names = [name for name in first if name != "repeats"]
    rows = []
    for method, figures in found.items():
        cells = [_shown(figures[name]) for name in names]
        rows.append([method, str(figures["repeats"]), *cells])
    return ["method", "repeats", *names], rows


def markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The table as a document has it."""
    heads, rows = rows_of(found)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(figure: Mapping[str, float]) -> str:
    value, low, high = (figure[name] for name in ("value", "low", "high"))
    if not np.isfinite(low) or not np.isfinite(high):
        return f"{value:.3f}"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
