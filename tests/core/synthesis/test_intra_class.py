"""Intra-class augmentation: statistics and their correction in loops, copies, spread of classes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fixtures.free_points import normal
from fixtures.planted_rows import generator_of
from likeness.batch import Batch
from likeness.errors import UserError
from likeness.losses import MultiSimilarityLoss, NTXentLoss, PairLoss
from likeness.pairs import Pairs
from likeness.synthesis import IntraClassAugmentation
from likeness.synthesis.class_statistics import (
    ClassStatistics,
    Correction,
    class_statistics,
    corrected_variance,
    distrust,
    merged,
)
from likeness.synthesis.copies import CopiedBatch

CLASSES, DIM = 5, 3
NOTHING = ClassStatistics(
    torch.zeros(CLASSES, DIM, dtype=torch.float64),
    torch.zeros(CLASSES, DIM, dtype=torch.float64),
    torch.zeros(CLASSES, dtype=torch.int64),
)
HOW = Correction(neighbours=2, global_share=0.1, distrust=0.1, trusted_from=40)


def samples(count: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Class 4 has none, class 3 one."""
    y = torch.arange(count) % 3
    y[0] = 3
    return normal(count, DIM, seed=seed) * (1 + y[:, None]) + y[:, None], y


# --- statistics -----------------------------------------------------------------------------


def test_means_and_variances_are_those_of_the_classes() -> None:
    x, y = samples()
    found = class_statistics(x, y, CLASSES)
    for c in range(CLASSES):
        own = x[y == c]
        assert found.count_C[c] == len(own)
        expected = own.mean(0) if len(own) else torch.zeros(DIM)
        torch.testing.assert_close(found.mean_CD[c], expected.double())
        expected = own.var(0, unbiased=False) if len(own) else torch.zeros(DIM)
        torch.testing.assert_close(found.variance_CD[c], expected.double())


def test_a_large_mean_costs_no_precision() -> None:
    x, y = samples()
    far = class_statistics(x.float() + 1e4, y, CLASSES)
    near = class_statistics((x.float() + 1e4).double() - 1e4, y, CLASSES)
    torch.testing.assert_close(far.variance_CD, near.variance_CD)


def test_two_halves_merged_are_the_whole_with_momentum_1() -> None:
    x, y = samples()
    halves = [class_statistics(x[part], y[part], CLASSES) for part in (slice(15), slice(15, None))]
    both = merged(merged(NOTHING, halves[0], momentum=1.0), halves[1], momentum=1.0)
    for ours, theirs in zip(both, class_statistics(x, y, CLASSES), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_old_statistics_count_for_no_more_than_the_momentum() -> None:
    (x, y), (other, _) = samples(), samples(seed=1)
    old = merged(NOTHING, class_statistics(x, y, CLASSES), momentum=0.2)
    new = class_statistics(other, y, CLASSES)
    both = merged(old, new, momentum=0.2)  # as many new ones as old: the share would be 1/2
    for c in range(4):
        mean = 0.2 * old.mean_CD[c] + 0.8 * new.mean_CD[c]
        apart = (old.mean_CD[c] - new.mean_CD[c]) ** 2
        variance = 0.2 * old.variance_CD[c] + 0.8 * new.variance_CD[c] + 0.16 * apart
        torch.testing.assert_close(both.mean_CD[c], mean)
        torch.testing.assert_close(both.variance_CD[c], variance)
    assert both.count_C.tolist() == (2 * new.count_C).tolist()


def test_a_class_that_is_not_there_stays_as_it_was() -> None:
    x, y = samples()
    old = class_statistics(x, y, CLASSES)
    new = class_statistics(x[y == 1], y[y == 1], CLASSES)
    both = merged(old, new, momentum=0.2)
    for c in (0, 2, 3, 4):
        assert torch.equal(both.mean_CD[c], old.mean_CD[c])
        assert torch.equal(both.variance_CD[c], old.variance_CD[c])


# --- neighbours -----------------------------------------------------------------------------


def test_trust_grows_with_the_samples() -> None:
    found = distrust(torch.tensor([1, 2, 11, 39, 40, 500]), HOW)
    expected = [1, 1 / (1 + math.log(1.1)), 1 / (1 + math.log(2)), 1 / (1 + math.log(4.8)), 0, 0]
    assert found.tolist() == pytest.approx(expected)


def correction_oracle(known: ClassStatistics, sizes: list[int], how: Correction) -> list[Tensor]:
    mean, variance = known.mean_CD, known.variance_CD
    several = [c for c in range(len(sizes)) if sizes[c] > 1]
    of_all = sum(sizes[c] * variance[c] for c in several) / sum(sizes[c] for c in several)
    found = []
    for c in range(len(sizes)):
        others = [j for j in several if j != c]
        far = {j: (mean[c] ** 2 - mean[j] ** 2).norm().item() for j in others}
        odd = {j: (variance[c] - variance[j]).norm().item() for j in others}

        def scaled(of: dict[int, float], j: int) -> float:
            return (of[j] - min(of.values())) / (max(of.values()) - min(of.values()))

        near = sorted(others, key=far.get)[: how.neighbours]
        weight = {
            j: sizes[j] * math.exp(-(scaled(far, j) ** 2 + scaled(odd, j) ** 2) / 2) for j in near
        }
        of_near = sum(weight[j] * variance[j] for j in near) / sum(weight.values())
        b, n = how.distrust, sizes[c]
        phi = 0.0 if n >= how.trusted_from else 1 / (1 + math.log(1 + b * (n - 1)))
        other = how.global_share * of_all + (1 - how.global_share) * of_near
        found.append((1 - phi) * variance[c] + phi * other)
    return found


@pytest.mark.parametrize("block", [1024, 3])
def test_the_correction_is_the_definition(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("likeness.synthesis.class_statistics.BLOCK", block)
    sizes = [1, 2, 5, 40, 3, 1, 8, 60]
    variance = normal(8, DIM, seed=2).square()
    variance[[0, 5]] = 0.0
    known = ClassStatistics(normal(8, DIM), variance, torch.tensor(sizes))
    ours = corrected_variance(known, torch.tensor(sizes), HOW)
    torch.testing.assert_close(ours, torch.stack(correction_oracle(known, sizes, HOW)))
    assert torch.equal(ours[[3, 7]], variance[[3, 7]])  # enough samples of their own
    # Between its ingredients, hence between the extremes of all.
    used = variance[[1, 2, 3, 4, 6, 7]]
    assert (ours <= torch.maximum(used.amax(0), variance) + 1e-12).all()
    assert (ours >= torch.minimum(used.amin(0), variance) - 1e-12).all()


@pytest.mark.parametrize("sizes", [[1, 1, 1], [1, 4, 1], [0, 4, 4], [0, 0, 0]])
def test_few_classes_with_a_variance_are_enough(sizes: list[int]) -> None:
    variance = normal(3, DIM).square() * (torch.tensor(sizes) > 1)[:, None]
    known = ClassStatistics(normal(3, DIM, seed=1), variance, torch.tensor(sizes))
    ours = corrected_variance(known, torch.tensor(sizes), HOW)
    assert torch.isfinite(ours).all()
    for c in range(3):
        if sizes[c] == 0:  # none to take from others for
            assert torch.equal(ours[c], variance[c])


# --- copies ---------------------------------------------------------------------------------


def augmentation(**options: object) -> IntraClassAugmentation:
    built = IntraClassAugmentation(CLASSES, DIM, **options)
    built.refresh(*samples())
    return built


def batch_of(y: list[int], **columns: object) -> Batch:
    return Batch(torch.tensor(y), generator=generator_of(0), **columns)


def test_copies_are_spread_with_the_variance_and_carry_the_gradient() -> None:
    synthesis = augmentation(strength=0.25)
    x = normal(2, DIM, seed=4).requires_grad_()
    made = synthesis.synthesise(x, batch_of([0, 2]))
    noise = torch.randn((6, DIM), generator=generator_of(0)).double()
    assert made.source_P.tolist() == [0, 1, 0, 1, 0, 1]
    for place, source in enumerate(made.source_P.tolist()):
        spread = synthesis.variance_CD[(0, 2)[source]].double().sqrt()
        expected = x[source] + 0.5 * spread * noise[place]  # the root once, for every copy
        torch.testing.assert_close(made.points_PD[place], expected, rtol=1e-6, atol=1e-6)
    made.points_PD.sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, 3.0))


def test_no_strength_makes_copies_of_the_parents() -> None:
    x = normal(4, DIM)
    made = augmentation(strength=0.0).synthesise(x, batch_of([0, 1, 1, 2]))
    assert torch.equal(made.points_PD, x.repeat(3, 1))


def pairs_of(made: CopiedBatch, loss: PairLoss, batch: Batch) -> Pairs:
    """The pairs that a loss and its miner see."""
    seen: list[Pairs] = []
    made.terms(loss, batch, miner=lambda pairs, _: seen.append(pairs))
    return seen[0]


def test_own_copies_are_never_positives_and_copies_are_no_anchors() -> None:
    y = [0, 0, 1, 0]
    made = augmentation(copies=2).synthesise(normal(4, DIM), batch_of(y))
    pairs = pairs_of(made, MultiSimilarityLoss(), batch_of(y))
    positive = pairs.positive
    assert positive.shape == (4, 12)
    for i in range(4):
        for j in range(12):
            source = j % 4
            assert bool(positive[i, j]) == (y[i] == y[source] and i != source)
            assert bool(pairs.negative[i, j]) == (y[i] != y[source])


def test_copies_of_another_draw_are_those_of_the_sample_but_for_losses_of_views() -> None:
    y, ids = [0, 0, 1], torch.tensor([7, 7, 9])
    made = augmentation(copies=1).synthesise(normal(3, DIM), batch_of(y, ids=ids))
    for loss, expected in ((MultiSimilarityLoss(), False), (NTXentLoss(), True)):
        positive = pairs_of(made, loss, batch_of(y, ids=ids)).positive
        assert bool(positive[0, 1]) == expected
        assert bool(positive[0, 4]) == expected
        assert not positive[0, 3]


def test_the_loss_is_that_of_originals_against_all() -> None:
    """A loop over anchors: multi-similarity with the official code's rule of positives."""
    y = [0, 0, 1, 1, 2, 2]
    x = normal(6, DIM, seed=5).requires_grad_()
    synthesis, loss = augmentation(), MultiSimilarityLoss(epsilon=None, beta=40.0)
    value = synthesis(loss, x, batch_of(y))
    rows = torch.cat([x, synthesis.synthesise(x, batch_of(y)).points_PD])
    rows = rows / rows.norm(dim=1, keepdim=True)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(6):
        cosine = rows @ rows[i]
        near = [s for j, s in enumerate(cosine) if y[j % 6] == y[i] and j % 6 != i]
        far = [s for j, s in enumerate(cosine) if y[j % 6] != y[i]]
        total = total + torch.log(1 + sum(torch.exp(-2 * (s - 0.5)) for s in near)) / 2
        total = total + torch.log(1 + sum(torch.exp(40 * (s - 0.5)) for s in far)) / 40
    torch.testing.assert_close(value, total / 6)
    slopes = (torch.autograd.grad(one, x)[0] for one in (value, total / 6))
    torch.testing.assert_close(*slopes)


@pytest.mark.plain
def test_epochs() -> None:
    synthesis = IntraClassAugmentation(CLASSES, DIM)
    wanted = [epoch for epoch in range(40) if synthesis.wants_embeddings(epoch)]
    assert wanted == [30, 32, 34, 36, 38]
    shares = {0: 1.0, 39.9: 1.0, 40: 0.9, 59: 0.9, 60: 0.75, 80: 0.6, 99: 0.6}
    for epoch, share in shares.items():
        assert synthesis.strength_at(epoch) == pytest.approx(0.8 * share)
    assert synthesis.strength_at(None) == 0.8


def test_before_its_start_a_batch_is_left_alone() -> None:
    y = [0, 0, 1, 1]
    x, loss = normal(4, DIM, seed=1), MultiSimilarityLoss()
    synthesis = augmentation(start_epoch=3)
    plain = loss(x, torch.tensor(y))
    assert synthesis(loss, x, batch_of(y), epoch=2.9) == plain
    assert synthesis(loss, x, batch_of(y), epoch=3.0) != plain


def test_the_state_is_whole() -> None:
    first, second = augmentation(correct_above=0), IntraClassAugmentation(CLASSES, DIM)
    second.load_state_dict(first.state_dict())
    x = normal(3, DIM)
    made = [one.synthesise(x, batch_of([0, 1, 3])).points_PD for one in (first, second)]
    assert torch.equal(*made)


@pytest.mark.plain
def test_misuse_is_named() -> None:
    for options, sentence in (
        ({"copies": 0}, "copies must be >= 1, got 0"),
        ({"momentum": 1.5}, r"momentum must be in \[0, 1\], got 1.5"),
        ({"decay_epochs": (3, 2, 5)}, "decay_epochs must be three epochs >= 0 in ascending order"),
        ({"decay_epochs": (3, 5)}, "decay_epochs must be three epochs >= 0 in ascending order"),
    ):
        with pytest.raises(UserError, match=sentence):
            IntraClassAugmentation(CLASSES, DIM, **options)
    with pytest.raises(UserError, match="dim must be 3, got 4"):
        augmentation().synthesise(torch.zeros(1, 4), batch_of([0]))
    with pytest.raises(UserError, match=r"labels must be in \[0, 5\), got 5"):
        augmentation().refresh(torch.zeros(1, 3), torch.tensor([5]))


# --- claims ---------------------------------------------------------------------------------


def planted(each: list[int], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Classes along one line, on which the variance rises in half of eight channels, by a factor
    of 400 from end to end, and falls in the others: samples, their classes, the variances."""
    place = torch.rand(len(each), 1, generator=generator_of(seed))
    mean = 10 + 20 * place.expand(-1, 8)
    rising = torch.tensor([1.0, 1, 1, 1, -1, -1, -1, -1])
    variance = torch.exp(6 * rising * (place - 0.5))
    y = torch.arange(len(each)).repeat_interleave(torch.tensor(each))
    noise = torch.randn(len(y), 8, generator=generator_of(seed + 1))
    return mean[y] + variance.sqrt()[y] * noise, y, variance


def misjudged(synthesis: IntraClassAugmentation, y: Tensor, variance: Tensor) -> float:
    """Mean |log ratio| of the variance of many copies to the planted one, over all channels."""
    classes = y.unique()
    parents = torch.zeros(len(classes), 8)
    made = synthesis.synthesise(parents, Batch(classes, generator=generator_of(9)))
    spread = made.points_PD.view(synthesis.copies, len(classes), 8).square().mean(0)
    return (spread / variance).clamp_min(1e-3).log().abs().mean().item()


def judged(x: Tensor, y: Tensor, classes: int, **options: object) -> IntraClassAugmentation:
    synthesis = IntraClassAugmentation(classes, 8, copies=500, strength=1.0, **options)
    synthesis.refresh(x, y)
    return synthesis


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_copies_follow_the_covariance_of_their_class_and_one_for_all_does_not(seed: int) -> None:
    """Mean |log ratio|: seeds 0 to 7 gave 0.15 to 0.20, and 1.2 to 2.3 with the mean variance."""
    x, y, variance = planted([60] * 10, seed)
    own = judged(x, y, 10)
    assert misjudged(own, y, variance) < 0.5
    shared = judged(x, y, 10)
    shared.deviation_CD.copy_(own.variance_CD.mean(0).sqrt().expand(10, 8))
    assert misjudged(shared, y, variance) > 0.5


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_neighbours_lend_small_classes_their_covariance(seed: int) -> None:
    """Two samples each: 0.43 to 0.58, without correction 1.9 to 2.3, by all classes 1.5 to 1.8."""
    x, y, variance = planted([2] * 60 + [60] * 60, seed)
    small = y < 60
    for options, fits in (
        ({"correct_above": 0}, True),
        ({"correct_above": 1000}, False),
        ({"correct_above": 0, "global_share": 1.0}, False),
    ):
        synthesis = judged(x, y, 120, neighbours=5, **options)
        assert (misjudged(synthesis, y[small], variance[:60]) < 1.0) == fits
