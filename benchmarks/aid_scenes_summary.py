"""Tables of the AID experiment from its recorded runs; also the README's table.

python benchmarks/aid_scenes.py summary          writes results/aid_scenes_summary.md and README.md
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments import HERE, between, marks, shown, total_of_runs
from likeness.evaluation.resampling import (
    Bootstrap,
    Sums,
    holm,
    interval,
    mean_of_sums,
    mean_sums,
    paired_difference,
    two_level_difference,
    two_level_interval,
)

NAMES = {
    "a": "cross-entropy, shuffled batches",
    "b": "cross-entropy, 16 x 4 batches",
    "c": "+ centre loss",
    "d": "+ lifted structured",
    "e": "centre-based structured metric",
}
FOLDS = 5
MEASURES = {"correct": "accuracy", "map@r": "MAP@R", "recall@1": "R@1"}
BOOTSTRAP = Bootstrap(replicates=2000, seed=0)
MARKS = marks("aid", "benchmarks/aid_scenes.py summary")


def summarise(table: Path, items: Path) -> None:
    """Write the summary beside the table, and its first part into the README."""
    runs, answers = pd.read_csv(table), pd.read_parquet(items)
    speed = pd.read_csv(table.with_name("aid_scenes_speed.csv"))
    head = render_table(runs, answers, speed)
    title = "# AID scenes: results\n\nProtocol: `benchmarks/aid_scenes.md`."
    total = total_of_runs(runs, table.name)
    parts = [title, head, render_differences(answers), render_gap(answers), total]
    text = "\n\n".join(parts)
    table.with_name("aid_scenes_summary.md").write_text(text + "\n", encoding="utf-8")
    readme = HERE.parent / "README.md"
    readme.write_text(between(readme.read_text(encoding="utf-8"), MARKS, head), encoding="utf-8")
    print(text)


def render_table(runs: pd.DataFrame, answers: pd.DataFrame, speed: pd.DataFrame) -> str:
    """One row per arm, blocked folds: values with intervals over folds and blocks.

    Images/s are the median of the rounds of `speed`, where the arms took turns on an idle machine.

    With one fold done the interval is over its blocks only (evaluation noise).
    """
    lines = [
        "| arm | folds done | accuracy | kappa | MAP@R | R@1 | nearest centre | images/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm, name in NAMES.items():
        done = runs[
            (runs["arm"] == arm) & (runs["scheme"] == "blocked") & (runs["status"] == "done")
        ]
        if not len(done):
            lines.append(f"| ({arm}) {name} | 0 of {FOLDS} | not run yet | | | | | |")
            continue
        found = [_interval(fold_sums(answers, arm, "blocked", column)) for column in MEASURES]
        lines.append(
            f"| ({arm}) {name} | {done['fold'].nunique()} of {FOLDS} | {found[0]} | "
            f"{done['kappa'].mean():.3f} | {found[1]} | {found[2]} | "
            f"{done['centre_accuracy'].mean():.3f} | "
            f"{speed[speed['arm'] == arm]['images_per_s'].median():.0f} |"
        )
    return "\n".join(lines)


def render_differences(answers: pd.DataFrame) -> str:
    """(e) minus each other arm over the folds that both have; Holm over all comparisons made."""
    rows: list[tuple[str, int, Any]] = []
    for other in ("a", "b", "c", "d"):
        for column in ("correct", "map@r"):
            both = _common_folds(answers, "e", other)
            if not both:
                continue
            first = fold_sums(answers, "e", "blocked", column, both)
            second = fold_sums(answers, other, "blocked", column, both)
            if len(both) == 1:  # nothing to draw folds from: evaluation noise only
                one = paired_difference(first[0], second[0], mean_of_sums, BOOTSTRAP)
                rows.append((f"(e) - ({other}), {MEASURES[column]}", 1, one))
                continue
            found = two_level_difference(
                first, second, mean_of_sums, BOOTSTRAP, shared_groups=False
            )
            rows.append((f"(e) - ({other}), {MEASURES[column]}", len(both), found))
    if not rows:
        return "## Paired differences\n\nArm (e) shares no fold with another arm yet."
    corrected = holm([found.p_value for _, _, found in rows])
    lines = [
        "## Paired differences (blocked folds)",
        "",
        "95 % intervals by two-level bootstrap (folds, then blocks of 10), 2,000 replicates;",
        "with n folds they are too narrow by about sqrt((n - 1) / n). A row of one fold resamples",
        "its blocks only and covers evaluation noise, not another split or seed: no claim.",
        "",
        "| comparison | folds | difference | 95 % interval | p (Holm) |",
        "|---|---|---|---|---|",
    ]
    for (name, folds, found), p_value in zip(rows, corrected, strict=True):
        lines.append(
            f"| {name} | {folds} | {found.value:+.4f} | [{found.low:+.4f}, {found.high:+.4f}] | "
            f"{p_value:.3g} |"
        )
    return "\n".join(lines)


def render_gap(answers: pd.DataFrame) -> str:
    """Accuracy with random folds beside blocked ones: what neighbours of one mosaic give away."""
    lines = [
        "## Random folds beside blocked folds (accuracy)",
        "",
        "| arm | blocked | random | gap | folds (blocked, random) |",
        "|---|---|---|---|---|",
    ]
    for arm, name in NAMES.items():
        shown = [
            answers[(answers["arm"] == arm) & (answers["scheme"] == s)]
            for s in ("blocked", "random")
        ]
        means = [part["correct"].mean() if len(part) else np.nan for part in shown]
        folds = ", ".join(str(part["fold"].nunique()) for part in shown)
        cells = [f"{mean:.3f}" if mean == mean else "not run yet" for mean in means]
        gap = f"{means[1] - means[0]:+.3f}" if not np.isnan(means).any() else ""
        lines.append(f"| ({arm}) {name} | {cells[0]} | {cells[1]} | {gap} | {folds} |")
    return "\n".join(lines)


def fold_sums(
    answers: pd.DataFrame, arm: str, scheme: str, column: str, folds: list[int] | None = None
) -> list[Sums]:
    """Per fold, the (sum, count) of each block of 10."""
    chosen = answers[(answers["arm"] == arm) & (answers["scheme"] == scheme)]
    wanted = sorted(chosen["fold"].unique()) if folds is None else folds
    parts = [chosen[chosen["fold"] == fold].sort_values("path") for fold in wanted]
    return [
        mean_sums(part[column].astype(float).to_numpy(), part["group"].to_numpy(dtype=str))
        for part in parts
    ]


def _common_folds(answers: pd.DataFrame, first: str, second: str) -> list[int]:
    blocked = answers[answers["scheme"] == "blocked"]
    have = [set(blocked[blocked["arm"] == arm]["fold"]) for arm in (first, second)]
    return sorted(have[0] & have[1])


def _interval(sums: list[Sums]) -> str:
    if len(sums) == 1:
        found = interval(sums[0], mean_of_sums, BOOTSTRAP)
    else:
        found = two_level_interval(sums, mean_of_sums, BOOTSTRAP, shared_groups=False)
    return shown(found)
