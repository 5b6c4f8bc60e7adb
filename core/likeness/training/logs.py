"""A run's written record: CSV files that a resumed run continues, and TensorBoard by flag."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import IO, Any

from likeness.errors import UserError
from likeness.files import write_text
from likeness.training.ledger import Row


class CsvLog:
    """Rows of numbers; each is on its way to the disk when `write` returns.

    Args:
        path: the file; cut back to its first `rows` rows, or begun.
        rows: how many rows the run had written when its checkpoint was made.
    """

    def __init__(self, path: Path, *, rows: int) -> None:
        self.columns: list[str] | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = _whole_lines(path)[: rows + 1] if rows else []
        write_text(path, "".join(lines))
        if lines:
            self.columns = next(csv.reader(lines[:1]))
        self._file: IO[str] = path.open("a", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")

    def write(self, row: Row) -> None:
        """Append a row; the first one names the columns.

        Raises:
            ValueError: if the columns change on the way.
        """
        if self.columns is None:
            self.columns = list(row)
            self._writer.writerow(self.columns)
        if list(row) != self.columns:
            raise ValueError(f"the log's columns are {self.columns}, got {list(row)}")
        self._writer.writerow(row.values())
        self._file.flush()

    def sync(self) -> None:
        """Wait until the disk has everything, so that no checkpoint is ahead of its log."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RunLogs:
    """`train.csv` (a row per step), `epochs.csv` and, if asked for, TensorBoard events.

    Args:
        folder: the run's `logs`.
        step: steps done; later rows of a killed run are cut off.
        epochs: epochs done.
        tensorboard: write events too.

    Raises:
        UserError: if TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, *, step: int, epochs: int, tensorboard: bool) -> None:
        self._events = _event_writer(folder / "tensorboard", step) if tensorboard else None
        self._steps = CsvLog(folder / "train.csv", rows=step)
        self._epochs = CsvLog(folder / "epochs.csv", rows=epochs)

    def step(self, row: Row) -> None:
        """A step's row; it begins with `step` and `epoch`."""
        self._steps.write(row)
        self._event("train", row, int(row["step"]))

    def epoch(self, row: Row, step: int) -> None:
        """An epoch's row."""
        self._epochs.write(row)
        self._event("epoch", row, step)

    def sync(self) -> None:
        """Wait until the disk has all rows."""
        self._steps.sync()
        self._epochs.sync()

    def close(self) -> None:
        """Close all files."""
        self._steps.close()
        self._epochs.close()
        if self._events is not None:
            self._events.close()

    def _event(self, prefix: str, row: Row, step: int) -> None:
        if self._events is None:
            return
        for name, value in row.items():
            if name not in ("step", "epoch"):
                self._events.add_scalar(f"{prefix}/{name}", value, step)


def _whole_lines(path: Path) -> list[str]:
    """The file's lines without a last one that was cut off; none if there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [line for line in file if line.endswith("\n")]


def _event_writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "--tensorboard must be used with tensorboard installed "
            "(pip install 'likeness[tensorboard]'), got none"
        ) from None
    # Events of a killed run after its checkpoint are hidden by the viewer.
    return SummaryWriter(str(folder), purge_step=step + 1)
