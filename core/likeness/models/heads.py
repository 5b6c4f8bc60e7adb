"""Layers on top of the pooled features: embeddings and class logits.

Shapes: N = images, F = features, D = embedding, C = classes.
"""

from __future__ import annotations

from torch import nn

from likeness.models.spec import ModelSpec

EMBEDDING = "embedding"  # the head that search compares
CLASS = "class"  # the logits of the labels


def build_heads(spec: ModelSpec, num_features: int) -> nn.ModuleDict:
    """The embedding heads, F -> D: a linear layer, or the features themselves."""
    if spec.embedding_dim is None:
        return nn.ModuleDict({EMBEDDING: nn.Identity()})
    return nn.ModuleDict({EMBEDDING: nn.Linear(num_features, spec.embedding_dim)})


def build_classifiers(spec: ModelSpec, embedding_dim: int, num_classes: int) -> nn.ModuleDict:
    """The class layers, D -> C; none at all for 0 classes.

    They read the raw embedding: a normalised one bounds the logits, and softmax could then never
    become confident.
    """
    if num_classes == 0:
        return nn.ModuleDict()
    linear = nn.Linear(embedding_dim, num_classes)
    if spec.dropout == 0:
        return nn.ModuleDict({CLASS: linear})
    return nn.ModuleDict({CLASS: nn.Sequential(nn.Dropout(spec.dropout), linear)})
