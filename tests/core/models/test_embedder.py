"""The Embedder: what it returns, that it is repeatable, and that every part learns."""

import os

import pytest
import torch

from likeness.errors import UserError
from likeness.models import ModelSpec, build_embedder

# The hook that checks shapes refuses this first, in its own words.
HOOKED = pytest.mark.skipif(os.environ.get("LIKENESS_PLAIN") != "1", reason="LIKENESS_PLAIN=1")


def spec(**options) -> ModelSpec:
    return ModelSpec(**{"backbone": "resnet18", "image_size": 32, **options})


def images(count=4, bands=3, side=32) -> torch.Tensor:
    return torch.randn(count, bands, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("dim", "expected"), [(None, 512), (16, 16)])
@pytest.mark.parametrize("pooling", ["gap", "gem"])
def test_outputs(dim, expected, pooling):
    embedder = build_embedder(spec(embedding_dim=dim, pooling=pooling), num_classes=5).eval()
    with torch.inference_mode():
        outputs = embedder(images())
        assert outputs.features_NF.shape == (4, 512)
        assert outputs.embeddings["embedding"].shape == (4, expected)
        assert outputs.logits["class"].shape == (4, 5)
        assert torch.equal(embedder.embed(images()), outputs.embeddings["embedding"])
        assert embedder.feature_map(images()).shape == (4, 512, 1, 1)
    assert (embedder.embedding_dim, embedder.num_features, embedder.num_classes) == (
        expected,
        512,
        5,
    )


def test_without_a_dimension_the_features_are_the_embedding():
    embedder = build_embedder(spec(), num_classes=3).eval()
    with torch.inference_mode():
        outputs = embedder(images())
    assert torch.equal(outputs.features_NF, outputs.embeddings["embedding"])


def test_the_class_layer_reads_the_raw_embedding():
    embedder = build_embedder(spec(embedding_dim=8), num_classes=3).eval()
    layer = embedder.classifiers["class"]
    with torch.inference_mode():
        outputs = embedder(images())
        by_hand = outputs.embeddings["embedding"] @ layer.weight.T + layer.bias
    torch.testing.assert_close(outputs.logits["class"], by_hand)
    lengths = outputs.embeddings["embedding"].norm(dim=1)
    assert (lengths - 1).abs().min() > 1e-3  # the space normalises, not the model


def test_without_classes_there_are_no_logits():
    embedder = build_embedder(spec(embedding_dim=8), num_classes=0).eval()
    with torch.inference_mode():
        assert embedder(images()).logits == {}
    assert not any(name.startswith("classifiers") for name in embedder.state_dict())


def test_dropout_changes_the_logits_and_not_the_embedding():
    embedder = build_embedder(spec(dropout=0.5), num_classes=3).eval()
    embedder.classifiers.train()
    with torch.inference_mode():
        first, second = embedder(images()), embedder(images())
        assert torch.equal(first.embeddings["embedding"], second.embeddings["embedding"])
        assert not torch.equal(first.logits["class"], second.logits["class"])
        assert torch.equal(
            embedder.eval()(images()).logits["class"], embedder(images()).logits["class"]
        )


def test_class_token_pooling():
    options = {"backbone": "vit_b_16", "image_size": 64, "channels_last": False}
    embedder = build_embedder(spec(**options, pooling="class_token"), num_classes=0).eval()
    with torch.inference_mode():
        seen = embedder.backbone(images(1, side=64))
        assert torch.equal(embedder.embed(images(1, side=64)), seen.token_NF)
        assert embedder.feature_map(images(1, side=64)).shape == (1, 768, 4, 4)


def test_the_seed_fixes_the_weights():
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(build_embedder(spec(embedding_dim=8, bands=2), num_classes=3).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["heads.embedding.weight"], states[2]["heads.embedding.weight"])


def test_every_parameter_gets_a_finite_gradient():
    embedder = build_embedder(spec(embedding_dim=8, pooling="gem", bands=4), num_classes=3)
    outputs = embedder(images(bands=4))
    (outputs.logits["class"].square().sum()).backward()
    for name, parameter in embedder.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_memory_order_changes_the_speed_and_not_the_numbers():
    outputs = []
    for channels_last in (False, True):
        torch.manual_seed(0)
        built = build_embedder(spec(channels_last=channels_last, image_size=64), num_classes=3)
        weight = built.backbone.net.layer1[0].conv1.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) == channels_last
        with torch.inference_mode():
            outputs.append(built.eval()(images(side=64)))
    torch.testing.assert_close(outputs[0].logits["class"], outputs[1].logits["class"])


@pytest.mark.parametrize(
    "shape",
    [
        (2, 4, 32, 32),
        (2, 1, 32, 32),
        pytest.param((3, 32, 32), marks=[pytest.mark.plain, HOOKED]),
    ],
)
def test_images_of_another_shape_are_refused(shape):
    embedder = build_embedder(spec(), num_classes=0)
    for ask in (embedder, embedder.embed, embedder.feature_map):
        with pytest.raises(UserError, match=r"images_NCHW must be a batch .* 3 bands.*, got \("):
            ask(torch.zeros(shape))


def test_a_negative_number_of_classes_is_refused():
    with pytest.raises(UserError, match="num_classes must be >= 0, got -1"):
        build_embedder(spec(), num_classes=-1)
