"""What a model is made of: the options of one Embedder."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from likeness.config import Spec
from likeness.errors import require
from likeness.image_size import HeightWidth, ImageSize, height_width, read_image_size

BackboneName = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "densenet121",
    "vgg16",
    "alexnet",
    "efficientnet_b0",
    "convnext_tiny",
    "vit_b_16",
    "googlenet",
    "inception_bn",
    "preact_resnet18",
]
Space = Literal["euclidean", "cosine", "dot"]
AttentionOrder = Literal["none", "parallel", "sequential", "sum"]
ClassLayer = Literal["linear", "cosine"]

VIT_PATCH = 16
# The least side that leaves a cell of every map; others take any.
_LEAST_SIDE = {
    ("densenet121", "standard"): 32,
    ("vgg16", "standard"): 32,
    ("alexnet", "standard"): 63,
    ("convnext_tiny", "standard"): 32,
}
# By stem: heads half-way pool 5 x 5 cells, of which 3 must exist.
_LEAST_WITH_THREE_HEADS = {"standard": 71, "small": 18}
# Why a backbone has no small stem.
_NO_SMALL_STEM = {
    "vgg16": "vgg16, whose first convolution has stride 1 already",
    "alexnet": "alexnet, whose layers are made for large images",
    "convnext_tiny": "convnext_tiny, which reads patches",
    "vit_b_16": "vit_b_16",
    "preact_resnet18": "preact_resnet18, whose first convolution is that of a small stem already",
}
# A generalised mean needs maps that are not negative; these have both signs.
_POOLINGS = {
    "vit_b_16": ("gap", "class_token"),
    "convnext_tiny": ("gap",),
    "preact_resnet18": ("gap",),
}
_RESNETS = ("resnet18", "resnet34", "resnet50")


class AttentionSpec(Spec):
    """Options of the attention in residual blocks; see `likeness.models.attention`.

    Attributes:
        reduction: r >= 1: C / r channels behind the squeeze, at least 4.
        gate: `residual`, U (1 + alpha A) with alpha = 0 at the start, or `multiply`, U A.
    """

    reduction: int = Field(default=16, ge=1)
    gate: Literal["residual", "multiply"] = "residual"


class TwoHeadsSpec(Spec):
    """Options of a network with a global and a local head; see `likeness.models.second_order`.

    Attributes:
        second_order: whether second-order attention stands behind both stages.
        local_reduction: k >= 1 behind stage 4: F / k inner features; 4 is SOLAR's.
        global_reduction: k >= 1 behind stage 5; 2 is SOLAR's.
    """

    second_order: bool = True
    local_reduction: int = Field(default=4, ge=1)
    global_reduction: int = Field(default=2, ge=1)


class ModelSpec(Spec):
    """Options of one Embedder.

    Attributes:
        backbone: the network that reads the image: one of torchvision's, `inception_bn`
            (GoogLeNet-BN, BN-Inception), see `likeness.models.inception_bn`, or `preact_resnet18`,
            see `likeness.models.preact_resnet`.
        weights: where the backbone starts: `none` (random), `imagenet` (a converted torchvision
            file in the local cache, never fetched; for `inception_bn` a converted Caffe model;
            there is none for `preact_resnet18`), or
            a `.safetensors` file with torchvision's key names, or a model directory whose backbone
            is taken.
        stem: `standard` (torchvision's) or `small`, one 3 x 3 convolution of stride 1 and no
            max-pooling behind it, for small images; for ResNets, DenseNet, EfficientNet, GoogLeNet
            and Inception-BN only.
        last_stride: of the last stage of a ResNet: 2, or 1 for a map of twice the cells a side, as
            is usual in re-identification (Luo et al. 2019, "Bag of tricks").
        bands: channels of the input image, >= 1.
        image_size: side of the input image in pixels, or (height, width) where it is no square,
            each >= 16; one multiple of 16 for ViT, >= 32 for VGG-16, ConvNeXt-T and DenseNet-121
            (standard stem), >= 63 for AlexNet, >= 71 for Inception-BN with heads half-way (18 with
            the small stem).
        pooling: from the feature map to one vector: `gap` (mean), `gem` (generalised mean with a
            learned exponent; not for the signed maps of ViT, ConvNeXt and PreActResNet),
            `class_token` (ViT only).
        embedding_dim: length of the embedding; None makes the pooled features the embedding. With
            heads half-way it comes from the middle one, None: of length 1024.
        space: how the embedding is compared; the Embedder itself returns it raw.
        dropout: on the input of the class layer only, in [0, 1): the metric losses see the very
            embedding that search will compare.
        class_layer: `linear`, or `cosine`, the angle to a vector for each class times a learned
            scale, see `likeness.imprinting.CosineClassifier`; `imprint` adds classes to it.
        attention: of channels and places in every residual block, for ResNets only: `none`,
            `parallel` (product of both), `sequential` (channels, then places) or `sum` (one sigmoid
            of the summed logits).
        attention_options: how; read unless `attention` is `none`.
        half_way_heads: whether Inception-BN has heads on two earlier maps, as in OSM + CAA, see
            `likeness.models.heads`; false: one on the last map, as most papers use it and as all
            other backbones have it anyway.
        two_heads: a head `global` on the last map and a head `local` on the one of twice the cells
            a side, half of `embedding_dim` each (None: 256), for ResNets only; the embedding is
            both, each of unit length, one behind the other. null: one head.
        channels_last: memory order of convolutions. Training steps on 2 CPU cores, images/s with
            and without it (best of several, machine shared): ResNet-18 at 64 px 180 and 161, at
            128 px 45 and 39, DenseNet-121 at 64 px 64 and 51, ResNet-50 at 64 px 40 and 44.
    """

    backbone: BackboneName
    weights: str = Field(default="none", min_length=1)
    stem: Literal["standard", "small"] = "standard"
    last_stride: Literal[1, 2] = 2
    bands: int = Field(default=3, ge=1)
    image_size: Annotated[ImageSize, BeforeValidator(partial(read_image_size, least=16))]
    pooling: Literal["gap", "gem", "class_token"] = "gap"
    embedding_dim: int | None = Field(default=None, ge=1)
    space: Space = "cosine"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    class_layer: ClassLayer = "linear"
    attention: AttentionOrder = "none"
    attention_options: AttentionSpec = AttentionSpec()
    half_way_heads: bool = True
    two_heads: TwoHeadsSpec | None = None
    channels_last: bool = True

    @property
    def height_width(self) -> HeightWidth:
        """Of the input image, in pixels."""
        return height_width(self.image_size)

    @property
    def three_heads(self) -> bool:
        """Whether there are heads half-way."""
        return self.backbone == "inception_bn" and self.half_way_heads

    @model_validator(mode="after")
    def _combinations(self) -> ModelSpec:
        name = self.backbone
        rule = f"'none', a file or a model for {name}, of which there are no ImageNet weights"
        made = self.weights != "imagenet" or name != "preact_resnet18"
        require(made, "weights", rule, self.weights)
        if name in _NO_SMALL_STEM:
            require(
                self.stem == "standard", "stem", f"'standard' for {_NO_SMALL_STEM[name]}", self.stem
            )
        if name == "vit_b_16":
            square = isinstance(self.image_size, int)
            rule = f"one side for {name}, which reads squares"
            require(square, "image_size", rule, self.image_size)
            fits = self.height_width[0] % VIT_PATCH == 0
            rule = f"a multiple of {VIT_PATCH} for {name}"
        else:
            least = _LEAST_SIDE.get((name, self.stem), 1)
            if self.three_heads:
                least = _LEAST_WITH_THREE_HEADS[self.stem]
            fits = min(self.height_width) >= least
            rule = f">= {least} for {name} with the {self.stem} stem"
        require(fits, "image_size", rule, self.image_size)
        poolings = _POOLINGS.get(name, ("gap", "gem"))
        rule = f"{' or '.join(map(repr, poolings))} for {name}"
        require(self.pooling in poolings, "pooling", rule, self.pooling)
        rule = f"'none' for {name}: it belongs into the residual blocks of a ResNet"
        require(self.attention == "none" or name in _RESNETS, "attention", rule, self.attention)
        rule = f"2 for {name}: it is the stride of the last stage of a ResNet"
        require(self.last_stride == 2 or name in _RESNETS, "last_stride", rule, self.last_stride)
        return self

    @model_validator(mode="after")
    def _two_heads_fit(self) -> ModelSpec:
        if self.two_heads is None:
            return self
        name, given = self.backbone, self.two_heads.model_dump()
        rule = f"null for {name}: its heads read the last two stages of a ResNet"
        require(name in _RESNETS, "two_heads", rule, given)
        rule = "'gap' with two_heads, which bring their own"
        require(self.pooling == "gap", "pooling", rule, self.pooling)
        rule = "even with two_heads, which get half of it each"
        even = self.embedding_dim is None or self.embedding_dim % 2 == 0
        require(even, "embedding_dim", rule, self.embedding_dim)
        return self
