"""What a person sees in the terminal: one progress bar, plain tables, paths of results."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

UNBROKEN = 10_000  # columns, when nobody looks at a screen
Advance = Callable[[int, int], None]  # (done, total)


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Iterator[Advance]:
    """A progress bar on stderr; the yielded function takes (done, total)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance


def say(text: str, *, quiet: bool = False) -> None:
    """One line for the person, unless `quiet`, letter by letter: a name is never markup."""
    if not quiet:
        Console(highlight=False, soft_wrap=True).print(Text(text))


def show_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    numeric: Sequence[str] = (),
    whole: Sequence[str] = (),
    quiet: bool = False,
) -> None:
    """A table on stdout: `numeric` columns flush right, cells of `whole` ones never broken."""
    if quiet:
        return
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    for name in columns:
        side: Literal["left", "right"] = "right" if name in numeric else "left"
        table.add_column(Text(name), justify=side, overflow="fold", no_wrap=name in whole)
    for row in rows:
        table.add_row(*[Text(str(cell)) for cell in row])
    # A program that reads lines (`grep`) shall find what stands in a cell, however long.
    Console(highlight=False, width=None if _is_terminal() else UNBROKEN).print(table)


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def figure(value: Mapping[str, object]) -> str:
    """`0.912 [0.894, 0.929]`: a metric of metrics.json with its interval where it has one."""
    number, low, high = (_number(value.get(name)) for name in ("value", "low", "high"))
    if number is None:
        return "undefined"
    if low is None or high is None:
        return f"{number:.3f}"
    return f"{number:.3f} [{low:.3f}, {high:.3f}]"


def _number(value: object) -> float | None:
    """None for what is not there: null in a file, nan in memory."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
