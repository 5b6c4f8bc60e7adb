"""GoogLeNet-BN: its table, its three heads and where they read, its bundle, a Caffe model."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from likeness.bundle import load_bundle, save_bundle
from likeness.card import SECTIONS
from likeness.config import parse
from likeness.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from likeness.errors import UserError
from likeness.models import ModelSpec, build_backbone, build_embedder
from likeness.models.backbones import Backbone
from likeness.models.explain import grad_cam
from likeness.models.inception_bn import AuxiliaryHead, HalvingPool, from_caffe, stage_cells

CLASSES = ["a", "b", "c"]
SIZE = (24, 18)  # height and width; with the small stem


class Row(NamedTuple):
    """A row of figure 5 as printed: 1x1, 3x3 reduce and 3x3, double reduce and 3x3, pool."""

    one: int
    three: tuple[int, int]
    double: tuple[int, int]
    pool: int


FIGURE_5 = {
    "3a": Row(64, (64, 64), (64, 96), 32),
    "3b": Row(64, (64, 96), (64, 96), 64),
    "3c": Row(0, (128, 160), (64, 96), 0),
    "4a": Row(224, (64, 96), (96, 128), 128),
    "4b": Row(192, (96, 128), (96, 128), 128),
    "4c": Row(160, (128, 160), (128, 160), 128),
    "4d": Row(96, (128, 192), (160, 192), 128),
    "4e": Row(0, (128, 192), (192, 256), 0),
    "5a": Row(352, (192, 320), (160, 224), 128),
    "5b": Row(352, (192, 320), (192, 224), 128),
}
# The figure's own column of outputs, which needs 96 in place of 128 in two rows.
OUTPUTS = [256, 320, 576, 576, 576, 576, 576, 1024, 1024, 1024]


def convolutions(narrow: int) -> dict[str, tuple[int, int, int]]:
    """Caffe's layer -> outputs, inputs and side of its kernel; `narrow`: projection of 4c, 4d."""
    layers = {"conv1/7x7_s2": (64, 3, 7), "conv2/3x3_reduce": (64, 64, 1)}
    layers["conv2/3x3"] = (192, 64, 3)
    inputs = 192
    for name, row in FIGURE_5.items():
        pool = narrow if name in ("4c", "4d") else row.pool
        block = {
            "1x1": (row.one, inputs, 1),
            "3x3_reduce": (row.three[0], inputs, 1),
            "3x3": (row.three[1], row.three[0], 3),
            "double3x3_reduce": (row.double[0], inputs, 1),
            "double3x3a": (row.double[1], row.double[0], 3),
            "double3x3b": (row.double[1], row.double[1], 3),
            "pool_proj": (pool, inputs, 1),
        }
        layers |= {f"inception_{name}/{key}": shape for key, shape in block.items() if shape[0]}
        inputs = row.one + row.three[1] + row.double[1] + (pool or inputs)
    return layers


def count(layers, *, biases: bool) -> int:
    """Kernels, scale and shift of the batch norms, and biases in front of them, if there are."""
    return sum(o * i * side**2 + (3 if biases else 2) * o for o, i, side in layers.values())


def spec(**options) -> ModelSpec:
    small = {"backbone": "inception_bn", "stem": "small", "image_size": SIZE}
    return ModelSpec(**{**small, **options})


def images(number=4, size=SIZE) -> torch.Tensor:
    return torch.randn(number, 3, *size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def embedder():
    """Running statistics of some images, so that evaluation means something."""
    torch.manual_seed(0)
    built = build_embedder(spec(), num_classes=len(CLASSES))
    for part in built.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        built(images(8))
    return built.eval()


def test_the_number_of_weights_is_that_of_the_figure():
    # 11,295,240 is what the well-known PyTorch conversion holds, which reads 128 and has biases.
    assert count(convolutions(128), biases=True) + 1025 * 1000 == 11_295_240
    with torch.device("meta"):
        backbone = build_backbone(spec(stem="standard", image_size=224))
    own = sum(value.numel() for value in backbone.net.parameters())
    assert own == count(convolutions(96), biases=False)
    assert isinstance(backbone, Backbone)


def test_every_block_gives_the_channels_and_cells_of_the_figure():
    found = {}
    with torch.device("meta"):
        net = build_backbone(spec(stem="standard", image_size=224)).net.eval()
        seen = torch.zeros(1, 3, 224, 224)
        for name, layer in net.named_children():
            seen = layer(seen)
            found[name] = tuple(seen.shape[1:])
    assert found["conv1"] == (64, 112, 112)
    assert found["pool1"] == (64, 56, 56)
    assert found["pool2"] == (192, 28, 28)
    cells = [28, 28, 14, 14, 14, 14, 14, 7, 7, 7]
    for name, channels, side in zip(FIGURE_5, OUTPUTS, cells, strict=True):
        assert found[f"inception_{name}"] == (channels, side, side)


@pytest.mark.parametrize(
    ("stem", "size", "first", "middle"),
    [
        ("standard", 224, 4 * 4, 2 * 2),  # as the official code has it
        ("standard", (256, 128), 5 * 2, 2 * 1),
        ("standard", (97, 145), 2 * 3, 1 * 1),  # maps of odd sides
        ("standard", 71, 1, 1),
        ("small", 64, 5 * 5, 2 * 2),
        ("small", (19, 18), 1, 1),
    ],
)
def test_the_heads_are_made_for_the_size_of_the_image(stem, size, first, middle):
    with torch.device("meta"):
        built = build_embedder(spec(stem=stem, image_size=size), num_classes=2).eval()
        outputs = built(torch.zeros(2, 3, *built.spec.height_width))
    assert built.heads["first"].fc.in_features == 128 * first
    assert built.heads["embedding"].fc.in_features == 128 * middle
    assert outputs.embeddings["embedding"].shape == (2, 1024)


@pytest.mark.parametrize(("stem", "least"), [("standard", 71), ("small", 18)])
def test_smaller_images_leave_the_middle_head_no_window(stem, least):
    small = stem == "small"
    assert stage_cells(least, small=small)["inception_4e"] == 3
    assert stage_cells(least - 1, small=small)["inception_4e"] == 2
    given = {"backbone": "inception_bn", "stem": stem, "image_size": [128, least - 1]}
    sentence = f"model.image_size must be >= {least} for inception_bn with the {stem} stem, got"
    with pytest.raises(UserError, match=sentence):
        parse(ModelSpec, given, "model")
    with pytest.raises(RuntimeError, match="Output size is too small"):
        nn.AvgPool2d(5, 3, ceil_mode=True)(torch.zeros(1, 1, 2, 5))


def test_images_of_another_size_are_refused(embedder):
    for ask in (embedder, embedder.embed, embedder.feature_map):
        rule = r"24 x 18 pixels for the heads half-way of inception_bn, got \(18"
        with pytest.raises(UserError, match=f"images_NCHW must be {rule}"):
            ask(images(2, (18, 24)))


def test_what_each_class_layer_reads(embedder):
    with torch.inference_mode():
        outputs = embedder(images())
        last = embedder.feature_map(images()).mean(dim=(2, 3))
        torch.testing.assert_close(outputs.features_NF, last)
        reads = {
            "class": last,
            "class_middle": outputs.embeddings["embedding"],
            "class_first": outputs.embeddings["first"],
        }
        assert set(outputs.logits) == set(reads)
        for name, vector_ND in reads.items():
            layer = embedder.classifiers[name]
            by_hand = vector_ND @ layer.weight.T + layer.bias
            torch.testing.assert_close(outputs.logits[name], by_hand)
        assert torch.equal(embedder.embed(images()), outputs.embeddings["embedding"])
    assert (embedder.embedding_dim, embedder.num_features) == (1024, 1024)


def test_embeddings_are_not_negative_and_not_normalised(embedder):
    with torch.inference_mode():
        evaluated = embedder(images()).embeddings["embedding"]
        trained = embedder.train()(images()).embeddings["embedding"]
    embedder.eval()
    assert not torch.allclose(evaluated, trained)  # batch norms see the batch in training
    for found in (evaluated, trained):
        assert found.shape == (4, 1024)
        assert (found >= 0).all()
        assert 0.1 < float((found > 0).float().mean()) < 0.9
        assert (found.norm(dim=1) - 1).abs().min() > 1e-3


def test_the_length_of_the_embedding_is_that_of_the_middle_head():
    with torch.device("meta"):
        built = build_embedder(spec(embedding_dim=8, dropout=0.5), num_classes=2).eval()
        outputs = built(torch.zeros(2, 3, *SIZE))
        bare = build_embedder(spec(), num_classes=0).eval()(torch.zeros(2, 3, *SIZE))
    shapes = {name: tuple(value.shape) for name, value in outputs.embeddings.items()}
    assert shapes == {"embedding": (2, 8), "first": (2, 1024)}
    assert built.embedding_dim == 8
    assert outputs.logits["class_middle"].shape == (2, 2)
    assert bare.logits == {}


def test_without_heads_half_way_it_is_a_network_like_others(embedder):
    """One head on the same last map, for images of any size; any trunk's weights fit."""
    torch.manual_seed(1)
    options = {"half_way_heads": False, "embedding_dim": 8, "image_size": 16}
    plain = build_embedder(spec(**options), num_classes=2)
    assert set(plain.heads) == {"embedding"}
    assert set(plain.classifiers) == {"class"}
    plain.backbone.net.load_state_dict(embedder.backbone.net.state_dict())
    plain.eval()
    with torch.inference_mode():
        for size in (SIZE, (40, 16)):
            outputs = plain(images(2, size))
            assert set(outputs.embeddings) == {"embedding"}
            head = plain.heads["embedding"]
            by_hand = plain.feature_map(images(2, size)).mean(dim=(2, 3)) @ head.weight.T
            torch.testing.assert_close(outputs.embeddings["embedding"], by_hand + head.bias)
        torch.testing.assert_close(
            plain.feature_map(images()), embedder.feature_map(images()), rtol=0, atol=0
        )


@pytest.mark.parametrize("stem", ["standard", "small"])
def test_without_heads_half_way_small_images_leave_a_cell(stem):
    with torch.device("meta"):
        options = {"half_way_heads": False, "stem": stem, "image_size": 16}
        built = build_embedder(spec(**options), num_classes=0).eval()
        assert min(built.feature_map(torch.zeros(1, 3, 16, 16)).shape[2:]) >= 1


STEM = ["conv1", "conv2", "inception_3a", "inception_3b", "inception_3c"]
MIDDLE = ["inception_4a", "inception_4b", "inception_4c", "inception_4d", "inception_4e"]


@pytest.mark.parametrize(
    ("name", "stages", "heads"),
    [
        ("class_first", STEM, ["first"]),
        ("class_middle", [*STEM, *MIDDLE], ["embedding"]),
        ("class", [*STEM, *MIDDLE, "inception_5a", "inception_5b"], []),
    ],
)
def test_each_loss_reaches_what_is_below_its_head_and_nothing_else(name, stages, heads):
    torch.manual_seed(0)
    built = build_embedder(spec(), num_classes=len(CLASSES))
    loss = nn.functional.cross_entropy(built(images()).logits[name], torch.tensor([0, 1, 2, 0]))
    loss.backward()
    below = {f"backbone.net.{stage}." for stage in stages} | {f"heads.{head}." for head in heads}
    below.add(f"classifiers.{name}.")
    for key, value in built.named_parameters():
        reached = value.grad is not None and bool(value.grad.any())
        assert reached == key.startswith(tuple(below)), key
        assert value.grad is None or torch.isfinite(value.grad).all(), key


@pytest.mark.parametrize("side", [3, 4, 6, 7, 8, 9])
def test_a_head_is_its_definition(side):
    torch.manual_seed(side)
    head = AuxiliaryHead(6, (side, 7), 5).eval()
    for norm in (head.conv.bn, head.bn):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    seen = torch.rand(2, 6, side, 7)
    # Windows of 5 in steps of 3 while one begins inside and the last did not reach the end.
    starts = {3: [0], 4: [0], 6: [0, 3], 7: [0, 3], 8: [0, 3], 9: [0, 3, 6]}
    rows = [
        [seen[:, :, top : top + 5, left : left + 5].mean(dim=(2, 3)) for left in starts[7]]
        for top in starts[side]
    ]
    pooled = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    narrow = torch.einsum("of,nfhw->nohw", head.conv.conv.weight[:, :, 0, 0], pooled)

    def normalised(values, norm, shape):
        mean, scale = norm.running_mean.view(shape), (norm.running_var + norm.eps).sqrt()
        moved = (values - mean) / scale.view(shape) * norm.weight.view(shape)
        return (moved + norm.bias.view(shape)).clamp(min=0)

    flat = normalised(narrow, head.conv.bn, (1, -1, 1, 1)).flatten(1)
    with torch.inference_mode():
        expected = normalised(flat @ head.fc.weight.T, head.bn, (1, -1))
        torch.testing.assert_close(head(seen), expected)
    assert head.fc.bias is None


@pytest.mark.parametrize("sides", [(6, 8), (5, 7), (4, 9), (1, 2)])
def test_halving_is_its_definition(sides):
    seen = torch.rand(1, 2, *sides)
    found = HalvingPool()(seen)
    assert found.shape[2:] == tuple(-(-side // 2) for side in sides)
    for top in range(found.shape[2]):
        for left in range(found.shape[3]):
            window = seen[:, :, 2 * top : 2 * top + 3, 2 * left : 2 * left + 3]
            assert torch.equal(found[:, :, top, left], window.amax(dim=(2, 3)))


def test_the_bundle_gives_the_same_numbers(embedder, tmp_path):
    save_bundle(
        tmp_path / "model",
        embedder,
        config={"model": embedder.spec.model_dump(mode="json")},
        classes=CLASSES,
        preprocessing=Preprocessing(bands=3, size=SIZE, mean=[0.5] * 3, std=[0.2] * 3),
        splits=pd.DataFrame(columns=["path", "label", "split", "group", "sha256"]),
        metrics={},
        provenance={"seed": 0},
        card="# Card\n\n" + "\n\n".join(f"## {heading}\n\nSaid." for heading in SECTIONS) + "\n",
        centres_CD=torch.zeros(len(CLASSES), 1024),
    )
    loaded = load_bundle(tmp_path / "model").embedder
    assert loaded.spec == embedder.spec
    with torch.inference_mode():
        ours, theirs = embedder(images()), loaded(images())
    for kind in ("embeddings", "logits"):
        for name, value in getattr(ours, kind).items():
            assert torch.equal(value, getattr(theirs, kind)[name]), name
    # Another run may start from its trunk, whatever the size of its images.
    begun = build_embedder(
        spec(image_size=32, weights=str(tmp_path / "model")), num_classes=2
    ).backbone.net.state_dict()
    for key, value in embedder.backbone.net.state_dict().items():
        assert torch.equal(value, begun[key]), key


def test_grad_cam_explains_the_last_head(embedder):
    """With the mean, weights of the channels are those of the class layer."""
    with torch.inference_mode():
        map_NFhw = embedder.feature_map(images())
    weight_F = embedder.classifiers["class"].weight[1].detach()
    expected = torch.einsum("f,nfhw->nhw", weight_F, map_NFhw).relu()
    expected /= expected.amax(dim=(1, 2), keepdim=True).clamp_min(1e-30)
    torch.testing.assert_close(grad_cam(embedder, images(), 1), expected)


@pytest.fixture(scope="module")
def caffe():
    draw = np.random.default_rng(0)
    blobs = {}
    for name, (outputs, inputs, side) in convolutions(96).items():
        kernel = draw.normal(size=(outputs, inputs, side, side)).astype(np.float32)
        blobs[name] = [kernel / np.sqrt(inputs * side**2, dtype=np.float32)]
        mean, variance = draw.normal(size=outputs), draw.uniform(0.5, 2.0, outputs)
        blobs[f"{name}/bn"] = [mean * 4.0, variance * 4.0, np.array([4.0])]
        blobs[f"{name}/bn/sc"] = [draw.normal(size=outputs), draw.normal(size=outputs)]
    return blobs


@pytest.fixture(scope="module")
def caffe_file(caffe, tmp_path_factory):
    home = tmp_path_factory.mktemp("hub")
    (home / "checkpoints").mkdir()
    save_file(from_caffe(caffe), home / "checkpoints" / "inception_bn.safetensors")
    return home / "checkpoints" / "inception_bn.safetensors"


def test_a_caffe_model_starts_the_trunk(caffe, caffe_file, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(caffe_file.parent.parent))
    standard = {"stem": "standard", "image_size": 71}
    for weights in ("imagenet", str(caffe_file)):
        net = build_embedder(spec(**standard, weights=weights), num_classes=0).backbone.net
        part = net.get_submodule("inception_4c.branch_double3x3.double3x3b")
        (kernel,) = caffe["inception_4c/double3x3b"]
        mean, variance, factor = caffe["inception_4c/double3x3b/bn"]
        scale, shift = caffe["inception_4c/double3x3b/bn/sc"]
        pairs = [
            (part.conv.weight, kernel),
            (part.bn.running_mean, mean / factor),
            (part.bn.running_var, variance / factor),
            (part.bn.weight, scale),
            (part.bn.bias, shift),
        ]
        for found, expected in pairs:
            np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-6)


def test_the_first_layer_answers_as_the_caffe_one_did(caffe):
    """BGR about (104, 117, 123) there, normalised RGB here: less than one grey level apart."""
    state = from_caffe(caffe)
    pixels = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(4))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    ours = nn.functional.conv2d((pixels - mean) / std, state["conv1.7x7_s2.conv.weight"])
    about = torch.tensor([104.0, 117.0, 123.0]).view(1, 3, 1, 1)
    kernel = torch.from_numpy(caffe["conv1/7x7_s2"][0])
    theirs = nn.functional.conv2d(pixels.flip(1) * 255 - about, kernel)
    level = kernel.sum(dim=(2, 3)).abs().sum(dim=1).view(1, -1, 1, 1)
    assert ((ours - theirs).abs() <= level).all()
    assert theirs.std() > 10 * (ours - theirs).std()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"conv2/3x3/bn": []}, "blobs must hold 3 of the layer conv2/3x3/bn, got 0"),
        (
            {"inception_3a/1x1": [np.zeros((64, 192, 3, 3))]},
            r"inception_3a/1x1 must be of shape \(64, 192, 1, 1\), got \(64, 192, 3, 3\)",
        ),
    ],
)
def test_another_caffe_model_is_refused(caffe, change, sentence):
    with pytest.raises(UserError, match=sentence):
        from_caffe({**caffe, **change})


def test_without_the_file_the_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with torch.device("meta"), pytest.raises(UserError) as caught:
        build_embedder(spec(weights="imagenet"), num_classes=0)
    message = str(caught.value)
    assert f"put inception_bn.safetensors into {tmp_path / 'checkpoints'}" in message
    assert "likeness.models.inception_bn.from_caffe makes it from a Caffe model" in message
