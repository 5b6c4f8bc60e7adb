"""The cascade against one written out by hand, on a network that was trained to look somewhere."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from fixtures.tiny_explained import draw, tiny, train_tiny
from likeness.errors import UserError
from likeness.models import ModelSpec, build_embedder
from likeness.models.explain import grad_cam
from likeness.models.explain_checks import randomisation_check, rank_correlations


@pytest.fixture(scope="module")
def trained():
    return train_tiny()


def mean_correlation(maps, others) -> tuple[float, int]:
    """By scipy, pair by pair."""
    pairs = zip(maps.flatten(1), others.flatten(1), strict=True)
    found = [float(spearmanr(*both).statistic) for both in pairs if all(x.std() for x in both)]
    return float(np.mean(found)), len(found)


def test_the_cascade_by_hand(trained):
    images, labels, _ = draw(12, 999)
    found = randomisation_check(trained, images, labels, seeds=[5])
    maps = grad_cam(trained, images, labels)
    random = copy.deepcopy(trained)
    torch.manual_seed(5)
    net = random.backbone.net
    # Layers without numbers of their own draw none: ReLUs and the missing embedding layer.
    for stage, layer in zip(
        found.stages, (random.classifiers["class"], net[4], net[3], net[1], net[0]), strict=True
    ):
        layer.reset_parameters()
        correlation, count = mean_correlation(maps, grad_cam(random, images, labels))
        assert stage.correlation == pytest.approx(correlation)
        assert stage.maps == count
    assert [stage.name for stage in found.stages] == ["class layer", "4", "3", "1", "0"]
    assert found.between_images == pytest.approx(mean_correlation(maps[1:], maps[:-1])[0])
    assert (found.images, found.seeds) == (12, 1)


def test_a_learned_map_falls_and_an_edge_map_would_not(trained, monkeypatch):
    images, labels, _ = draw(24, 999)
    found = randomisation_check(trained, images, labels, seeds=range(4))
    assert found.passed
    assert found.stages[0].correlation > 0.1  # with the features left something is left
    assert abs(found.stages[-1].correlation) < 0.25
    # A map of the picture alone, whatever the network: what the check is there to find.
    monkeypatch.setattr(
        "likeness.models.explain_checks.grad_cam", lambda _, images, __: images.mean(1).abs()
    )
    still = randomisation_check(trained, images, labels)
    assert [stage.correlation for stage in still.stages] == pytest.approx([1.0] * 5)
    assert not still.passed


def test_nothing_is_left_behind(trained):
    images, labels, _ = draw(3, 1)
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = randomisation_check(trained, images, labels)
    assert torch.equal(torch.rand(3), expected)
    assert randomisation_check(trained, images, labels) == first
    after = trained.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_network_that_says_nothing_does_not_pass():
    embedder = tiny()
    for layer in embedder.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    images, labels, _ = draw(3, 1)
    found = randomisation_check(embedder.eval(), images, labels)
    assert all(math.isnan(stage.correlation) and stage.maps == 0 for stage in found.stages)
    assert not found.passed


@pytest.mark.parametrize(
    ("options", "stages"),
    [
        ({"backbone": "resnet18", "attention": "parallel", "embedding_dim": 8}, 8),
        ({"backbone": "alexnet", "pooling": "gem"}, 6),
        ({"backbone": "efficientnet_b0"}, 10),
    ],
)
def test_every_backbone_has_its_stages(options, stages):
    torch.manual_seed(0)
    spec = ModelSpec(image_size=64, **options)
    embedder = build_embedder(spec, num_classes=2).eval()
    found = randomisation_check(embedder, torch.randn(2, 3, 64, 64), 0, seeds=[0])
    names = [stage.name for stage in found.stages]
    assert len(names) == stages
    assert names[0] == "class layer"
    if spec.backbone == "resnet18":
        assert names[1:4] == ["embedding", "layer4", "layer3"]
        assert names[-1] == "conv1"


def test_correlations_with_ties_and_without_variation():
    maps = np.array([[0.0, 0.0, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]])
    others = np.array([[5.0, 1.0, 1.0, 7.0], [4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    found = rank_correlations(maps, others)
    assert found[0] == pytest.approx(spearmanr(maps[0], others[0]).statistic)
    assert found[1] == pytest.approx(-1.0)
    assert math.isnan(found[2])


def test_what_it_cannot_do_is_refused(trained):
    images, labels, _ = draw(2, 1)
    with pytest.raises(UserError, match="seeds must be at least one, got 0"):
        randomisation_check(trained, images, labels, seeds=[])
    with pytest.raises(UserError, match=r"class_index must be in \[0, 2\], got \[9\]"):
        randomisation_check(trained, images, 9)
