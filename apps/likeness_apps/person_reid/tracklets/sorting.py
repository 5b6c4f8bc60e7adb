"""Lines of a table in the order of their frames, whatever its length, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import NamedTuple

AT_ONCE = 100_000  # lines that are sorted in memory, some 30 MB


class Line(NamedTuple):
    """A line of a table; lines sort by frame, then as they stood.

    Attributes:
        frame: what it is about.
        number: of the line, from 1.
        text: without the line's end.
    """

    frame: int
    number: int
    text: str


def sorted_lines(lines: Iterable[Line], folder: Path, *, at_once: int = AT_ONCE) -> Iterator[Line]:
    """The lines, sorted by way of files that are sorted each and then merged.

    Args:
        lines: in any order.
        folder: an existing folder for `run-0000.jsonl`, ..., which stay there.
        at_once: lines that memory holds, >= 1.
    """
    stream = iter(lines)
    runs: list[Path] = []
    while some := sorted(islice(stream, at_once)):
        runs.append(folder / f"run-{len(runs):04d}.jsonl")
        with runs[-1].open("w", encoding="ascii") as handle:
            handle.writelines(f"{json.dumps(line)}\n" for line in some)
    yield from merge(*map(_read, runs))


def _read(run: Path) -> Iterator[Line]:
    with run.open(encoding="ascii") as handle:
        for text in handle:
            yield Line(*json.loads(text))
