"""Randomness as a pure function of the position in a run.

The global generators are seeded anew before each step from (seed, step, process), so a resumed run
needs no generator's state: what a step draws depends on nothing that happened before it.
"""

from __future__ import annotations

import random

import numpy as np
import torch

# What the numbers are for; part of every key.
BUILD, EPOCH, STEP, MINE, VALIDATE, WEIGH, CLUSTER = range(7)


def stream_seed(*key: int) -> int:
    """A seed in [0, 2**63) for the stream that `key` names; different keys are independent."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def reseed(*key: int) -> None:
    """Seed the global generators of torch (every device), numpy and Python."""
    seed = stream_seed(*key)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (foreign code may use the global one)
    random.seed(seed)


def miner_generator(*key: int, device: torch.device) -> torch.Generator:
    """The generator of a step's miners and synthesisers, the same on all processes."""
    return torch.Generator(device).manual_seed(stream_seed(*key))
