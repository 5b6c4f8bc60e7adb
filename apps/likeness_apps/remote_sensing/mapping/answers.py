"""The network's answers to all windows of a scene, some rows of windows at a time.

Legend: R = rows of windows, C = columns of windows, K = classes, X = the scene's width, Y = pixel
rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from likeness.data.stacks import prepare_images
from likeness.inference.predictor import Predictor
from likeness.threads import prefetched
from likeness_apps.remote_sensing.mapping.scene import Block, PixelRows, Scene
from likeness_apps.remote_sensing.mapping.windows import Grid

TOGETHER = 16  # windows that are prepared at once


@dataclass(frozen=True, eq=False)
class Part:
    """The answers to some rows of windows, and the data mask of the pixels that they are new in.

    Attributes:
        answers_RCK: probabilities, float32; nan where a window holds no data (it was not sent to
            the network) or the network's answer was not finite.
        valid_YX: False where the scene has no data; pixel rows from the first that these windows
            cover and no earlier ones do.
        unreadable: blocks of the file that could not be read.
    """

    answers_RCK: Float[np.ndarray, "R C K"]
    valid_YX: Bool[np.ndarray, "Y X"]
    unreadable: tuple[Block, ...]


@dataclass(frozen=True, eq=False)
class _NewRows:
    """Marks where a row of windows begins, with what it covers first."""

    row: int
    valid_YX: Bool[np.ndarray, "Y X"]
    unreadable: tuple[Block, ...]


@dataclass(frozen=True, eq=False)
class _Windows:
    """Some windows of one row, and the pixels that they are cut from."""

    row: int
    columns: list[int]
    strip: PixelRows


@dataclass(frozen=True, eq=False)
class _Ready:
    row: int
    columns: list[int]
    inputs: list[Tensor]


def answer_rows(
    predictor: Predictor,
    scene: Scene,
    grid: Grid,
    rows: Sequence[int],
    per_part: int,
    on_row: Callable[[int], None],
) -> Iterator[Part]:
    """Answer consecutive rows of windows, reading and preparing ahead in threads.

    A batch never crosses the border of a part, so a part's numbers do not depend on where the work
    was begun.

    Args:
        predictor: the model.
        scene: its pixels.
        grid: where the windows are.
        rows: rows of windows, consecutive, in order, at least one.
        per_part: rows of windows in a part; the last part may have fewer.
        on_row: called with the number of each row of windows that is begun.

    Yields:
        The parts in order.
    """
    strips = prefetched(rows, _Reader(scene, grid), threads=1, ahead=1)
    ready = prefetched(
        _items(strips, grid),
        partial(_prepare, predictor, scene, grid),
        threads=predictor.threads,
        ahead=-(-predictor.batch_size // min(TOGETHER, grid.columns)) + predictor.threads,
    )
    with closing(strips), closing(ready):  # type: ignore[type-var]
        part = _Builder(predictor, grid)
        for item in ready:
            if isinstance(item, _Ready):
                part.add_windows(item)
                continue
            if len(part.begun) == per_part:
                yield part.finish()
                part = _Builder(predictor, grid)
            part.begun.append(item)
            on_row(item.row)
        yield part.finish()


class _Reader:
    """Reads the strips under rows of windows in order, no pixel twice; for one thread."""

    def __init__(self, scene: Scene, grid: Grid) -> None:
        self._scene, self._grid = scene, grid
        self._held: tuple[int, PixelRows] | None = None

    def __call__(self, row: int) -> tuple[_NewRows, PixelRows]:
        top = int(self._grid.tops_R[row])
        first, stop = self._grid.new_pixels(row)
        if self._held is None:  # the first row, or going on in the middle
            strip = self._scene.read(top, stop)
        else:
            before, held = self._held
            strip = _joined(held, top - before, self._scene.read(first, stop))
        self._held = (top, strip)
        return _NewRows(row, strip.valid_YX[first - top :], strip.unreadable), strip


def _joined(above: PixelRows, skip: int, below: PixelRows) -> PixelRows:
    """`above` without its first `skip` rows, then `below`."""
    return PixelRows(
        np.concatenate([above.pixels_YXB[skip:], below.pixels_YXB]),
        np.concatenate([above.valid_YX[skip:], below.valid_YX]),
        np.concatenate([above.whole_YX[skip:], below.whole_YX]),
        below.unreadable,
    )


def _items(
    strips: Iterable[tuple[_NewRows, PixelRows]], grid: Grid
) -> Iterator[_NewRows | _Windows]:
    """For each row of windows its mark, then the windows that hold data, a few at a time."""
    for new, strip in strips:
        yield new
        valid_X = np.asarray(strip.valid_YX.any(axis=0))
        lefts = enumerate(grid.lefts_C.tolist())
        columns = [column for column, left in lefts if valid_X[left : left + grid.side].any()]
        for first in range(0, len(columns), TOGETHER):
            yield _Windows(new.row, columns[first : first + TOGETHER], strip)


def _prepare(
    predictor: Predictor, scene: Scene, grid: Grid, item: _NewRows | _Windows
) -> _NewRows | _Ready:
    """Windows as the network takes them, by the same steps as image files; thread-safe."""
    if isinstance(item, _NewRows):
        return item
    lefts = grid.lefts_C[item.columns].tolist()
    images = [scene.image(item.strip, np.s_[:, left : left + grid.side]) for left in lefts]
    return _Ready(item.row, item.columns, prepare_images(images, predictor.preprocessing))


class _Builder:
    """One part in the making."""

    def __init__(self, predictor: Predictor, grid: Grid) -> None:
        self._predictor, self._grid = predictor, grid
        self._waiting: list[tuple[tuple[int, int], Tensor]] = []
        self._answered: dict[tuple[int, int], np.ndarray] = {}
        self.begun: list[_NewRows] = []

    def add_windows(self, windows: _Ready) -> None:
        """Ask the network whenever there is a batch."""
        for column, tensor in zip(windows.columns, windows.inputs, strict=True):
            self._waiting.append(((windows.row, column), tensor))
            if len(self._waiting) == self._predictor.batch_size:
                self._ask()

    def finish(self) -> Part:
        """Ask for the rest and put everything in its place."""
        if self._waiting:
            self._ask()
        shape = (len(self.begun), self._grid.columns, len(self._predictor.classes))
        answers_RCK = np.full(shape, np.nan, np.float32)
        for (row, column), answer_K in self._answered.items():
            answers_RCK[row - self.begun[0].row, column] = answer_K
        valid_YX = np.concatenate([new.valid_YX for new in self.begun])
        unreadable = sorted({block for new in self.begun for block in new.unreadable})
        return Part(answers_RCK, valid_YX, tuple(unreadable))

    def _ask(self) -> None:
        places, inputs = zip(*self._waiting, strict=True)
        answers = self._predictor.answer(inputs)
        self._answered.update(zip(places, answers.probabilities_NC, strict=True))
        self._waiting.clear()
