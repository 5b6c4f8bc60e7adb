"""Second-order attention and two heads: definition, start, wiring, a relation of far places."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from fixtures.tensor_memory import peak_bytes
from likeness.batch import Batch
from likeness.bundle import load_bundle, save_bundle
from likeness.card import SECTIONS
from likeness.config import parse
from likeness.data.transforms import Preprocessing
from likeness.errors import UserError
from likeness.models import ModelSpec, SecondOrderAttention, TwoHeadsSpec, build_embedder
from likeness.models.second_order import AverageAndMaximum, joined
from likeness.objective import ObjectiveSpec, build_objective
from likeness.provenance import SPLIT_COLUMNS


def block(features: int = 6, reduction: int = 2) -> SecondOrderAttention:
    """In float64 and evaluation mode, with no weight at its start."""
    torch.manual_seed(1)
    made = SecondOrderAttention(features, reduction=reduction).double()
    for tensor in made.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(-0.9, 0.9)
    for part in (made.f[1], made.g[1]):
        part.running_var.abs_().add_(0.5)
    return made.eval()


def planted_map(features: int = 6) -> Tensor:
    return torch.randn(2, features, 4, 3, generator=torch.Generator().manual_seed(2)).double()


def spec(**options: object) -> ModelSpec:
    given = {"backbone": "resnet18", "image_size": 32, "two_heads": TwoHeadsSpec(), **options}
    return ModelSpec(**given)


def images(count: int = 4, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


# --- the block --------------------------------------------------------------------------------


@torch.no_grad()
def by_hand(made: SecondOrderAttention, X: Tensor) -> Tensor:
    """One image, one place after the other."""

    def linear(layer: nn.Conv2d, x: Tensor) -> Tensor:
        found = layer.weight[:, :, 0, 0] @ x
        return found if layer.bias is None else found + layer.bias

    def normalised(layers: nn.Sequential, x: Tensor) -> Tensor:
        norm = layers[1]
        x = linear(layers[0], x) - norm.running_mean
        x = x / torch.sqrt(norm.running_var + norm.eps) * norm.weight + norm.bias
        return torch.relu(x)

    out = X.clone()
    for n in range(len(X)):
        places = [X[n, :, y, x] for y in range(X.shape[2]) for x in range(X.shape[3])]
        f, g, h = ([part(x) for x in places] for part in (
            lambda x: normalised(made.f, x), lambda x: normalised(made.g, x),
            lambda x: linear(made.h, x)))  # fmt: skip
        for i in range(len(places)):
            e = [math.exp(float(f[i] @ other) / math.sqrt(len(other))) for other in g]
            mixed = sum(weight / sum(e) * value for weight, value in zip(e, h, strict=True))
            y, x = divmod(i, X.shape[3])
            out[n, :, y, x] += linear(made.v, mixed)
    return out


def test_the_map_is_the_definitions() -> None:
    made, X = block(), planted_map()
    expected = by_hand(made, X)
    assert not torch.allclose(expected, X, atol=0.1)
    torch.testing.assert_close(made(X).detach(), expected)


def test_gradcheck() -> None:
    made, X = block(4), planted_map(4)
    names = [name for name, _ in made.named_parameters()]

    def call(X: Tensor, *values: Tensor) -> Tensor:
        return functional_call(made, dict(zip(names, values, strict=True)), (X,))

    leaves = [X, *(item.detach() for item in made.parameters())]
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    assert torch.autograd.gradcheck(call, leaves, fast_mode=True)


def test_at_the_start_it_is_the_identity_and_only_v_moves() -> None:
    made = SecondOrderAttention(6, reduction=2)
    X = planted_map().float()
    assert torch.equal(made(X), X)
    made(X).square().sum().backward()
    moved = {name for name, item in made.named_parameters() if item.grad.abs().max() > 0}
    assert moved == {"v.weight", "v.bias"}


def test_places_in_another_order_are_answered_in_that_order() -> None:
    made, X = block(), planted_map()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    moved = X.flatten(2)[:, :, order].view_as(X)
    torch.testing.assert_close(made(moved), made(X).flatten(2)[:, :, order].view_as(X))


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (3, 11)])
def test_maps_of_any_size_in_either_memory_order(size: tuple[int, int]) -> None:
    made = block()
    X = torch.randn(2, 6, *size, generator=torch.Generator().manual_seed(2)).double()
    found = made(X.contiguous(memory_format=torch.channels_last))
    assert found.shape == X.shape
    torch.testing.assert_close(found, made(X))


def test_half_precision_is_close() -> None:
    made, X = block(), planted_map()
    expected = made(X)
    with torch.autocast("cpu", torch.bfloat16):
        found = made.float()(X.float())
    torch.testing.assert_close(found.double(), expected, rtol=0.05, atol=0.1)


def test_the_attention_of_all_places_is_not_kept() -> None:
    """Memory grows with the places, not with their square: 64 x 64 = 4,096 of them."""

    def cost(side: int) -> int:
        made = SecondOrderAttention(8, reduction=2)
        X = torch.randn(1, 8, side, side).requires_grad_()
        return peak_bytes(lambda: made(X).sum().backward())

    small, large = cost(32), cost(64)
    assert large <= 6 * small
    assert large < 4 * 4096**2 / 4


@pytest.mark.parametrize("reduction", [0, 7])
def test_a_reduction_out_of_range_is_refused(reduction: int) -> None:
    with pytest.raises(UserError, match=rf"reduction must be in \[1, 6\], got {reduction}"):
        SecondOrderAttention(6, reduction=reduction)


# --- a far relation: the planted task ---------------------------------------------------------


def far_marks(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Maps with a mark in the first column and one in the last, of two kinds each, and noise.

    The class is whether the kinds agree. Each mark has channels of its own, so what is pooled is
    the sum of what either mark says: agreement is no linear function of that (as exclusive or).
    """
    generator = torch.Generator().manual_seed(seed)
    maps = 0.1 * torch.randn(count, 8, 5, 5, generator=generator)
    kinds = torch.randint(0, 2, (count, 2), generator=generator)
    rows = torch.randint(0, 5, (count, 2), generator=generator)
    place = torch.arange(count)
    for side, column in ((0, 0), (1, 4)):
        maps[place, 2 * side + kinds[:, side], rows[:, side], column] += 2.0
    return maps, (kinds[:, 0] == kinds[:, 1]).long()


@pytest.mark.parametrize(
    ("pool", "seed"), [("average", 0), ("average", 1), ("average-and-maximum", 2)]
)
def test_a_relation_of_far_places_is_seen_and_without_the_block_it_is_not(
    pool: str, seed: int
) -> None:
    accuracy = {}
    for attention in (True, False):
        torch.manual_seed(seed)
        first = SecondOrderAttention(8, reduction=1) if attention else nn.Identity()
        pooling = AverageAndMaximum() if pool != "average" else nn.AdaptiveAvgPool2d(1)
        net = nn.Sequential(first, pooling, nn.Flatten(), nn.Linear(8, 2))
        optimiser = torch.optim.Adam(net.parameters(), lr=0.03)
        for step in range(150):
            maps, labels = far_marks(64, 1000 * seed + step)
            nn.functional.cross_entropy(net(maps), labels).backward()
            optimiser.step()
            optimiser.zero_grad()
        maps, labels = far_marks(500, 99 + seed)
        with torch.no_grad():
            accuracy[attention] = (net.eval()(maps).argmax(1) == labels).float().mean().item()
    assert accuracy[True] >= 0.9
    assert accuracy[False] <= 0.8


# --- two heads --------------------------------------------------------------------------------


def test_the_embedding_is_both_heads_of_unit_length() -> None:
    embedder = build_embedder(spec(), num_classes=3)
    outputs = embedder(images())
    assert {name: item.shape[1] for name, item in outputs.embeddings.items()} == {
        "global": 256,
        "local": 256,
        "embedding": 512,
    }
    assert embedder.head_lengths == {"embedding": 512, "global": 256, "local": 256}
    assert embedder.embedding_dim == 512
    embedding = outputs.embeddings["embedding"]
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(4))
    halves = [nn.functional.normalize(outputs.embeddings[name]) for name in ("global", "local")]
    torch.testing.assert_close(embedding, torch.cat(halves, 1) / math.sqrt(2))
    assert set(outputs.logits) == {"class"}
    expected = embedder.classifiers["class"](outputs.embeddings["global"])
    torch.testing.assert_close(outputs.logits["class"], expected)


def test_joined_vectors_agree_by_the_mean_of_the_heads_cosines() -> None:
    a, b = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)) * 100
    both = joined([a, b])
    cosines = [nn.functional.normalize(x) @ nn.functional.normalize(x).T for x in (a, b)]
    torch.testing.assert_close(both @ both.T, (cosines[0] + cosines[1]) / 2)
    assert joined([a.bfloat16(), b]).dtype == torch.float32
    zero = joined([torch.zeros(1, 3, requires_grad=True), torch.zeros(1, 3)])
    assert torch.equal(zero, torch.zeros(1, 6))


def test_heads_read_the_last_two_stages() -> None:
    embedder = build_embedder(spec(image_size=64), num_classes=0)
    stages = embedder.see(images(2, 64)).stages
    assert {name: tuple(item.shape[1:]) for name, item in stages.items()} == {
        "layer3": (256, 4, 4),
        "layer4": (512, 2, 2),
    }
    assert {name: len(part.f[1].weight) for name, part in embedder.backbone.second_order.items()}
    inner = {name: part.h.out_channels for name, part in embedder.backbone.second_order.items()}
    assert inner == {"layer3": 64, "layer4": 256}


def test_at_the_start_attention_changes_nothing_and_takes_no_random_number() -> None:
    found = []
    for second_order in (True, False):
        torch.manual_seed(3)
        chosen = spec(two_heads=TwoHeadsSpec(second_order=second_order))
        embedder = build_embedder(chosen, num_classes=2).eval()
        found.append((embedder(images()), torch.rand(1)))
    (first, after), (second, also) = found
    assert torch.equal(after, also)
    for name, item in first.embeddings.items():
        assert torch.equal(item, second.embeddings[name])


def test_the_first_heads_attention_feeds_the_second() -> None:
    embedder = build_embedder(spec(), num_classes=0).eval()
    before = embedder(images()).embeddings
    nn.init.ones_(embedder.backbone.second_order["layer3"].v.bias)
    after = embedder(images()).embeddings
    for name in ("global", "local"):
        assert not torch.allclose(before[name], after[name])


def test_a_bundle_holds_it_and_backbones_of_others_fit(tmp_path) -> None:
    embedder = build_embedder(spec(embedding_dim=16), num_classes=2).eval()
    nn.init.normal_(embedder.backbone.second_order["layer4"].v.weight)
    save_bundle(
        tmp_path / "model",
        embedder,
        classes=["a", "b"],
        preprocessing=Preprocessing(size=32, mean=[0.5] * 3, std=[0.2] * 3),
        config={"model": embedder.spec.model_dump(mode="json")},
        splits=pd.DataFrame(columns=list(SPLIT_COLUMNS)),
        metrics={},
        card="\n\n".join(f"## {heading}\n\nSaid." for heading in SECTIONS),
        provenance={"seed": 0},
    )
    again = load_bundle(tmp_path / "model").embedder
    assert torch.equal(again.embed(images()), embedder.embed(images()))
    plain = build_embedder(
        spec(two_heads=None, weights=str(tmp_path / "model")), num_classes=2
    ).eval()
    key = "layer1.0.conv1.weight"
    assert torch.equal(
        plain.backbone.net.state_dict()[key], embedder.backbone.net.state_dict()[key]
    )


HYBRID = [
    *(
        {"loss": {"name": name}, "head": head, "weight": weight}
        for head in ("global", "local")
        for name, weight in (("proxy_anchor", 1.0), ("multi_similarity", 0.5))
    ),
    {"loss": {"name": "proxy_anchor"}, "head": "embedding"},
]


def test_the_hybrid_loss_is_five_ordinary_terms() -> None:
    embedder = build_embedder(spec(embedding_dim=16), num_classes=0)
    parsed = parse(ObjectiveSpec, {"terms": HYBRID, "classification": None}, "objective")
    objective = build_objective(parsed, num_classes=2, dims=embedder.head_lengths)
    labels = torch.tensor([0, 0, 1, 1])
    result = objective(embedder(images()), Batch(labels))
    assert len(result.parts) == 5
    weights = [1, 0.5, 1, 0.5, 1]
    expected = sum(w * part.value for w, part in zip(weights, result.parts.values(), strict=True))
    torch.testing.assert_close(result.loss, expected)
    result.loss.backward()
    for name in ("global", "local"):
        assert embedder.heads[name][1].weight.grad.abs().max() > 0
        assert embedder.backbone.second_order["layer3"].v.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"backbone": "densenet121"}, "two_heads must be null for densenet121: its heads read the"),
        ({"pooling": "gem"}, "pooling must be 'gap' with two_heads, which bring their own, got"),
        ({"embedding_dim": 15}, "embedding_dim must be even with two_heads, .*, got 15"),
        ({"two_heads": {"local_reduction": 0}}, "two_heads.local_reduction must be"),
    ],
)
def test_refusals(options: dict[str, object], sentence: str) -> None:
    given = {"backbone": "resnet18", "image_size": 32, "two_heads": {}, **options}
    with pytest.raises(UserError, match=sentence):
        parse(ModelSpec, given, "model")


def test_a_head_that_is_not_there_is_refused() -> None:
    terms = {"terms": [{"loss": {"name": "contrastive"}, "head": "global"}]}
    lengths = build_embedder(spec(two_heads=None), num_classes=0).head_lengths
    parsed = parse(ObjectiveSpec, {**terms, "classification": None}, "objective")
    with pytest.raises(UserError, match="head must be one of embedding, got 'global'"):
        build_objective(parsed, num_classes=2, dims=lengths)
