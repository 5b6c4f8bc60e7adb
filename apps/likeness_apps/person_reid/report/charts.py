"""The charts of people: CMC, rates against false rates, scores of pairs.

Each is an empty text where there is nothing to draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup

from likeness.evaluation.resampling import mean_intervals
from likeness_apps.person_reid.report.result import Result
from likeness_apps.shell.report.curves import Mark, curve_chart
from likeness_apps.shell.report.figures import Frame, Series, axes, drawing, number
from likeness_apps.shell.report.tables import number_of

Record = Mapping[str, Any]
DEEPEST = 20  # ranks of the CMC curve
_FEWEST_DECADES, _MOST_DECADES = 1, 6


@dataclass(frozen=True)
class Cmc:
    """Share of queries with a true match among the first K, and its interval; nan without one."""

    ranks: list[int]
    shares: list[float]
    lows: list[float]
    highs: list[float]


def cmc_curve(result: Result) -> Cmc | None:
    """The curve at every rank, from the rank of each query's first true match.

    Over several random splits it is their mean, without intervals. None where no query counts.
    """
    counted = result.counted
    if not len(counted):
        return None
    ranks = [*range(1, min(DEEPEST, max(1, int(counted["ranked"].max()))) + 1)]
    first_Q = counted["first_rank"].to_numpy(int)
    hits = {str(k): ((first_Q > 0) & (first_Q <= k)).astype(np.float64) for k in ranks}
    splits = counted["split"].astype(str).to_numpy()
    names = list(dict.fromkeys(splits.tolist()))
    parts = [splits == name for name in names]
    shares = [float(np.mean([hit[part].mean() for part in parts])) for hit in hits.values()]
    nothing = [math.nan] * len(ranks)
    if len(names) > 1:
        return Cmc(ranks, shares, nothing, nothing)
    found = mean_intervals(hits, counted["label"].to_numpy(str))
    ends = [(each.low, each.high) for each in found.values()]
    return Cmc(ranks, shares, [low for low, _ in ends], [high for _, high in ends])


def cmc_chart(cmc: Cmc, retrieval: Record) -> Markup:
    """The CMC curve, with a dot at every K that metrics.json states."""
    stated = {int(name.removeprefix("cmc@")): name for name in retrieval if name.startswith("cmc@")}
    marks = []
    for k, name in sorted(stated.items()):
        value = number_of(retrieval[name]["value"])
        if value is not None and k <= cmc.ranks[-1]:
            marks.append(Mark(k, value, f"{100 * value:.1f}", f"rank-{k}: {value:.1%} of queries"))
    last = max(2, cmc.ranks[-1])
    names = sorted({1, *stated, last} & {*range(1, last + 1)})
    banded = all(map(math.isfinite, [*cmc.lows, *cmc.highs])) and len(cmc.ranks) > 1
    edges = Series("", cmc.ranks, cmc.lows), Series("", cmc.ranks, cmc.highs)
    return curve_chart(
        "CMC curve: share of queries with a true match among the first K",
        [Series("CMC", cmc.ranks, cmc.shares)],
        frame=Frame(
            *(520, 320, (1.0, float(last)), (0.0, 1.0)),
            left=52,
            bottom=44,
            x_ticks=[(k, str(k)) for k in names],
        ),
        x_label="first K ranks",
        y_label="share of queries",
        marks=marks,
        between=edges if banded else None,
        about="Dots with percentages: the ranks that metrics.json states. Area: intervals.",
    )


def rates_chart(
    title: str,
    curve: Record,
    trials: int,
    marks: Sequence[Mark],
    *,
    x_label: str,
    y_label: str,
) -> Markup:
    """A true rate against a false rate on a logarithmic axis.

    Args:
        title: read by screen readers.
        curve: `false` and `true`, rates of falling thresholds.
        trials: how many could be accepted falsely; below one of them nothing is drawn.
        marks: with the false rate as `x`; those at 0 stand on the left edge.
        x_label: below the axis.
        y_label: beside the axis.
    """
    if not curve.get("false") or trials < 1:
        return Markup()
    decades = min(_MOST_DECADES, max(_FEWEST_DECADES, math.ceil(math.log10(trials))))

    def place(rate: float) -> float:
        return max(-float(decades), math.log10(rate)) if rate > 0 else -float(decades)

    xs = [place(rate) if rate >= 1 / trials else math.nan for rate in curve["false"]]
    powers = range(-decades, 1)
    return curve_chart(
        title,
        [Series(y_label, xs, curve["true"])],
        frame=Frame(
            *(400, 360, (-float(decades), 0.0), (0.0, 1.0)),
            left=52,
            bottom=44,
            x_ticks=[(power, short_percent(10.0**power)) for power in powers],
        ),
        x_label=x_label,
        y_label=y_label,
        marks=[Mark(place(mark.x), mark.y, mark.label, mark.tip) for mark in marks],
        about="The false rate is on a logarithmic axis. Labelled dots: the calibrated thresholds.",
    )


def score_chart(scores: Record, verdicts: Record, unit: str) -> Markup:
    """Histograms of genuine and impostor pairs, both thresholds, and the zone of unknown."""
    edges = scores["edges"]
    if not edges:
        return Markup()
    kinds = {name: _shares(scores[name]) for name in ("genuine", "impostor")}
    top = max(max(shares) for shares in kinds.values())
    frame = Frame(560, 320, (edges[0], edges[-1]), (0.0, 1.1 * top or 1.0), left=56, bottom=44)
    parts = [_zone(frame, verdicts), axes(frame, unit, y_label="share of the pairs of a kind")]
    for place, shares in enumerate(kinds.values()):
        if any(shares):
            parts.append(_steps(frame, edges, shares, place))
    parts.append(_thresholds(frame, verdicts))
    return drawing(
        frame,
        "Scores of genuine and of impostor pairs",
        "".join(parts),
        "chart",
        "Filled: genuine. Dashed line: impostors. Shaded: what is called unknown.",
    )


def percent(value: float) -> str:
    """A share as percent: with one decimal, below one percent with three digits that count."""
    return f"{100 * value:.1f} %" if value >= 0.01 else short_percent(value)


def short_percent(value: float) -> str:
    """A share as percent without zeros at its end."""
    return f"{number(float(f'{100 * value:.3g}'))} %"


def _shares(counts: Sequence[float]) -> list[float]:
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def _steps(frame: Frame, edges: Sequence[float], shares: Sequence[float], place: int) -> str:
    corners = []
    for (left, right), share in zip(pairwise(edges), shares, strict=True):
        y = f"{frame.y(share):.1f}"
        corners.append(f"{frame.x(left):.1f} {y} {frame.x(right):.1f} {y}")
    zero = f"{frame.y(0):.1f}"
    ends = f"{frame.x(edges[0]):.1f} {zero}", f"{frame.x(edges[-1]):.1f} {zero}"
    outline = " ".join([ends[0], *corners, ends[1]])
    area = f'<polygon class="between" points="{outline}"/>' if place == 0 else ""
    dashed = " dashed" if place else ""
    return f'{area}<polyline class="line s{place}{dashed}" points="{outline}"/>'


def _ends(frame: Frame, verdicts: Record) -> tuple[float, float]:
    """Where unknown begins and ends, within the plot."""
    low, high = frame.x_range
    below, same = (number_of(verdicts.get(name)) for name in ("different_below", "same_from"))
    begins = low if below is None else min(max(below, low), high)
    return begins, high if same is None else min(max(same, low), high)


def _zone(frame: Frame, verdicts: Record) -> str:
    if "same_from" not in verdicts:
        return ""
    left, right = (frame.x(end) for end in _ends(frame, verdicts))
    tall = frame.y(frame.y_range[0]) - frame.top
    return (
        f'<rect class="zone" x="{left:.1f}" y="{frame.top}" width="{max(0.0, right - left):.1f}" '
        f'height="{tall:.1f}"/>'
    )


def _thresholds(frame: Frame, verdicts: Record) -> str:
    """Lines and names; a threshold outside the plot has neither."""
    bottom, parts = frame.y(frame.y_range[0]), []
    sides = ("different_below", "different", "end", -5), ("same_from", "same", "begin", 5)
    for key, name, kind, beside in sides:
        at = number_of(verdicts.get(key))
        if at is None or not frame.x_range[0] <= at <= frame.x_range[1]:
            continue
        x = frame.x(at)
        parts.append(
            f'<line class="cut" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.top}" y2="{bottom:.1f}"/>'
            f'<text class="{kind}" x="{x + beside:.1f}" y="{frame.top + 10}">{name}</text>'
        )
    if "same_from" in verdicts:
        left, right = (frame.x(end) for end in _ends(frame, verdicts))
        if right - left > 60:
            middle = (left + right) / 2
            parts.append(f'<text class="mid" x="{middle:.1f}" y="{frame.top + 10}">unknown</text>')
    return "".join(parts)
