"""Triplets of graded labels against loops over the definitions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fixtures.tensor_memory import peak_bytes
from likeness.batch import Batch
from likeness.errors import UserError
from likeness.losses import TripletLoss
from likeness.mining import informative_triplets, random_triplets
from likeness.mining.informative import candidates_of, choose_diverse, farthest_first
from likeness.pairs import Pairs
from likeness.selection import Triplets, pipeline

MINERS = pytest.mark.parametrize("miner", [informative_triplets, random_triplets])


def rows(count: int, seed: int = 0, dim: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64)


def several(count: int, labels: int = 5, seed: int = 1) -> Tensor:
    """Multi-hot labels; about one image in fifteen has none."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, labels, generator=generator) < 0.4).to(torch.uint8)


def seeded(labels: Tensor, seed: int = 0, **columns: Tensor) -> Batch:
    return Batch(labels, generator=torch.Generator().manual_seed(seed), **columns)


def kept(triplets: Triplets) -> set[tuple[int, int, int]]:
    assert set(triplets.weight_T.unique().tolist()) <= {0.0, 1.0}
    found = [tuple(t) for t in torch.stack(triplets[:3], 1)[triplets.weight_T > 0].tolist()]
    assert len(set(found)) == len(found)
    return set(found)


# --- the definition, in loops ---------------------------------------------------------------------


def label_distance(y: Tensor, i: int, j: int) -> float:
    if y.ndim == 1:
        return float(y[i] != y[j])
    mine, other = set(y[i].nonzero().flatten().tolist()), set(y[j].nonzero().flatten().tolist())
    if not mine or not other:
        return 1.0
    return 1 - math.sqrt(len(mine & other) ** 2 / (len(mine) * len(other)))


def feature_distance(x: Tensor, i: int, j: int, space: str, squared: bool) -> float:
    a, b = x[i], x[j]
    if space == "cosine":
        a, b = a / a.norm(), b / b.norm()
    distance = (a - b).norm().item()
    return distance**2 if squared else distance


def first_best(values: dict[int, float]) -> int:
    """The key of the largest value, up to rounding; of equals the smallest key."""
    best = max(values.values())
    return min(key for key, value in values.items() if value > best - 1e-12)


def by_definition(
    x: Tensor, y: Tensor, first: int, *, h: int, k: int, beta: float, gamma: float, **how
) -> set[tuple[int, int, int]]:
    n = len(x)
    aggregate = {"min": min, "max": max}[how["aggregate"]]
    df = [
        [feature_distance(x, i, j, how["space"], how["squared"]) for j in range(n)]
        for i in range(n)
    ]
    largest = max(max(row) for row in df)
    anchors = [first]
    while len(anchors) < min(h, n):
        left = [i for i in range(n) if i not in anchors]
        anchors.append(first_best({i: aggregate(df[i][a] for a in anchors) for i in left}))
    found = set()
    for a in anchors:
        dl = [label_distance(y, a, i) for i in range(n)]
        others = [i for i in range(n) if i != a]
        positives = [i for i in others if dl[i] < 1 and dl[i] < max(dl[j] for j in others)]
        negatives = [i for i in others if any(dl[p] < dl[i] for p in positives)]
        value = {i: (1 - beta) * df[a][i] / largest - beta * dl[i] for i in others}
        chosen = []
        for allowed, sign in ((positives, 1), (negatives, -1)):
            mine: list[int] = []
            while len(mine) < min(k, len(allowed)):
                scores = {}
                for i in allowed:
                    if i not in mine:
                        near = min((df[i][s] / largest for s in mine), default=0.0)
                        weight = gamma if mine else 1.0
                        scores[i] = weight * sign * value[i] + (1 - weight) * near
                mine.append(first_best(scores))
            chosen.append(mine)
        found |= {(a, p, m) for p in chosen[0] for m in chosen[1] if dl[p] < dl[m]}
    return found


@pytest.mark.parametrize("aggregate", ["min", "max"])
@pytest.mark.parametrize(("space", "squared"), [("cosine", True), ("euclidean", False)])
@pytest.mark.parametrize("graded", [True, False])
def test_triplets_are_the_definitions(
    aggregate: str, space: str, squared: bool, graded: bool
) -> None:
    x = rows(17)
    y = several(17) if graded else torch.arange(17) % 4
    how = {"beta": 0.3, "gamma": 0.4, "aggregate": aggregate, "squared": squared}
    triplets = informative_triplets(
        Pairs(x, y, space=space), seeded(y), anchors=6, positives=3, negatives=4, **how
    )
    first = int(triplets.anchor_T[0])
    expected = by_definition(x, y, first, h=6, k=3, space=space, **how)
    found = kept(triplets)
    # k differs for negatives: the definition's three are the first three of the four.
    assert expected <= found
    more = by_definition(x, y, first, h=6, k=4, space=space, **how)
    assert found <= more
    assert len(found) > len(expected) > 10


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 14),
    h=st.integers(1, 16),
    k=st.integers(1, 16),
    beta=st.floats(0, 1),
    gamma=st.floats(0, 1),
)
def test_every_batch_agrees_with_the_definition(
    seed: int, count: int, h: int, k: int, beta: float, gamma: float
) -> None:
    x, y = rows(count, seed), several(count, 4, seed)
    how = {"beta": beta, "gamma": gamma, "aggregate": "min", "squared": True}
    triplets = informative_triplets(
        Pairs(x, y, space="cosine"), seeded(y, seed), anchors=h, positives=k, negatives=k, **how
    )
    first = int(triplets.anchor_T[0])
    assert kept(triplets) == by_definition(x, y, first, h=h, k=k, space="cosine", **how)


# --- two defects of the public port ---------------------------------------------------------------


def test_diversity_changes_who_is_chosen() -> None:
    """Measured to the anchor, diversity is one number per row and changes nothing.

    Anchor 0; 1, 2 are nearly one image, both farthest (hardest); 3 is less hard but elsewhere.
    """
    x = torch.tensor([[0.0, 0], [3, 0], [3, 0.01], [0, 2.5], [9, 9]])
    y = torch.tensor([0, 0, 0, 0, 1])
    pairs = Pairs(x, y)
    everyone = torch.tensor([[False, True, True, True, False]])
    scaled = pairs.distance / pairs.distance.max()
    value = scaled[:1]
    ranked = choose_diverse(value, everyone, scaled, 2, gamma=1.0)
    diverse = choose_diverse(value, everyone, scaled, 2, gamma=0.2)
    assert ranked.column_HK.tolist() == [[2, 1]]
    assert diverse.column_HK.tolist() == [[2, 3]]
    # The port's settings differ from plain top-k through the front door, too.
    y, x = several(64, 17), rows(64, dim=16)
    sets = [
        kept(
            informative_triplets(
                Pairs(x, y, space="cosine"), seeded(y), positives=5, negatives=5, gamma=gamma
            )
        )
        for gamma in (0.2, 0.999, 1.0)
    ]
    assert sets[0] != sets[1]
    assert len(sets[0] & sets[2]) < 0.8 * len(sets[2])


def test_the_maximum_chooses_two_nearly_identical_outliers_and_the_minimum_does_not() -> None:
    x = torch.tensor([[0.0, 0], [0.1, 0], [10, 0], [10.01, 0], [5, 4]])
    distance = Pairs(x, torch.zeros(5, dtype=torch.int64)).distance
    start = torch.tensor([0])
    assert farthest_first(distance, start, 3, "max").tolist() == [0, 3, 2]
    assert farthest_first(distance, start, 3, "min").tolist() == [0, 3, 4]


# --- what must always hold ------------------------------------------------------------------------


@MINERS
def test_kept_triplets_obey_the_guards(miner) -> None:
    x, y = rows(40), several(40)
    ids = torch.arange(40)
    ids[7], y[7] = ids[3], y[3]  # one picture, drawn twice
    pairs = Pairs(x, y, ids=ids)
    triplets = miner(pairs, seeded(y), anchors=12, positives=5, negatives=6)
    assert len(triplets.anchor_T) == 12 * 5 * 6
    found = kept(triplets)
    assert len(found) > 100
    for a, p, n in found:
        assert len({a, p, n}) == 3
        assert len({ids[a].item(), ids[p].item(), ids[n].item()}) == 3
        assert (y[a] & y[p]).any()
        assert label_distance(y, a, p) < label_distance(y, a, n)
    assert any((y[a] & y[n]).any() for a, p, n in found)  # graded: a negative may share labels


@MINERS
def test_equal_generators_give_equal_triplets(miner) -> None:
    x, y = rows(30), several(30)
    first, again, other = (
        miner(Pairs(x, y), seeded(y, seed), anchors=4, positives=3, negatives=3)
        for seed in (5, 5, 6)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert kept(first) != kept(other)


def test_the_order_of_the_batch_does_not_matter() -> None:
    """With every image an anchor, whatever the first, the triplets are of the same images."""
    x, y = rows(20, seed=3), several(20, seed=3)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2))
    options = {"anchors": 20, "positives": 4, "negatives": 4}
    plain = kept(informative_triplets(Pairs(x, y), seeded(y), **options))
    moved = kept(informative_triplets(Pairs(x[order], y[order]), seeded(y[order], 9), **options))
    assert {tuple(order[list(t)].tolist()) for t in moved} == plain
    where = torch.argsort(order)
    start = torch.tensor([11])
    distance = Pairs(x, y).distance
    same = farthest_first(distance[order][:, order], where[start], 7)
    assert order[same].tolist() == farthest_first(distance, start, 7).tolist()


def test_of_equals_the_first_is_taken() -> None:
    x = torch.zeros(6, 2)
    y = torch.tensor([0, 0, 0, 1, 1, 1])
    assert farthest_first(Pairs(x, y).distance * 0, torch.tensor([4]), 3).tolist() == [4, 0, 1]
    found = informative_triplets(Pairs(x, y), seeded(y), anchors=6, positives=1, negatives=2)
    assert {t for t in kept(found) if t[0] == 5} == {(5, 3, 0), (5, 3, 1)}


DEGENERATE = {
    "all labels equal": torch.ones(5, 3, dtype=torch.uint8),
    "one class": torch.zeros(5, dtype=torch.int64),
    "nobody shares a label": torch.eye(5, dtype=torch.uint8),
    "all classes distinct": torch.arange(5),
    "no labels at all": torch.zeros(5, 3, dtype=torch.uint8),
    "one image": torch.ones(1, 3, dtype=torch.uint8),
    "no image": torch.zeros(0, 3, dtype=torch.uint8),
}


@MINERS
@pytest.mark.parametrize("kind", DEGENERATE)
def test_batches_without_triplets_select_nothing_and_cost_nothing(miner, kind: str) -> None:
    y = DEGENERATE[kind]
    leaf = rows(len(y)).requires_grad_()
    pairs = Pairs(leaf, y, space="cosine")
    triplets = miner(pairs.detach(), seeded(y), anchors=3, positives=9, negatives=2)
    assert kept(triplets) == set()
    loss = TripletLoss(squared=True, reduction="all", space="cosine")
    value = loss.on_pairs(pairs, triplets).value
    value.backward()
    assert value == 0
    assert not leaf.grad.any()


def test_equal_embeddings_are_no_division_by_zero() -> None:
    y = several(8)
    triplets = informative_triplets(Pairs(torch.ones(8, 3), y), seeded(y), anchors=8)
    assert len(kept(triplets)) > 0
    assert torch.isfinite(triplets.weight_T).all()


def test_images_of_an_excluded_group_are_no_positives() -> None:
    x, y = rows(20), several(20)
    group = torch.arange(20) // 10
    pairs = Pairs(x, y).excluding_group(group)
    found = kept(informative_triplets(pairs, seeded(y), anchors=20, positives=3, negatives=3))
    assert len(found) > 0
    assert all(group[a] != group[p] for a, p, _ in found)


def test_candidates_of_classes_are_the_pairs_own() -> None:
    y = torch.arange(9) % 3
    pairs = Pairs(rows(9), y)
    candidates = candidates_of(pairs, torch.arange(9))
    assert torch.equal(candidates.positive_HN, pairs.positive)
    assert torch.equal(candidates.negative_HN, pairs.negative)


def test_equal_overlap_is_exactly_equal_label_distance() -> None:
    """1 of 3 and 1 label, 3 of 3 and 9: both squared cosines are 1/3, no triplet either way."""
    y = torch.zeros(3, 11, dtype=torch.uint8)
    y[0, :3] = 1  # the anchor
    y[1, 0] = 1
    y[2, :9] = 1
    relevance = Pairs(torch.eye(3), y).relevance
    assert relevance[0, 1] == relevance[0, 2]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Pairs(torch.eye(3), y).relevance, relevance)
    found = kept(informative_triplets(Pairs(torch.eye(3), y), seeded(y)))
    assert not any(a == 0 for a, _, _ in found)


# --- with the loss --------------------------------------------------------------------------------


def test_the_ports_loss_is_the_mean_over_all_selected_triplets() -> None:
    x, y = rows(24, dim=8).requires_grad_(), several(24)
    pairs = Pairs(x, y, space="cosine")
    mined = pipeline(lambda p, b: informative_triplets(p, b, anchors=6, positives=4, negatives=4))
    triplets = mined(pairs.detach(), seeded(y))
    loss = TripletLoss(squared=True, margin=1.0, reduction="all", space="cosine")
    terms = loss.on_pairs(pairs, triplets)
    units = x.detach() / x.detach().norm(dim=1, keepdim=True)
    costs = [
        max(0.0, (units[a] @ units[n] - units[a] @ units[p] + 0.5).item())
        for a, p, n in kept(triplets)
    ]
    assert 0 < terms.n_active < len(costs)
    # On 1 - cosine with margin 0.5 the loss is half of this one.
    assert terms.value.item() / 2 == pytest.approx(sum(costs) / len(costs))
    assert torch.autograd.grad(terms.value, x)[0].abs().sum() > 0
    assert not any(tensor.requires_grad for tensor in triplets)


def test_random_triplets_are_uniform_over_the_candidates() -> None:
    y = several(8, 3, seed=4)
    pairs = Pairs(rows(8), y)
    batch = seeded(y)
    anchors, positives = torch.zeros(8), torch.zeros(8, 8)
    for _ in range(600):
        found = random_triplets(pairs, batch, anchors=2, positives=1, negatives=1)
        anchors[found.anchor_T] += 1
        real = found.weight_T > 0
        positives.index_put_((found.anchor_T[real], found.positive_T[real]), torch.ones(()), True)
    assert (anchors / 600 - 0.25).abs().max() < 0.07
    candidates = candidates_of(pairs, torch.arange(8))
    assert torch.equal(
        positives > 0, candidates.positive_HN & candidates.negative_HN.any(1)[:, None]
    )


def test_memory_grows_with_the_square_of_the_batch() -> None:
    def peak(count: int) -> int:
        x, y = rows(count, dim=8), several(count, 8)
        options = {"anchors": 8, "positives": 8, "negatives": 8}
        return peak_bytes(lambda: informative_triplets(Pairs(x, y), seeded(y), **options))

    assert peak(512) < 5 * peak(256)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"anchors": 0}, "anchors must be >= 1, got 0"),
        ({"positives": 0}, "positives must be >= 1, got 0"),
        ({"negatives": -1}, "negatives must be >= 1, got -1"),
        ({"beta": 1.5}, r"beta must be in \[0, 1\], got 1.5"),
        ({"gamma": math.nan}, r"gamma must be in \[0, 1\], got nan"),
        ({"aggregate": "mean"}, "aggregate must be one of min, max, got 'mean'"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    y = several(4)
    pairs = Pairs(rows(4), y)
    hook = "aggregate" in options  # the type itself is refused where jaxtyping checks
    with pytest.raises(Exception if hook else UserError, match=None if hook else message):
        informative_triplets(pairs, seeded(y), **options)


@MINERS
def test_other_references_are_refused(miner) -> None:
    y = several(4)
    pairs = Pairs(rows(4), y, reference=rows(3), reference_labels=y[:3])
    with pytest.raises(UserError, match="reference must be the batch itself"):
        miner(pairs, seeded(y))
