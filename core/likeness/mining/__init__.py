"""Miners: (Pairs, Batch) -> Selection or Triplets, detached unless they say `differentiable`."""

from likeness.mining.balanced import class_balanced_triplets
from likeness.mining.distance_weighted import distance_weighted
from likeness.mining.easy_positive import easy_positive
from likeness.mining.factory import (
    BatchHardMinerSpec,
    ClassAwareAttentionSpec,
    ClassBalancedMinerSpec,
    DistanceWeightedMinerSpec,
    EasyPositiveMinerSpec,
    GeneralPairWeightingMinerSpec,
    InformativeMinerSpec,
    MinerSpec,
    MultiSimilarityMinerSpec,
    NPairsMinerSpec,
    OnlineSoftMinerSpec,
    RandomMinerSpec,
    SelfPacedMinerSpec,
    SemiHardMinerSpec,
    WithRepresentativeMinerSpec,
    build_miner,
    check_combination,
)
from likeness.mining.general import general_pair_weighting
from likeness.mining.hard import batch_hard, semi_hard
from likeness.mining.informative import informative_triplets, random_triplets
from likeness.mining.multi_similarity import multi_similarity_pairs
from likeness.mining.n_pairs import n_pairs
from likeness.mining.self_paced import self_paced
from likeness.mining.soft import class_aware_attention, online_soft_mining
from likeness.mining.with_representative import with_representative

__all__ = [
    "BatchHardMinerSpec",
    "ClassAwareAttentionSpec",
    "ClassBalancedMinerSpec",
    "DistanceWeightedMinerSpec",
    "EasyPositiveMinerSpec",
    "GeneralPairWeightingMinerSpec",
    "InformativeMinerSpec",
    "MinerSpec",
    "MultiSimilarityMinerSpec",
    "NPairsMinerSpec",
    "OnlineSoftMinerSpec",
    "RandomMinerSpec",
    "SelfPacedMinerSpec",
    "SemiHardMinerSpec",
    "WithRepresentativeMinerSpec",
    "batch_hard",
    "build_miner",
    "check_combination",
    "class_aware_attention",
    "class_balanced_triplets",
    "distance_weighted",
    "easy_positive",
    "general_pair_weighting",
    "informative_triplets",
    "multi_similarity_pairs",
    "n_pairs",
    "online_soft_mining",
    "random_triplets",
    "self_paced",
    "semi_hard",
    "with_representative",
]
