"""Attention in residual blocks: the definition by hand, the start, files, memory and precision."""

import math
from itertools import product
from typing import get_args

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn
from torch.func import functional_call
from torchvision import models as torchvision_models
from torchvision.models.resnet import BasicBlock, Bottleneck

from fixtures.tensor_memory import peak_bytes
from likeness.bundle import load_bundle, save_bundle
from likeness.card import SECTIONS
from likeness.data.transforms import Preprocessing
from likeness.errors import UserError
from likeness.files import write_json
from likeness.models import AttentionSpec, ModelSpec, build_backbone, build_embedder
from likeness.models.attention import AttentiveBlock, MixedAttention, is_attention
from likeness.models.spec import AttentionOrder
from likeness.provenance import PROVENANCE_FILE, SPLIT_COLUMNS, seal

ORDERS = [order for order in get_args(AttentionOrder) if order != "none"]
EVERY_ORDER = pytest.mark.parametrize("order", ORDERS)
GATES = pytest.mark.parametrize("gate", ["residual", "multiply"])


def spec(**options) -> ModelSpec:
    return ModelSpec(**{"backbone": "resnet18", "image_size": 32, **options})


def images(count=2, side=32) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def attention(order, gate="residual", *, channels=8, reduction=2) -> MixedAttention:
    """In float64, with no weight at its start."""
    torch.manual_seed(1)
    made = MixedAttention(channels, order, AttentionSpec(reduction=reduction, gate=gate)).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.7)
    return made


def branches(channels=8) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(2)
    both = torch.randn(2, 2, channels, 4, 3, generator=draw, dtype=torch.float64)
    return both[0], both[1]


# --- the definition -------------------------------------------------------------------------------


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def place_logit(seen, h, w, weights) -> float:
    """The 7 x 7 convolution of mean and maximum over channels, at one place."""
    logit = weights["places.bias"].item()
    for i, j in product(range(7), range(7)):
        y, x = h + i - 3, w + j - 3
        if 0 <= y < seen.shape[1] and 0 <= x < seen.shape[2]:
            values, kernel = seen[:, y, x], weights["places.weight"][0, :, i, j]
            logit += (kernel[0] * values.mean() + kernel[1] * values.max()).item()
    return logit


def by_hand(U, shortcut, weights, order, gate) -> torch.Tensor:
    """One image, one channel, one place after the other."""
    out = torch.empty_like(U)
    count, channels, height, width = U.shape
    for n in range(count):
        mean = torch.stack([U[n, c].sum() / (height * width) for c in range(channels)])
        hidden = weights["squeeze.weight"] @ mean + weights["squeeze.bias"]
        hidden = torch.where(hidden > 0, hidden, 0.0)
        logits = (weights["expand.weight"] @ hidden + weights["expand.bias"]).tolist()
        seen = U[n].clone()
        if order == "sequential":
            for c in range(channels):
                seen[c] *= sigmoid(logits[c])
        for h, w in product(range(height), range(width)):
            place = place_logit(seen, h, w, weights)
            for c in range(channels):
                both = sigmoid(logits[c]) * sigmoid(place)
                A = sigmoid(logits[c] + place) if order == "sum" else both
                gain = A if gate == "multiply" else 1 + weights["alpha"].item() * A
                out[n, c, h, w] = shortcut[n, c, h, w] + U[n, c, h, w] * gain
    return out


@EVERY_ORDER
@GATES
def test_the_sum_of_both_branches_is_the_definitions(order, gate):
    made, (U, shortcut) = attention(order, gate), branches()
    expected = by_hand(U, shortcut, made.state_dict(), order, gate)
    torch.testing.assert_close(made(U, shortcut), expected)
    with torch.no_grad():
        assert torch.equal(made(U, shortcut), made(U.requires_grad_(), shortcut))


@EVERY_ORDER
@GATES
def test_gradcheck(order, gate):
    made, (U, shortcut) = attention(order, gate, channels=4), branches(4)
    names = list(made.state_dict())

    def call(U, shortcut, *values):
        return functional_call(made, dict(zip(names, values, strict=True)), (U, shortcut))

    leaves = [U, shortcut, *made.state_dict().values()]
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    assert torch.autograd.gradcheck(call, leaves, fast_mode=True)


@pytest.mark.parametrize("kind", [BasicBlock, Bottleneck])
@EVERY_ORDER
def test_a_block_adds_the_attended_branch_before_its_relu(kind, order):
    torch.manual_seed(0)
    down = nn.Sequential(nn.Conv2d(3, 2 * kind.expansion, 1), nn.BatchNorm2d(2 * kind.expansion))
    plain = kind(3, 2, downsample=down).double().eval()
    made = attention(order, channels=2 * kind.expansion)
    block = AttentiveBlock(plain, made).eval()
    assert {key for key in block.state_dict() if not key.startswith("attention.")} == set(
        plain.state_dict()
    )
    seen = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    convolutions = [plain.conv1, plain.conv2, *([plain.conv3] if kind is Bottleneck else [])]
    norms = [plain.bn1, plain.bn2, *([plain.bn3] if kind is Bottleneck else [])]
    U = seen
    for place, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True)):
        U = norm(convolution(U if place == 0 else U.clamp(min=0)))
    expected = by_hand(U.detach(), down(seen).detach(), made.state_dict(), order, "residual")
    torch.testing.assert_close(block(seen), expected.clamp(min=0))
    assert torch.autograd.gradcheck(block, (seen,), fast_mode=True)


@pytest.mark.parametrize(("channels", "hidden"), [(64, 4), (128, 8), (512, 32), (8, 4)])
def test_the_squeeze_keeps_at_least_four_channels(channels, hidden):
    assert MixedAttention(channels, "sum", AttentionSpec()).squeeze.out_features == hidden


# --- the start ------------------------------------------------------------------------------------


def with_torchvisions_weights(name, order):
    """torchvision's network and ours with its weights."""
    torch.manual_seed(5)
    theirs = getattr(torchvision_models, name)(num_classes=5)
    for part in theirs.modules():
        if isinstance(part, nn.BatchNorm2d):  # as after training: no statistic at its start
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.weight, 0.5, 1.0)
    ours = build_backbone(spec(backbone=name, attention=order, channels_last=False))
    given = {key: value for key, value in theirs.state_dict().items() if key[:3] != "fc."}
    found = ours.net.load_state_dict(given, strict=False)
    assert not found.unexpected_keys
    assert all(map(is_attention, found.missing_keys))
    assert sum(key.endswith(".alpha") for key in found.missing_keys) == (8, 16)[name != "resnet18"]
    return theirs, ours


@pytest.mark.parametrize(
    ("name", "order"),
    [("resnet34", "parallel"), ("resnet50", "sum"), *(("resnet18", order) for order in ORDERS)],
)
def test_at_the_start_it_is_torchvisions_network_to_the_last_bit(name, order):
    theirs, ours = with_torchvisions_weights(name, order)
    theirs.eval(), ours.eval()
    with torch.inference_mode():
        pooled = theirs.avgpool(ours(images()).map_NFhw).flatten(1)
        assert torch.equal(theirs.fc(pooled), theirs(images()))
    # And in half precision, where rounding would show.
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        pooled = theirs.avgpool(ours(images()).map_NFhw).flatten(1)
        assert torch.equal(theirs.fc(pooled), theirs(images()))


@EVERY_ORDER
def test_so_is_the_first_gradient(order):
    theirs, ours = with_torchvisions_weights("resnet18", order)
    theirs.fc = nn.Flatten()
    theirs(images()).square().sum().backward()
    ours(images()).map_NFhw.mean((2, 3)).square().sum().backward()
    own = dict(ours.net.named_parameters())
    for key, parameter in theirs.named_parameters():
        torch.testing.assert_close(own[key].grad, parameter.grad, rtol=1e-4, atol=1e-5)
    buffers = dict(ours.net.named_buffers())
    for key, buffer in theirs.named_buffers():  # batch statistics are seen once, not twice
        assert torch.equal(buffers[key], buffer), key
    for key, parameter in own.items():
        if is_attention(key):  # first alpha moves, then what it lets through
            assert bool(parameter.grad.any()) == key.endswith("alpha"), key


@EVERY_ORDER
@GATES
def test_every_part_learns(order, gate):
    torch.manual_seed(0)
    options = {"attention": order, "attention_options": AttentionSpec(gate=gate)}
    embedder = build_embedder(spec(**options), num_classes=3)
    optimiser = torch.optim.SGD(embedder.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        logits = embedder(images(4)).logits["class"]
        nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
        optimiser.step()
    still = [name for name, p in embedder.named_parameters() if not p.grad.any()]
    # A dead squeeze has no gradient; most are not dead.
    assert all("squeeze" in name for name in still), still
    assert len(still) < 8
    assert all(torch.isfinite(p).all() for p in embedder.parameters())


def test_gates_that_multiply_start_open():
    U, shortcut = (branch.float() for branch in branches())
    for order in ORDERS:
        made = MixedAttention(8, order, AttentionSpec(gate="multiply"))
        assert made.alpha is None
        assert "alpha" not in made.state_dict()
        with torch.no_grad():
            gain = (made(U, shortcut) - shortcut) / U
        expected = sigmoid(5) if order == "sum" else sigmoid(5) ** 2
        torch.testing.assert_close(gain, torch.full_like(gain, expected), rtol=1e-3, atol=1e-3)


def test_the_rest_of_the_model_starts_as_without_attention():
    states = []
    for order in ("none", "parallel", "parallel"):
        torch.manual_seed(3)
        states.append(build_embedder(spec(embedding_dim=8, attention=order), num_classes=3))
    plain, first, second = (embedder.state_dict() for embedder in states)
    assert set(first) > set(plain)
    assert all(torch.equal(first[key], value) for key, value in plain.items())
    assert all(torch.equal(second[key], value) for key, value in first.items())


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain_state():
    torch.manual_seed(7)
    return torchvision_models.resnet18(num_classes=9).state_dict()


@pytest.fixture(scope="module")
def attentive():
    torch.manual_seed(8)
    embedder = build_embedder(spec(attention="parallel"), num_classes=2)
    for name, parameter in embedder.named_parameters():
        if is_attention(name):
            nn.init.normal_(parameter)
    return embedder


def contiguous(state):
    return {key: value.contiguous() for key, value in state.items()}


def test_a_plain_file_fills_a_network_with_attention(plain_state, tmp_path):
    save_file(plain_state, tmp_path / "plain.safetensors")
    wanted = spec(attention="sum", bands=5, weights=str(tmp_path / "plain.safetensors"))
    torch.manual_seed(4)
    net = build_embedder(wanted, num_classes=0).backbone.net
    torch.manual_seed(4)
    fresh = build_backbone(wanted).net.state_dict()
    for key, value in net.state_dict().items():
        if key != "conv1.weight":
            assert torch.equal(value, fresh[key] if is_attention(key) else plain_state[key]), key


def test_a_file_with_attention_gives_all_of_it(attentive, tmp_path):
    state = contiguous(attentive.backbone.net.state_dict())
    save_file(state, tmp_path / "whole.safetensors")
    wanted = spec(attention="sequential", weights=str(tmp_path / "whole.safetensors"))
    found = build_embedder(wanted, num_classes=0).backbone.net.state_dict()
    assert all(torch.equal(found[key], value) for key, value in state.items())


@pytest.mark.parametrize(
    ("lost", "order", "sentence"),
    [
        ("layer1.0.attention.alpha", "sum", "the key layer1.0.attention.alpha is missing"),
        ("layer2.0.bn1.weight", "sum", "the key layer2.0.bn1.weight is missing"),
        (None, "none", "the key layer1.0.attention.alpha is unknown"),
    ],
)
def test_half_a_file_is_refused(attentive, tmp_path, lost, order, sentence):
    state = contiguous(attentive.backbone.net.state_dict())
    state = {key: value for key, value in state.items() if key != lost}
    save_file(state, tmp_path / "half.safetensors")
    wanted = spec(attention=order, weights=str(tmp_path / "half.safetensors"))
    with pytest.raises(UserError, match=sentence):
        build_embedder(wanted, num_classes=0)


def test_a_plain_file_lacks_nothing_else(plain_state, tmp_path):
    state = {key: value for key, value in plain_state.items() if key != "layer3.0.conv1.weight"}
    save_file(state, tmp_path / "short.safetensors")
    wanted = spec(attention="sum", weights=str(tmp_path / "short.safetensors"))
    with pytest.raises(UserError, match=r"the key layer3\.0\.conv1\.weight is missing"):
        build_embedder(wanted, num_classes=0)


def save(directory, embedder):
    save_bundle(
        directory,
        embedder,
        config={"model": embedder.spec.model_dump(mode="json")},
        classes=["a", "b"],
        preprocessing=Preprocessing(bands=3, size=32, mean=[0.0] * 3, std=[1.0] * 3),
        splits=pd.DataFrame(columns=list(SPLIT_COLUMNS)),
        metrics={},
        provenance={"seed": 0},
        card="\n\n".join(f"## {heading}\n\nSaid." for heading in SECTIONS),
    )


def test_the_round_trip_through_a_model_directory_is_exact(attentive, tmp_path):
    attentive.eval()
    save(tmp_path / "model", attentive)
    found = load_bundle(tmp_path / "model").embedder
    assert found.spec == attentive.spec
    expected = attentive.state_dict()
    assert list(found.state_dict()) == list(expected)
    assert all(torch.equal(found.state_dict()[key], value) for key, value in expected.items())
    with torch.inference_mode():
        assert torch.equal(found.embed(images()), attentive.embed(images()))


def test_a_model_from_before_attention_is_read(tmp_path):
    embedder = build_embedder(spec(), num_classes=2).eval()
    save(tmp_path / "model", embedder)
    config = yaml.safe_load((tmp_path / "model" / "config.yaml").read_text())
    for key in ("attention", "attention_options"):
        del config["model"][key]
    (tmp_path / "model" / "config.yaml").write_text(yaml.safe_dump(config))
    write_json(tmp_path / "model" / PROVENANCE_FILE, seal(tmp_path / "model", {"seed": 0}))
    found = load_bundle(tmp_path / "model").embedder
    assert found.spec == embedder.spec
    assert not any(map(is_attention, load_file(tmp_path / "model" / "weights.safetensors")))
    with torch.inference_mode():
        assert torch.equal(found.embed(images()), embedder.embed(images()))


# --- memory and precision -------------------------------------------------------------------------


def peaks(order) -> tuple[int, int]:
    """Bytes of a training step and of a forward pass without gradients."""
    backbone = build_backbone(spec(attention=order))
    seen = images(8, 64)
    backbone(seen).map_NFhw.sum().backward()  # gradients are there from now on
    training = peak_bytes(lambda: backbone(seen).map_NFhw.sum().backward())
    with torch.inference_mode():
        return training, peak_bytes(lambda: backbone.eval()(seen))


@pytest.fixture(scope="module")
def plain_peaks():
    return peaks("none")


@EVERY_ORDER
def test_only_the_branch_is_kept_for_the_backward_pass(order, plain_peaks):
    branches = 8 * 4 * 2 * (64 * 16**2 + 128 * 8**2 + 256 * 4**2 + 512 * 2**2)  # bytes
    slack = 2**19
    training, inference = peaks(order)
    assert training <= plain_peaks[0] + branches + slack
    assert inference <= plain_peaks[1] + slack


@EVERY_ORDER
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_precision_and_memory_order_are_kept(order, dtype):
    made = MixedAttention(8, order, AttentionSpec())
    nn.init.constant_(made.alpha, 0.5)
    U, shortcut = (b.to(dtype).contiguous(memory_format=torch.channels_last) for b in branches())
    with torch.no_grad():
        expected = made(U.float(), shortcut.float())
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            mixed = made(U, shortcut)
            with torch.enable_grad():
                trained = made(U.requires_grad_(), shortcut)
    for found in (mixed, trained):
        assert found.dtype == dtype
        assert found.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)


def test_several_gradients_from_one_forward_pass():
    """As methods with several losses take them."""
    made, (U, shortcut) = attention("sequential"), branches()
    U.requires_grad_()
    out = made(U, shortcut)
    first, second = out.sum(), out.square().sum()
    found = [
        torch.autograd.grad(first, (U, made.alpha), retain_graph=True),
        torch.autograd.grad(second, (U, made.alpha)),
    ]
    for one, power in zip(found, (1, 2), strict=True):
        alone = torch.autograd.grad(made(U, shortcut).pow(power).sum(), (U, made.alpha))
        assert all(torch.equal(a, b) for a, b in zip(one, alone, strict=True))
