"""The table of a benchmark's runs, and the figures over repeats that come of it.

OUT/benchmark.json     what is compared on what: a later call must ask for the same
OUT/runs.csv           one row per run, failed ones too
OUT/queries/           what each query of a run found: names, labels, figures, nothing of pictures
OUT/summary.json, .md  figures over the repeats; not there before a run succeeded
OUT/pseudo_sketches/   of `cross-modal --edges`: the edge maps
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.cells import cell_len
from rich.console import Console

from likeness.errors import require
from likeness.evaluation.resampling import (
    Interval,
    interval,
    mean_of_sums,
    mean_sums,
    two_level_interval,
)
from likeness.files import atomic_path, write_json
from likeness.training.checkpoint import first_difference
from likeness_apps.benchmark.protocol import Found
from likeness_apps.benchmark.recipes import of_method
from likeness_apps.shell.console import figure, say, show_table

FACTS, RUNS = "benchmark.json", "runs.csv"
EDGES = "pseudo_sketches"
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
    require_place(out)
    old: dict[str, Any] = {"methods": {}}
    if (out / FACTS).is_file():
        old = json.loads((out / FACTS).read_text(encoding="utf-8"))
    asked = json.loads(json.dumps(dict(facts)))
    for name, value in asked.items():
        _require_same(old.get(name, value), value, name, out)
    for method, config in methods.items():
        before = old["methods"].get(method, config)
        with of_method(method):
            _require_same(before, json.loads(json.dumps(config)), "config", out)
    write_json(out / FACTS, {**asked, "methods": old["methods"] | dict(methods)})


def require_place(out: Path) -> None:
    """A new directory, or that of a benchmark, of which at first edge maps alone may be there.

    Raises:
        UserError: if `out` holds something else.
    """
    if (out / FACTS).is_file() or not out.exists():
        return
    fits = out.is_dir() and all(EDGES in one.name for one in out.iterdir())
    require(fits, "out", "a new directory, or one of this benchmark", str(out))


def _require_same(before: Any, now: Any, name: str, out: Path) -> None:
    """Refuse what differs from the first call, by the first key that does."""
    difference = first_difference(before, now, name)
    if difference is not None:
        place, first, got = difference
        rule = f"{first!r}, as when {out} was begun (a changed benchmark needs another --out)"
        require(False, place, rule, got)


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
    more, repeats are drawn, then groups. A figure that some repeat lacks (recall@8 where the half
    has no more images) is left out.

    Args:
        tables: the queries of each repeat.
        shared: all repeats test the same groups.
        by: the column that says which queries are drawn together.
    """
    names = [
        name
        for name in tables[0]
        if name not in ("path", "label", by) and all(name in one for one in tables)
    ]
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


def rows_of(
    found: Mapping[str, Mapping[str, Any]], *, intervals: bool = True
) -> tuple[list[str], list[list[str]]]:
    """Heads and rows for a person; of figures those that all methods have."""
    first: Mapping[str, Any] = next(iter(found.values()), {})
    shared = [name for name in first if all(name in figures for figures in found.values())]
    names = [name for name in shared if name != "repeats"]
    rows = []
    for method, figures in found.items():
        shown = [
            figures[name] if intervals else {"value": figures[name]["value"]} for name in names
        ]
        rows.append([method, str(figures["repeats"]), *map(figure, shown)])
    return ["method", "repeats", *names], rows


def markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The table as a document has it."""
    heads, rows = rows_of(found)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(title: str, found: Mapping[str, Mapping[str, Any]], summary: Path, *, quiet: bool) -> None:
    """The table on stdout; in a narrow terminal without intervals, and then without last figures.

    Args:
        title: above it.
        found: method -> figure -> value.
        summary: the file that has all of it.
        quiet: show nothing.
    """
    heads, rows = rows_of(found)
    _, bare = rows_of(found, intervals=False)
    shorter = ((heads[:n], [row[:n] for row in bare]) for n in range(len(heads), 2, -1))
    room = Console().width if sys.stdout.isatty() else math.inf
    fitting = (one for one in ((heads, rows), *shorter) if _width(*one) <= room)
    shown, cells = next(fitting, (heads[:3], [row[:3] for row in bare]))
    show_table(title, shown, cells, whole=shown, quiet=quiet)
    if (shown, cells) != (heads, rows):
        say(f"too wide for this terminal; all figures with intervals: {summary}", quiet=quiet)


def _width(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Columns of the terminal that a table takes, its frame included."""
    return 1 + sum(3 + max(map(cell_len, column)) for column in zip(heads, *rows, strict=True))


def places(out: Path, found: Mapping[str, Any]) -> str:
    """Where the results are; there is no summary where nothing was found."""
    summary = f";  {out / 'summary.md'}: the table" if found else ""
    return f"{out / RUNS}: every run{summary}"
