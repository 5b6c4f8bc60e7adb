"""Maps against closed forms, and the sanity check of Adebayo et al. 2018 on a trained network."""

import copy
import math
import os

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from fixtures.tiny_explained import PATCH, SIDE, draw, tiny, train_tiny
from likeness.errors import UserError
from likeness.models import AttentionSpec, ModelSpec, build_embedder
from likeness.models.attention import MixedAttention
from likeness.models.explain import (
    attention_gates,
    attention_maps,
    grad_cam,
    mask_overlap,
    upsample,
)

# The hook that checks shapes refuses this first, in its own words.
HOOKED = pytest.mark.skipif(os.environ.get("LIKENESS_PLAIN") != "1", reason="LIKENESS_PLAIN=1")


@pytest.fixture(scope="module")
def trained():
    return train_tiny()


# --- Grad-CAM -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [None, 5])
def test_behind_an_average_it_is_the_class_activation_map(dim):
    """Zhou et al. 2016: the class layer's weights on the channels, which is then a closed form."""
    embedder = tiny(dim=dim).eval()
    images, labels, _ = draw(6, 0)
    weight_KF = embedder.classifiers["class"].weight
    if dim:
        weight_KF = weight_KF @ embedder.heads["embedding"].weight
    found = grad_cam(embedder, images, labels)
    with torch.no_grad():
        maps = embedder.feature_map(images)
    for row in range(6):
        expected = torch.zeros(8, 8)
        for channel in range(16):
            expected += weight_KF[labels[row], channel].detach() * maps[row, channel]
        expected = expected.clamp(min=0)
        torch.testing.assert_close(found[row], expected / expected.max(), rtol=1e-4, atol=1e-5)
    assert found.shape == (6, 8, 8)
    assert found.amax(dim=(1, 2)).tolist() == pytest.approx([1.0] * 6)


def test_a_network_whose_map_is_known():
    """One channel shows brightness, the other darkness; class 0 is bright, class 1 dark."""
    embedder = tiny().eval()
    layer = nn.Conv2d(3, 16, 4, stride=4, bias=False)
    nn.init.zeros_(layer.weight)
    layer.weight.data[0], layer.weight.data[1] = 1 / 48, -1 / 48
    embedder.backbone.net = nn.Sequential(layer, nn.ReLU())
    head = embedder.classifiers["class"]
    nn.init.zeros_(head.weight)
    head.weight.data[0, 0], head.weight.data[1, 1], head.weight.data[2, 0] = 2.0, 3.0, -1.0
    images = torch.zeros(1, 3, SIDE, SIDE)
    images[:, :, 4:8, 8:12], images[:, :, 8:12, 8:12], images[:, :, 20:24, 0:4] = 1.0, 0.5, -1.0
    bright, dark = torch.zeros(8, 8), torch.zeros(8, 8)
    bright[1, 2], bright[2, 2], dark[5, 0] = 1.0, 0.5, 1.0
    torch.testing.assert_close(grad_cam(embedder, images, 0)[0], bright)
    torch.testing.assert_close(grad_cam(embedder, images, 1)[0], dark)
    assert not grad_cam(embedder, images, 2).any()  # brightness speaks against class 2


def test_a_generalised_mean_weighs_by_its_slope():
    embedder = tiny(pooling="gem").eval()
    images, _, _ = draw(2, 0)
    maps = embedder.feature_map(images).detach().double().clamp(min=1e-6)
    pooled = maps.pow(3).mean(dim=(2, 3)).pow(1 / 3)
    slope = maps.pow(2) * pooled[:, :, None, None].pow(-2) / 64  # of the mean of cubes' root
    weight = slope.mean(dim=(2, 3)) * embedder.classifiers["class"].weight[1].double()
    expected = (weight[:, :, None, None] * maps).sum(1).clamp(min=0)
    expected /= expected.amax(dim=(1, 2), keepdim=True)
    found = grad_cam(embedder, images, 1).double()
    # Cells at 0 have no slope in the network and next to none here.
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_a_trained_network_looks_at_the_pattern(trained):
    images, labels, masks = draw(30, 999)
    with torch.no_grad():
        assert (trained(images).logits["class"].argmax(1) == labels).float().mean() > 0.9
    maps = upsample(grad_cam(trained, images, labels), SIDE, SIDE)
    found = np.array([mask_overlap(*both) for both in zip(maps, masks, strict=True)])
    energy, pointing, share = found.mean(axis=0)
    assert share == pytest.approx(PATCH**2 / SIDE**2)
    assert pointing > 0.8
    assert energy > 4 * share


def alike(maps, others) -> float:
    """Mean rank correlation of maps, where both vary."""
    pairs = zip(maps.flatten(1), others.flatten(1), strict=True)
    found = [spearmanr(*both).statistic for both in pairs if both[0].std() and both[1].std()]
    assert len(found) > len(maps) / 2
    return float(np.mean(found))


def test_the_map_depends_on_what_was_learned(trained):
    """The cascading randomisation of Adebayo et al. 2018: first the class layer, then below it."""
    images, labels, _ = draw(24, 999)
    maps = grad_cam(trained, images, labels)
    assert alike(maps, grad_cam(copy.deepcopy(trained), images, labels)) == pytest.approx(1.0)
    without_head, without_two = [], []
    for seed in range(4):
        random = copy.deepcopy(trained)
        torch.manual_seed(seed)
        random.classifiers["class"].reset_parameters()
        without_head.append(alike(maps, grad_cam(random, images, labels)))
        random.backbone.net[3].reset_parameters()
        without_two.append(alike(maps, grad_cam(random, images, labels)))
    assert np.mean(without_head) < 0.7
    assert abs(np.mean(without_two)) < 0.25


def test_each_image_has_its_own_class_and_knows_no_other_image(trained):
    images, labels, _ = draw(6, 3)
    together = grad_cam(trained, images, labels)
    for row in range(6):
        alone = grad_cam(trained, images[row : row + 1], int(labels[row]))
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)
    ones = torch.ones(6, dtype=torch.int64)
    assert torch.equal(grad_cam(trained, images, 1), grad_cam(trained, images, ones))
    assert not torch.equal(grad_cam(trained, images, 1), together)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_nothing_is_left_behind(trained, mode):
    images, labels, _ = draw(3, 3)
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    kept = torch.ones_like(trained.classifiers["class"].weight)
    trained.classifiers["class"].weight.grad = kept.clone()
    expected = grad_cam(trained, images, labels)
    with mode():
        found = grad_cam(trained, images, labels)
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert torch.equal(trained.classifiers["class"].weight.grad, kept)
    trained.classifiers["class"].weight.grad = None
    assert all(parameter.grad is None for parameter in trained.parameters())
    assert all(torch.equal(value, before[key]) for key, value in trained.state_dict().items())
    assert not images.requires_grad


@pytest.mark.parametrize(
    "name", ["resnet18", "densenet121", "efficientnet_b0", "convnext_tiny", "googlenet"]
)
def test_every_kind_of_convolutional_backbone(name):
    torch.manual_seed(0)
    embedder = build_embedder(ModelSpec(backbone=name, image_size=64), num_classes=3).eval()
    maps = grad_cam(embedder, torch.randn(2, 3, 64, 64), torch.tensor([0, 2]))
    assert maps.shape == (2, 2, 2)
    assert ((maps >= 0) & (maps <= 1)).all()


@pytest.mark.parametrize(
    ("class_index", "sentence"),
    [
        (3, r"class_index must be in \[0, 2\], got \[3\]"),
        (torch.tensor([0, -1]), r"class_index must be in \[0, 2\], got \[-1\]"),
    ],
)
def test_an_unknown_class_is_refused(class_index, sentence):
    with pytest.raises(UserError, match=sentence):
        grad_cam(tiny().eval(), draw(2, 0)[0], class_index)


@HOOKED
@pytest.mark.plain
def test_one_class_for_each_image():
    with pytest.raises(UserError, match=r"class_index must be one or 2, got \(3,\)"):
        grad_cam(tiny().eval(), draw(2, 0)[0], torch.tensor([0, 1, 2]))


def test_networks_without_such_a_map_are_refused():
    images = torch.randn(1, 3, 32, 32)
    with torch.device("meta"):
        plain, tokens = (
            build_embedder(ModelSpec(backbone=name, image_size=32), num_classes=count).eval()
            for name, count in (("resnet18", 0), ("vit_b_16", 2))
        )
    with pytest.raises(UserError, match="embedder must be a model with a class layer for Grad-CAM"):
        grad_cam(plain, images, 0)
    with pytest.raises(UserError, match=r"must be a convolutional network .*, got 'vit_b_16'"):
        grad_cam(tokens, images, 0)
    with pytest.raises(UserError, match=r"model.attention must be parallel.*, got 'none'"):
        attention_maps(plain, images)
    for explain in (attention_maps, lambda *given: grad_cam(*given, 0)):
        with pytest.raises(UserError, match="must be in evaluation mode to be explained, got tr"):
            explain(plain.train(), images)


# --- the network's own attention ------------------------------------------------------------------


@pytest.mark.parametrize("order", ["parallel", "sequential", "sum"])
def test_the_attention_map_is_the_blocks_own(order):
    torch.manual_seed(0)
    options = {"attention": order, "attention_options": AttentionSpec(gate="multiply")}
    embedder = build_embedder(
        ModelSpec(backbone="resnet18", image_size=64, **options), num_classes=2
    )
    parts = [part for part in embedder.eval().modules() if isinstance(part, MixedAttention)]
    for parameter in (value for part in parts for value in part.parameters()):
        nn.init.normal_(parameter, std=0.5)
    images = torch.randn(3, 3, 64, 64)
    before = [len(part.places._forward_hooks) for part in parts]
    first, last = attention_maps(embedder, images, block=0), attention_maps(embedder, images)
    assert first.shape == (3, 16, 16)
    assert last.shape == (3, 2, 2)
    assert torch.equal(last, attention_maps(embedder, images, block=7))
    assert not last.requires_grad
    assert [len(part.places._forward_hooks) for part in parts] == before
    # By hand, from the first block's branch.
    net = embedder.backbone.net
    with torch.no_grad():
        seen = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        block = net.layer1[0]
        U = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(seen)))))
        if order == "sequential":
            squeezed = torch.relu(parts[0].squeeze(U.mean((2, 3))))
            U = U * torch.sigmoid(parts[0].expand(squeezed))[:, :, None, None]
        statistics = torch.stack([U.mean(1), U.max(1).values], 1)
        expected = torch.sigmoid(parts[0].places(statistics))[:, 0]
    torch.testing.assert_close(first, expected)
    assert expected.std() > 0.01
    with pytest.raises(UserError, match=r"block must be in \[-8, 7\], got 8"):
        attention_maps(embedder, images, block=8)


def test_the_gate_says_what_a_map_does():
    """Taken as the factor that it is: the block's output with and without its attention."""
    torch.manual_seed(0)
    options = {"backbone": "resnet18", "image_size": 32, "attention": "parallel"}
    embedder = build_embedder(ModelSpec(**options), num_classes=2).eval()
    assert attention_gates(embedder) == [0.0] * 8
    parts = [part for part in embedder.modules() if isinstance(part, MixedAttention)]
    for number, part in enumerate(parts):
        part.alpha.data.fill_(number / 8 - 0.5)
    assert attention_gates(embedder) == [number / 8 - 0.5 for number in range(8)]
    U, shortcut = torch.ones(1, 512, 2, 2), torch.zeros(1, 512, 2, 2)
    with torch.no_grad():
        assert (parts[7](U, shortcut) > 1).all()  # above 0: amplified
        parts[7].alpha.data.fill_(-0.5)
        assert (parts[7](U, shortcut) < 1).all()  # below 0: damped
    multiply = {"attention_options": AttentionSpec(gate="multiply")}
    embedder = build_embedder(ModelSpec(**options, **multiply), num_classes=2)
    assert attention_gates(embedder) == [None] * 8
    assert attention_gates(tiny()) == []


def test_a_failing_pass_leaves_no_hook():
    options = {"attention": "sum", "image_size": 32}
    embedder = build_embedder(ModelSpec(backbone="resnet18", **options), num_classes=2).eval()
    with pytest.raises(UserError, match="images_NCHW must be"):
        attention_maps(embedder, torch.zeros(1, 4, 32, 32))
    assert not any(part._forward_hooks for part in embedder.modules())


# --- maps and masks -------------------------------------------------------------------------------


def test_upsampling_keeps_places_and_range():
    maps = torch.zeros(1, 4, 4)
    maps[0, 1, 2] = 1.0
    large = upsample(maps, 16, 24)
    assert large.shape == (1, 16, 24)
    assert large.min() == 0
    assert large.max() <= 1
    heights, widths = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing="ij")
    centre = [float((large[0] * axis).sum() / large.sum()) for axis in (heights, widths)]
    assert centre == pytest.approx([1.5 * 4 - 0.5, 2.5 * 6 - 0.5])
    torch.testing.assert_close(
        upsample(torch.full((1, 2, 2), 0.3), 5, 7), torch.full((1, 5, 7), 0.3)
    )


def test_overlap_by_hand():
    values = torch.tensor([[0.0, 1.0, 3.0], [4.0, 0.0, 4.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    found = mask_overlap(values, mask)
    assert found == pytest.approx((5 / 12, 0.5, 0.5))  # one of the two maxima is inside
    assert mask_overlap(values, ~mask).energy_inside == pytest.approx(7 / 12)
    even = mask_overlap(torch.ones(2, 3), mask)
    assert even.energy_inside == even.pointing == even.mask_share == 0.5
    assert mask_overlap(values, torch.ones_like(mask)) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("values", "mask", "share"),
    [(torch.zeros(2, 2), torch.eye(2) > 0, 0.5), (torch.ones(2, 2), torch.eye(2) > 1, 0.0)],
)
def test_an_overlap_with_nothing_is_undefined(values, mask, share):
    energy, pointing, found = mask_overlap(values, mask)
    assert math.isnan(energy)
    assert math.isnan(pointing)
    assert found == share


def test_a_map_below_zero_is_refused():
    with pytest.raises(UserError, match=r"map_HW must be >= 0, got -1\.0"):
        mask_overlap(-torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bool))


@HOOKED
@pytest.mark.plain
def test_a_mask_of_another_size_is_refused():
    with pytest.raises(UserError, match=r"mask_HW must be of shape \(2, 2\), got \(2, 3\)"):
        mask_overlap(torch.ones(2, 2), torch.ones(2, 3, dtype=torch.bool))
