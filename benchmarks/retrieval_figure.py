"""The experiment on zero-shot retrieval as a picture: every arm, and what it differs from.

python benchmarks/retrieval.py summary           writes results/retrieval_summary.svg
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from likeness.evaluation.resampling import Interval
from likeness.files import atomic_path

LEVEL = 0.05
_ABOVE, _BELOW, _SAME, _FLOOR = "#1c6bb0", "#c44414", "#8a929b", "#1f2328"
_INK, _LINE = "#1f2328", "#e5e2db"
_ROW = 0.19  # inches of height for an arm
_MEANING = {
    _ABOVE: "above {opponent} (Holm over all)",
    _BELOW: "below {opponent}",
    _SAME: "no difference shown",
    _FLOOR: "nothing trained",
}


@dataclass(frozen=True)
class Standing:
    """An arm with what the picture shows of it.

    Attributes:
        arm: its name.
        value: its figure with an interval.
        floor: whether nothing was trained.
        difference: from the opponent; None for the opponent itself.
        p: of the difference, corrected for all of them; in [0, 1].
    """

    arm: str
    value: Interval
    floor: bool
    difference: Interval | None = None
    p: float = 1.0

    @property
    def colour(self) -> str:
        """Whether a difference was shown, and in which direction."""
        if self.floor:
            return _FLOOR
        if self.difference is None or self.p >= LEVEL:
            return _SAME
        return _ABOVE if self.difference.value > 0 else _BELOW


def draw(standings: Sequence[Standing], path: Path, *, opponent: str, title: str) -> None:
    """Write the picture as SVG: figures at the left, differences from the opponent at the right.

    Args:
        standings: at least one, in any order; the best is drawn at the top.
        path: where to.
        opponent: the arm from which the others differ.
        title: of the left axis.
    """
    ordered = sorted(standings, key=lambda one: one.value.value)
    # Fixed ids and no date: equal figures give equal bytes.
    with (
        mpl.rc_context({"svg.hashsalt": "retrieval", "font.size": 8, "axes.edgecolor": _LINE}),
        atomic_path(path) as written,
    ):
        figure = Figure(figsize=(9, 1.3 + _ROW * len(ordered)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for place, one in enumerate(ordered):
            _bar(left, place, one.value, one.colour)
            if one.difference is not None:
                _bar(right, place, one.difference, one.colour)
            if one.floor or one.arm == opponent:
                left.axvline(one.value.value, color=_LINE, zorder=0)
        left.set_yticks(range(len(ordered)), [one.arm.replace("_", " ") for one in ordered])
        left.set_xlabel(title)
        right.axvline(0, color=_INK, linewidth=0.8)
        right.set_xlabel(f"the same minus that of {opponent}, paired")
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(length=0, colors=_INK)
            axes.margins(y=0.01)
            axes.locator_params(axis="x", nbins=5)
        dots = [left.plot([], [], "o", color=colour, markersize=4)[0] for colour in _MEANING]
        words = [word.format(opponent=opponent) for word in _MEANING.values()]
        figure.legend(dots, words, loc="outside upper center", ncols=len(words), frameon=False)
        figure.savefig(written, format="svg", metadata={"Date": None})


def _bar(axes: Axes, place: int, found: Interval, colour: str) -> None:
    axes.plot([found.low, found.high], [place, place], color=colour, linewidth=1.2)
    axes.plot([found.value], [place], "o", color=colour, markersize=3.5)
