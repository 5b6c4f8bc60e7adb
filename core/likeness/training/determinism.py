"""Algorithms that repeat exactly on a GPU, while a run wants them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic_algorithms(on: bool) -> Iterator[None]:
    """Ask torch for deterministic algorithms only; a CPU uses no others in the first place.

    An operation that has none raises RuntimeError and is named by torch.
    """
    if not on:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
