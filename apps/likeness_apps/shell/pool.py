"""`pool`: the results of several folds or seeds joined into one."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.data.tables import load_frame
from likeness.errors import UserError, require
from likeness.evaluation.resampling import Bootstrap
from likeness_apps.shell.console import figure, say, show_table
from likeness_apps.shell.coverage import coverage
from likeness_apps.shell.domain import Domain, GivenFolds
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.pooling import (
    FAMILIES,
    Kind,
    Result,
    all_items,
    joined_answers,
    kind_of,
    over_runs,
)
from likeness_apps.shell.results import write_results

NEEDED = ("path", "status", "truth", "group")
FEW = 0.95  # an interval over runs that is narrower than this, by their number, needs a remark
SAME = (
    "app",
    "task",
    "protocol",
    "split",
    "classification_readout",
)  # what results must have in common to be joined


def pool(
    domain: Domain, folders: Sequence[Path], out: Path, *, seed: int = 0, quiet: bool = False
) -> dict[str, Any]:
    """Mean and standard deviation over runs, with intervals; over all items where they are folds.

    Args:
        domain: the application.
        folders: directories of `evaluate` or `score`, two at least.
        out: a new or empty directory for metrics.json and predictions.csv.
        seed: of the bootstrap.
        quiet: no table.

    Returns:
        metrics.json.

    Raises:
        UserError: if a directory is no result, or if the results are of different protocols,
            splits or classes, of one fold or one model twice, or of folds that share images.
    """
    require_new(out)
    require(len(folders) > 1, "results", "two directories at least", len(folders))
    results = [_read(folder) for folder in folders]
    _require_alike(results)
    _require_different(results)
    kind = _kind(results)
    bootstrap = Bootstrap(seed=seed)
    metrics = {
        **{key: results[0].metrics[key] for key in SAME if key in results[0].metrics},
        "protocol_source": results[0].metrics.get("protocol_source", ""),
        "classes": results[0].classes,
        "model_id": "",
        "kind": kind,
        "runs": [_run_facts(result) for result in results],
        "over_runs": over_runs(results, kind, bootstrap),
        "interval_over_runs": _interval_facts(len(results), bootstrap),
        **(all_items(results, bootstrap) if kind == "folds" else {}),
        **(_of_field(domain, results, bootstrap) if kind == "folds" else {}),
        **(_coverage(results, bootstrap) if kind == "folds" else {}),
        "items": {
            "measured": sum(len(result.measured) for result in results),
            "unreadable": sum(len(result.table) - len(result.measured) for result in results),
        },
    }
    write_results(out, metrics, _joined(results), None)
    _show(domain, out, metrics, quiet=quiet)
    return metrics


def _of_field(domain: Domain, results: Sequence[Result], bootstrap: Bootstrap) -> dict[str, Any]:
    """What the field measures of the items of all folds, if they were classified."""
    classified = all("classification_readout" in result.metrics for result in results)
    if domain.measures is None or not classified:
        return {}
    field = domain.measures()
    names = [str(result.metrics.get("fold", place)) for place, result in enumerate(results, 1)]
    folds_N = np.repeat(names, [len(result.measured) for result in results])
    return {field.name: field.pooled(joined_answers(results), folds_N, bootstrap)}


def _coverage(results: Sequence[Result], bootstrap: Bootstrap) -> dict[str, Any]:
    """Of the items of all folds, if some of them have no image."""
    if not any("coverage" in result.metrics for result in results):
        return {}
    whole = pd.concat([result.table for result in results], ignore_index=True)
    return {"coverage": coverage(whole, results[0].classes, bootstrap)}


def _read(folder: Path) -> Result:
    rule = "a directory of `evaluate` or `score`, with metrics.json and predictions.csv"
    files = folder / "metrics.json", folder / "predictions.csv"
    require(all(file.is_file() for file in files), "result", rule, str(folder))
    try:
        metrics = json.loads(files[0].read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{files[0]} must be readable JSON, got {error}") from None
    whole = isinstance(metrics, dict) and "over_runs" not in metrics
    require(whole, str(files[0]), "the metrics of one run", "those of `pool` or others")
    table = load_frame(files[1])
    missing = [column for column in NEEDED if column not in table.columns]
    rule = f"a table with the columns {', '.join(NEEDED)}"
    require(not missing, str(files[1]), rule, f"none called {', '.join(missing)}")
    twice = table["path"][table["path"].duplicated()].tolist()
    require(not twice, str(files[1]), "a list of different images", twice[:3])
    result = Result(folder, metrics, table)
    require(len(result.measured) > 0, str(files[1]), "a table with rows of status ok", "none")
    return result


def _require_alike(results: Sequence[Result]) -> None:
    first = results[0]
    for other in results[1:]:
        pairs = {name: (first.metrics.get(name), other.metrics.get(name)) for name in SAME}
        pairs["classes"] = first.classes, other.classes
        for name, (wanted, got) in pairs.items():
            if got != wanted:
                raise UserError(
                    f"results must be of the same {name}, got {_told(wanted)} in {first.folder} "
                    f"and {_told(got)} in {other.folder}"
                )


def _told(value: Any) -> str:
    if not isinstance(value, list):
        return repr(value)
    names = ", ".join(map(str, value[:3]))
    return f"{len(value)} ({names}{', ...' if len(value) > 3 else ''})"


def _require_different(results: Sequence[Result]) -> None:
    """Nothing is counted twice: no directory, model or fold."""
    seen: dict[tuple[str, Any], Path] = {}
    for result in results:
        facts: dict[str, Any] = {"directory": str(result.folder.resolve())}
        facts |= {"model": result.metrics.get("model_id"), "fold": result.metrics.get("fold")}
        for name, value in facts.items():
            if value in (None, ""):  # features and tables of others have no model
                continue
            if (name, value) in seen:
                raise UserError(
                    f"results must each be of another {name}, got {name} {value} in "
                    f"{seen[name, value]} and in {result.folder}"
                )
            seen[name, value] = result.folder


def _kind(results: Sequence[Result]) -> Kind:
    """Folds are folds by their numbers and by their items."""
    kind = kind_of(results)
    numbered = [result for result in results if "fold" in result.metrics]
    if numbered and len(numbered) < len(results):
        odd = next(result for result in results if "fold" not in result.metrics)
        raise UserError(f"results must be all of a fold or none, got no fold in {odd.folder}")
    if numbered and kind != "folds":
        seen: dict[str, Path] = {}
        for result in results:
            shared = sorted(set(result.measured["path"]) & set(seen))
            if shared:
                raise UserError(
                    f"results of folds must have no image in common, got {shared[0]} in "
                    f"{seen[shared[0]]} and in {result.folder}"
                )
            seen |= dict.fromkeys(result.measured["path"], result.folder)
    return kind


def _run_facts(result: Result) -> dict[str, Any]:
    facts = {name: result.metrics.get(name) for name in ("fold", "model_id")}
    seed = result.metrics.get("provenance", {}).get("seed")
    return {
        "result": str(result.folder),
        **{name: value for name, value in facts.items() if value is not None},
        **({} if seed is None else {"seed": seed}),
        "items": len(result.measured),
    }


def _interval_facts(runs: int, bootstrap: Bootstrap) -> dict[str, Any]:
    return {
        "method": "two-level bootstrap, runs and then groups, percentile",
        "level": bootstrap.level,
        "replicates": bootstrap.replicates,
        "seed": bootstrap.seed,
        "runs": runs,
        "too_narrow_by": math.sqrt((runs - 1) / runs),
    }


def _joined(results: Sequence[Result]) -> pd.DataFrame:
    """All rows under each other, with the result (and the fold) that they come from."""
    tables = []
    for result in results:
        table = result.table.assign(run=str(result.folder))
        if "fold" in result.metrics:
            table["fold"] = result.metrics["fold"]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _show(domain: Domain, out: Path, metrics: dict[str, Any], *, quiet: bool) -> None:
    columns = ["kind", "measure", "mean ± std", "95 % over runs"]
    if metrics["kind"] == "folds":
        columns.append("all items once [95 %]")
    rows = []
    for family, values in metrics["over_runs"].items():
        once = _once(metrics, family)
        for name, value in values.items():
            cells = (family, name, *_cells(value), figure(once[name]) if name in once else "")
            rows.append(cells[: len(columns)])
    runs, split = len(metrics["runs"]), metrics.get("split", "given")
    title = f"{runs} {metrics['kind']} of protocol {metrics['protocol']}, {split} split"
    show_table(title, columns, rows, numeric=columns[2:], quiet=quiet)
    for remark in _remarks(domain, metrics):
        say(remark, quiet=quiet)
    say(f"{out}: metrics.json, predictions.csv", quiet=quiet)


def _once(metrics: dict[str, Any], family: str) -> dict[str, Any]:
    """The figures over all items that belong beside those of a family over runs."""
    if family == metrics.get("classification_readout"):
        found: dict[str, Any] = metrics.get("classification", {})
        return found
    return metrics.get(family, {}) if family in FAMILIES else {}


def _remarks(domain: Domain, metrics: dict[str, Any]) -> list[str]:
    """What a reader must know of the figures."""
    remarks = []
    factor = metrics["interval_over_runs"]["too_narrow_by"]
    if factor < FEW:
        told = f"{len(metrics['runs'])} runs an interval is about {factor:.2f} times"
        remarks.append(f"Over {told} as wide as it should be.")
    if metrics["kind"] == "repeats":
        remarks.append("The runs share test images, which narrows the interval further.")
    if missing := _missing_folds(domain, metrics):
        remarks.append(f"Not joined: fold {', '.join(missing)} of {metrics['protocol']}.")
    return remarks


def _missing_folds(domain: Domain, metrics: dict[str, Any]) -> list[str]:
    protocol = domain.protocols.get(metrics["protocol"])
    if protocol is None or not isinstance(protocol.split, GivenFolds):
        return []
    have = {run.get("fold") for run in metrics["runs"]}
    return [str(fold) for fold in range(1, protocol.split.count + 1) if fold not in have]


def _cells(value: dict[str, Any]) -> tuple[str, str]:
    """`0.912 ± 0.013` and `[0.894, 0.929]`, as far as they are defined."""
    if not value["count"]:
        return "undefined", ""
    spread = "" if math.isnan(value["std"]) else f" ± {value['std']:.3f}"
    low, high = value.get("low", math.nan), value.get("high", math.nan)
    ends = "" if math.isnan(low) else f"[{low:.3f}, {high:.3f}]"
    return f"{value['mean']:.3f}{spread}", ends
