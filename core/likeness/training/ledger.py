"""Where a run is and what it has seen: everything of a run's state that is plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from likeness.training.step import StepReport

# Columns of the logs that say how fast a run was; all others repeat exactly.
TIME_COLUMNS = ("images_per_s", "seconds")
Row: TypeAlias = dict[str, int | float]  # of a log


class StepNumbers(NamedTuple):
    """A step's numbers on the host.

    Attributes:
        loss: what was minimised.
        grad_norm: norm of the gradient, before clipping.
        active: active pairs, triplets or samples, summed over the parts.
        parts: `loss_<part>` and `active_<part>` of every part.
    """

    loss: float
    grad_norm: float
    active: float
    parts: dict[str, float]

    @property
    def finite(self) -> bool:
        """Whether training can go on."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


def read_step(report: StepReport) -> StepNumbers:
    """Bring a step's numbers to the host, all at once: the one time that a step waits for them."""
    names = list(report.parts)
    scalars = [report.loss, report.grad_norm]
    scalars += [number for part in report.parts.values() for number in part]
    loss, grad_norm, *rest = _on_host(scalars)
    values, active = rest[0::2], rest[1::2]
    parts = {f"loss_{name}": value for name, value in zip(names, values, strict=True)}
    parts |= {f"active_{name}": value for name, value in zip(names, active, strict=True)}
    return StepNumbers(loss, grad_norm, float(sum(active)), parts)


@dataclass
class Ledger:
    """The position of a run and its running numbers; saved with every checkpoint.

    Attributes:
        epoch: epochs finished.
        position: batches done in the running epoch.
        step: steps done in all.
        finished: nothing is left to do.
        stopped_early: finished before the last epoch.
        loss_sum: over the steps of the running epoch; likewise the next three.
        active_sum: active pairs.
        images: images seen.
        seconds: time in steps, loading included.
        best_epoch: the epoch with the best score, from 1; 0 for none.
        best_score: its score; None without validation.
        history: one row per finished epoch, the columns of `epochs.csv`.
    """

    epoch: int = 0
    position: int = 0
    step: int = 0
    finished: bool = False
    stopped_early: bool = False
    loss_sum: float = 0.0
    active_sum: float = 0.0
    images: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    best_score: float | None = None
    history: list[Row] = field(default_factory=list)

    def count_step(self, numbers: StepNumbers, images: int, seconds: float) -> None:
        """A step is done."""
        self.position += 1
        self.step += 1
        self.loss_sum += numbers.loss
        self.active_sum += numbers.active
        self.images += images
        self.seconds += seconds

    def close_epoch(self, scores: Mapping[str, float], rate: float) -> Row:
        """All batches of the epoch are done; returns its row for the log."""
        row: Row = {
            "epoch": self.epoch + 1,
            "train_loss": self.loss_sum / self.position,
            "active": self.active_sum / self.position,
        }
        row |= {f"val_{name}": float(value) for name, value in scores.items()}
        row["lr"] = rate
        row["images_per_s"] = self.images / self.seconds
        row["seconds"] = self.seconds
        self.history.append(row)
        self.epoch += 1
        self.position, self.images = 0, 0
        self.loss_sum = self.active_sum = self.seconds = 0.0
        return row

    def judge(self, score: float | None, *, epochs: int, patience: int | None) -> bool:
        """Whether the epoch just closed is the best so far; decides whether the run is over.

        Without a score (no validation) the last epoch counts as the best. A nan is never better;
        if no score was a number when the run is over, the last epoch counts as the best, too.
        """
        bar = -math.inf if self.best_score is None else self.best_score
        better = score is None or score > bar
        if better:
            self.best_epoch, self.best_score = self.epoch, score
        self.stopped_early = (
            patience is not None
            and self.epoch - self.best_epoch >= patience
            and self.epoch < epochs
        )
        self.finished = self.stopped_early or self.epoch >= epochs
        if self.finished and self.best_epoch == 0:
            better, self.best_epoch = True, self.epoch
        return better

    def to_plain(self) -> dict[str, Any]:
        """For JSON; the history as a table, since a JSON object keeps no order."""
        columns = list(self.history[0]) if self.history else []
        rows = [list(row.values()) for row in self.history]
        return {**asdict(self), "history": {"columns": columns, "rows": rows}}

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> Ledger:
        """Back from JSON, where nan was written as null."""
        table = plain["history"]
        history = [
            {
                name: math.nan if value is None else value
                for name, value in zip(table["columns"], row, strict=True)
            }
            for row in table["rows"]
        ]
        return Ledger(**{**plain, "history": history})


def _on_host(scalars: list[Tensor]) -> list[float]:
    device = scalars[0].device
    dtype = torch.float32 if device.type == "mps" else torch.float64  # MPS knows no float64
    stacked = torch.stack([scalar.detach().to(device, dtype) for scalar in scalars])
    numbers: list[float] = stacked.tolist()
    return numbers
