"""Starting from a file: what fits, is adapted or refused, and that nothing is fetched."""

import socket
from typing import get_args

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models as torchvision_models
from torchvision.models.vision_transformer import VisionTransformer

from likeness.errors import UserError
from likeness.models import BackboneName, ModelSpec, build_backbone, build_embedder
from likeness.models.pretrained import first_difference, imagenet_path, load_pretrained
from likeness.models.stems import inflate_bands


@pytest.fixture(scope="module")
def resnet_state():
    torch.manual_seed(7)
    return torchvision_models.resnet18(num_classes=9).state_dict()


@pytest.fixture(scope="module")
def resnet_file(resnet_state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    save_file(resnet_state, path)
    return path


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


def spec(**options) -> ModelSpec:
    return ModelSpec(**{"backbone": "resnet18", "image_size": 32, **options})


def test_a_file_fills_the_backbone_and_its_class_layer_is_ignored(resnet_state, resnet_file):
    embedder = build_embedder(spec(weights=str(resnet_file)), num_classes=2)
    own = embedder.backbone.net.state_dict()
    assert set(own) == {key for key in resnet_state if not key.startswith("fc.")}
    assert all(torch.equal(value, resnet_state[key]) for key, value in own.items())
    assert embedder.classifiers["class"].weight.shape == (2, 512)


@pytest.mark.parametrize("bands", [1, 4, 13])
def test_a_file_for_colour_is_inflated_to_the_bands(resnet_state, resnet_file, bands):
    backbone = build_backbone(spec(bands=bands))
    load_pretrained(backbone, spec(bands=bands, weights=str(resnet_file)))
    own = backbone.net.state_dict()
    assert torch.equal(own["conv1.weight"], inflate_bands(resnet_state["conv1.weight"], bands))
    assert torch.equal(own["layer4.1.conv2.weight"], resnet_state["layer4.1.conv2.weight"])


def test_a_file_for_the_same_bands_is_taken_as_it_is(resnet_state, tmp_path):
    wide = torch.randn(64, 13, 7, 7)
    save_file({**resnet_state, "conv1.weight": wide}, tmp_path / "wide.safetensors")
    backbone = build_backbone(spec(bands=13))
    load_pretrained(backbone, spec(bands=13, weights=str(tmp_path / "wide.safetensors")))
    assert torch.equal(backbone.net.conv1.weight, wide)


def test_a_file_may_lack_the_batch_counters(resnet_state, tmp_path):
    old = {key: value for key, value in resnet_state.items() if "num_batches" not in key}
    save_file(old, tmp_path / "old.safetensors")
    backbone = build_backbone(spec())
    load_pretrained(backbone, spec(weights=str(tmp_path / "old.safetensors")))
    assert torch.equal(backbone.net.bn1.running_mean, resnet_state["bn1.running_mean"])


@pytest.mark.parametrize(
    "name", sorted(set(get_args(BackboneName)) - {"inception_bn", "preact_resnet18"})
)
def test_missing_imagenet_weights_say_which_file_goes_where(
    name, tmp_path, monkeypatch, no_network
):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    wanted = ModelSpec(backbone=name, image_size=224, weights="imagenet")
    path = imagenet_path(wanted)
    assert path.parent == tmp_path / "checkpoints"
    with torch.device("meta"), pytest.raises(UserError) as caught:
        build_embedder(wanted, num_classes=0)
    message = str(caught.value)
    assert f"put {path.name} into {path.parent}" in message
    assert f"torchvision.models.{name}(weights='IMAGENET1K_V1')" in message
    assert "got 'imagenet'" in message
    assert "\n" not in message
    assert not list(tmp_path.iterdir())


def test_the_command_in_the_message_makes_a_file_that_fits(
    resnet_state, tmp_path, monkeypatch, no_network
):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.chdir(tmp_path)
    wanted = spec(weights="imagenet")
    with pytest.raises(UserError) as caught:
        build_embedder(wanted, num_classes=0)
    command = str(caught.value).partition('python -c "')[2].partition('"')[0]

    def offline(*, weights):  # torchvision's builder would fetch
        assert weights == "IMAGENET1K_V1"
        model = torchvision_models.ResNet(torchvision_models.resnet.BasicBlock, [2, 2, 2, 2], 9)
        model.load_state_dict(resnet_state)
        return model

    monkeypatch.setattr(torchvision_models, "resnet18", offline)
    exec(command, {})
    path = imagenet_path(wanted)
    path.parent.mkdir()
    (tmp_path / path.name).rename(path)
    embedder = build_embedder(wanted, num_classes=0)
    assert torch.equal(embedder.backbone.net.conv1.weight, resnet_state["conv1.weight"])


def test_the_imagenet_file_names_are_torchvisions():
    names = {
        "resnet18": "resnet18-f37072fd.safetensors",
        "resnet34": "resnet34-b627a593.safetensors",
        "resnet50": "resnet50-0676ba61.safetensors",
        "densenet121": "densenet121-a639ec97.safetensors",
        "vgg16": "vgg16-397923af.safetensors",
        "alexnet": "alexnet-owt-7be5be79.safetensors",
        "efficientnet_b0": "efficientnet_b0_rwightman-7f5810bc.safetensors",
        "convnext_tiny": "convnext_tiny-983f1562.safetensors",
        "vit_b_16": "vit_b_16-c867db91.safetensors",
        "googlenet": "googlenet-1378be20.safetensors",
        "inception_bn": "inception_bn.safetensors",  # not theirs
    }
    assert set(names) == set(get_args(BackboneName)) - {"preact_resnet18"}  # there are none
    for name, expected in names.items():
        assert imagenet_path(ModelSpec(backbone=name, image_size=224)).name == expected


@pytest.mark.parametrize("name", ["alexnet", "efficientnet_b0", "convnext_tiny", "googlenet"])
@pytest.mark.parametrize("bands", [3, 4])
def test_torchvisions_own_file_fits_its_backbone(name, bands, tmp_path):
    """What the command in the message would write, with random weights in place of ImageNet's.

    GoogLeNet's is that of the whole file, with the two heads that the command leaves out.
    """
    torch.manual_seed(2)
    options = {"init_weights": False} if name == "googlenet" else {}
    theirs = getattr(torchvision_models, name)(**options).state_dict()
    save_file(theirs, tmp_path / "theirs.safetensors")
    wanted = ModelSpec(
        backbone=name, image_size=64, bands=bands, weights=str(tmp_path / "theirs.safetensors")
    )
    backbone = build_embedder(wanted, num_classes=0).backbone
    first = f"{backbone.first_layer}.weight"
    for key, value in backbone.net.state_dict().items():
        expected = inflate_bands(theirs[key], bands) if key == first else theirs[key]
        assert torch.equal(value, expected), key


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ""])
def test_a_pickle_is_refused_unread(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    torch.save({"conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"must be a \.safetensors file, got .* a pickle can run"):
        build_embedder(spec(weights=str(path)), num_classes=0)


def test_a_renamed_pickle_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    torch.save({"conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="must be a whole safetensors file, got"):
        build_embedder(spec(weights=str(path)), num_classes=0)


def test_a_cut_off_file_is_refused(resnet_file, tmp_path):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(resnet_file.read_bytes()[:100_000])
    with pytest.raises(UserError, match="must be a whole safetensors file, got"):
        build_embedder(spec(weights=str(path)), num_classes=0)


@pytest.mark.parametrize("weights", ["image-net", "nowhere/file.safetensors"])
def test_a_missing_file_is_refused(weights):
    with pytest.raises(UserError, match=r"model\.weights must be none, imagenet, a \.safe.*, got"):
        build_embedder(spec(weights=weights), num_classes=0)


def test_a_directory_without_a_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="model must be a model or run directory"):
        build_embedder(spec(weights=str(tmp_path)), num_classes=0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"backbone": "resnet50"},
            "layer1.0.conv1.weight has shape (64, 64, 3, 3), not",
        ),
        ({"backbone": "densenet121"}, "the key features.conv0.weight is missing"),
        ({"stem": "small"}, "model.stem must be 'standard' for weights whose first kernel has 7"),
    ],
)
def test_weights_for_another_network_name_the_first_difference(resnet_file, options, sentence):
    with pytest.raises(UserError) as caught:
        build_embedder(spec(weights=str(resnet_file), **options), num_classes=0)
    assert sentence in str(caught.value)


def test_an_unknown_key_is_named(resnet_state, tmp_path):
    extra = {**resnet_state, "layer9.weight": torch.zeros(1), "layer5.weight": torch.zeros(1)}
    save_file(extra, tmp_path / "extra.safetensors")
    with pytest.raises(UserError, match=r"the key layer5\.weight is unknown"):
        build_embedder(spec(weights=str(tmp_path / "extra.safetensors")), num_classes=0)


def test_first_difference_of_equal_states_is_none(resnet_state):
    assert first_difference(resnet_state, dict(reversed(resnet_state.items()))) is None


class TinyViT(nn.Module):
    """A backbone of the same interface, small enough to save at 224 px."""

    first_layer = "conv_proj"
    head_prefix = "heads."
    num_features = 4

    def __init__(self, side: int) -> None:
        super().__init__()
        self.net = VisionTransformer(side, 16, 1, 1, 4, 4)
        self.net.heads = nn.Identity()


def positions(tmp_path, side: int, grid_1FT: torch.Tensor) -> torch.Tensor:
    """The positions at `side` px of a network that had `grid_1FT` at 224 px."""
    state = TinyViT(224).net.state_dict()
    token_11F = torch.tensor([[[9.0, 8.0, 7.0, 6.0]]])
    state["encoder.pos_embedding"] = torch.cat([token_11F, grid_1FT.transpose(1, 2)], dim=1)
    save_file(state, tmp_path / "vit.safetensors")
    wanted = ModelSpec(
        backbone="vit_b_16", image_size=side, weights=str(tmp_path / "vit.safetensors")
    )
    backbone = TinyViT(side)
    load_pretrained(backbone, wanted)
    found_1TF = backbone.net.state_dict()["encoder.pos_embedding"]
    assert torch.equal(found_1TF[:, :1], token_11F)
    return found_1TF[0, 1:]


def test_positions_of_the_same_size_are_kept(tmp_path):
    grid = torch.randn(1, 4, 14 * 14)
    assert torch.equal(positions(tmp_path, 224, grid), grid[0].T)


def test_positions_are_interpolated_on_the_grid(tmp_path):
    rows, columns = torch.meshgrid(torch.arange(14.0), torch.arange(14.0), indexing="ij")
    grid = torch.stack([rows, columns, rows + columns, torch.ones(14, 14)]).flatten(1)[None]
    found = positions(tmp_path, 64, grid).T.reshape(4, 4, 4)
    for corner_row, corner_column in ((0, 0), (0, 3), (3, 0), (3, 3)):
        row, column = corner_row / 3 * 13, corner_column / 3 * 13
        expected = torch.tensor([row, column, row + column, 1.0])
        torch.testing.assert_close(found[:, corner_row, corner_column], expected)
    torch.testing.assert_close(found[3], torch.ones(4, 4))
    assert (found[0].diff(dim=0) > 0).all()  # rows stay rows


def test_positions_of_no_square_grid_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"positions of a square grid, got encoder.pos_embedding"):
        positions(tmp_path, 64, torch.randn(1, 4, 14 * 13))
