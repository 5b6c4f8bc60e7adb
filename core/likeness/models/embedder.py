"""The Embedder: images in; features, raw embeddings and logits out.

Shapes: N = images, C = bands, H, W = pixels, F = features, h, w = cells of the map,
D = embedding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likeness.errors import require
from likeness.models.backbones import Backbone, BackboneOutputs, build_backbone
from likeness.models.heads import (
    EMBEDDING,
    FEATURES,
    build_classifiers,
    build_heads,
    head_lengths,
    wiring,
)
from likeness.models.pooling import GeM, GlobalAverage
from likeness.models.pretrained import load_pretrained
from likeness.models.second_order import joined
from likeness.models.spec import ModelSpec


class Outputs(NamedTuple):
    """Everything one forward pass gives.

    Attributes:
        features_NF: pooled features.
        embeddings: head name -> raw (not normalised) embeddings, (N, D); the default head is
            `embedding`. The bundle's space says how to compare them. (That of two heads joined
            is of unit length already.)
        logits: name -> logits, (N, classes); the labels' are called `class`. Empty for a model
            built without classes. What more there is of three heads: `likeness.models.heads`.
    """

    features_NF: Tensor
    embeddings: dict[str, Tensor]
    logits: dict[str, Tensor]


class Embedder(nn.Module):
    """A backbone, a pooling, embedding heads and class layers.

    Build it with `build_embedder`.

    Attributes:
        spec: the options it was built from.
        num_features: F, length of the pooled features.
        head_lengths: D of each head by name.
        embedding_dim: D, length of the default head's embedding.
        num_classes: outputs of the class layer; 0 if there is none.
    """

    def __init__(self, spec: ModelSpec, *, num_classes: int) -> None:
        super().__init__()
        self.spec = spec
        self.num_classes = num_classes
        self.backbone: Backbone = build_backbone(spec)
        self.num_features = self.backbone.num_features
        self.head_lengths = head_lengths(spec, self.num_features)
        self.embedding_dim = self.head_lengths[EMBEDDING]
        self.pool = GeM() if spec.pooling == "gem" else GlobalAverage()
        self.heads = build_heads(spec, self.num_features)
        self.classifiers = build_classifiers(spec, self.num_features, num_classes)

    def forward(self, images_NCHW: Float[Tensor, "N C H W"]) -> Outputs:
        """Features, embeddings of every head and logits of every class layer.

        Args:
            images_NCHW: normalised images with `spec.bands` channels.

        Raises:
            UserError: on another number of channels, or for ViT and Inception-BN another size.
        """
        return self.read(self.see(images_NCHW))

    def read(self, seen: BackboneOutputs) -> Outputs:
        """The second half of `forward`: from what the backbone saw."""
        features_NF, reads = self._pool(seen), wiring(self.spec)
        known = {FEATURES: features_NF, **(seen.stages or {})}
        embeddings = {name: head(known[reads.heads[name]]) for name, head in self.heads.items()}
        if reads.joined:
            embeddings[EMBEDDING] = joined([embeddings[name] for name in reads.joined])
        known |= embeddings
        logits = {
            name: layer(known[reads.classifiers[name]]) for name, layer in self.classifiers.items()
        }
        return Outputs(features_NF, embeddings, logits)

    @property
    def reads_features(self) -> bool:
        """Whether the default head reads the pooled features, not the map of a stage."""
        return wiring(self.spec).heads.get(EMBEDDING) == FEATURES

    def embed_features(self, features_NF: Float[Tensor, "N F"]) -> Float[Tensor, "N D"]:
        """Raw embeddings, by the default head, of features that need not come from images.

        Raises:
            UserError: if that head does not read pooled features.
        """
        rule = "one whose embedding head reads pooled features"
        require(self.reads_features, "model.backbone", rule, self.spec.backbone)
        embedding_ND: Tensor = self.heads[EMBEDDING](features_NF)
        return embedding_ND

    def embed(self, images_NCHW: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D"]:
        """Raw embeddings of the default head; errors as in `forward`."""
        embedding_ND: Tensor = self(images_NCHW).embeddings[EMBEDDING]
        return embedding_ND

    def feature_map(self, images_NCHW: Float[Tensor, "N C H W"]) -> Float[Tensor, "N F h w"]:
        """The backbone's map before pooling; errors as in `forward`."""
        return self.see(images_NCHW).map_NFhw

    def see(self, images_NCHW: Float[Tensor, "N C H W"]) -> BackboneOutputs:
        """The first half of `forward`: what the backbone sees; errors as there."""
        shape = tuple(images_NCHW.shape)
        bands = self.spec.bands
        require(
            len(shape) == 4 and shape[1] == bands,
            "images_NCHW",
            f"a batch of images with {bands} bands, (N, {bands}, H, W)",
            shape,
        )
        if self.spec.channels_last:
            images_NCHW = images_NCHW.contiguous(memory_format=torch.channels_last)
        return self.backbone(images_NCHW)

    def _pool(self, seen: BackboneOutputs) -> Tensor:
        if self.spec.pooling == "class_token" and seen.token_NF is not None:
            return seen.token_NF
        pooled_NF: Tensor = self.pool(seen.map_NFhw)
        return pooled_NF


def build_embedder(spec: ModelSpec, *, num_classes: int) -> Embedder:
    """An Embedder in training mode, its backbone started as `spec.weights` says.

    Random weights come from torch's global generator, so `torch.manual_seed(seed)` before the
    call fixes them.

    Args:
        spec: what to build.
        num_classes: outputs of the class layer; 0 for none.

    Raises:
        UserError: if `num_classes` is negative, or the pretrained weights are not there or do
            not fit.
    """
    require(num_classes >= 0, "num_classes", ">= 0", num_classes)
    embedder = Embedder(spec, num_classes=num_classes)
    load_pretrained(embedder.backbone, spec)
    if spec.channels_last:
        embedder = embedder.to(memory_format=torch.channels_last)
    return embedder
