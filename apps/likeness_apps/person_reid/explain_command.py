"""`explain-score`: two results of `score`, read back, scored again and explained."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from likeness.errors import UserError, require
from likeness.evaluation.ranking_rules import RankingRules
from likeness.files import sha256_file, write_json
from likeness_apps.person_reid.explain_score import (
    SAME,
    Explanation,
    Figures,
    Scoring,
    explain_score,
)
from likeness_apps.person_reid.protocols import protocol_named
from likeness_apps.person_reid.tracklet_table import read_tracklets
from likeness_apps.shell.console import say, show_table
from likeness_apps.shell.given import read_features

SHOWN = ("cmc@1", "cmc@5", "map", "minp")
WORDS = {
    "queries_in_gallery": "queries in the gallery",
    "same_camera": "items of the query's camera",
    "junk_removed": "junk removed",
    "distractors_kept": "distractors kept",
    "curve": "average precision in",
    "unmatched": "queries without a true match",
    "space": "features compared in",
}


def explain_results(
    first: Path, second: Path, *, out: Path | None = None, quiet: bool = False
) -> Explanation:
    """Why the figures of two results differ, in a table and a sentence.

    Args:
        first: a directory of `score` or `evaluate`: result A.
        second: result B.
        out: also write explanation.json into this directory.
        quiet: print nothing.

    Raises:
        UserError: if a result is missing or does not say how it was scored, or if its features or
            table are gone or have changed since.
    """
    found = explain_score(read_result(first, "RESULT_A"), read_result(second, "RESULT_B"))
    if out is not None:
        named = {"result_a": str(first), "result_b": str(second)}
        write_json(out / "explanation.json", found.as_dict() | named)
    show_explanation(found, quiet=quiet)
    return found


def read_result(folder: Path, name: str) -> Scoring:
    """What a result was scored from: its rules, and the features and table that it points at.

    Raises:
        UserError: see `explain_results`; messages begin with `name`.
    """
    path = folder / "metrics.json"
    require(path.is_file(), name, "a directory with metrics.json", str(folder))
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{name}/metrics.json must be JSON, got {path}") from None
    needed = ("protocol", "rules", "space", "retrieval", "inputs")
    missing = [key for key in needed if not isinstance(metrics, dict) or key not in metrics]
    require(not missing, f"{name}/metrics.json", "of a ranking with its inputs", f"no {missing}")
    rules = _rules(metrics["rules"], name)
    table = read_tracklets(_pointed(folder, metrics["inputs"], "table", name))
    features = _pointed(folder, metrics["inputs"], "features", name)
    stated = {key: value["value"] for key, value in metrics["retrieval"].items()}
    return Scoring(
        features_ND=read_features(features, len(table)),
        table=table,
        protocol=replace(protocol_named(metrics["protocol"]), rules=rules),
        space=metrics["space"],
        stated={key: float("nan") if value is None else value for key, value in stated.items()},
    )


def show_explanation(found: Explanation, *, quiet: bool = False) -> None:
    """The path from A to B, a row per rule, and the verdict."""
    shown = [name for name in SHOWN if name in found.a and name in found.b]
    rows = [["A", *_cells(found.a, shown)]]
    for step in found.steps:
        rule = f"{WORDS[step.rule]}: {_plain(step.before)} -> {_plain(step.after)}"
        rows.append([rule, *_cells(step.change, shown, sign="+")])
    if any(abs(value) >= SAME for value in found.rest.values()):
        rows.append(["inputs", *_cells(found.rest, shown, sign="+")])
    rows.append(["B", *_cells(found.b, shown)])
    columns = ("from A to B", *shown)
    show_table("Scored again, one rule at a time", columns, rows, numeric=shown, quiet=quiet)
    say(found.verdict, quiet=quiet)
    if found.not_needed:
        names = ", ".join(WORDS[name] for name in found.not_needed)
        say(f"differs, too, but is not needed: {names}", quiet=quiet)


def _rules(stated: Any, name: str) -> RankingRules:
    known = sorted(each.name for each in fields(RankingRules))
    got = sorted(stated) if isinstance(stated, dict) else stated
    require(got == known, f"{name}/metrics.json, rules", f"the fields {', '.join(known)}", got)
    return RankingRules(**stated)


def _pointed(folder: Path, inputs: Any, what: str, name: str) -> Path:
    """The file that a result points at, if it still is what was scored."""
    pointer = inputs.get(what) if isinstance(inputs, dict) else None
    if not isinstance(pointer, dict) or not {"path", "sha256"} <= set(pointer):
        rule = f"a path and a sha256 of the {what}"
        raise UserError(f"{name}/metrics.json, inputs must be {rule}, got {pointer!r}")
    path = folder.resolve() / str(pointer["path"])
    require(path.is_file(), f"{name}: {what}", "where metrics.json says", str(path))
    same = sha256_file(path) == pointer["sha256"]
    require(same, f"{name}: {what}", "unchanged since it was scored", f"another {path}")
    return path


def _cells(figures: Figures, shown: list[str], *, sign: str = "") -> list[str]:
    return [f"{figures[name]:{sign}.4f}" if name in figures else "" for name in shown]


def _plain(value: bool | str) -> str:
    return value if isinstance(value, str) else "yes" if value else "no"
