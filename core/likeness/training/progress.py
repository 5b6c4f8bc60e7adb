"""What a person sees while a run goes on: a bar on a terminal, a line per epoch everywhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from likeness.training.ledger import Row

_REFRESH_SECONDS = 0.2


class Display:
    """Progress on standard error.

    No thread of its own refreshes the bar: image workers are forked, and a forked copy of a
    thread's lock would stay locked.

    Args:
        epochs: of the whole run.
        quiet: show nothing.
    """

    def __init__(self, *, epochs: int, quiet: bool) -> None:
        self._epochs, self._quiet = epochs, quiet
        self._console = Console(stderr=True, highlight=False)
        self._shown = 0.0
        self._bar: Progress | None = None
        if not quiet and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]:.4g}  active {task.fields[active]:.4g}"),
                TextColumn("{task.fields[speed]:.0f} images/s"),
                TimeRemainingColumn(),
                console=self._console,
                auto_refresh=False,
                transient=True,
            )
            self._task = self._bar.add_task("", epoch="", loss=0.0, active=0.0, speed=0.0)

    def step(
        self, *, done: int, total: int, epoch: int, loss: float, active: float, speed: float
    ) -> None:
        """A step is done, of `total` in the run; `epoch` counts from 1."""
        if self._bar is None:
            return
        if not self._bar.live.is_started:
            self._bar.start()
        self._bar.update(
            self._task,
            completed=done,
            total=total,
            epoch=f"{epoch}/{self._epochs}",
            loss=loss,
            active=active,
            speed=speed,
        )
        now = time.monotonic()
        if now - self._shown > _REFRESH_SECONDS:
            self._bar.refresh()
            self._shown = now

    def epoch(self, row: Row) -> None:
        """An epoch is done."""
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
        self.say(f"epoch {row['epoch']}/{self._epochs}  {numbers}")

    def say(self, sentence: str) -> None:
        """One line."""
        if not self._quiet:
            self.warn(sentence)

    def warn(self, sentence: str) -> None:
        """One line that is shown even if everything else is quiet."""
        self._console.print(sentence, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
