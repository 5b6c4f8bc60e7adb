"""`compare`: two evaluations of the same images, paired, with group-bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.data.tables import load_frame
from likeness.errors import require
from likeness.evaluation.resampling import (
    EVALUATION_NOISE,
    Bootstrap,
    holm,
    paired_mean_difference,
)
from likeness.files import write_json
from likeness_apps.shell.console import say, show_table
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.measure import PER_ITEM
from likeness_apps.shell.measure_multilabel import PER_LABELS, PER_QUERY

# One class per image, then several; `recall@1` is in both.
MEASURES = tuple(dict.fromkeys(("correct", *PER_ITEM, *PER_LABELS, *PER_QUERY)))
NAMES = {"correct": "overall_accuracy"}
NEEDED = ("path", "status", "truth", "group")
PROBABILITY = "p_"  # and the class: a column of predictions.csv


def compare(
    domain: Domain, first: Path, second: Path, *, out: Path | None = None, seed: int = 0
) -> dict[str, Any]:
    """A minus B for every measure that both have per item, and for those of the field.

    Args:
        domain: the application.
        first: a directory of `evaluate` or `score`: result A.
        second: result B.
        out: also write comparison.json into this directory.
        seed: of the bootstrap.

    Returns:
        comparison.json: for each measure the difference, its interval, p-value and Holm's p-value.

    Raises:
        UserError: if a result is missing or lists an image twice, or if the two share no image
            with the same truth, or no measure.
    """
    both, alone = _joined(first, second, _measures(domain))
    bootstrap = Bootstrap(seed=seed)
    measures = _measures(domain)
    shared = [name for name in measures if f"{name}_a" in both and f"{name}_b" in both]
    require(shared, "results", f"with one of {', '.join(MEASURES)} for every image", "none in both")
    found: dict[str, Any] = {}
    for name in shared:
        a_N = both[f"{name}_a"].astype(float).to_numpy()
        b_N = both[f"{name}_b"].astype(float).to_numpy()
        difference = paired_mean_difference(a_N, b_N, both["group_a"].to_numpy(), bootstrap)
        counted = ~np.isnan(a_N - b_N)
        found[NAMES.get(name, name)] = asdict(difference) | {
            "a": float(a_N[counted].mean()) if counted.any() else None,
            "b": float(b_N[counted].mean()) if counted.any() else None,
        }
    found |= _of_field(domain, both, bootstrap)
    add_holm(found)
    result = {
        "app": domain.name,
        "a": str(first),
        "b": str(second),
        "items": len(both),
        "only_in": alone,
        "differences": found,
    }
    if out is not None:
        write_json(out / "comparison.json", result)
    show(result)
    return result


def _measures(domain: Domain) -> tuple[str, ...]:
    """The columns of predictions.csv whose means are compared."""
    return MEASURES if domain.measures is None else (*MEASURES, *domain.measures().per_item)


def add_holm(found: dict[str, dict[str, Any]]) -> None:
    """Give every difference with a p-value Holm's as `p_holm`."""
    tested = [name for name, row in found.items() if row["p_value"] is not None]
    corrected = holm([found[name]["p_value"] for name in tested])
    for name, p_value in zip(tested, corrected, strict=True):
        found[name]["p_holm"] = float(p_value)


def _of_field(domain: Domain, both: pd.DataFrame, bootstrap: Bootstrap) -> dict[str, Any]:
    """What the field compares, if both results have probabilities of the same classes."""
    if domain.measures is None:
        return {}
    columns = [name for name in both.columns if name.startswith(PROBABILITY)]
    classes = [name.removeprefix(PROBABILITY)[:-2] for name in columns if name.endswith("_a")]
    sides = [[f"{PROBABILITY}{name}_{side}" for name in classes] for side in "ab"]
    known = both["truth"].isin(classes).all()  # several labels in a cell are no class
    if not classes or not known or sorted(columns) != sorted(sides[0] + sides[1]):
        return {}
    numbers = both[columns].apply(pd.to_numeric, errors="coerce")
    kept_N = numbers.notna().all(axis=1).to_numpy()
    if not kept_N.any():
        return {}
    truth_N = np.array([classes.index(name) for name in both["truth"][kept_N]])
    a_NC, b_NC = (numbers.loc[kept_N, side].to_numpy(np.float64) for side in sides)
    groups_N = both["group_a"].to_numpy()[kept_N]
    return domain.measures().differences(truth_N, classes, a_NC, b_NC, groups_N, bootstrap)


def _joined(
    first: Path, second: Path, measures: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The images that both answered and agree on, and how many only one of them has."""
    tables = []
    for name, folder in (("RESULT_A", first), ("RESULT_B", second)):
        path = folder / "predictions.csv"
        require(path.is_file(), name, "a directory with predictions.csv", str(folder))
        table = load_frame(path)
        missing = [column for column in NEEDED if column not in table.columns]
        rule = f"with the columns {', '.join(NEEDED)}"
        require(not missing, f"{name}/predictions.csv", rule, f"none called {missing}")
        table = table[table["status"] == "ok"]
        twice = table["path"][table["path"].duplicated()].tolist()
        require(not twice, f"{name}/predictions.csv", "a list of different images", twice[:3])
        tables.append(_numbers(table, f"{name}/predictions.csv", measures))
    both = tables[0].merge(tables[1], on=["path", "truth"], suffixes=("_a", "_b"))
    require(len(both) > 0, "results", "of the same images with the same truth", "no common row")
    return both, {name: len(table) - len(both) for name, table in zip("ab", tables, strict=True)}


def _numbers(table: pd.DataFrame, name: str, measures: Sequence[str]) -> pd.DataFrame:
    """The columns that are compared: measures as numbers (empty is nan), all else as text."""
    columns = {}
    for measure in [measure for measure in measures if measure in table.columns]:
        cells = table[measure].replace({"True": "1", "False": "0", "": "nan"})
        columns[measure] = pd.to_numeric(cells, errors="coerce")
        wrong = columns[measure].isna() & (cells != "nan")
        require(
            not wrong.any(), f"{name}, {measure}", "a number or empty", cells[wrong].tolist()[:1]
        )
    kept = [column for column in table.columns if column.startswith(PROBABILITY)]
    return table[["path", "truth", "group", *kept]].assign(**columns)


def show(result: dict[str, Any], items: str = "images", noise: str = EVALUATION_NOISE) -> None:
    """A comparison in the terminal; `items` are what it pairs, `noise` what intervals hold."""
    rows = [
        (
            name,
            f"{row['a']:.3f}" if row["a"] is not None else "",
            f"{row['b']:.3f}" if row["b"] is not None else "",
            _difference(row),
            f"{row['p_holm']:.3g}" if "p_holm" in row else "",
        )
        for name, row in result["differences"].items()
    ]
    title = f"A - B on {result['items']} {items} ({noise})"
    columns = ("measure", "A", "B", "difference [95 % interval]", "p (Holm)")
    show_table(title, columns, rows, numeric=columns[1:])
    say(f"A: {result['a']}\nB: {result['b']}")
    if any(result["only_in"].values()):
        a, b = result["only_in"]["a"], result["only_in"]["b"]
        say(f"not compared: {a} {items} that only A has, {b} that only B has")


def _difference(row: dict[str, Any]) -> str:
    if np.isnan(row["value"]):
        return "undefined"
    if np.isnan(row["low"]):
        return f"{row['value']:+.3f} ({row['reason']})"
    return f"{row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
