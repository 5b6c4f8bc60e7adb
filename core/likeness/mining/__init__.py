"""Miners: (Pairs, Batch) -> Selection or Triplets, always detached."""

from likeness.mining.factory import (
    BatchHardMinerSpec,
    InformativeMinerSpec,
    MinerSpec,
    RandomMinerSpec,
    SemiHardMinerSpec,
    build_miner,
    check_combination,
)
from likeness.mining.hard import batch_hard, semi_hard
from likeness.mining.informative import informative_triplets, random_triplets

__all__ = [
    "BatchHardMinerSpec",
    "InformativeMinerSpec",
    "MinerSpec",
    "RandomMinerSpec",
    "SemiHardMinerSpec",
    "batch_hard",
    "build_miner",
    "check_combination",
    "informative_triplets",
    "random_triplets",
    "semi_hard",
]
