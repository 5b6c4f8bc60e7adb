"""Images of planned batches, loaded ahead by worker processes; the worker never matters."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from likeness.errors import UserError

Item = int | tuple[int, int, int]  # a clean row, or (row, step, slot) for an augmented one


class BatchLoader:
    """Loads the batches that it is asked for, in that order.

    The workers live until `close`. On Linux they are forked, so a decoded cache in the
    dataset is shared and not copied. The loader draws from a generator of its own: the global ones
    are left alone, with and without workers.

    Args:
        images: `images[item]` is `(tensor_CHW, row)`; must depend on the item only.
        workers: processes, 0 for none; at most one per core is started.
        device: where the batches go.
    """

    def __init__(
        self, images: Dataset[tuple[Tensor, int]], *, workers: int, device: torch.device
    ) -> None:
        self._device = device
        self._planned = _Planned()
        workers = min(workers, _cores())
        self._loader: DataLoader[Any] = DataLoader(
            _WholeBatches(images),
            sampler=self._planned,
            batch_size=None,
            num_workers=workers,
            multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),
        )

    def __call__(self, batches: Sequence[Sequence[Item]]) -> Iterator[Tensor]:
        """The images of each batch, (N, C, H, W) on the device.

        Raises:
            UserError: naming the file, if an image cannot be read.
        """
        self._planned.batches = batches
        for loaded in self._loader:
            if isinstance(loaded, str):
                raise UserError(loaded)
            yield loaded.to(self._device, non_blocking=True)

    def close(self) -> None:
        """End the workers now.

        Left to the garbage collector, after an error that still holds the frames of the loop, each
        of them is waited for until a time-out of five seconds. torch has no public way.
        """
        running = self._loader._iterator
        if isinstance(running, _MultiProcessingDataLoaderIter):
            running._shutdown_workers()
            self._loader._iterator = None


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Planned(Sampler[Sequence[Item]]):
    """The batches of this round; read in the training process only."""

    def __init__(self) -> None:
        self.batches: Sequence[Sequence[Item]] = ()

    def __iter__(self) -> Iterator[Sequence[Item]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _WholeBatches(Dataset[Any]):
    """A batch of items -> its images, or the sentence of a user's mistake.

    An exception that crosses processes arrives with a traceback in its text; a string does not.
    """

    def __init__(self, images: Dataset[tuple[Tensor, int]]) -> None:
        self._images = images

    def __getitem__(self, items: Sequence[Item]) -> Tensor | str:
        try:
            return torch.stack([self._images[item][0] for item in items])
        except UserError as error:
            return str(error)
