"""Class-balanced triplets: who may be in one, how often, and batches without any."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fixtures.tensor_memory import peak_bytes
from likeness.batch import Batch
from likeness.errors import UserError
from likeness.losses import TripletLoss
from likeness.mining import batch_hard, class_balanced_triplets
from likeness.objective import ObjectiveSpec, build_objective
from likeness.pairs import Pairs
from likeness.selection import Triplets, pipeline

# Classes of 6, 2 and 2 images, and one of a single image; lesions within them.
Y = torch.tensor([0, 1, 0, 2, 0, 0, 3, 1, 0, 2, 0])
LESION = torch.tensor([0, 1, 0, 2, 3, 4, 5, 6, 7, 2, 8])


def rows(count: int = len(Y), dim: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64)


def draw(pairs: Pairs, count: int, seed: int = 0) -> Triplets:
    generator = torch.Generator().manual_seed(seed)
    return class_balanced_triplets(pairs, Batch(pairs.labels, generator=generator), count=count)


def listed(triplets: Triplets) -> list[tuple[int, int, int]]:
    return [tuple(each) for each in torch.stack(triplets[:3], 1).tolist()]


def chances(labels: list[int], groups: list[int] | None) -> dict[tuple[int, int, int], float]:
    """The probability of every triplet, from the definition."""
    places = range(len(labels))
    positives, negatives = {}, {}
    for a in places:
        positives[a] = [
            p
            for p in places
            if p != a and labels[p] == labels[a] and (groups is None or groups[p] != groups[a])
        ]
        negatives[a] = [n for n in places if labels[n] != labels[a]]
    anchors = [a for a in places if positives[a] and negatives[a]]
    classes = {labels[a] for a in anchors}
    found = {}
    for a in anchors:
        alike = sum(labels[other] == labels[a] for other in anchors)
        for p in positives[a]:
            for n in negatives[a]:
                sides = len(positives[a]) * len(negatives[a])
                found[a, p, n] = 1 / (len(classes) * alike * sides)
    return found


@pytest.mark.parametrize("grouped", [False, True])
def test_every_triplet_is_as_likely_as_the_definition_says(grouped: bool) -> None:
    pairs = Pairs(rows(), Y)
    if grouped:
        pairs = pairs.excluding_group(LESION)
    expected = chances(Y.tolist(), LESION.tolist() if grouped else None)
    assert sum(expected.values()) == pytest.approx(1.0)
    count = 200_000
    triplets = draw(pairs, count)
    assert (triplets.weight_T == 1).all()
    found = Counter(listed(triplets))
    assert set(found) <= set(expected)
    for triplet, chance in expected.items():
        deviation = (count * chance * (1 - chance)) ** 0.5
        assert abs(found[triplet] - count * chance) < 5 * deviation, triplet


def test_classes_are_alike_however_many_images_they_have() -> None:
    triplets = draw(Pairs(rows(), Y), 30_000)
    anchors = Counter(Y[triplets.anchor_T].tolist())
    assert set(anchors) == {0, 1, 2}  # class 3 has no positive
    assert all(abs(times - 10_000) < 500 for times in anchors.values())
    assert (Y[triplets.negative_T] == 3).any()


def test_no_positive_of_the_same_lesion() -> None:
    """The two images of class 2 are one lesion, so that it has no anchor; the others go on."""
    triplets = draw(Pairs(rows(), Y).excluding_group(LESION), 3000)
    assert (LESION[triplets.anchor_T] != LESION[triplets.positive_T]).all()
    assert set(Y[triplets.anchor_T].tolist()) == {0, 1}
    assert (Y[triplets.negative_T] == 2).any()


def test_a_picture_drawn_twice_is_no_positive_of_itself() -> None:
    y = torch.tensor([0, 0, 0, 1])
    pairs = Pairs(rows(4), y, ids=torch.tensor([7, 7, 8, 9]))
    found = set(listed(draw(pairs, 200)))
    assert found == {(0, 2, 3), (1, 2, 3), (2, 0, 3), (2, 1, 3)}


def test_the_objective_keeps_lesions_apart() -> None:
    """`exclude_groups` reaches the miner: a network that maps lesions to points has no gain."""
    plain = {
        "terms": [
            {
                "loss": {"name": "triplet", "margin": 0.5, "squared": True, "reduction": "all"},
                "miners": [{"name": "class_balanced_triplets", "count": 40}],
            }
        ],
        "classification": None,
    }
    points = torch.eye(9)[LESION].requires_grad_()  # a point for each lesion

    class Outputs:
        embeddings = {"embedding": points}  # noqa: RUF012
        logits: dict[str, Tensor] = {}  # noqa: RUF012

    losses = {}
    for apart in (False, True):
        spec = ObjectiveSpec(**plain, exclude_groups=apart)
        objective = build_objective(spec, num_classes=4, dims={"embedding": 9})
        generator = torch.Generator().manual_seed(0)
        batch = Batch(Y, ids=torch.arange(len(Y)), group=LESION, generator=generator)
        losses[apart] = objective(Outputs(), batch).loss.item()
    assert losses[True] == pytest.approx(0.5)  # all lesions are equally far: only the margin
    assert losses[False] < 0.5  # twins of a lesion are trivially close


EMPTY = {
    "one class": torch.zeros(4, dtype=torch.int64),
    "all distinct": torch.arange(4),
    "one image": torch.zeros(1, dtype=torch.int64),
    "no image": torch.zeros(0, dtype=torch.int64),
}


@pytest.mark.parametrize("kind", [*EMPTY, "one lesion for each class"])
def test_a_batch_without_triplets_weighs_nothing(kind: str) -> None:
    y = EMPTY.get(kind, torch.tensor([0, 1, 0, 1]))
    x = rows(len(y)).requires_grad_()
    pairs = Pairs(x, y, space="cosine")
    if kind not in EMPTY:
        pairs = pairs.excluding_group(y)
    triplets = draw(pairs, 5)
    assert not triplets.weight_T.any()
    terms = TripletLoss(reduction="all").on_pairs(pairs, triplets)
    terms.value.backward()
    assert terms.value == 0
    assert not x.grad.any()


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=12),
    st.integers(0, 99),
)
def test_only_triplets_of_the_definition_have_weight(columns: list, seed: int) -> None:
    y, group = torch.tensor(columns).T
    pairs = Pairs(rows(len(y)), y).excluding_group(group)
    expected = chances(y.tolist(), group.tolist())
    triplets = draw(pairs, 50, seed)
    assert len(triplets.weight_T) == 50
    for triplet, weight in zip(listed(triplets), triplets.weight_T.tolist(), strict=True):
        assert weight == (1.0 if expected else 0.0)
        assert not expected or triplet in expected


def test_the_generator_decides() -> None:
    pairs = Pairs(rows(), Y)
    first, same, other = (draw(pairs, 64, seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert listed(first) != listed(other)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    draw(pairs, 8)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_combines_with_dense_miners() -> None:
    pairs = Pairs(rows(), Y)
    hard = batch_hard(pairs, Batch(Y))
    batch = Batch(Y, generator=torch.Generator().manual_seed(0))
    found = pipeline(class_balanced_triplets, batch_hard)(pairs, batch)
    kept = found.weight_T > 0
    assert 0 < kept.sum() < len(kept)
    assert hard.positive_NM[found.anchor_T, found.positive_T][kept].all()
    assert hard.negative_NM[found.anchor_T, found.negative_T][kept].all()


def test_nothing_carries_a_gradient_and_memory_follows_the_count() -> None:
    x = rows(256, 8).requires_grad_()
    y = torch.arange(256) % 7
    pairs = Pairs(x, y)
    assert not any(each.requires_grad for each in draw(pairs, 4))
    spent = peak_bytes(lambda: draw(pairs, 64))
    assert spent < 8 * (6 * 256**2 + 6 * 64 * 256)


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="count must be >= 1, got 0"):
        draw(Pairs(rows(), Y), 0)
    several = torch.ones(11, 3, dtype=torch.uint8)
    with pytest.raises(UserError, match=r"labels must be of shape \(N,\) for class_balanced_tr"):
        draw(Pairs(rows(), several), 3)
    memory = Pairs(rows(), Y, reference=rows(), reference_labels=Y)
    with pytest.raises(UserError, match="reference must be the batch itself where class-balanced"):
        draw(memory, 3)
