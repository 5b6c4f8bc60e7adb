"""Charts as inline SVG: small, sharp, coloured by the style sheet, readable without script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from numpy.typing import NDArray

MARKS = {  # drawn about (0, 0), about 4 units in radius
    0: "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    1: "M-3.6-3.6h7.2v7.2h-7.2z",
    2: "M0-4.8L4.6 3.6H-4.6z",
    3: "M0-5L5 0L0 5L-5 0z",
    4: "M-4.6-3.4H4.6L0 4.8z",
    5: "M-1.5-4.6h3v3.1h3.1v3h-3.1v3.1h-3v-3.1h-3.1v-3h3.1z",
}


@dataclass(frozen=True)
class Series:
    """One line of a chart: a name and its values, nan where there is none."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]


@dataclass(frozen=True)
class Frame:
    """A plot area and its scales, in the units of the view box.

    `x_ticks` are places along the horizontal axis and their names, in place of round numbers.
    """

    width: int
    height: int
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    left: int = 46
    right: int = 14
    top: int = 12
    bottom: int = 34
    x_ticks: Sequence[tuple[float, str]] = ()

    def x(self, value: float) -> float:
        """Horizontal place of a value."""
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        """Vertical place of a value."""
        low, high = self.y_range
        span = self.height - self.top - self.bottom
        return self.height - self.bottom - (value - low) / (high - low) * span


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers within [low, high], about `about` of them, in steps of 1, 2 or 5 times 10^n."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def number(value: float) -> str:
    """A short number: no trailing zeros, four significant digits."""
    text = f"{value:.4g}"
    if "e" in text:
        mantissa, power = text.split("e")
        return f"{mantissa}e{int(power)}"
    return text.replace("-", "−") if value else "0"


def interval_bar(
    value: float, low: float | None, high: float | None, scale: tuple[float, float] = (0.0, 1.0)
) -> Markup:
    """A value as a tick on a track, its interval as a band.

    Args:
        value: of the tick.
        low: where the band begins; None draws no band.
        high: where it ends.
        scale: values of the two ends of the track.
    """
    span = (scale[1] - scale[0]) or 1.0

    def place(number_: float) -> float:
        return round(2 + 156 * min(1.0, max(0.0, (number_ - scale[0]) / span)), 1)

    parts = ['<line class="track" x1="2" x2="158" y1="7" y2="7"/>']
    if low is not None and high is not None:
        left, right = place(low), place(high)
        width = max(1.5, round(right - left, 1))
        parts.append(f'<rect class="band" x="{left}" y="3.5" width="{width}" height="7" rx="2"/>')
    parts.append(f'<rect class="tick" x="{place(value) - 1.2:.1f}" y="0" width="2.4" height="14"/>')
    return Markup(
        '<svg class="interval" viewBox="0 0 160 14" preserveAspectRatio="none" aria-hidden="true">'
        + "".join(parts)
        + "</svg>"
    )


def read_series(epochs: pd.DataFrame, columns: Mapping[str, str]) -> list[Series]:
    """The lines of a table by epoch: those columns that exist and hold a finite number.

    Args:
        epochs: with a column `epoch`.
        columns: column -> name in the legend.
    """
    xs = pd.to_numeric(epochs["epoch"], errors="coerce").tolist()
    lines = []
    for column, name in columns.items():
        if column in epochs.columns:
            ys = pd.to_numeric(epochs[column], errors="coerce").astype(float).tolist()
            if any(math.isfinite(y) for y in ys):
                lines.append(Series(name, xs, ys))
    return lines


def line_chart(title: str, series: Sequence[Series], *, x_label: str, from_zero: bool) -> Markup:
    """Lines with a dot and a tooltip at each point; gaps where a value is nan.

    Args:
        title: read by screen readers.
        series: at most four lines with finite values somewhere.
        x_label: below the axis.
        from_zero: begin the vertical axis at 0.
    """
    xs = [x for line in series for x in line.xs]
    ys = [y for line in series for y in line.ys if math.isfinite(y)]
    low, high = (min(0.0, *ys) if from_zero else min(ys)), max(ys)
    pad = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    y_range = (low if from_zero and low == 0 else low - pad, high + pad)
    x_range = (min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1)
    frame = Frame(380, 220, x_range, y_range)
    parts = [axes(frame, x_label, whole=True)]
    for place, line in enumerate(series):
        parts.append(_line(frame, line, place, x_label))
    names = ", ".join(line.name for line in series)
    return drawing(frame, f"{title}: {names}", "".join(parts), "chart")


def _line(frame: Frame, line: Series, place: int, x_label: str) -> str:
    points = list(zip(line.xs, line.ys, strict=True))
    path, pen = [], "M"
    for x, y in points:
        if not math.isfinite(y):
            pen = "M"
            continue
        path.append(f"{pen}{frame.x(x):.1f} {frame.y(y):.1f}")
        pen = "L"
    finite = [(x, y) for x, y in points if math.isfinite(y)]
    dots = "".join(
        f'<circle class="s{place}" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="2.2" '
        f'data-tip="{escape(x_label)} {number(x)}: {escape(line.name)} {number(y)}"/>'
        for x, y in finite
    )
    return f'<path class="line s{place}" d="{"".join(path)}"/>' + dots


def axes(frame: Frame, x_label: str, whole: bool = False, y_label: str = "") -> str:
    """Grid, round numbers along both axes (whole ones only, below) and the axes' names."""
    left, right = frame.left, frame.width - frame.right
    bottom = frame.height - frame.bottom
    parts = []
    for value in ticks(*frame.y_range):
        y = f"{frame.y(value):.1f}"
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="end" x="{left - 6}" y="{y}" dy=".32em">{number(value)}</text>')
    even = [x for x in ticks(*frame.x_range, about=5) if not whole or x == int(x)]
    for value, name in frame.x_ticks or [(value, number(value)) for value in even]:
        x = f"{frame.x(value):.1f}"
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text class="mid" x="{x}" y="{bottom + 17}">{escape(name)}</text>')
    parts.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    middle = (left + right) / 2
    parts.append(f'<text class="mid name" x="{middle}" y="{bottom + 31}">{escape(x_label)}</text>')
    if y_label:
        place = f"translate(12 {(frame.top + bottom) / 2:.0f}) rotate(-90)"
        parts.append(f'<text class="mid name" transform="{place}">{escape(y_label)}</text>')
    return "".join(parts)


def drawing(frame: Frame, title: str, body: str, kind: str, about: str = "") -> Markup:
    """The SVG element; screen readers say the title, then what the picture is about."""
    said = f"<desc>{escape(about)}</desc>" if about else ""
    return Markup(
        f'<svg class="{kind}" viewBox="0 0 {frame.width} {frame.height}" role="img" '
        f'aria-label="{escape(title)}">{said}{body}</svg>'
    )


@dataclass(frozen=True)
class Bin:
    """One bin of confidence: how many, how sure on average, how often right, 95 % interval."""

    count: int
    confidence: float
    accuracy: float
    low: float
    high: float

    @property
    def bounded(self) -> bool:
        """Whether the interval has both ends."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def calibration_bins(
    confidence_N: NDArray[np.float64], right_N: NDArray[np.bool_], bins: int = 10
) -> list[Bin]:
    """Equal-width bins of confidence over [0, 1]; empty bins are left out.

    Args:
        confidence_N: in [0, 1].
        right_N: whether the label was right.
        bins: how many, >= 1.

    Returns:
        The bins that hold something, by confidence. Intervals: Wilson 1927, z = 1.96.
    """
    place_N = np.minimum((confidence_N * bins).astype(int), bins - 1)
    result = []
    for place in range(bins):
        inside = place_N == place
        count = int(inside.sum())
        if count:
            share = float(right_N[inside].mean())
            low, high = wilson(share, count)
            result.append(Bin(count, float(confidence_N[inside].mean()), share, low, high))
    return result


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % score interval of a share of `count` items (Wilson 1927)."""
    z2 = 1.96**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = 1.96 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def calibration_chart(
    bins: Sequence[Bin],
    *,
    x_label: str = "confidence",
    y_label: str = "share that was right",
    right: str = "right",
) -> Markup:
    """Observed share against confidence, with intervals, the diagonal, and each bin's size below.

    Args:
        bins: at least one; an interval with an end that is nan is not drawn.
        x_label: what `confidence` is.
        y_label: what `accuracy` is.
        right: what that share of the items are, for the tooltips.
    """
    frame = Frame(400, 400, (0.0, 1.0), (0.0, 1.0), left=52, bottom=96)
    total, greatest = sum(item.count for item in bins), max(item.count for item in bins)
    x0, y0, x1, y1 = frame.x(0), frame.y(0), frame.x(1), frame.y(1)
    parts = [axes(frame, x_label, y_label=y_label), _between(frame, bins)]
    parts.append(f'<line class="ideal" x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}"/>')
    for item in bins:
        x, y = frame.x(item.confidence), frame.y(item.accuracy)
        tip = (
            f"{item.count} items, mean {x_label} {item.confidence:.1%}, {item.accuracy:.1%} {right}"
        )
        if item.bounded:
            tip += f" (95 % {item.low:.1%} to {item.high:.1%})"
            low, high = f"{frame.y(item.low):.1f}", f"{frame.y(item.high):.1f}"
            parts.append(
                f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{low}" y2="{high}"/>'
            )
        dot = f'<circle class="s0" cx="{x:.1f}" cy="{y:.1f}" r="4.5" data-tip="{escape(tip)}"/>'
        tall = 44 * item.count / greatest
        parts.append(
            f'{dot}<rect class="share" x="{x - 7:.1f}" y="{398 - tall:.1f}" '
            f'width="14" height="{tall:.1f}" data-tip="{item.count} of {total} items"/>'
        )
    points = " ".join(f"{frame.x(b.confidence):.1f} {frame.y(b.accuracy):.1f}" for b in bins)
    parts.append(f'<polyline class="line s0" points="{points}"/>')
    return drawing(frame, f"Calibration: {y_label} against {x_label}", "".join(parts), "chart")


def _between(frame: Frame, bins: Sequence[Bin]) -> str:
    """The area between the ends of the bins' intervals."""
    known = [item for item in bins if item.bounded]
    ends = [(item.confidence, item.low) for item in known]
    ends += [(item.confidence, item.high) for item in reversed(known)]
    points = " ".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in ends)
    return f'<polygon class="between" points="{points}"/>'
