"""`compare`: two evaluations of the same images, paired, with group-bootstrap intervals."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.errors import require
from likeness.evaluation.resampling import Bootstrap, holm, paired_mean_difference
from likeness.files import write_json
from likeness_apps.shell.console import say, show_table
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.measure import PER_ITEM

MEASURES = ("correct", *PER_ITEM)
NAMES = {"correct": "overall_accuracy"}


def compare(
    domain: Domain, first: Path, second: Path, *, out: Path | None = None, seed: int = 0
) -> dict[str, Any]:
    """A minus B for every measure that both have per item.

    Args:
        domain: the application.
        first: a directory of `evaluate` or `score`: result A.
        second: result B.
        out: also write comparison.json into this directory.
        seed: of the bootstrap.

    Returns:
        comparison.json: for each measure the difference, its interval, p-value and Holm's p-value.

    Raises:
        UserError: if a result is missing or the two share no item with the same truth.
    """
    both = _joined(first, second)
    found: dict[str, Any] = {}
    for name in MEASURES:
        if f"{name}_a" not in both or f"{name}_b" not in both:
            continue
        a_N = both[f"{name}_a"].astype(float).to_numpy()
        b_N = both[f"{name}_b"].astype(float).to_numpy()
        difference = paired_mean_difference(
            a_N, b_N, both["group_a"].to_numpy(), Bootstrap(seed=seed)
        )
        counted = ~np.isnan(a_N - b_N)
        found[NAMES.get(name, name)] = asdict(difference) | {
            "a": float(a_N[counted].mean()) if counted.any() else None,
            "b": float(b_N[counted].mean()) if counted.any() else None,
        }
    tested = [name for name, row in found.items() if row["p_value"] is not None]
    corrected = holm([found[name]["p_value"] for name in tested])
    for name, p_value in zip(tested, corrected, strict=True):
        found[name]["p_holm"] = float(p_value)
    result = {
        "app": domain.name,
        "a": str(first),
        "b": str(second),
        "items": len(both),
        "differences": found,
    }
    if out is not None:
        write_json(out / "comparison.json", result)
    _show(result, quiet=False)
    return result


def _joined(first: Path, second: Path) -> pd.DataFrame:
    tables = []
    for name, folder in (("RESULT_A", first), ("RESULT_B", second)):
        path = folder / "predictions.csv"
        require(path.is_file(), name, "a directory with predictions.csv", str(folder))
        table = pd.read_csv(path, keep_default_na=False, na_values={c: [""] for c in PER_ITEM})
        needed = {"path", "status", "truth", "correct", "group"} - set(table.columns)
        require(not needed, f"{name}/predictions.csv", "with all its columns", sorted(needed))
        table = table[table["status"] == "ok"]
        tables.append(table.assign(correct=table["correct"].astype(str) == "True"))
    both = tables[0].merge(tables[1], on=["path", "truth"], suffixes=("_a", "_b"))
    require(len(both) > 0, "results", "of the same images with the same truth", "no common row")
    return both


def _show(result: dict[str, Any], *, quiet: bool) -> None:
    rows = [
        (
            name,
            f"{row['a']:.3f}" if row["a"] is not None else "",
            f"{row['b']:.3f}" if row["b"] is not None else "",
            f"{row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]",
            f"{row['p_holm']:.3g}" if "p_holm" in row else "",
        )
        for name, row in result["differences"].items()
    ]
    title = f"A - B on {result['items']} images (evaluation noise only)"
    columns = ("measure", "A", "B", "difference [95 % interval]", "p (Holm)")
    show_table(title, columns, rows, numeric=columns[1:], quiet=quiet)
    say(f"A: {result['a']}\nB: {result['b']}", quiet=quiet)
