"""Symmetrical synthesis: reflections, the matrices in loops, what it goes with, its claim."""

from __future__ import annotations

import math
from itertools import permutations, product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fixtures.free_points import normal
from fixtures.losses.oracles import gap, unit
from likeness.batch import Batch
from likeness.errors import UserError
from likeness.losses import (
    AngularLoss,
    BatchHardTripletLoss,
    ContrastiveLoss,
    GeneralisedLiftedLoss,
    LiftedStructuredLoss,
    NPairLoss,
    PairLoss,
    SemiHardTripletLoss,
    TripletLoss,
)
from likeness.mining import batch_hard, n_pairs
from likeness.pairs import Pairs
from likeness.synthesis import SymmetricalSynthesis
from likeness.synthesis.symmetrical import pair_up, reflect

CLASSES, DIM = 6, 5
TWICE = torch.arange(CLASSES).repeat(2)
SIX = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
SIXTEEN = list(product(range(4), repeat=2))


def points(seed: int = 0) -> Tensor:
    """The first and then the second sample of each class; partners within 90 degrees."""
    first = normal(CLASSES, DIM, seed=seed)
    return torch.cat([first, first + 0.5 * normal(CLASSES, DIM, seed=seed + 1)])


def synthesised(loss: PairLoss, x: Tensor, y: Tensor, **options: object) -> Tensor:
    return SymmetricalSynthesis(**options)(loss, x, Batch(y))


# --- reflections ----------------------------------------------------------------------------


def test_an_image_keeps_length_product_and_distance() -> None:
    a, p = normal(50, 7), normal(50, 7, seed=1)
    image = reflect(p, a)
    close = {"rtol": 0, "atol": 1e-13}
    torch.testing.assert_close(image.norm(dim=1), p.norm(dim=1), **close)
    torch.testing.assert_close((a * image).sum(1), (a * p).sum(1), **close)
    torch.testing.assert_close((a - image).norm(dim=1), (a - p).norm(dim=1), **close)
    torch.testing.assert_close(reflect(image, a), p, **close)


def test_a_point_without_direction_is_no_axis() -> None:
    a = torch.zeros(2, 3, requires_grad=True)
    image = reflect(torch.ones(2, 3), a)
    image.sum().backward()
    assert torch.equal(image.detach(), -torch.ones(2, 3))
    assert torch.isfinite(a.grad).all()


def test_samples_of_a_class_go_two_by_two() -> None:
    y = torch.tensor([4, 7, 4, 7, 7, 4, 7, 4, 7, 1])
    first, second, real = pair_up(y)
    pairs = [(int(a), int(b)) for a, b, r in zip(first, second, real, strict=True) if r]
    assert pairs == [(0, 2), (5, 7), (1, 3), (4, 6)]  # the third pair of 7 and 1 lack a partner
    assert len(real) == 5
    for few in ([], [3]):
        assert len(pair_up(torch.tensor(few, dtype=torch.int64)).real_K) == 0


# --- the definition in loops ----------------------------------------------------------------


def four(x: Tensor, y: Tensor) -> list[list[Tensor]]:
    """Anchors, positives, images of positives at anchors, and of anchors at positives."""
    rows = [[x[i] for i in range(len(y)) if y[i] == c] for c in sorted(set(y.tolist()))]
    a, p = ([pair[k] for pair in rows] for k in (0, 1))

    def mirrored(point: Tensor, axis: Tensor) -> Tensor:
        axis = axis / axis.pow(2).sum().sqrt()
        return 2 * (point @ axis) * axis - point

    return [a, p, list(map(mirrored, p, a)), list(map(mirrored, a, p))]


def cross_entropy(matrix: list[list[Tensor]], sets: list[list[Tensor]], weight: float) -> Tensor:
    rows = range(len(matrix))
    costs = [torch.log(sum(map(torch.exp, matrix[i]))) - matrix[i][i] for i in rows]
    norms = sum(point.pow(2).sum() for point in sets[0] + sets[1]) / len(matrix)
    return sum(costs) / len(costs) + weight * norms


def n_pair_oracle(x: Tensor, y: Tensor, chosen: list[tuple[int, int]], keep: bool) -> Tensor:
    sets = four(x, y)
    rows = range(len(sets[0]))

    def entry(i: int, j: int) -> Tensor:
        if i == j and keep:
            return sets[0][i] @ sets[1][i]
        return max(sets[u][i] @ sets[v][j] for u, v in chosen if i != j or u != v)

    return cross_entropy([[entry(i, j) for j in rows] for i in rows], sets, 5e-4)


def angular_oracle(x: Tensor, y: Tensor, degrees: float, keep: bool) -> Tensor:
    sets, slope = four(x, y), math.tan(math.radians(degrees)) ** 2
    rows = range(len(sets[0]))

    def f(u: int, v: int, i: int, j: int) -> Tensor:
        a, b, other = sets[u][i], sets[v][i], sets[v][j]
        return 2 * (1 + slope) * (a @ b) if i == j else 4 * slope * ((a + b) @ other)

    def entry(i: int, j: int) -> Tensor:
        chosen = [(0, 1)] if i == j and keep else permutations(range(4), 2)
        return max(f(u, v, i, j) for u, v in chosen)

    return cross_entropy([[entry(i, j) for j in rows] for i in rows], sets, 5e-4)


def triplet_oracle(x: Tensor, y: Tensor, chosen: list[tuple[int, int]], margin: float) -> Tensor:
    """The nearest images of every two classes are the negatives; mean over all triplets."""
    sets = four(x, y)
    rows, hinges = range(len(sets[0])), []
    for i in rows:
        near = gap(sets[0][i], sets[1][i])
        for k in rows:
            if k != i:
                far = min(gap(sets[u][i], sets[v][k]) for u, v in chosen)
                hinges.append((near - far + margin).clamp_min(0))
    return sum(hinges) / len(hinges)


def assert_same(ours: Tensor, oracle: Tensor, x: Tensor) -> None:
    torch.testing.assert_close(ours, oracle, rtol=1e-9, atol=1e-11)
    slopes = (torch.autograd.grad(value, x)[0] for value in (ours, oracle))
    torch.testing.assert_close(*slopes, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(("name", "chosen"), [("six", SIX), ("sixteen", SIXTEEN)])
def test_n_pair_is_the_definition(name: str, chosen: list[tuple[int, int]], keep: bool) -> None:
    x = points().requires_grad_()
    ours = synthesised(NPairLoss(), x, TWICE, pairs=name, keep_diagonal=keep)
    assert_same(ours, n_pair_oracle(x, TWICE, chosen, keep), x)


@pytest.mark.parametrize("keep", [False, True])
def test_angular_is_the_definition(keep: bool) -> None:
    x = points().requires_grad_()
    ours = synthesised(AngularLoss(), x, TWICE, keep_diagonal=keep)
    assert_same(ours, angular_oracle(x, TWICE, 45, keep), x)


@pytest.mark.parametrize("space", ["cosine", "euclidean"])
@pytest.mark.parametrize(("name", "chosen"), [("six", SIX), ("sixteen", SIXTEEN)])
def test_triplet_is_the_reconstruction(
    name: str, chosen: list[tuple[int, int]], space: str
) -> None:
    x = points().requires_grad_()
    loss = TripletLoss(margin=0.9, reduction="all", space=space)
    rows = torch.stack([unit(row) for row in x]) if space == "cosine" else x
    ours = synthesised(loss, x, TWICE, pairs=name)
    assert_same(ours, triplet_oracle(rows, TWICE, chosen, 0.9), x)


def test_the_six_are_no_symmetric_matrix_and_differ_from_the_sixteen() -> None:
    values = [synthesised(NPairLoss(), points(), TWICE, pairs=name) for name in ("six", "sixteen")]
    swapped = synthesised(NPairLoss(), points().roll(CLASSES, 0), TWICE)
    assert values[0] != values[1]
    assert values[0] != swapped


def test_four_samples_of_a_class_are_two_pairs_and_positives_of_each_other() -> None:
    """The target of an anchor is shared by both positives, as in the official code."""
    x, y = normal(8, 4, seed=3), torch.tensor([0, 0, 1, 1, 0, 0, 1, 1])
    value = synthesised(NPairLoss(norm_weight=0.0), x, y, keep_diagonal=True)
    a, b, images = x[0::2], x[1::2], (reflect(x[1::2], x[0::2]), reflect(x[0::2], x[1::2]))
    sets, same = (a, b, *images), (y[0::2, None] == y[None, 0::2])
    most = torch.stack([sets[u] @ sets[v].T for u, v in SIX]).amax(0)
    logits = torch.where(same, a @ b.T, most)
    targets = same.double() / 2
    torch.testing.assert_close(value, F.cross_entropy(logits, targets))


# --- what it goes with ----------------------------------------------------------------------

MONOTONE = [
    *(NPairLoss(), AngularLoss(), AngularLoss(space="cosine")),
    *(TripletLoss(margin=0.5, reduction="all"), BatchHardTripletLoss(margin=0.5)),
    *(LiftedStructuredLoss(), GeneralisedLiftedLoss()),
]


@pytest.mark.parametrize("loss", MONOTONE, ids=lambda loss: f"{type(loss).__name__}-{loss.space}")
def test_the_loss_is_larger_than_that_of_the_originals(loss: PairLoss) -> None:
    """With the positives kept, and the same pairs of the batch compared."""
    for seed in range(5):
        x = points(seed)
        pairs = Pairs(x, TWICE, space=loss.space)
        plain = loss.on_pairs(pairs, n_pairs(pairs, Batch(TWICE))).value
        assert synthesised(loss, x, TWICE, keep_diagonal=True) > plain


def test_semi_hard_negatives_are_chosen_among_the_hardest() -> None:
    x = points().requires_grad_()
    value = synthesised(SemiHardTripletLoss(margin=1.0), x, TWICE)
    value.backward()
    assert value > 0
    assert x.grad.abs().max() > 0


def test_a_positive_far_away_is_replaced_by_its_images_unless_it_is_kept() -> None:
    """120 degrees apart the image of one is the other's own image: a product of 1."""
    angle = math.radians(120)
    x = torch.tensor([[1.0, 0], [math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    x, y = torch.cat([x, normal(2, 2, seed=1)]), torch.tensor([0, 0, 1, 1])
    leaf = x.requires_grad_()
    official = synthesised(NPairLoss(norm_weight=0.0), leaf, y)
    kept = synthesised(NPairLoss(norm_weight=0.0), leaf, y, keep_diagonal=True)
    assert kept > official + 0.1


def test_a_pair_beyond_90_degrees_is_driven_apart_unless_it_is_kept() -> None:
    """As in the official code: the images' product is that of three times the angle."""
    angle = math.radians(100)
    pair = torch.tensor([[1.0, 0, 0], [math.cos(angle), math.sin(angle), 0]])
    x = torch.cat([pair, torch.tensor([[0.0, 0.1, 1], [0.1, 0.0, 1]])]).double()
    for keep, together in ((False, False), (True, True)):
        leaf = x.clone().requires_grad_()
        loss = synthesised(
            NPairLoss(norm_weight=0.0), leaf, torch.tensor([0, 0, 1, 1]), keep_diagonal=keep
        )
        loss.backward()
        moved = (x - 0.01 * leaf.grad)[:2]
        closer = F.cosine_similarity(moved[:1], moved[1:]) > math.cos(angle)
        assert bool(closer) == together


def test_groups_are_kept_apart() -> None:
    x = points()
    group = torch.arange(CLASSES).repeat(2)
    group[CLASSES + 1 :] += 10  # only the samples of class 0 share a group
    made = SymmetricalSynthesis().synthesise(x, Batch(TWICE))
    terms = made.terms(NPairLoss(), Batch(TWICE, group=group), exclude_groups=True)
    assert terms.valid.tolist() == [False, True, True, True, True, True]
    with pytest.raises(UserError, match="group must be given with exclude_groups"):
        made.terms(NPairLoss(), Batch(TWICE), exclude_groups=True)


def test_two_draws_of_one_picture_are_no_pair() -> None:
    ids = torch.arange(2 * CLASSES)
    ids[CLASSES] = 0
    made = SymmetricalSynthesis().synthesise(points(), Batch(TWICE))
    assert made.terms(NPairLoss(), Batch(TWICE, ids=ids)).valid.tolist() == [False] + [True] * 5


@pytest.mark.plain
def test_misuse_is_named() -> None:
    with pytest.raises(UserError, match="pairs must be one of six, sixteen, got 'twelve'"):
        SymmetricalSynthesis(pairs="twelve")
    with pytest.raises(UserError, match=r"loss must be one of NPairLoss, .* got 'ContrastiveLoss'"):
        synthesised(ContrastiveLoss(), points(), TWICE)
    with pytest.raises(UserError, match="must be six for AngularLoss"):
        synthesised(AngularLoss(), points(), TWICE, pairs="sixteen")
    made = SymmetricalSynthesis().synthesise(points(), Batch(TWICE))
    with pytest.raises(UserError, match="miners must be none with symmetrical synthesis"):
        made.terms(TripletLoss(), Batch(TWICE), miner=batch_hard)
    with pytest.raises(UserError, match="labels must be class indices"):
        synthesised(NPairLoss(), points(), F.one_hot(TWICE))


# --- claim ----------------------------------------------------------------------------------


def narrowest(synthesis: SymmetricalSynthesis | None, seed: int) -> float:
    """Twelve classes of two samples in four dimensions, moved by a triplet loss: by how much any
    image of a sample is nearer to its own class than to another, at least (in cosine)."""
    y = torch.arange(12).repeat(2)
    x = F.normalize(normal(12, 4, seed=seed, dtype=torch.float32)).repeat(2, 1)
    x = (x + 0.6 * normal(24, 4, seed=seed + 50, dtype=torch.float32)).requires_grad_()
    loss, optimiser = TripletLoss(margin=0.3, reduction="all"), torch.optim.Adam([x], lr=0.03)
    for _ in range(150):
        optimiser.zero_grad()
        pairs = Pairs(x, y, space="cosine")
        if synthesis is None:
            loss.on_pairs(pairs, n_pairs(pairs, Batch(y))).value.backward()
        else:
            synthesis(loss, x, Batch(y)).backward()
        optimiser.step()
    a, p = F.normalize(x.detach()).split(12)
    cosine = torch.cat([reflect(p, a), reflect(a, p)]) @ torch.cat([a, p]).T
    own = y[:, None] == y[None, :]
    nearest = cosine.masked_fill(~own, -2).amax(1) - cosine.masked_fill(own, -2).amax(1)
    return nearest.min().item()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_lies_beyond_the_samples_is_told_apart_too(seed: int) -> None:
    """Seeds 0 to 7 gave 0.06 to 0.13, and without synthesis -0.27 to -0.01."""
    assert narrowest(SymmetricalSynthesis(), seed) > 0.025
    assert narrowest(None, seed) < 0.025
