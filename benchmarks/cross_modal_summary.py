"""Tables of the cross-modal experiment from its recorded runs.

python benchmarks/cross_modal.py summary          writes results/cross_modal_summary.md
"""

from __future__ import annotations

from itertools import product

import pandas as pd

from cross_modal import ARMS, DIVISIONS, TABLE
from experiments import RESULTS
from summaries import (
    NOT_RUN,
    Answers,
    difference_heads,
    difference_rows,
    mean_of,
    publish,
    read_items,
    section,
    shown,
    table,
    total_of_runs,
)

SUMMARY = RESULTS / "cross_modal_summary.md"
MEASURES = (
    mean_of("mAP@all", "map"),
    mean_of("mAP@all, interpolated", "map_interpolated"),
    mean_of("P@100", "precision@100"),
    mean_of("R-precision", "r_precision"),
    mean_of("mAP@all, 64-bit codes", "codes_map"),
)
CLAIMED = (MEASURES[0], MEASURES[-1])
OTHERS = ("baseline", "within", "plain", "cross_entropy")
COLUMNS = ("arm", "division", "path", "label", "group", "map", "codes_map")


def summarise() -> None:
    """Write the summary beside the table."""
    publish(SUMMARY, render(TABLE.read(), read_items(TABLE.items(), COLUMNS)))


def render(runs: pd.DataFrame, items: pd.DataFrame) -> str:
    """The whole summary."""
    answers = Answers(items, run="division", item="path", shared_groups=False)
    parts = [
        "# Edge maps of AID photographs as pseudo-sketches: results",
        "Protocol: `benchmarks/cross_modal.md`. Edge maps are made by a program; no figure here is "
        "one of sketches.",
        render_table(answers),
        render_differences(answers),
        total_of_runs(runs, TABLE.path.name),
    ]
    return "\n\n".join(parts) + "\n"


def render_table(answers: Answers) -> str:
    """One row per arm: values with intervals over divisions and groups."""
    rows = []
    for arm in ARMS:
        if not answers.runs(arm):
            rows.append([arm, NOT_RUN])
            continue
        found = [answers.estimate(arm, measure) for measure in MEASURES]
        cells = [shown(one[1]) for one in found if one is not None]
        rows.append([arm, f"{len(answers.runs(arm))} of {DIVISIONS}", *cells])
    return table(["arm", "divisions", *(measure.title for measure in MEASURES)], rows)


def render_differences(answers: Answers) -> str:
    """MATHM minus each other arm; Holm over all claims."""
    found = [
        (f"mathm - {other}, {measure.title}", answers.difference("mathm", other, measure))
        for measure, other in product(CLAIMED, OTHERS)
    ]
    return section(
        "Paired differences",
        "95 % intervals by two-level bootstrap (divisions of the classes, then groups of edge\n"
        "maps), 2,000 replicates; with n divisions they are too narrow by about\n"
        "sqrt((n - 1) / n). Of one division alone: evaluation noise only, no claim.",
        table(difference_heads("divisions"), difference_rows(found)),
    )
