"""What a model is made of: the options of one Embedder."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from likeness.config import Spec
from likeness.errors import require

BackboneName = Literal["resnet18", "resnet50", "densenet121", "vit_b_16"]
Space = Literal["euclidean", "cosine", "dot"]

VIT_PATCH = 16
_DENSENET_STRIDE = 32  # of the standard stem; a smaller image would leave an empty map


class ModelSpec(Spec):
    """Options of one Embedder.

    Attributes:
        backbone: the torchvision network that reads the image.
        weights: where the backbone starts: `none` (random), `imagenet` (a converted torchvision
            file in the local cache, never fetched), or a `.safetensors` file with torchvision's
            key names, or a model directory whose backbone is taken.
        stem: `standard` (torchvision's) or `small`, one 3 x 3 convolution of stride 1 and no
            max-pooling, for small images; not for ViT.
        bands: channels of the input image, >= 1.
        image_size: side of the input image in pixels, >= 16; a multiple of 16 for ViT.
        pooling: from the feature map to one vector: `gap` (mean), `gem` (generalised mean with a
            learned exponent), `class_token` (ViT only).
        embedding_dim: length of the embedding; None makes the pooled features the embedding.
        space: how the embedding is compared; the Embedder itself returns it raw.
        dropout: on the input of the class layer only, in [0, 1): the metric losses see the very
            embedding that search will compare.
        channels_last: memory order of convolutions. Training steps on 2 CPU cores, images/s with
            and without it (best of several, machine shared): ResNet-18 at 64 px 180 and 161, at
            128 px 45 and 39, DenseNet-121 at 64 px 64 and 51, ResNet-50 at 64 px 40 and 44.
    """

    backbone: BackboneName
    weights: str = Field(default="none", min_length=1)
    stem: Literal["standard", "small"] = "standard"
    bands: int = Field(default=3, ge=1)
    image_size: int = Field(ge=16)
    pooling: Literal["gap", "gem", "class_token"] = "gap"
    embedding_dim: int | None = Field(default=None, ge=1)
    space: Space = "cosine"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    channels_last: bool = True

    @model_validator(mode="after")
    def _combinations(self) -> ModelSpec:
        if self.backbone == "vit_b_16":
            require(self.stem == "standard", "stem", "'standard' for vit_b_16", self.stem)
            require(
                self.image_size % VIT_PATCH == 0,
                "image_size",
                f"a multiple of {VIT_PATCH} for vit_b_16",
                self.image_size,
            )
            # A generalised mean needs non-negative maps; ViT's normalised tokens have both signs.
            require(self.pooling != "gem", "pooling", "'gap' or 'class_token' for vit_b_16", "gem")
        else:
            require(
                self.pooling != "class_token",
                "pooling",
                f"'gap' or 'gem' for {self.backbone}",
                "class_token",
            )
        if self.backbone == "densenet121" and self.stem == "standard":
            require(
                self.image_size >= _DENSENET_STRIDE,
                "image_size",
                f">= {_DENSENET_STRIDE} for densenet121 with the standard stem",
                self.image_size,
            )
        return self
