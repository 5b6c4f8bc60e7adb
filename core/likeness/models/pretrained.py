"""Where a backbone starts: torchvision's ImageNet weights, a file, or another model.

Only safetensors are read, and nothing is ever fetched.

Shapes: O = output channels, B = bands, k = kernel side.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torchvision import models as torchvision_models
from torchvision.models.vision_transformer import interpolate_embeddings

from likeness.errors import UserError, require
from likeness.models.attention import is_attention
from likeness.models.backbones import Backbone
from likeness.models.spec import VIT_PATCH, ModelSpec
from likeness.models.stems import RGB, inflate_bands
from likeness.provenance import WEIGHTS_FILE, read_provenance, resolve_model

BACKBONE_PREFIX = "backbone.net."

# Version 1 for all: later recipes are tuned for classification at their own image size.
_IMAGENET = {
    "resnet18": torchvision_models.ResNet18_Weights.IMAGENET1K_V1,
    "resnet34": torchvision_models.ResNet34_Weights.IMAGENET1K_V1,
    "resnet50": torchvision_models.ResNet50_Weights.IMAGENET1K_V1,
    "densenet121": torchvision_models.DenseNet121_Weights.IMAGENET1K_V1,
    "vgg16": torchvision_models.VGG16_Weights.IMAGENET1K_V1,
    "alexnet": torchvision_models.AlexNet_Weights.IMAGENET1K_V1,
    "efficientnet_b0": torchvision_models.EfficientNet_B0_Weights.IMAGENET1K_V1,
    "convnext_tiny": torchvision_models.ConvNeXt_Tiny_Weights.IMAGENET1K_V1,
    "vit_b_16": torchvision_models.ViT_B_16_Weights.IMAGENET1K_V1,
    "googlenet": torchvision_models.GoogLeNet_Weights.IMAGENET1K_V1,
}
_POSITIONS = "encoder.pos_embedding"


# torchvision has no GoogLeNet-BN; its Caffe model is converted.
_INCEPTION_BN_FILE = "inception_bn.safetensors"


def load_pretrained(backbone: Backbone, spec: ModelSpec) -> None:
    """Fill `backbone` as `spec.weights` says; with `none` it keeps its random weights.

    torchvision's class layer is ignored. A first convolution over RGB is inflated to
    `spec.bands` (`likeness.models.stems.inflate_bands`), and ViT's position embeddings are
    interpolated to `spec.image_size`. A plain ResNet's file fills a ResNet with attention, which
    keeps its start; a file with attention must hold all of it. The heads of GoogLeNet-BN start at
    random: their size depends on the image's.

    Raises:
        UserError: if the file is missing, is no safetensors file or does not fit the backbone;
            the sentence names the first key that differs.
    """
    match spec.weights:
        case "none":
            return
        case "imagenet":
            path = imagenet_path(spec)
            require_imagenet(path, spec)
            state = _read(path)
        case _:
            path, state = _read_weights(spec.weights)
    state = {key: value for key, value in state.items() if not key.startswith(backbone.head_prefix)}
    state = _fit(state, backbone, spec)
    own = backbone.net.state_dict()
    if not any(map(is_attention, state)):
        own = {key: value for key, value in own.items() if not is_attention(key)}
    difference = first_difference(own, state)
    if difference is not None:
        raise UserError(f"model.weights must be made for {spec.backbone}, got {path}: {difference}")
    # A file may lack the counters, which only matter to averages without momentum.
    backbone.net.load_state_dict({**backbone.net.state_dict(), **state})


def imagenet_path(spec: ModelSpec) -> Path:
    """Where the converted ImageNet weights of `spec.backbone` are looked for."""
    name = _INCEPTION_BN_FILE
    if spec.backbone != "inception_bn":
        name = Path(_IMAGENET[spec.backbone].url).with_suffix(".safetensors").name
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def require_imagenet(path: Path, spec: ModelSpec) -> None:
    """Refuse to go on without the ImageNet file, and say how to make it.

    Raises:
        UserError: if `path` is no file.
    """
    if path.is_file():
        return
    command = (
        "import torchvision, safetensors.torch as s; s.save_file(torchvision.models."
        f"{spec.backbone}(weights='IMAGENET1K_V1').state_dict(), '{path.name}')"
    )
    how = f'python -c "{command}" makes it where there is a network'
    if spec.backbone == "inception_bn":
        how = "likeness.models.inception_bn.from_caffe makes it from a Caffe model of GoogLeNet-BN"
    raise UserError(
        f"model.weights must be on this machine, since nothing is fetched, got 'imagenet': put "
        f"{path.name} into {path.parent} ({how}), or give another .safetensors file"
    )


def first_difference(own: dict[str, Tensor], given: dict[str, Tensor]) -> str | None:
    """The first key in which two state dicts differ by name or shape, in words; None if none.

    Counters of batches (`num_batches_tracked`) may be absent from `given`.
    """
    for key, value in own.items():
        if key not in given:
            if key.endswith("num_batches_tracked"):
                continue
            return f"the key {key} is missing"
        if given[key].shape != value.shape:
            wanted, got = tuple(value.shape), tuple(given[key].shape)
            return f"{key} has shape {got}, not {wanted}"
    extra = sorted(set(given) - set(own))
    return f"the key {extra[0]} is unknown" if extra else None


def _read_weights(given: str) -> tuple[Path, dict[str, Tensor]]:
    path = Path(given).expanduser()
    if path.is_dir():
        directory = resolve_model(path)
        read_provenance(directory)  # verifies the checksums
        state = _read(directory / WEIGHTS_FILE)
        kept = {
            key.removeprefix(BACKBONE_PREFIX): value
            for key, value in state.items()
            if key.startswith(BACKBONE_PREFIX)
        }
        return directory, kept
    require(
        path.is_file(),
        "model.weights",
        "none, imagenet, a .safetensors file or a model directory",
        given,
    )
    if path.suffix != ".safetensors":
        raise UserError(
            f"model.weights must be a .safetensors file, got {given!r}: a pickle can run code, so "
            f"convert it with safetensors.torch.save_file on a machine you trust"
        )
    return path, _read(path)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"model.weights must be a whole safetensors file, got {path}: {error}"
        ) from error
    return state


def _fit(state: dict[str, Tensor], backbone: Backbone, spec: ModelSpec) -> dict[str, Tensor]:
    """Adapt the first convolution and the position embeddings where they can be."""
    state = dict(state)
    key = f"{backbone.first_layer}.weight"
    first_OBkk = state.get(key)
    if first_OBkk is not None and first_OBkk.ndim == 4:
        own_OBkk = backbone.net.state_dict()[key]
        require(
            spec.stem == "standard" or first_OBkk.shape[2:] == own_OBkk.shape[2:],
            "model.stem",
            f"'standard' for weights whose first kernel has {first_OBkk.shape[-1]} pixels a side",
            spec.stem,
        )
        if spec.bands != RGB and first_OBkk.shape[1] == RGB:
            state[key] = inflate_bands(first_OBkk, spec.bands)
    positions = state.get(_POSITIONS)
    if positions is not None and positions.ndim == 3:
        try:
            state = dict(interpolate_embeddings(spec.height_width[0], VIT_PATCH, state))
        except ValueError as error:
            raise UserError(
                f"model.weights must hold the positions of a square grid, got {_POSITIONS} of "
                f"shape {tuple(positions.shape)}"
            ) from error
    return state
