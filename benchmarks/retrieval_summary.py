"""Tables and a picture of the experiment on zero-shot retrieval from its recorded runs.

python benchmarks/retrieval.py summary           writes results/retrieval_summary.md and .svg
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments import RESULTS
from likeness.evaluation.resampling import Interval, Sums
from retrieval import FIGURES, FLOORS, MAIN, NOISE, SHARES, SPLITS, TABLE, TEST
from retrieval_arms import HAND_MADE, NOISY, TRIED
from retrieval_figure import Standing, draw
from summaries import (
    NOT_RUN,
    Answers,
    Compared,
    corrected,
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
ARMS = (*FLOORS, *TRIED)
PAIRS = (("bspml", "multi_similarity"), ("caa", "contrastive_ce"))  # method and its base
# Of each arm that was run: its figures in the order of `SHOWN`; its difference from another.
Estimates = dict[str, list[Interval]]
Differences = dict[str, Compared]


def summarise() -> None:
    """Write the summary and the picture beside the table."""
    answers = answers_of(read_items(TABLE.items(MAIN), COLUMNS))
    noisy = read_items(TABLE.items(NOISE), (*COLUMNS, "share"))
    estimates = estimates_of(answers)
    found = {other: differences(answers, other) for other in (OPPONENT, HAND_MADE)}
    publish(SUMMARY, render(TABLE.read(), estimates, found, noisy))
    standings = standings_of(estimates, found[OPPONENT])
    if standings:
        title = "MAP@R on unseen classes of AID (95 % interval)"
        draw(standings, SUMMARY.with_suffix(".svg"), opponent=OPPONENT, title=title)


def render(
    runs: pd.DataFrame, estimates: Estimates, found: dict[str, Differences], noisy: pd.DataFrame
) -> str:
    """The whole summary; `found` by opponent."""
    parts = [
        "# Zero-shot retrieval on AID: results",
        f"Protocol: `benchmarks/retrieval.md`. The same as a picture: "
        f"[{SUMMARY.stem}.svg]({SUMMARY.stem}.svg).",
        render_table(runs, estimates),
        *(render_differences(*one) for one in found.items()),
        render_noise(noisy),
        total_of_runs(runs, TABLE.path.name),
    ]
    return "\n\n".join(parts) + "\n"


def estimates_of(answers: Answers) -> Estimates:
    """Every figure of every arm that was run."""
    found = {arm: [answers.estimate(arm, one) for one in SHOWN] for arm in ARMS}
    return {arm: [one[1] for one in own if one] for arm, own in found.items() if all(own)}


def differences(answers: Answers, opponent: str) -> Differences:
    """Every other arm minus one on MAP@R, where both have a split in common."""
    others = [arm for arm in ARMS if arm != opponent]
    found = {arm: answers.difference(arm, opponent, MAP_AT_R) for arm in others}
    return {arm: one for arm, one in found.items() if one is not None}


def standings_of(estimates: Estimates, found: Differences) -> list[Standing]:
    """Every arm that was run, as the picture shows it."""
    p_values = dict(zip(found, corrected(one for _, one in found.values()), strict=True))
    standings = []
    for arm, (value, *_) in estimates.items():
        difference = found[arm][1] if arm in found else None
        standings.append(Standing(arm, value, arm in FLOORS, difference, p_values.get(arm, 1.0)))
    return standings


def answers_of(items: pd.DataFrame) -> Answers:
    """Every split tests other classes; groups are classes."""
    return Answers(items, run="split", item="path", shared_groups=False)


def render_table(runs: pd.DataFrame, estimates: Estimates) -> str:
    """One row per arm, the best first: values with intervals over splits and classes; NMI's range.

    Arms that were not run come last.
    """
    tested = runs[(runs["study"] == MAIN) & (runs["part"] == TEST) & (runs["status"] == "done")]
    rows: list[tuple[float, list[str]]] = []
    for arm in ARMS:
        own = tested[tested["arm"] == arm].drop_duplicates("split", keep="last")
        if arm not in estimates or own.empty:
            rows.append((0.0, [arm, NOT_RUN]))
            continue
        nmi = own["nmi"]
        chosen = ", ".join(
            f"{row.lr:g}/{row.value:g}" for row in own.itertuples() if row.lr == row.lr
        )
        spread = f"{nmi.mean():.3f} ({nmi.min():.3f} to {nmi.max():.3f})"
        cells = [arm, f"{len(own)} of {SPLITS}", *map(shown, estimates[arm]), spread, chosen]
        rows.append((estimates[arm][0].value, cells))
    heads = ["arm", "splits", *(one.title for one in SHOWN), "NMI (range)", "chosen rate/value"]
    ordered = sorted(rows, key=lambda one: one[0], reverse=True)
    return table(heads, [cells for _, cells in ordered])


def render_differences(opponent: str, found: Differences) -> str:
    """Every other arm minus one on MAP@R, the largest first; Holm over all of them."""
    ordered = sorted(found.items(), key=lambda item: item[1][1].value, reverse=True)
    titled = [(f"{arm} - {opponent}", one) for arm, one in ordered]
    return section(
        f"Paired differences from `{opponent}` (MAP@R)",
        "95 % intervals by two-level bootstrap (splits, then classes), 2,000 replicates; with n\n"
        "splits they are too narrow by about sqrt((n - 1) / n). One split alone covers evaluation\n"
        "noise only: no claim.",
        table(difference_heads("splits"), difference_rows(titled)),
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
