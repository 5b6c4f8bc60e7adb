"""Miners: (Pairs, Batch) -> Selection or Triplets, always detached."""

from likeness.mining.balanced import class_balanced_triplets
from likeness.mining.factory import (
    BatchHardMinerSpec,
    ClassBalancedMinerSpec,
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
    "ClassBalancedMinerSpec",
    "InformativeMinerSpec",
    "MinerSpec",
    "RandomMinerSpec",
    "SemiHardMinerSpec",
    "batch_hard",
    "build_miner",
    "check_combination",
    "class_balanced_triplets",
    "informative_triplets",
    "random_triplets",
    "semi_hard",
]
