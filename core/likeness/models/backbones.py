"""torchvision's networks, GoogLeNet-BN and PreActResNet-18, behind one small interface.

Shapes: N = images, C = bands, H, W = pixels, F = features, h, w = cells of the feature map,
T = tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.alexnet import AlexNet
from torchvision.models.convnext import convnext_tiny
from torchvision.models.densenet import DenseNet
from torchvision.models.efficientnet import efficientnet_b0
from torchvision.models.googlenet import GoogLeNet
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.vgg import VGG, cfgs, make_layers
from torchvision.models.vision_transformer import VisionTransformer

from likeness.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from likeness.errors import require
from likeness.models import preact_resnet
from likeness.models.attention import add_attention
from likeness.models.inception_bn import (
    FIRST_LAYER,
    FIRST_STAGE,
    MIDDLE_STAGE,
    NUM_FEATURES,
    build_trunk,
)
from likeness.models.second_order import GLOBAL_STAGE, LOCAL_STAGE, build_attentions
from likeness.models.spec import VIT_PATCH, ModelSpec
from likeness.models.stems import first_convolution


class BackboneOutputs(NamedTuple):
    """What a backbone sees.

    Attributes:
        map_NFhw: the last feature map.
        token_NF: the class token of a transformer.
        stages: maps of earlier stages by name, for heads half-way; None without such heads.
    """

    map_NFhw: Float[Tensor, "N F h w"]
    token_NF: Float[Tensor, "N F"] | None
    stages: Mapping[str, Tensor] | None = None


_KAIMING_FAN_OUT = partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu")


@runtime_checkable
class Backbone(Protocol):
    """The interface that poolings, heads and weight loading rely on.

    Attributes:
        num_features: F, the channels of the feature map.
        net: torchvision's network without its class layer; its keys are torchvision's (those of
            GoogLeNet-BN follow the Caffe layers' names, those of PreActResNet-18 a ResNet's).
        first_layer: the key of the convolution that reads the image.
        head_prefix: how the keys of torchvision's class layers begin, which are not kept.
    """

    num_features: int
    net: nn.Module
    first_layer: str

    @property
    def head_prefix(self) -> str | tuple[str, ...]:
        """See the class."""
        ...

    def __call__(self, images_NCHW: Float[Tensor, "N C H W"]) -> BackboneOutputs:
        """The feature map of a batch of images."""
        ...


class ResNetBackbone(nn.Module):
    """ResNet-18, -34 or -50 (He et al. 2016), map of stride 32 (8 with the small stem).

    Half of that with `spec.last_stride` 1: the first block of `layer4` no longer halves the map.

    With attention in its blocks where `spec.attention` says so, and behind its last two stages
    where `spec.two_heads` does; the latter is not part of `net`, whose keys stay torchvision's.
    """

    first_layer = "conv1"
    head_prefix = "fc."

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        block: type[BasicBlock | Bottleneck]
        block, layers = {
            "resnet18": (BasicBlock, [2, 2, 2, 2]),
            "resnet34": (BasicBlock, [3, 4, 6, 3]),
            "resnet50": (Bottleneck, [3, 4, 6, 3]),
        }[spec.backbone]
        net = ResNet(block, layers)
        self.num_features: int = net.fc.in_features
        net.fc = nn.Identity()
        net.conv1 = first_convolution(
            net.conv1,
            bands=spec.bands,
            small=spec.stem == "small",
            initialise=_KAIMING_FAN_OUT,
        )
        if spec.stem == "small":
            net.maxpool = nn.Identity()
        if spec.last_stride == 1:
            _undo_stride(net.layer4)
        if spec.attention != "none":
            add_attention(net, spec.attention, spec.attention_options)
        self.net = net
        self.two_heads = spec.two_heads is not None
        self.second_order = nn.ModuleDict()
        if spec.two_heads is not None:
            self.second_order = build_attentions(self.num_features, spec.two_heads)

    def forward(self, images_NCHW: Float[Tensor, "N C H W"]) -> BackboneOutputs:
        """The map after the last residual stage, non-negative but for second-order attention.

        With two heads the maps that they read, too.
        """
        net = self.net
        stages: dict[str, Tensor] = {}
        map_NFhw = net.maxpool(net.relu(net.bn1(net.conv1(images_NCHW))))
        for name in ("layer1", "layer2", "layer3", "layer4"):
            map_NFhw = net.get_submodule(name)(map_NFhw)
            if name in self.second_order:
                map_NFhw = self.second_order[name](map_NFhw)
            if self.two_heads and name in (LOCAL_STAGE, GLOBAL_STAGE):
                stages[name] = map_NFhw
        return BackboneOutputs(map_NFhw, None, stages or None)


def _undo_stride(stage: nn.Module) -> None:
    """Make every convolution of a stage take each cell; the weights stay as they are."""
    for part in stage.modules():
        if isinstance(part, nn.Conv2d):
            part.stride = (1, 1)


class DenseNetBackbone(nn.Module):
    """DenseNet-121 (Huang et al. 2017), map of stride 32 (8 with the small stem)."""

    first_layer = "features.conv0"
    head_prefix = "classifier."

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        net = DenseNet()  # torchvision's defaults are DenseNet-121
        self.num_features: int = net.classifier.in_features
        net.classifier = nn.Identity()
        net.features.conv0 = first_convolution(
            net.features.conv0,
            bands=spec.bands,
            small=spec.stem == "small",
            initialise=nn.init.kaiming_normal_,
        )
        if spec.stem == "small":
            net.features.pool0 = nn.Identity()
        self.net = net

    def forward(self, images_NCHW: Float[Tensor, "N C H W"]) -> BackboneOutputs:
        """The map after the last normalisation and ReLU, non-negative."""
        return BackboneOutputs(functional.relu(self.net.features(images_NCHW)), None)


class PlainBackbone(nn.Module):
    """A network whose map is torchvision's `features`, of stride 32.

    VGG-16 (Simonyan and Zisserman 2015) and AlexNet (Krizhevsky et al. 2012, in the form of 2014):
    convolutions only, their three dense layers belong to the class layer. EfficientNet-B0 (Tan and
    Le 2019): stride 16 with the small stem; its map is >= -0.28 (SiLU), and GeM counts what is
    below 0 as 0. ConvNeXt-T (Liu et al. 2022): its map is signed, the normalisation behind the
    average belongs to the class layer.
    """

    head_prefix = "classifier."

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        net, self.first_layer, self.num_features, initialise = _plain_network(spec.backbone)
        net.classifier = nn.Identity()
        original = net.get_submodule(self.first_layer)
        assert isinstance(original, nn.Conv2d)
        first = first_convolution(
            original, bands=spec.bands, small=spec.stem == "small", initialise=initialise
        )
        net.set_submodule(self.first_layer, first)
        self.net = net

    def forward(self, images_NCHW: Float[Tensor, "N C H W"]) -> BackboneOutputs:
        """The map after the last layer of `features`; see the class for its sign."""
        return BackboneOutputs(self.net.get_submodule("features")(images_NCHW), None)


def _plain_network(name: str) -> tuple[nn.Module, str, int, Callable[[Tensor], object]]:
    """The network, its first layer, its features, and how torchvision fills the first layer."""
    match name:
        case "vgg16":
            features = make_layers(cfgs["D"], batch_norm=False)
            with torch.device("meta"):  # 120 million weights of the class layer are not kept
                return VGG(features), "features.0", 512, _KAIMING_FAN_OUT
        case "alexnet":
            initialise = partial(nn.init.kaiming_uniform_, a=math.sqrt(5))
            return AlexNet(), "features.0", 256, initialise
        case "efficientnet_b0":
            initialise = partial(nn.init.kaiming_normal_, mode="fan_out")
            return efficientnet_b0(), "features.0.0", 1280, initialise
        case _:
            initialise = partial(nn.init.trunc_normal_, std=0.02)
            return convnext_tiny(), "features.0.0", 768, initialise


class ViTBackbone(nn.Module):
    """ViT-B/16 (Dosovitskiy et al. 2021); its map is the grid of patch tokens, signed."""

    first_layer = "conv_proj"
    head_prefix = "heads."

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        net = VisionTransformer(
            image_size=spec.height_width[0],
            patch_size=VIT_PATCH,
            num_layers=12,
            num_heads=12,
            hidden_dim=768,
            mlp_dim=3072,
        )
        self.num_features: int = net.hidden_dim
        net.heads = nn.Identity()
        fan_in = spec.bands * VIT_PATCH**2
        net.conv_proj = first_convolution(
            net.conv_proj,
            bands=spec.bands,
            small=False,
            initialise=partial(nn.init.trunc_normal_, std=math.sqrt(1 / fan_in)),
        )
        self.net = net

    def forward(self, images_NCHW: Float[Tensor, "N C H W"]) -> BackboneOutputs:
        """Patch tokens as a map of image_size / 16 cells a side, and the class token.

        Raises:
            UserError: if the images are not `image_size` pixels a side.
        """
        net, side = self.net, self.net.image_size
        sides = tuple(images_NCHW.shape[2:])
        require(sides == (side, side), "images_NCHW", f"{side} x {side} pixels for ViT", sides)
        patches_NFhw = net.conv_proj(images_NCHW)
        patches_NTF = patches_NFhw.flatten(2).transpose(1, 2)
        token_N1F = net.class_token.expand(len(images_NCHW), -1, -1)
        tokens_NTF = net.encoder(torch.cat([token_N1F, patches_NTF], dim=1))
        map_NFhw = tokens_NTF[:, 1:].transpose(1, 2).reshape(patches_NFhw.shape)
        return BackboneOutputs(map_NFhw, tokens_NTF[:, 0])


class GoogLeNetBackbone(nn.Module):
    """GoogLeNet (Szegedy et al. 2015) in torchvision's form, map of stride 32 (8 if small), >= 0.

    That form has batch norms, and 3 x 3 kernels where the paper has 5 x 5. Its weights are made for
    colours from -1 to 1; images come with ImageNet's mean and deviation taken out, and are brought
    there first (bands other than colours by the mean of the three).
    """

    first_layer = "conv1.conv"
    head_prefix = ("fc.", "aux1.", "aux2.")
    mean_1B11: Tensor
    std_1B11: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        net = GoogLeNet(aux_logits=False, init_weights=True)
        self.num_features: int = net.fc.in_features
        for name in ("avgpool", "dropout", "fc"):
            net.set_submodule(name, nn.Identity())
        net.conv1.conv = first_convolution(
            net.conv1.conv,
            bands=spec.bands,
            small=spec.stem == "small",
            initialise=partial(nn.init.trunc_normal_, std=0.01),
        )
        if spec.stem == "small":
            net.maxpool1 = nn.Identity()
        self.net = net
        for name, colours in (("mean_1B11", IMAGENET_MEAN), ("std_1B11", IMAGENET_STD)):
            values = colours if spec.bands == len(colours) else [sum(colours) / len(colours)]
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def forward(self, images_NCHW: Float[Tensor, "N C H W"]) -> BackboneOutputs:
        """The map after the last inception block."""
        map_NFhw = (images_NCHW * self.std_1B11 + self.mean_1B11) * 2 - 1
        for layer in self.net.children():
            map_NFhw = layer(map_NFhw)
        return BackboneOutputs(map_NFhw, None)


class InceptionBNBackbone(nn.Module):
    """GoogLeNet-BN (Ioffe and Szegedy 2015), maps of stride 32 (8 with the small stem), >= 0."""

    first_layer = FIRST_LAYER
    head_prefix = "loss"  # as the Caffe layers of its heads are called

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.num_features = NUM_FEATURES
        self.image_size = spec.height_width if spec.three_heads else None
        self.net: nn.Module = build_trunk(bands=spec.bands, small=spec.stem == "small")

    def forward(self, images_NCHW: Float[Tensor, "N C H W"]) -> BackboneOutputs:
        """The last map, and those that heads half-way read, if there are such.

        Raises:
            UserError: if the images are not of the size that those heads are made for.
        """
        if self.image_size is not None:
            sides, (height, width) = tuple(images_NCHW.shape[2:]), self.image_size
            rule = f"{height} x {width} pixels for the heads half-way of inception_bn"
            require(sides == (height, width), "images_NCHW", rule, sides)
        map_NFhw, stages = images_NCHW, {}
        for name, layer in self.net.named_children():
            map_NFhw = layer(map_NFhw)
            if self.image_size is not None and name in (FIRST_STAGE, MIDDLE_STAGE):
                stages[name] = map_NFhw
        return BackboneOutputs(map_NFhw, None, stages or None)


class PreActResNetBackbone(nn.Module):
    """PreActResNet-18, map of stride 8, signed; see `likeness.models.preact_resnet`."""

    first_layer = "conv1"
    head_prefix = "linear."

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.num_features = preact_resnet.NUM_FEATURES
        self.net: nn.Module = preact_resnet.build_trunk(spec)

    def forward(self, images_NCHW: Float[Tensor, "N C H W"]) -> BackboneOutputs:
        """The map behind the last block; nothing normalises it."""
        return BackboneOutputs(self.net(images_NCHW), None)


def build_backbone(spec: ModelSpec) -> Backbone:
    """The backbone that `spec` names, with random weights from torch's global generator."""
    match spec.backbone:
        case "resnet18" | "resnet34" | "resnet50":
            return ResNetBackbone(spec)
        case "densenet121":
            return DenseNetBackbone(spec)
        case "vgg16" | "alexnet" | "efficientnet_b0" | "convnext_tiny":
            return PlainBackbone(spec)
        case "vit_b_16":
            return ViTBackbone(spec)
        case "googlenet":
            return GoogLeNetBackbone(spec)
        case "inception_bn":
            return InceptionBNBackbone(spec)
        case "preact_resnet18":
            return PreActResNetBackbone(spec)
