"""PreActResNet-18 against its definition, written out once more with plain functions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from likeness.config import parse
from likeness.errors import UserError
from likeness.models import ModelSpec, build_embedder
from likeness.models.backbones import Backbone, build_backbone
from likeness.models.explain import attention_maps, grad_cam


def spec(**options: object) -> ModelSpec:
    return parse(ModelSpec, {"backbone": "preact_resnet18", "image_size": 64, **options}, "model")


def images(bands: int = 3, side: int = 64) -> torch.Tensor:
    return torch.randn(2, bands, side, side, generator=torch.Generator().manual_seed(0))


def count_by_hand(bands: int) -> int:
    """Weights of every convolution, and two numbers for each channel that is normalised."""
    total = 9 * bands * 64
    for before, after in [(64, 64), (64, 128), (128, 256), (256, 512)]:
        total += 2 * before + 9 * before * after + 2 * after + 9 * after * after
        total += before * after if before != after else 0
        total += 2 * after + 9 * after * after + 2 * after + 9 * after * after
    return total


@pytest.mark.parametrize("bands", [1, 3])
def test_the_number_of_weights(bands: int) -> None:
    backbone = build_backbone(spec(bands=bands))
    assert isinstance(backbone, Backbone)
    assert backbone.net.get_submodule(backbone.first_layer).in_channels == bands
    found = sum(part.numel() for part in backbone.net.parameters())
    assert found == count_by_hand(bands)
    assert count_by_hand(3) == 11_166_016
    embedder = build_embedder(spec(bands=bands, embedding_dim=64), num_classes=8)
    behind = 512 * 64 + 64 + 64 * 8 + 8
    assert sum(part.numel() for part in embedder.parameters()) == found + behind


def functional_trunk(state: dict[str, torch.Tensor], seen: torch.Tensor) -> torch.Tensor:
    def norm(values: torch.Tensor, key: str) -> torch.Tensor:
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(values, *(state[f"{key}.{name}"] for name in names))

    seen = F.conv2d(seen, state["conv1.weight"], padding=1)
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            key = f"layer{layer}.{block}"
            stride = 2 if layer > 1 and block == 0 else 1
            active = norm(seen, f"{key}.bn1").clamp_min(0)
            if f"{key}.shortcut.weight" in state:
                seen = F.conv2d(active, state[f"{key}.shortcut.weight"], stride=stride)
            inner = F.conv2d(active, state[f"{key}.conv1.weight"], stride=stride, padding=1)
            inner = norm(inner, f"{key}.bn2").clamp_min(0)
            seen = seen + F.conv2d(inner, state[f"{key}.conv2.weight"], padding=1)
    return seen


@pytest.mark.parametrize(("side", "bands"), [(64, 3), (48, 1), (16, 3)])
def test_the_map_by_its_definition(side: int, bands: int) -> None:
    torch.manual_seed(1)
    backbone = build_backbone(spec(image_size=side, bands=bands)).eval()
    for part in backbone.modules():
        if isinstance(part, torch.nn.BatchNorm2d):  # else they would do nothing
            torch.nn.init.uniform_(part.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
    with torch.inference_mode():
        seen = backbone(images(bands, side))
        expected = functional_trunk(backbone.net.state_dict(), images(bands, side))
    torch.testing.assert_close(seen.map_NFhw, expected, rtol=1e-4, atol=1e-3)
    assert seen.map_NFhw.shape == (2, 512, side // 8, side // 8)
    assert torch.isfinite(seen.map_NFhw).all()
    assert (seen.map_NFhw < 0).any()  # why GeM is refused
    assert seen.token_NF is None


@pytest.mark.parametrize("bands", [1, 3])
def test_it_trains_and_is_explained(bands: int) -> None:
    torch.manual_seed(0)
    embedder = build_embedder(spec(bands=bands, image_size=48, embedding_dim=64), num_classes=8)
    outputs = embedder(images(bands, 48))
    assert outputs.embeddings["embedding"].shape == (2, 64)
    outputs.logits["class"].logsumexp(1).sum().backward()
    first = embedder.backbone.net.get_submodule("conv1").weight
    assert torch.isfinite(first.grad).all()
    assert (first.grad != 0).any(dim=(0, 2, 3)).all()
    maps = grad_cam(embedder.eval(), images(bands, 48), 1)
    assert maps.shape == (2, 6, 6)
    with pytest.raises(UserError, match=r"model\.attention must be parallel, sequential or sum"):
        attention_maps(embedder, images(bands, 48))


def test_bfloat16_sees_nearly_the_same() -> None:
    torch.manual_seed(0)
    backbone = build_backbone(spec(image_size=48)).eval()
    with torch.inference_mode():
        whole = backbone(images(side=48)).map_NFhw
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = backbone(images(side=48)).map_NFhw.float()
    assert (F.cosine_similarity(mixed.flatten(1), whole.flatten(1)) > 0.99).all()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"stem": "small"}, "model.stem must be 'standard' for preact_resnet18, whose first"),
        ({"pooling": "gem"}, "model.pooling must be 'gap' for preact_resnet18, got 'gem'"),
        ({"attention": "sum"}, "model.attention must be 'none' for preact_resnet18"),
        ({"last_stride": 1}, "model.last_stride must be 2 for preact_resnet18"),
        (
            {"weights": "imagenet"},
            "model.weights must be 'none', a file or a model for preact_resnet18, of which there "
            "are no ImageNet weights, got 'imagenet'",
        ),
    ],
)
def test_what_it_has_not_is_refused_by_name(options: dict, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        spec(**options)
    assert sentence in str(caught.value)
