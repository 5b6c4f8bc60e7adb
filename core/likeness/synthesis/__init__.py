"""More embeddings than the network gave: mirrored, spread like their class, or generated."""

from likeness.synthesis.base import Synthesiser, Synthetic
from likeness.synthesis.densely_anchored import DenselyAnchoredSampling
from likeness.synthesis.factory import build_synthesis, check_synthesis
from likeness.synthesis.intra_class import IntraClassAugmentation
from likeness.synthesis.specs import (
    DenselyAnchoredSpec,
    IntraClassSpec,
    SymmetricalSpec,
    SynthesisSpec,
)
from likeness.synthesis.symmetrical import SymmetricalSynthesis

__all__ = [
    "DenselyAnchoredSampling",
    "DenselyAnchoredSpec",
    "IntraClassAugmentation",
    "IntraClassSpec",
    "SymmetricalSpec",
    "SymmetricalSynthesis",
    "SynthesisSpec",
    "Synthesiser",
    "Synthetic",
    "build_synthesis",
    "check_synthesis",
]
