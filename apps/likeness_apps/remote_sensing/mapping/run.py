"""`likeness remote-sensing map`: a scene in, a map of classes out, resumable.

Legend: R = rows of windows, C = columns of windows, N = windows with an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from jaxtyping import Shaped

from likeness.errors import require
from likeness.inference.predictor import Predictor
from likeness_apps.remote_sensing.geopackage import Columns, Geometries, write_geopackage_parts
from likeness_apps.remote_sensing.mapping.answers import Part, answer_rows
from likeness_apps.remote_sensing.mapping.journal import Journal, open_journal
from likeness_apps.remote_sensing.mapping.mosaic import tiles
from likeness_apps.remote_sensing.mapping.rasters import TILE, Legend, write_names, write_rasters
from likeness_apps.remote_sensing.mapping.scene import Block, Scene, open_scene, window_side
from likeness_apps.remote_sensing.mapping.windows import Blend, Grid, make_grid
from likeness_apps.shell.console import say

PART_BATCHES = 8  # batches that are kept together: what a kill can cost
_SHOWN = 10  # unreadable blocks that are named one by one
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Mapped:
    """What a call has made.

    Attributes:
        windows: in all.
        answered: windows that hold data and have an answer of the network.
        resumed: windows that an earlier call had finished.
        unreadable: blocks of the scene that could not be read: no data in the map.
        without_place: whether the scene, and so the map, names no reference system.
    """

    windows: int
    answered: int
    resumed: int
    unreadable: tuple[Block, ...]
    without_place: bool

    @property
    def exit_code(self) -> int:
        """0; 1 if something could not be read or there is not one answer."""
        return 1 if self.unreadable or not self.answered else 0


def tell(done: Mapped, scene: Path, out: Path, *, quiet: bool = False) -> int:
    """Say what was done; what went wrong is said even if `quiet`.

    Returns:
        The exit code: 0, or 1 if a part of the scene could not be read or held no data at all.
    """
    told = f"{done.answered} of {done.windows} windows hold data and have an answer"
    if done.resumed:
        told += f", {done.resumed} of them looked at by an earlier call"
    say(f"{out}: {told}", quiet=quiet)
    if done.without_place:
        say(f"{scene} names no reference system; nor does the map", quiet=quiet)
    for left, top, width, height in done.unreadable[:_SHOWN]:
        where = f"{width} x {height} pixels at column {left}, row {top}"
        say(f"not readable, so no data in the map: {where}")
    if len(done.unreadable) > _SHOWN:
        say(f"and {len(done.unreadable) - _SHOWN} more such blocks")
    return done.exit_code


def make_map(
    predictor: Predictor,
    scene: Path,
    out: Path,
    *,
    stride: int | None = None,
    blend: Blend = "mean",
    probabilities: Path | None = None,
    gpkg: Path | None = None,
    resample: bool = False,
    window: int | None = None,
    on_progress: Progress | None = None,
) -> Mapped:
    """Classify every pixel of a scene by the windows over it, on the scene's own grid.

    Memory holds the scene under one row of windows or two, whatever the scene's height and the
    number of classes. A call that was killed goes on when it is repeated, and the pixels come out
    the same (same machine, versions, threads and batch size).

    Args:
        predictor: the model.
        scene: a raster that GDAL reads.
        out: a new GeoTIFF of class numbers, with `out.aux.xml` for the names.
        stride: pixels from one window to the next; None is half a window.
        blend: how overlapping answers are averaged, see `windows.blend_weights`.
        probabilities: a new GeoTIFF of probabilities (a band of bytes per class), or None.
        gpkg: a new GeoPackage with the outline, label and confidence of every window with an
            answer, or None.
        resample: take windows that cover the ground of a training image, if the scene's resolution
            is another; see `scene.window_side`.
        window: side of a window in the scene's pixels; None takes the training images'.
        on_progress: called with (windows done, windows in all).

    Returns:
        What was done.

    Raises:
        UserError: if the scene does not fit the model, a number is out of range, an output is
            there already or cannot be written, or the parts beside `out` belong to other work.
    """
    require(predictor.classes, "model", "one with classes or centres", predictor.model_id)
    require(out.suffix.lower() in (".tif", ".tiff"), "out", "a name that ends in .tif", str(out))
    for name, other in (("probabilities", probabilities), ("gpkg", gpkg)):
        apart = other is None or other.absolute() != out.absolute()
        require(apart, name, "another file than out", str(other))
    with open_scene(scene, predictor.preprocessing) as source:
        require(not gpkg or source.crs, "gpkg", "left out for a scene without a CRS", str(gpkg))
        side = window_side(source, predictor.preprocessing, window=window, resample=resample)
        grid = make_grid(source.place.height, source.place.width, side=side, stride=stride)
        per_part = -(-PART_BATCHES * predictor.batch_size // grid.columns)
        with open_journal(out, (probabilities, gpkg), _asked(predictor, source, grid)) as journal:
            tally = _Tally(grid, on_progress or (lambda done, total: None))
            parts = tally.watch(_parts(journal, predictor, source, grid, per_part, tally.on_row))
            legend = Legend(predictor.classes, _tags(predictor, grid, blend))
            new_map, new_bands = journal.folder / "map.tif", _beside(probabilities)
            mixed = tiles(parts, grid, blend, TILE)
            write_rasters(mixed, source.place, legend, new_map, new_bands)
            if gpkg and source.crs:
                chips = _chips(journal, source, grid, predictor.classes)
                write_geopackage_parts(gpkg, chips, crs=source.crs, layer="chips")
            if probabilities and new_bands:
                new_bands.replace(probabilities)
            write_names(out.with_name(f"{out.name}.aux.xml"), legend)
            new_map.replace(out)
            journal.close()
        return tally.result(without_place=source.crs is None)


def _asked(predictor: Predictor, scene: Scene, grid: Grid) -> dict[str, Any]:
    """All that changes the answers; how they are blended does not."""
    status = scene.path.stat()
    return {
        "model": predictor.model_id,
        "settings": dict(predictor.settings),
        "scene": [str(scene.path.resolve()), status.st_size, status.st_mtime_ns],
        "window": grid.side,
        "stride": grid.stride,
        "batch size": predictor.batch_size,
    }


def _tags(predictor: Predictor, grid: Grid, blend: Blend) -> dict[str, str]:
    return {
        "MODEL_ID": predictor.model_id,
        "DATA_LICENCE": predictor.terms["data_licence"],
        "WINDOW": str(grid.side),
        "STRIDE": str(grid.stride),
        "BLEND": blend,
    }


def _beside(path: Path | None) -> Path | None:
    """A name to write to in the same folder, the same for every call."""
    if path is None:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.part")


def _parts(
    journal: Journal,
    predictor: Predictor,
    scene: Scene,
    grid: Grid,
    per_part: int,
    on_row: Callable[[int], None],
) -> Iterator[Part]:
    """All parts in order: the finished from the disk, the others kept as they are made."""
    done = journal.finished()
    for number in range(done):
        yield journal.load(number, grid.width)
    rows = range(done * per_part, grid.rows)
    if not rows:
        return
    fresh = answer_rows(predictor, scene, grid, rows, per_part, on_row)
    with closing(fresh):  # type: ignore[type-var]
        for number, part in enumerate(fresh, done):
            journal.save(number, part)
            yield part


class _Tally:
    """Counts what passes, for the person who waits."""

    def __init__(self, grid: Grid, tell: Progress) -> None:
        self._grid, self._tell = grid, tell
        self._first_row: int | None = None
        self._answered = 0
        self._unreadable: set[Block] = set()

    def on_row(self, row: int) -> None:
        self._first_row = row if self._first_row is None else self._first_row
        self._tell(row * self._grid.columns, self._grid.rows * self._grid.columns)

    def watch(self, parts: Iterable[Part]) -> Iterator[Part]:
        for part in parts:
            self._answered += int(np.isfinite(part.answers_RCK).all(axis=2).sum())
            self._unreadable.update(part.unreadable)
            yield part
        windows = self._grid.rows * self._grid.columns
        self._tell(windows, windows)

    def result(self, *, without_place: bool) -> Mapped:
        first = self._grid.rows if self._first_row is None else self._first_row
        return Mapped(
            windows=self._grid.rows * self._grid.columns,
            answered=self._answered,
            resumed=first * self._grid.columns,
            unreadable=tuple(sorted(self._unreadable)),
            without_place=without_place,
        )


def _chips(
    journal: Journal, scene: Scene, grid: Grid, classes: Sequence[str]
) -> Iterator[tuple[Geometries, Columns]]:
    """Outline, label and confidence of the windows of one part after the other."""
    names = np.array(classes, dtype=object)
    first_row = 0
    for number in range(journal.finished()):
        answers_RCK = journal.load(number, grid.width).answers_RCK
        rows_N, columns_N = np.nonzero(np.isfinite(answers_RCK).all(axis=2))
        answers_NK = answers_RCK[rows_N, columns_N]
        tops_N, lefts_N = grid.tops_R[first_row + rows_N], grid.lefts_C[columns_N]
        columns = {
            "label": names[answers_NK.argmax(axis=1)],
            "confidence": answers_NK.max(axis=1),
            "row": tops_N,
            "column": lefts_N,
        }
        yield _outlines(lefts_N, tops_N, grid.side, scene.place.transform), columns
        first_row += len(answers_RCK)


def _outlines(
    lefts_N: np.ndarray, tops_N: np.ndarray, side: int, transform: Sequence[float]
) -> Shaped[np.ndarray, " N"]:
    """The windows as polygons in the scene's coordinates; the transform may turn them."""
    corners_45 = np.array([[0, side, side, 0, 0], [0, 0, side, side, 0]])
    x_N5, y_N5 = lefts_N[:, None] + corners_45[0], tops_N[:, None] + corners_45[1]
    a, b, c, d, e, f = transform
    outlines: np.ndarray = shapely.polygons(
        np.stack([a * x_N5 + b * y_N5 + c, d * x_N5 + e * y_N5 + f], axis=-1)
    )
    return outlines
