"""Miners: (Pairs, Batch) -> Selection or Triplets, always detached."""

from likeness.mining.factory import (
    BatchHardMinerSpec,
    MinerSpec,
    SemiHardMinerSpec,
    build_miner,
    check_combination,
)
from likeness.mining.hard import batch_hard, semi_hard

__all__ = [
    "BatchHardMinerSpec",
    "MinerSpec",
    "SemiHardMinerSpec",
    "batch_hard",
    "build_miner",
    "check_combination",
    "semi_hard",
]
