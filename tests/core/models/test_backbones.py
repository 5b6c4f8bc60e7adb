"""The interface over torchvision's networks, against torchvision's own forward pass."""

import math

import pytest
import torch
from torch import nn
from torchvision import models as torchvision_models

from likeness.errors import UserError
from likeness.models.backbones import Backbone, build_backbone
from likeness.models.spec import ModelSpec

HEADS = {
    "resnet18": "fc",
    "resnet34": "fc",
    "resnet50": "fc",
    "densenet121": "classifier",
    "vit_b_16": "heads",
    "googlenet": "fc",
}
OPTIONS = {
    "vit_b_16": {"image_size": 64},
    # Without the heads that training had; colours from -1 to 1, as with their weights.
    "googlenet": {"aux_logits": False, "transform_input": True, "init_weights": True},
}
PLAIN = {"vgg16": 512, "alexnet": 256, "efficientnet_b0": 1280, "convnext_tiny": 768}
ALL = [*HEADS, *PLAIN]


def images(count=2, bands=3, side=64) -> torch.Tensor:
    return torch.randn(count, bands, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "features", "cells"),
    [
        ("resnet18", 512, 2),
        ("resnet34", 512, 2),
        ("resnet50", 2048, 2),
        ("densenet121", 1024, 2),
        ("vit_b_16", 768, 4),
        ("googlenet", 1024, 2),
    ],
)
def test_map_and_token_are_what_torchvisions_class_layer_reads(name, features, cells):
    torch.manual_seed(1)
    theirs = getattr(torchvision_models, name)(num_classes=5, **OPTIONS.get(name, {})).eval()
    if name == "vit_b_16":
        nn.init.normal_(theirs.heads.head.weight)  # torchvision starts it at zero
    backbone = build_backbone(ModelSpec(backbone=name, image_size=64)).eval()
    assert isinstance(backbone, Backbone)
    shared = {
        key: value
        for key, value in theirs.state_dict().items()
        if not key.startswith(backbone.head_prefix)
    }
    assert set(shared) == set(backbone.net.state_dict())
    backbone.net.load_state_dict(shared)
    assert backbone.net.get_submodule(backbone.first_layer).in_channels == 3
    with torch.inference_mode():
        seen = backbone(images())
        read = seen.map_NFhw.mean(dim=(2, 3)) if seen.token_NF is None else seen.token_NF
        logits = getattr(theirs, HEADS[name])(read)
        torch.testing.assert_close(logits, theirs(images()))
    assert seen.map_NFhw.shape == (2, features, cells, cells)
    assert backbone.num_features == features
    assert (seen.token_NF is None) == (name != "vit_b_16")
    if name != "vit_b_16":
        assert (seen.map_NFhw >= 0).all()  # what GeM relies on


@pytest.mark.parametrize("name", PLAIN)
def test_plain_maps_are_what_torchvisions_class_layer_reads(name):
    """Given the same weights; the class layers of these begin behind torchvision's average."""
    torch.manual_seed(1)
    theirs = getattr(torchvision_models, name)(num_classes=5).eval()
    backbone = build_backbone(ModelSpec(backbone=name, image_size=64)).eval()
    assert isinstance(backbone, Backbone)
    shared = {
        key: value
        for key, value in theirs.state_dict().items()
        if not key.startswith(backbone.head_prefix)
    }
    assert set(shared) == set(backbone.net.state_dict())
    backbone.net.load_state_dict(shared)
    with torch.inference_mode():
        seen = backbone(images())
        averaged = theirs.avgpool(seen.map_NFhw)
        flat = averaged if name == "convnext_tiny" else averaged.flatten(1)  # flattens by itself
        torch.testing.assert_close(theirs.classifier(flat), theirs(images()))
    assert seen.map_NFhw.shape[1] == backbone.num_features == PLAIN[name]
    assert seen.token_NF is None
    if name in ("vgg16", "alexnet"):
        assert (seen.map_NFhw >= 0).all()  # what GeM relies on
    if name == "efficientnet_b0":
        assert (seen.map_NFhw > -0.279).all()  # the least value of SiLU


@pytest.mark.parametrize("name", ALL)
def test_no_weight_is_without_a_number(name):
    """VGG is built partly without memory; and what is random follows the seed."""
    least = ModelSpec(backbone=name, image_size=64)
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(build_backbone(least).net.state_dict())
    first = build_backbone(least).first_layer + ".weight"
    for state in states:
        assert all(value.device.type == "cpu" for value in state.values())
        assert all(torch.isfinite(value).all() for value in state.values())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert not torch.equal(states[0][first], states[2][first])


@pytest.mark.parametrize("name", ALL)
def test_the_gradient_reaches_the_first_layer_of_any_bands(name):
    torch.manual_seed(0)
    backbone = build_backbone(ModelSpec(backbone=name, image_size=64, bands=5))
    first = backbone.net.get_submodule(backbone.first_layer)
    assert first.in_channels == 5
    seen = backbone(images(2, 5))
    assert seen.map_NFhw.shape[:2] == (2, backbone.num_features)
    seen.map_NFhw.square().mean().backward()
    assert first.weight.grad.shape == first.weight.shape
    assert torch.isfinite(first.weight.grad).all()
    assert (first.weight.grad != 0).any(dim=(0, 2, 3)).all()  # every band counts


@pytest.mark.parametrize("name", ALL)
def test_half_precision_sees_nearly_the_same(name):
    torch.manual_seed(0)
    backbone = build_backbone(ModelSpec(backbone=name, image_size=64)).eval()
    if name in ("efficientnet_b0", "googlenet"):  # fade to 0 without statistics of the images
        for part in backbone.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.train().momentum = 1.0
        with torch.no_grad():
            backbone(images(4))
        backbone.eval()
    with torch.inference_mode():
        whole = backbone(images()).map_NFhw
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = backbone(images()).map_NFhw.float()
        half = backbone.to(torch.bfloat16)(images().to(torch.bfloat16)).map_NFhw
    assert half.dtype == torch.bfloat16
    for seen in (mixed, half.float()):
        cosine = nn.functional.cosine_similarity(seen.flatten(1), whole.flatten(1))
        # 57 random layers, each behind batch norms, carry rounding farther than trained ones.
        assert (cosine > (0.7 if name == "googlenet" else 0.98)).all(), cosine


@pytest.mark.parametrize(
    ("name", "side"),
    [("vgg16", 32), ("alexnet", 63), ("convnext_tiny", 32), ("resnet34", 16)],
)
def test_the_least_image_leaves_one_cell(name, side):
    backbone = build_backbone(ModelSpec(backbone=name, image_size=side)).eval()
    with torch.inference_mode():
        assert backbone(images(1, 3, side)).map_NFhw.shape[2:] == (1, 1)
        if side > 16:
            with pytest.raises(RuntimeError):  # so the spec may not allow less
                backbone(images(1, 3, side - 1))


def test_the_small_stem_of_efficientnet_takes_trained_weights():
    """Its kernel is 3 x 3 already: only the stride changes."""
    small, standard = (
        build_backbone(ModelSpec(backbone="efficientnet_b0", image_size=32, stem=stem)).eval()
        for stem in ("small", "standard")
    )
    small.net.load_state_dict(standard.net.state_dict())
    with torch.inference_mode():
        assert small(images(1, 3, 32)).map_NFhw.shape[2:] == (2, 2)
        assert standard(images(1, 3, 32)).map_NFhw.shape[2:] == (1, 1)


def test_the_patch_map_keeps_the_places_of_the_patches():
    backbone = build_backbone(ModelSpec(backbone="vit_b_16", image_size=64)).eval()
    backbone.net.encoder = nn.Identity()  # tokens come out as they went in
    with torch.inference_mode():
        seen = backbone(images())
        torch.testing.assert_close(seen.map_NFhw, backbone.net.conv_proj(images()))


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "densenet121", "googlenet"])
@pytest.mark.parametrize(("stem", "cells"), [("standard", 1), ("small", 4)])
def test_the_small_stem_keeps_the_detail_of_small_images(name, stem, cells):
    backbone = build_backbone(ModelSpec(backbone=name, image_size=32, stem=stem)).eval()
    with torch.inference_mode():
        assert backbone(images(1, 3, 32)).map_NFhw.shape[2:] == (cells, cells)


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 13])
@pytest.mark.parametrize("stem", ["standard", "small"])
def test_any_number_of_bands(bands, stem):
    spec = ModelSpec(backbone="resnet18", image_size=32, bands=bands, stem=stem)
    with torch.inference_mode():
        assert build_backbone(spec).eval()(images(1, bands, 32)).map_NFhw.shape[:2] == (1, 512)


@pytest.mark.parametrize(("stem", "side"), [("standard", 7), ("small", 3)])
def test_a_new_first_convolution_starts_as_the_paper_says(stem, side):
    torch.manual_seed(0)
    spec = ModelSpec(backbone="resnet18", image_size=32, bands=13, stem=stem)
    weight = build_backbone(spec).net.conv1.weight.detach()
    # He et al. 2015 over the outputs: variance 2 / (64 kernels x cells).
    assert float(weight.std()) == pytest.approx(math.sqrt(2 / (64 * side**2)), rel=0.05)


@pytest.mark.parametrize("name", PLAIN)
def test_a_new_first_convolution_starts_like_torchvisions_own(name):
    torch.manual_seed(0)
    theirs = build_backbone(ModelSpec(backbone=name, image_size=64))
    wide = build_backbone(ModelSpec(backbone=name, image_size=64, bands=13))
    own, new = (net.net.get_submodule(net.first_layer).weight.detach() for net in (theirs, wide))
    fan_in = name == "alexnet"  # torch's default; the others do not look at the inputs
    expected = float(own.std()) * ((3 / 13) ** 0.5 if fan_in else 1.0)
    assert float(new.std()) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("attention", ["none", "parallel"])
def test_the_last_stride_doubles_the_map_and_keeps_the_weights(name, attention):
    built = {}
    with torch.device("meta"):
        for stride in (2, 1):
            options = {"last_stride": stride, "attention": attention, "image_size": (64, 32)}
            built[stride] = build_backbone(ModelSpec(backbone=name, **options))
        cells = {
            stride: tuple(backbone(torch.zeros(2, 3, 64, 32)).map_NFhw.shape[2:])
            for stride, backbone in built.items()
        }
    assert cells == {2: (2, 1), 1: (4, 2)}
    shapes = [
        {key: value.shape for key, value in backbone.net.state_dict().items()}
        for backbone in built.values()
    ]
    assert shapes[0] == shapes[1]
    strided = {
        key
        for key, part in built[1].net.named_modules()
        if isinstance(part, nn.Conv2d) and part.stride != built[2].net.get_submodule(key).stride
    }
    changed = "conv2" if name == "resnet50" else "conv1"
    assert strided == {f"layer4.0.{changed}", "layer4.0.downsample.0"}


def test_vit_refuses_another_image_size():
    backbone = build_backbone(ModelSpec(backbone="vit_b_16", image_size=32))
    with pytest.raises(UserError, match=r"images_NCHW must be 32 x 32 pixels for ViT, got \(48, 3"):
        backbone(torch.zeros(1, 3, 48, 32))
