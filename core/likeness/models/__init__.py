"""Backbones, pooling, heads and the Embedder made of them."""

from likeness.models.backbones import Backbone, BackboneOutputs, build_backbone
from likeness.models.embedder import Embedder, Outputs, build_embedder
from likeness.models.heads import CLASS, CLASS_FIRST, CLASS_MIDDLE, EMBEDDING
from likeness.models.pooling import GeM, GlobalAverage, generalised_mean, global_average
from likeness.models.second_order import SecondOrderAttention
from likeness.models.spec import AttentionSpec, BackboneName, ModelSpec, Space, TwoHeadsSpec
from likeness.models.stems import inflate_bands

__all__ = [
    "CLASS",
    "CLASS_FIRST",
    "CLASS_MIDDLE",
    "EMBEDDING",
    "AttentionSpec",
    "Backbone",
    "BackboneName",
    "BackboneOutputs",
    "Embedder",
    "GeM",
    "GlobalAverage",
    "ModelSpec",
    "Outputs",
    "SecondOrderAttention",
    "Space",
    "TwoHeadsSpec",
    "build_backbone",
    "build_embedder",
    "generalised_mean",
    "global_average",
    "inflate_bands",
]
