"""A picture of the faces of a video over time: a strip per face, probabilities stacked.

Legend: K faces that are shown, T bins of time, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from likeness.errors import require
from likeness.files import atomic_path
from likeness.inference.tables import probability_column
from likeness_apps.shell.report.colours import class_colours

STRIPS = 12  # faces that are shown: those in most frames
BINS = 600  # of time, at most; a bin is as long as two frames at least, or there were gaps
_INK, _SOFT, _LINE = "#1f2328", "#5d6570", "#d9d6cf"
Tables = Callable[[], Iterator[pa.Table]]  # of the rows, from the beginning each time


@dataclass(frozen=True, eq=False)
class Timeline:
    """Mean probabilities over time.

    Attributes:
        start_s: of the first bin, in seconds.
        bin_s: how long a bin is.
        faces: numbers of the faces that are shown, the first seen first.
        mean_KTC: their mean probabilities; nan where a face has no answer.
        others: faces that are not shown.
    """

    start_s: float
    bin_s: float
    faces: list[int]
    mean_KTC: Float[np.ndarray, "K T C"]
    others: int


def read_timeline(tables: Tables, classes: Sequence[str]) -> Timeline:
    """Bin the rows of a video; memory holds the bins, however long the video is.

    Args:
        tables: gives the rows, part by part; called twice.
        classes: of the model.
    """
    frames_of, first_seen = Counter[int](), dict[int, float]()
    start_s, end_s, frames = np.inf, -np.inf, 0
    for table in tables():
        if len(table):
            span = pc.min_max(table.column("time_s")).as_py()
            start_s, end_s = min(start_s, span["min"]), max(end_s, span["max"])
            frames += pc.count_distinct(table.column("time_s")).as_py()
        answered = table.filter(pc.equal(table.column("status"), "ok"))
        times = answered.column("time_s").to_pylist()
        for face, time_s in zip(answered.column("face").to_pylist(), times, strict=True):
            frames_of[face] += 1
            first_seen.setdefault(face, time_s)
    if not np.isfinite(start_s):
        start_s = end_s = 0.0
    shown = sorted(face for face, _ in frames_of.most_common(STRIPS))
    shown.sort(key=lambda face: first_seen[face])
    bin_s = max((end_s - start_s) / min(BINS - 1, max(1, frames // 2)), 1e-3)
    bins = max(2, round((end_s - start_s) / bin_s) + 1)
    mean_KTC = _means(tables, classes, shown, (start_s, bin_s, bins))
    return Timeline(start_s, bin_s, shown, mean_KTC, len(frames_of) - len(shown))


def _means(
    tables: Tables, classes: Sequence[str], shown: list[int], grid: tuple[float, float, int]
) -> Float[np.ndarray, "K T C"]:
    """Mean probabilities of each face that is shown in each bin."""
    start_s, bin_s, bins = grid
    sums_KTC = np.zeros((len(shown), bins, len(classes)))
    counts_KT = np.zeros((len(shown), bins), np.int64)
    for table in tables():
        answered = table.filter(pc.equal(table.column("status"), "ok"))
        rows = answered.filter(pc.is_in(answered.column("face"), pa.array(shown, pa.int32())))
        if not len(rows):
            continue
        strips_B = np.array([shown.index(face) for face in rows.column("face").to_pylist()])
        times_B = rows.column("time_s").to_numpy()
        bins_B = np.clip(((times_B - start_s) / bin_s).round().astype(np.int64), 0, bins - 1)
        columns = [rows.column(probability_column(name)).to_numpy() for name in classes]
        np.add.at(sums_KTC, (strips_B, bins_B), np.stack(columns, axis=1))
        np.add.at(counts_KT, (strips_B, bins_B), 1)
    with np.errstate(invalid="ignore"):
        return sums_KTC / counts_KT[..., None]


def timeline_figure(timeline: Timeline, classes: Sequence[str]) -> Figure:
    """The strips, one below the other, over one axis of time."""
    strips = max(1, len(timeline.faces))
    figure = Figure(figsize=(11, 1.9 + 0.85 * strips), dpi=110, layout="constrained")
    axes = figure.subplots(strips, 1, sharex=True, squeeze=False)[:, 0]
    colours = [light for light, _ in class_colours(len(classes))]
    for place, axis in enumerate(axes):
        _frame(axis)
        if not timeline.faces:
            axis.text(
                0.5,
                0.5,
                "no face was found",
                color=_SOFT,
                ha="center",
                va="center",
                transform=axis.transAxes,
            )
            continue
        _strip(axis, timeline, place, colours)
        axis.set_ylabel(
            f"face {timeline.faces[place]}",
            rotation=0,
            ha="right",
            va="center",
            color=_INK,
            fontsize=9,
        )
    axes[-1].set_xlabel(_caption(timeline), color=_SOFT, fontsize=9)
    axes[-1].xaxis.set_major_formatter(_clock)
    axes[-1].tick_params(bottom=True, labelbottom=True, labelsize=8, colors=_SOFT)
    figure.suptitle(
        "Displayed expression over time, as judged by annotators; not what is felt",
        x=0.01,
        ha="left",
        fontsize=11,
        color=_INK,
    )
    handles = [_swatch(colour) for colour in colours]
    figure.legend(
        handles,
        list(classes),
        loc="outside lower left",
        ncols=min(8, len(classes)),
        frameon=False,
        fontsize=8,
        labelcolor=_INK,
    )
    return figure


def write_timeline(path: Path | str, tables: Tables, classes: Sequence[str]) -> None:
    """Draw the rows of a video as a PNG.

    Args:
        path: a .png file; what is there is replaced.
        tables: see `read_timeline`.
        classes: of the model.

    Raises:
        UserError: if the name is none of a .png file, or it cannot be written.
    """
    file = Path(path)
    require(file.suffix == ".png", "plot", "a .png file", str(path))
    figure = timeline_figure(read_timeline(tables, classes), classes)
    with atomic_path(file) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def tables_of(table: Path | str) -> Tables:
    """The rows of a finished Parquet table, for `write_timeline`."""

    def read() -> Iterator[pa.Table]:
        for batch in pq.ParquetFile(table).iter_batches():
            yield pa.Table.from_batches([batch])

    return read


def _strip(axis: Axes, timeline: Timeline, place: int, colours: Sequence[str]) -> None:
    """Stacked probabilities of one face; nothing where it has none."""
    mean_TC = np.nan_to_num(timeline.mean_KTC[place])
    times_T = timeline.start_s + timeline.bin_s * np.arange(len(mean_TC))
    axis.stackplot(times_T, mean_TC.T, colors=colours, step="mid", linewidth=0)


def _frame(axis: Axes) -> None:
    axis.set_ylim(0, 1)
    axis.set_yticks([])
    axis.tick_params(bottom=False, labelbottom=False)
    axis.margins(x=0)
    for side in axis.spines.values():
        side.set_color(_LINE)


def _caption(timeline: Timeline) -> str:
    text = "time in the video; the height of a colour is the probability; empty: no answer"
    if timeline.others:
        text += f"; the {len(timeline.faces)} faces in most frames, {timeline.others} more are not"
    return text


def _clock(seconds: float, _: Any) -> str:
    """1:02:03, or 2:03.5 where there are fractions."""
    whole = round(seconds, 3)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(int(minutes), 60)
    told = f"{rest:06.3f}".rstrip("0").rstrip(".") if rest % 1 else f"{int(rest):02d}"
    return f"{hours}:{minutes:02d}:{told}" if hours else f"{minutes}:{told}"


def _swatch(colour: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=colour)
