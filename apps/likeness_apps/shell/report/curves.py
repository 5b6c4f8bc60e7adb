"""Curves of many points on given axes, and the few points that stand out on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from likeness_apps.shell.report.figures import Frame, Series, axes, drawing

_NEAR = 13.0  # units of the view box: closer labels would overlap
_BESIDE = [  # below right, above left, then all around, ever farther away
    (radius * math.cos(turn * math.pi / 4), radius * math.sin(turn * math.pi / 4) + 4)
    for radius in (13, 27, 41)
    for turn in (1, 5, 7, 3, 0, 4, 2, 6)
]


@dataclass(frozen=True)
class Mark:
    """A point that stands out: its place, the short text beside it, what its tooltip says."""

    x: float
    y: float
    label: str
    tip: str


def curve_chart(
    title: str,
    lines: Sequence[Series],
    *,
    frame: Frame,
    x_label: str,
    y_label: str,
    marks: Sequence[Mark] = (),
    between: tuple[Series, Series] | None = None,
    diagonal: bool = False,
    about: str = "",
) -> Markup:
    """Lines without dots; what lies outside the plot area is not drawn.

    Args:
        title: read by screen readers.
        lines: at most four; a line breaks where a value is nan.
        frame: its ranges are those of the axes.
        x_label: below the axis.
        y_label: beside the axis.
        marks: points that stand out, inside the ranges.
        between: the lower and the upper edge of an area behind the lines, finite and inside.
        diagonal: draw the dashed line from corner to corner.
        about: what the picture shows, read by screen readers after the title.
    """
    parts = [axes(frame, x_label, y_label=y_label)]
    if between is not None:
        parts.append(_area(frame, *between))
    if diagonal:
        (x0, x1), (y0, y1) = frame.x_range, frame.y_range
        ends = f'x1="{frame.x(x0)}" y1="{frame.y(y0)}" x2="{frame.x(x1)}" y2="{frame.y(y1)}"'
        parts.append(f'<line class="ideal" {ends}/>')
    for place, line in enumerate(lines):
        parts.append(f'<path class="line s{place}" d="{_path(frame, line)}"/>')
    return drawing(frame, title, "".join(parts) + _marks(frame, marks), "chart", about)


def _area(frame: Frame, lower: Series, upper: Series) -> str:
    edge = [*zip(lower.xs, lower.ys, strict=True)]
    edge += reversed([*zip(upper.xs, upper.ys, strict=True)])
    points = " ".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in edge)
    return f'<polygon class="between" points="{points}"/>'


def _path(frame: Frame, line: Series) -> str:
    path, pen = [], "M"
    for x, y in zip(line.xs, line.ys, strict=True):
        if not _within(x, frame.x_range) or not _within(y, frame.y_range):
            pen = "M"
            continue
        path.append(f"{pen}{frame.x(x):.1f} {frame.y(y):.1f}")
        pen = "L"
    return "".join(path)


def _within(value: float, limits: tuple[float, float]) -> bool:
    slack = 1e-9 * (limits[1] - limits[0])
    return math.isfinite(value) and limits[0] - slack <= value <= limits[1] + slack


def _marks(frame: Frame, marks: Sequence[Mark]) -> str:
    """Dots, and their labels where none stands yet."""
    taken: list[tuple[float, float]] = []
    parts = []
    for mark in marks:
        x, y = frame.x(mark.x), frame.y(mark.y)
        places = [(x + dx, y + dy) for dx, dy in _BESIDE]
        inside = [place for place in places if frame.left < place[0] < frame.width - frame.right]
        free = [at for at in inside if all(math.dist(at, other) > _NEAR for other in taken)]
        at = (free or inside)[0]
        taken.append(at)
        tip = escape(mark.tip)
        parts.append(
            f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="4.5" data-tip="{tip}"/>'
            f'<text class="mid" x="{at[0]:.1f}" y="{at[1]:.1f}">{escape(mark.label)}</text>'
        )
    return "".join(parts)
