"""Layers on top of the pooled features: embeddings and class logits.

Most networks have one head and one class layer, in a row. GoogLeNet-BN with `half_way_heads` has
three, as in the official code of Wang et al. 2019 (OSM + CAA): the embedding is the vector of the
middle one, and each head has its class layer. A network with a global and a local head (see
`second_order`) joins both into the embedding; its class layer reads the global one, whose vector is
not normalised.

Shapes: N = images, F = features, D = embedding, C = classes.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from likeness.imprinting import CosineClassifier
from likeness.models.inception_bn import (
    FIRST_STAGE,
    HEAD_LENGTH,
    MIDDLE_STAGE,
    build_auxiliary,
)
from likeness.models.second_order import (
    GLOBAL,
    GLOBAL_STAGE,
    LOCAL,
    LOCAL_STAGE,
    build_two_heads,
)
from likeness.models.spec import ModelSpec

FEATURES = "features"  # the pooled last map
EMBEDDING = "embedding"  # the head that search compares
FIRST = "first"  # the vector of the first head of three
CLASS = "class"  # the logits of the labels; of three heads, the last one's
CLASS_MIDDLE = "class_middle"
CLASS_FIRST = "class_first"
TWO_HEADS_LENGTH = 512  # of both together


class Wiring(NamedTuple):
    """Who reads what, by name.

    Attributes:
        heads: head -> the pooled features or the map of a stage.
        classifiers: class layer -> the pooled features or the vector of a head.
        joined: heads that together make the embedding; none where it is a head of its own.
    """

    heads: dict[str, str]
    classifiers: dict[str, str]
    joined: tuple[str, ...] = ()


_IN_A_ROW = Wiring({EMBEDDING: FEATURES}, {CLASS: EMBEDDING})
_THREE_HEADS = Wiring(
    {EMBEDDING: MIDDLE_STAGE, FIRST: FIRST_STAGE},
    {CLASS: FEATURES, CLASS_MIDDLE: EMBEDDING, CLASS_FIRST: FIRST},
)
_TWO_HEADS = Wiring({GLOBAL: GLOBAL_STAGE, LOCAL: LOCAL_STAGE}, {CLASS: GLOBAL}, (GLOBAL, LOCAL))


def wiring(spec: ModelSpec) -> Wiring:
    """What the heads and class layers of a model read."""
    if spec.two_heads is not None:
        return _TWO_HEADS
    return _THREE_HEADS if spec.three_heads else _IN_A_ROW


def head_lengths(spec: ModelSpec, num_features: int) -> dict[str, int]:
    """Length of what each head gives, (N, D)."""
    if spec.three_heads:
        return {EMBEDDING: spec.embedding_dim or HEAD_LENGTH, FIRST: HEAD_LENGTH}
    if spec.two_heads is not None:
        length = spec.embedding_dim or TWO_HEADS_LENGTH
        return {EMBEDDING: length, GLOBAL: length // 2, LOCAL: length // 2}
    return {EMBEDDING: spec.embedding_dim or num_features}


def build_heads(spec: ModelSpec, num_features: int) -> nn.ModuleDict:
    """The embedding heads, F -> D: a linear layer, or the features themselves."""
    if spec.three_heads:
        size, small = spec.height_width, spec.stem == "small"
        lengths = head_lengths(spec, num_features)
        return nn.ModuleDict(
            {
                name: build_auxiliary(stage, size, small=small, length=lengths[name])
                for name, stage in wiring(spec).heads.items()
            }
        )
    if spec.two_heads is not None:
        return build_two_heads(num_features, head_lengths(spec, num_features))
    if spec.embedding_dim is None:
        return nn.ModuleDict({EMBEDDING: nn.Identity()})
    return nn.ModuleDict({EMBEDDING: nn.Linear(num_features, spec.embedding_dim)})


def build_classifiers(spec: ModelSpec, num_features: int, num_classes: int) -> nn.ModuleDict:
    """The class layers, D -> C; none at all for 0 classes.

    Linear ones read the raw embedding: a normalised one bounds the logits, and softmax could then
    never become confident. `cosine` ones have a learned scale for that.
    """
    if num_classes == 0:
        return nn.ModuleDict()
    lengths = {FEATURES: num_features, **head_lengths(spec, num_features)}
    kinds: dict[str, type[nn.Module]] = {"linear": nn.Linear, "cosine": CosineClassifier}
    layer = kinds[spec.class_layer]
    layers: dict[str, nn.Module] = {
        name: layer(lengths[source], num_classes)
        for name, source in wiring(spec).classifiers.items()
    }
    if spec.dropout == 0:
        return nn.ModuleDict(layers)
    return nn.ModuleDict(
        {name: nn.Sequential(nn.Dropout(spec.dropout), layer) for name, layer in layers.items()}
    )
