"""Tables of the AID experiment from its recorded runs; also the README's table.

python benchmarks/aid_scenes.py summary          writes results/aid_scenes_summary.md and README.md
"""

from __future__ import annotations

from itertools import product

import pandas as pd

from aid_scenes import FOLDS, SPEED, TABLE
from experiments import RESULTS, ROOT
from summaries import (
    NOT_RUN,
    Answers,
    Block,
    difference_heads,
    difference_rows,
    mean_of,
    publish,
    section,
    shown,
    table,
    total_of_runs,
)

NAMES = {
    "a": "cross-entropy, shuffled batches",
    "b": "cross-entropy, 16 x 4 batches",
    "c": "+ centre loss",
    "d": "+ lifted structured",
    "e": "centre-based structured metric",
}
ACCURACY, MAP_AT_R, RECALL = (
    mean_of("accuracy", "correct"),
    mean_of("MAP@R", "map@r"),
    mean_of("R@1", "recall@1"),
)
SUMMARY = RESULTS / "aid_scenes_summary.md"
BLOCK = Block(ROOT / "README.md", "aid", "benchmarks/aid_scenes.py summary")


def summarise() -> None:
    """Write the summary beside the table, and its first part into the README."""
    runs, items, speed = TABLE.read(), pd.read_parquet(TABLE.items()), pd.read_csv(SPEED)
    head = render_table(runs, items, speed)
    publish(SUMMARY, render(runs, items, head))
    BLOCK.write(head)


def render(runs: pd.DataFrame, items: pd.DataFrame, head: str) -> str:
    """The whole summary; `head` is its first part."""
    parts = [
        "# AID scenes: results",
        "Protocol: `benchmarks/aid_scenes.md`.",
        head,
        render_differences(items),
        render_gap(items),
        total_of_runs(runs, TABLE.path.name),
    ]
    return "\n\n".join(parts) + "\n"


def of_scheme(items: pd.DataFrame, scheme: str) -> Answers:
    """What the arms said with one way to make folds; groups are blocks of 10."""
    return Answers(items[items["scheme"] == scheme], run="fold", item="path", shared_groups=False)


def render_table(runs: pd.DataFrame, items: pd.DataFrame, speed: pd.DataFrame) -> str:
    """One row per arm, blocked folds: values with intervals over folds and blocks.

    Images/s are the median of the rounds of `speed`, where the arms took turns on an idle machine.
    """
    answers, rows = of_scheme(items, "blocked"), []
    done = runs[(runs["scheme"] == "blocked") & (runs["status"] == "done")]
    for arm, name in NAMES.items():
        found = [answers.estimate(arm, one) for one in (ACCURACY, MAP_AT_R, RECALL)]
        cells = [shown(one[1]) for one in found if one is not None]
        if not cells:
            rows.append([f"({arm}) {name}", NOT_RUN])
            continue
        accuracy, map_at_r, recall = cells
        means = done[done["arm"] == arm][["kappa", "centre_accuracy"]].mean()
        images_per_s = speed[speed["arm"] == arm]["images_per_s"].median()
        rows.append(
            [
                *(f"({arm}) {name}", f"{len(answers.runs(arm))} of {FOLDS}"),
                *(accuracy, f"{means['kappa']:.3f}", map_at_r, recall),
                *(f"{means['centre_accuracy']:.3f}", f"{images_per_s:.0f}"),
            ]
        )
    heads = ["arm", "folds done", "accuracy", "kappa", "MAP@R", "R@1", "nearest centre", "images/s"]
    return table(heads, rows)


def render_differences(items: pd.DataFrame) -> str:
    """(e) minus each other arm over the folds that both have; Holm over all comparisons made."""
    answers = of_scheme(items, "blocked")
    found = [
        (f"(e) - ({other}), {measure.title}", answers.difference("e", other, measure))
        for other, measure in product("abcd", (ACCURACY, MAP_AT_R))
    ]
    return section(
        "Paired differences (blocked folds)",
        "95 % intervals by two-level bootstrap (folds, then blocks of 10), 2,000 replicates;\n"
        "with n folds they are too narrow by about sqrt((n - 1) / n). A row of one fold resamples\n"
        "its blocks only and covers evaluation noise, not another split or seed: no claim.",
        table(difference_heads("folds"), difference_rows(found)),
    )


def render_gap(items: pd.DataFrame) -> str:
    """Accuracy with random folds beside blocked ones: what neighbours of one mosaic give away."""
    rows = []
    for arm, name in NAMES.items():
        own = items[items["arm"] == arm]
        parts = [own[own["scheme"] == scheme] for scheme in ("blocked", "random")]
        means = [part["correct"].mean() for part in parts if len(part)]
        cells = [f"{part['correct'].mean():.3f}" if len(part) else NOT_RUN for part in parts]
        gap = f"{means[1] - means[0]:+.3f}" if len(means) == 2 else ""
        folds = ", ".join(str(part["fold"].nunique()) for part in parts)
        rows.append([f"({arm}) {name}", *cells, gap, folds])
    heads = ["arm", "blocked", "random", "gap", "folds (blocked, random)"]
    return section("Random folds beside blocked folds (accuracy)", table(heads, rows))
