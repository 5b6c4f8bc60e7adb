"""Tables of the mosaics experiment from its recorded runs.

python benchmarks/multilabel_mosaics.py summary    writes results/multilabel_mosaics_summary.md
"""

from __future__ import annotations

from itertools import product

import pandas as pd

from experiments import RESULTS
from multilabel_mosaics import ARMS, MEASURES, SPEED, TABLE
from summaries import Answers, difference_heads, difference_rows, mean_of, publish, table

PRIMARY = [mean_of(name, name) for name in ("wap@20", "ndcg@20")]
SUMMARY = RESULTS / "multilabel_mosaics_summary.md"


def summarise() -> None:
    """Write the summary beside the table."""
    runs, items = TABLE.read(), pd.read_parquet(TABLE.items())
    speed = pd.read_csv(SPEED) if SPEED.exists() else None
    parts = [
        "# Multi-label mosaics: results",
        "Protocol: `benchmarks/multilabel_mosaics.md`. Means over seeds.",
        render_table(runs, speed),
        render_differences(items),
    ]
    publish(SUMMARY, "\n\n".join(parts) + "\n")


def render_table(runs: pd.DataFrame, speed: pd.DataFrame | None) -> str:
    """One row per arm, means over seeds; s/epoch as measured in turns, if it was."""
    rows = []
    for arm in ARMS:
        done = runs[(runs["arm"] == arm) & (runs["status"] == "done")]
        in_turns = None if speed is None else speed[speed["arm"] == arm]["seconds"]
        seconds = done["seconds_per_epoch"] if in_turns is None else in_turns
        values = [f"{done[name].mean():.4f}" for name in MEASURES]
        last = [f"{seconds.median():.1f}", f"{done['epoch_95'].median():.0f}"]
        rows.append([arm, len(done), *values, *last])
    heads = ["triplets", "seeds", "WMAP@20", "nDCG@20", "ACG@20", "mAP", "F1@20", "s/epoch"]
    return table([*heads, "to 95 %"], rows)


def render_differences(items: pd.DataFrame) -> str:
    """Informative triplets minus the others, Holm-corrected; groups are regions."""
    answers = Answers(items, run="seed", item="path", shared_groups=True)
    found = [
        (f"informative - {other}, {one.title}", answers.difference("informative", other, one))
        for other, one in product(("random", "all"), PRIMARY)
    ]
    lines = [difference_heads(), *difference_rows(found)]
    heads, *rows = ([title, *cells] for title, _, *cells in lines)  # three seeds in every row
    return table(heads, rows)
