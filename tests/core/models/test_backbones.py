"""The interface over torchvision's networks, against torchvision's own forward pass."""

import math

import pytest
import torch
from torch import nn
from torchvision import models as torchvision_models

from likeness.errors import UserError
from likeness.models.backbones import Backbone, build_backbone
from likeness.models.spec import ModelSpec

HEADS = {"resnet18": "fc", "resnet50": "fc", "densenet121": "classifier", "vit_b_16": "heads"}


def images(count=2, bands=3, side=64) -> torch.Tensor:
    return torch.randn(count, bands, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "features", "cells"),
    [("resnet18", 512, 2), ("resnet50", 2048, 2), ("densenet121", 1024, 2), ("vit_b_16", 768, 4)],
)
def test_map_and_token_are_what_torchvisions_class_layer_reads(name, features, cells):
    options = {"image_size": 64} if name == "vit_b_16" else {}
    theirs = getattr(torchvision_models, name)(num_classes=5, **options).eval()
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


def test_the_patch_map_keeps_the_places_of_the_patches():
    backbone = build_backbone(ModelSpec(backbone="vit_b_16", image_size=64)).eval()
    backbone.net.encoder = nn.Identity()  # tokens come out as they went in
    with torch.inference_mode():
        seen = backbone(images())
        torch.testing.assert_close(seen.map_NFhw, backbone.net.conv_proj(images()))


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
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


def test_bands_for_the_other_families():
    for name in ("densenet121", "vit_b_16"):
        spec = ModelSpec(backbone=name, image_size=32, bands=4)
        with torch.inference_mode():
            assert len(build_backbone(spec).eval()(images(1, 4, 32)).map_NFhw) == 1


@pytest.mark.parametrize(("stem", "side"), [("standard", 7), ("small", 3)])
def test_a_new_first_convolution_starts_as_the_paper_says(stem, side):
    torch.manual_seed(0)
    spec = ModelSpec(backbone="resnet18", image_size=32, bands=13, stem=stem)
    weight = build_backbone(spec).net.conv1.weight.detach()
    # He et al. 2015 over the outputs: variance 2 / (64 kernels x cells).
    assert float(weight.std()) == pytest.approx(math.sqrt(2 / (64 * side**2)), rel=0.05)


def test_vit_refuses_another_image_size():
    backbone = build_backbone(ModelSpec(backbone="vit_b_16", image_size=32))
    with pytest.raises(UserError, match=r"images_NCHW must be 32 x 32 pixels for ViT, got \(48, 3"):
        backbone(torch.zeros(1, 3, 48, 32))
