"""Tables of the experiment on zero-shot retrieval from its recorded runs.

python benchmarks/retrieval.py summary           writes results/retrieval_summary.md
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments import RESULTS
from likeness.evaluation.resampling import Sums
from retrieval import FIGURES, FLOORS, MAIN, NOISE, SHARES, SPLITS, TABLE, TEST
from retrieval_arms import HAND_MADE, NOISY, TRIED
from summaries import (
    NOT_RUN,
    Answers,
    Compared,
    difference_heads,
    difference_rows,
    mean_of,
    paired_over_runs,
    publish,
    read_items,
    section,
    shown,
    table,
    total_of_runs,
)

SUMMARY = RESULTS / "retrieval_summary.md"
COLUMNS = ("arm", "split", "path", "group", *FIGURES[:-1])
MAP_AT_R = mean_of("MAP@R", "map@r")
SHOWN = (MAP_AT_R, *(mean_of(f"R@{k}", f"recall@{k}") for k in (1, 2, 4, 8)))
OPPONENT = "triplet"
PAIRS = (("bspml", "multi_similarity"), ("caa", "contrastive_ce"))  # method and its base


def summarise() -> None:
    """Write the summary beside the table."""
    items = read_items(TABLE.items(MAIN), COLUMNS)
    noisy = read_items(TABLE.items(NOISE), (*COLUMNS, "share"))
    publish(SUMMARY, render(TABLE.read(), items, noisy))


def render(runs: pd.DataFrame, items: pd.DataFrame, noisy: pd.DataFrame) -> str:
    """The whole summary."""
    parts = [
        "# Zero-shot retrieval on AID: results",
        "Protocol: `benchmarks/retrieval.md`.",
        render_table(runs, answers_of(items)),
        *(render_differences(answers_of(items), other) for other in (OPPONENT, HAND_MADE)),
        render_noise(noisy),
        total_of_runs(runs, TABLE.path.name),
    ]
    return "\n\n".join(parts) + "\n"


def answers_of(items: pd.DataFrame) -> Answers:
    """Every split tests other classes; groups are classes."""
    return Answers(items, run="split", item="path", shared_groups=False)


def render_table(runs: pd.DataFrame, answers: Answers) -> str:
    """One row per arm: values with intervals over splits and classes; NMI as mean and range."""
    tested = runs[(runs["study"] == MAIN) & (runs["part"] == TEST) & (runs["status"] == "done")]
    rows = []
    for arm in (*FLOORS, *TRIED):
        found = [answers.estimate(arm, one) for one in SHOWN]
        cells = [shown(one[1]) for one in found if one is not None]
        own = tested[tested["arm"] == arm].drop_duplicates("split", keep="last")
        if not cells or own.empty:
            rows.append([arm, NOT_RUN])
            continue
        nmi = own["nmi"]
        chosen = ", ".join(
            f"{row.lr:g}/{row.value:g}" for row in own.itertuples() if row.lr == row.lr
        )
        spread = f"{nmi.mean():.3f} ({nmi.min():.3f} to {nmi.max():.3f})"
        rows.append([arm, f"{len(own)} of {SPLITS}", *cells, spread, chosen])
    heads = ["arm", "splits", *(one.title for one in SHOWN), "NMI (range)", "chosen rate/value"]
    return table(heads, rows)


def render_differences(answers: Answers, opponent: str) -> str:
    """Every other arm minus one on MAP@R; Holm over all of them."""
    others = [arm for arm in (*FLOORS, *TRIED) if arm != opponent]
    found = [(f"{a} - {opponent}", answers.difference(a, opponent, MAP_AT_R)) for a in others]
    return section(
        f"Paired differences from `{opponent}` (MAP@R)",
        "95 % intervals by two-level bootstrap (splits, then classes), 2,000 replicates; with n\n"
        "splits they are too narrow by about sqrt((n - 1) / n). One split alone covers evaluation\n"
        "noise only: no claim.",
        table(difference_heads("splits"), difference_rows(found)),
    )


def render_noise(items: pd.DataFrame) -> str:
    """MAP@R at each share of wrong labels, what is lost per 10 %, and methods beside bases."""
    rows = []
    for arm in NOISY:
        cells = []
        for share in SHARES:
            got = answers_of(items[items["share"] == share]).estimate(arm, MAP_AT_R)
            cells.append(NOT_RUN if got is None else shown(got[1]))
        rows.append([arm, *cells])
    at = [f"MAP@R at {share} %" for share in SHARES]
    claims = [(f"{a} - {b}, lost per 10 %", lost_difference(items, a, b)) for a, b in PAIRS]
    return section(
        "Label noise",
        table(["arm", *at], rows),
        "Lost: minus the slope of the least-squares line through the shares, per 10 % of wrong\n"
        "labels; below 0 the method loses less than its base. Holm over both.",
        table(difference_heads("splits"), difference_rows(claims)),
    )


def lost_difference(items: pd.DataFrame, method: str, base: str) -> Compared | None:
    """What a method loses per 10 % of wrong labels minus what its base loses, over splits."""
    whole = items.groupby(["arm", "split"])["share"].nunique()
    done = {
        arm: {split for (name, split), count in whole.items() if name == arm and count == 3}
        for arm in (method, base)
    }
    both = sorted(done[method] & done[base])
    if not both:
        return None
    first, second = ([_lost(items, arm, split) for split in both] for arm in (method, base))
    return len(both), paired_over_runs(first, second, MAP_AT_R.statistic, shared_groups=False)


def _lost(items: pd.DataFrame, arm: str, split: int) -> Sums:
    """MAP@R lost per 10 %, query by query: the slope is linear, so means of it are its mean."""
    own = items[(items["arm"] == arm) & (items["split"] == split)]
    wide = own.pivot(index=["path", "group"], columns="share", values="map@r").reset_index()
    lost = wide.assign(lost=-10 * _slopes(wide[list(SHARES)].to_numpy(np.float64), SHARES))
    return mean_of("lost", "lost").sums(lost)


def _slopes(values_QS: np.ndarray, shares: Sequence[int]) -> np.ndarray:
    """Of the least-squares line through each row."""
    away_S = np.asarray(shares, np.float64) - np.mean(shares)
    return np.asarray(values_QS @ away_S / (away_S @ away_S))
