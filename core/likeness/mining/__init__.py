"""Miners: (Pairs, Batch) -> Selection or Triplets, detached unless they say `differentiable`."""

from likeness.mining.balanced import class_balanced_triplets
from likeness.mining.factory import (
    BatchHardMinerSpec,
    ClassAwareAttentionSpec,
    ClassBalancedMinerSpec,
    InformativeMinerSpec,
    MinerSpec,
    OnlineSoftMinerSpec,
    RandomMinerSpec,
    SemiHardMinerSpec,
    build_miner,
    check_combination,
)
from likeness.mining.hard import batch_hard, semi_hard
from likeness.mining.informative import informative_triplets, random_triplets
from likeness.mining.soft import class_aware_attention, online_soft_mining

__all__ = [
    "BatchHardMinerSpec",
    "ClassAwareAttentionSpec",
    "ClassBalancedMinerSpec",
    "InformativeMinerSpec",
    "MinerSpec",
    "OnlineSoftMinerSpec",
    "RandomMinerSpec",
    "SemiHardMinerSpec",
    "batch_hard",
    "build_miner",
    "check_combination",
    "class_aware_attention",
    "class_balanced_triplets",
    "informative_triplets",
    "online_soft_mining",
    "random_triplets",
    "semi_hard",
]
