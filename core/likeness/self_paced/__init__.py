"""Balanced self-paced learning of pairs: how far each training sample is trusted, and since when.

Zhang, Luo, Gu, "Denoising Multi-Similarity Formulation: A Self-paced Curriculum-Driven Approach
for Robust Metric Learning" (BSPML), AAAI 2023, arXiv 2211.11751.
"""

from likeness.self_paced.pace import SelfPacedSpec, keep_pairs, next_weights
from likeness.self_paced.pair_energy import energy, loads
from likeness.self_paced.solver import solve_weights

__all__ = [
    "SelfPacedSpec",
    "energy",
    "keep_pairs",
    "loads",
    "next_weights",
    "solve_weights",
]
