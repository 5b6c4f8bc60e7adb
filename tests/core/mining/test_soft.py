"""Soft mining and class-aware attention against loops over their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from fixtures.losses import oracles
from fixtures.tensor_memory import peak_bytes
from likeness.batch import Batch
from likeness.config import parse
from likeness.errors import UserError
from likeness.losses import WeightedContrastiveLoss
from likeness.mining import class_aware_attention, online_soft_mining
from likeness.mining.soft import attention
from likeness.objective import Objective, ObjectiveSpec, build_objective
from likeness.pairs import Pairs
from likeness.selection import Selection, everything, pipeline

Y = torch.tensor([0, 2, 0, 4, 2, 2, 0, 3, 4, 0, 2])
both_variants = pytest.mark.parametrize("variant", ["paper", "caffe"])


def rows(count: int = len(Y), dim: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64)


def guesses(count: int = len(Y), classes: int = 5) -> Tensor:
    return 2 * rows(count, classes, seed=1)


def asked(y: Tensor = Y, **logits: Tensor) -> Batch:
    return Batch(y, logits=logits or {"class": guesses(len(y))})


def chance(logits_N: list[float], label: int) -> float:
    """Softmax of one row, from the definition."""
    return math.exp(logits_N[label]) / sum(math.exp(each) for each in logits_N)


# --- the definitions ------------------------------------------------------------------------------


@both_variants
@pytest.mark.parametrize("space", ["euclidean", "cosine"])
@pytest.mark.parametrize("memory", [False, True])
def test_soft_mining_by_loops(variant: str, space: str, memory: bool) -> None:
    options = {"reference": rows(7, seed=5), "reference_labels": Y[:7]} if memory else {}
    pairs = Pairs(rows(), Y, space=space, **options)
    found = online_soft_mining(pairs, Batch(Y), variant=variant, sigma=0.6, margin=1.4)
    t = oracles.table(rows(), Y, space, **options)
    for i in t.rows:
        for j in t.columns:
            d = t.distance[i][j].item()
            if not memory and i == j:
                continue  # never a pair
            near = d * d / 0.36 if variant == "paper" else d * d / (2 * 0.36)
            assert found.positive_NM[i, j].item() == pytest.approx(math.exp(-near), abs=1e-9)
            assert found.negative_NM[i, j].item() == pytest.approx(max(0, 1.4 - d), abs=1e-9)
    assert (found.negative_NM == 0).any()


@both_variants
def test_attention_by_loops(variant: str) -> None:
    found = class_aware_attention(Pairs(rows(), Y), asked(), variant=variant, head="class")
    each = [chance(row, label) for row, label in zip(guesses().tolist(), Y.tolist(), strict=True)]
    if variant == "caffe":
        each = [math.exp(-((p - 1) ** 2) / (2 * 0.68**2)) for p in each]
    for i, one in enumerate(each):
        for j, other in enumerate(each):
            assert found.positive_NM[i, j].item() == pytest.approx(min(one, other))
    assert torch.equal(found.negative_NM, found.positive_NM)


def test_attention_reads_the_head_that_it_is_told() -> None:
    batch = asked(first=guesses(), last=-guesses())
    pairs = Pairs(rows(), Y)
    found = class_aware_attention(pairs, batch, head="last").positive_NM
    assert torch.equal(found, class_aware_attention(pairs, asked(Y, **{"class": -guesses()}))[0])
    assert not torch.equal(found, class_aware_attention(pairs, batch, head="first").positive_NM)


def test_sigma_of_the_code_is_read_and_the_paper_has_none() -> None:
    narrow, wide = (attention(guesses(), Y, variant="caffe", sigma=s) for s in (0.3, 0.68))
    assert (narrow < wide).all()
    assert torch.equal(attention(guesses(), Y, sigma=0.3), attention(guesses(), Y))


def test_figures_of_the_specification() -> None:
    certain = torch.tensor([[60.0, 0.0], [-60.0, 0.0]], dtype=torch.float64)
    first = torch.zeros(2, dtype=torch.int64)
    assert attention(certain, first, variant="caffe").tolist() == pytest.approx([1, 0.34], abs=0.01)
    assert attention(certain, first).tolist() == pytest.approx([1, 0])
    # Unit features times unit class vectors, 625 classes: the port's logits.
    bounded = -torch.ones(1, 625, dtype=torch.float64)
    bounded[0, 0] = 1.0
    assert attention(bounded, first[:1]).item() == pytest.approx(0.0117, abs=1e-4)
    ratio = attention(bounded, first[:1]) / attention(bounded, first[:1] + 1)
    assert ratio.item() == pytest.approx(math.exp(2))  # 7.4
    # Positives never vanish on the unit sphere.
    x = torch.tensor([[1.0, 0], [-1, 0]], dtype=torch.float64)
    opposite = online_soft_mining(Pairs(x, first, space="cosine"), Batch(first)).positive_NM[0, 1]
    assert opposite.item() == pytest.approx(0.0019, abs=1e-4)


def test_rows_without_negative_numbers_are_never_farther_than_the_root_of_two() -> None:
    x = rows(40, 3).relu() + 1e-9
    pairs = Pairs(x, torch.arange(40), space="cosine")
    assert pairs.distance.max() <= math.sqrt(2) + 1e-12
    weights = online_soft_mining(pairs, Batch(pairs.labels)).negative_NM
    beyond = pairs.distance > 1.2
    assert beyond.any()  # a margin of 1.2 leaves some out
    assert torch.equal(weights == 0, beyond)


@both_variants
def test_the_order_of_the_batch_does_not_matter(variant: str) -> None:
    order = torch.randperm(len(Y), generator=torch.Generator().manual_seed(2))
    miner = both(variant)
    one = miner(Pairs(rows(), Y, space="cosine"), asked())
    moved = Batch(Y[order], logits={"class": guesses()[order]})
    other = miner(Pairs(rows()[order], Y[order], space="cosine"), moved)
    for before, after in zip(one, other, strict=True):
        torch.testing.assert_close(after, before[order][:, order])


# --- together, and with what else decides about pairs ---------------------------------------------


def both(variant: str = "paper", **options: object):
    return pipeline(
        lambda p, b: online_soft_mining(p, b, variant=variant, **options),
        lambda p, b: class_aware_attention(p, b, variant=variant, **options),
    )


@both_variants
def test_mining_and_attention_multiply_within_the_pairs_own_masks(variant: str) -> None:
    pairs = Pairs(rows(), Y, space="cosine")
    mined = online_soft_mining(pairs, asked(), variant=variant)
    attended = class_aware_attention(pairs, asked(), variant=variant)
    found = both(variant)(pairs, asked())
    torch.testing.assert_close(found[0], mined[0] * attended[0] * pairs.positive)
    torch.testing.assert_close(found[1], mined[1] * attended[1] * pairs.negative)
    assert torch.equal(found.positive_NM > 0, pairs.positive)


def test_the_same_picture_twice_and_an_excluded_group_weigh_nothing() -> None:
    ids = torch.tensor([0, 1, 0, 3, 4, 4, 6, 7, 8, 9, 10])
    pairs = Pairs(rows(), Y, ids=ids, space="cosine")
    weights = both()(pairs, asked()).positive_NM
    assert weights[0, 2] == weights[4, 5] == 0
    assert weights[0, 6] > 0
    group = torch.arange(len(Y)) // 6
    weights = both()(pairs.excluding_group(group), asked()).positive_NM
    assert weights[0, 6] > 0
    assert weights[4, 1] == 0
    assert not weights[group[:, None] == group].any()


# --- gradients ------------------------------------------------------------------------------------


def test_weights_are_constants_by_default_and_leave_the_pairs_alone() -> None:
    leaf, logits = rows().requires_grad_(), guesses().requires_grad_()
    pairs = Pairs(leaf, Y, space="cosine")
    kept = pairs.distance, pairs.distance.detach().clone(), pairs.distance._version
    batch = asked(Y, **{"class": logits})
    found = [*online_soft_mining(pairs, batch), *class_aware_attention(pairs, batch)]
    assert not any(weights.requires_grad for weights in found)
    assert pairs.distance is kept[0]
    assert torch.equal(pairs.distance, kept[1])
    assert pairs.distance._version == kept[2]
    assert pairs.distance.requires_grad


@pytest.mark.parametrize(("variant", "space"), [("paper", "cosine"), ("caffe", "euclidean")])
def test_differentiable_weights_have_their_derivative(variant: str, space: str) -> None:
    y = torch.tensor([0, 1, 0, 1])

    def weighed(x: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        batch = Batch(y, logits={"class": logits})
        return tuple(both(variant, differentiable=True)(Pairs(x, y, space=space), batch))

    leaves = rows(4, 2, seed=7).requires_grad_(), guesses(4, 2).requires_grad_()
    assert torch.autograd.gradcheck(weighed, leaves)


# --- degenerate batches and precision -------------------------------------------------------------

DEGENERATE = {
    "one class": (rows(4), torch.tensor([2, 2, 2, 2])),
    "one sample": (rows(1), torch.tensor([2])),
    "no sample": (rows(0), torch.tensor([], dtype=torch.int64)),
    "all distinct": (rows(4), torch.tensor([0, 1, 2, 3])),
    "duplicates": (rows(3)[[0, 0, 1, 1, 0]], torch.tensor([0, 0, 1, 1, 1])),
    "zero vectors": (torch.zeros(4, 4, dtype=torch.float64), torch.tensor([0, 0, 1, 1])),
    "huge": (rows(6) * 1e15, Y[:6]),
}


@both_variants
@pytest.mark.parametrize("kind", DEGENERATE)
@pytest.mark.parametrize("space", ["euclidean", "cosine"])
def test_degenerate_batches_stay_in_range(variant: str, kind: str, space: str) -> None:
    x, y = DEGENERATE[kind]
    for raised in (x, x.float()):
        pairs = Pairs(raised, y, space=space)
        found = both(variant)(pairs, asked(y))
        for weights, mask in zip(found, everything(pairs), strict=True):
            assert weights.shape == mask.shape == (len(y), len(y))
            assert torch.isfinite(weights).all()
            assert ((weights >= 0) & (weights <= 1.2)).all()
            assert not weights[~mask].any()


@both_variants
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_raised_and_autocast_changes_nothing(variant: str, dtype) -> None:
    x, logits = rows().to(dtype), (1000 * guesses()).to(dtype)
    batch, full = asked(Y, **{"class": logits}), asked(Y, **{"class": logits.float()})
    found = both(variant)(Pairs(x, Y, space="cosine"), batch)
    expected = both(variant)(Pairs(x.float(), Y, space="cosine"), full)
    with torch.autocast("cpu", torch.bfloat16):
        inside = both(variant)(Pairs(x, Y, space="cosine"), batch)
    for one, other, third in zip(found, expected, inside, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)
        assert torch.equal(one, third)
        assert torch.isfinite(one).all()


# --- cost -----------------------------------------------------------------------------------------


def test_no_miner_reads_from_the_device() -> None:
    with FakeTensorMode():
        y = torch.empty(12, dtype=torch.int64, device="cuda:0")
        batch = asked(y, **{"class": torch.empty(12, 5, device="cuda:0")})
        found = both()(Pairs(torch.empty(12, 4, device="cuda:0"), y), batch)
        assert all(weights.device.type == "cuda" for weights in found)
        with pytest.raises(DataDependentOutputException):
            found.positive_NM.max().item()


def test_memory_is_a_few_matrices_of_the_batch() -> None:
    def peak(count: int, miner) -> int:
        y = torch.arange(count) // 4
        pairs = Pairs(rows(count).float(), y, space="cosine")
        batch = asked(y, **{"class": torch.zeros(count, count // 4)})
        _ = pairs.distance, pairs.positive, pairs.negative
        return peak_bytes(lambda: miner(pairs, batch))

    matrix = 4 * 512**2
    for miner, most in ((online_soft_mining, 2.1), (class_aware_attention, 1.6), (both(), 5.6)):
        assert peak(512, miner) <= most * matrix
        assert peak(512, miner) <= 4.4 * peak(256, miner)


# --- what it is for -------------------------------------------------------------------------------


def planted(share: float = 0.2, seed: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images around their class's centre, logits of a classifier that knows the centres.

    Returns:
        Embeddings, labels of which a share is wrong, logits, and which labels are wrong.
    """
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(160) % 8
    centre = 3 * torch.nn.functional.normalize(torch.randn(8, 16, generator=generator), dim=1)
    x = centre[truth] + 0.5 * torch.randn(160, 16, generator=generator)
    wrong = torch.rand(160, generator=generator) < share
    y = torch.where(wrong, (truth + 1 + torch.arange(160) % 7) % 8, truth)
    assert torch.equal(wrong, y != truth)
    return x, y, x @ centre.T, wrong


def ranks_wrong_labels(selection: Selection, pairs: Pairs, wrong: Tensor) -> float:
    """Area under the ROC curve of `wrong` by the mean weight of a sample's positive pairs."""
    weights = selection.positive_NM * pairs.positive
    mean = weights.sum(1) / pairs.positive.sum(1)
    return float(roc_auc_score(wrong.numpy(), -mean.numpy()))


@both_variants
def test_attention_finds_planted_wrong_labels_and_without_it_nothing_does(variant: str) -> None:
    x, y, logits, wrong = planted()
    pairs = Pairs(x, y, space="cosine")
    batch = Batch(y, logits={"class": logits})
    attended = class_aware_attention(pairs, batch, variant=variant)
    assert ranks_wrong_labels(attended, pairs, wrong) >= 0.9
    assert ranks_wrong_labels(everything(pairs), pairs, wrong) < 0.6


@both_variants
def test_wrong_labels_have_less_of_the_pull_under_attention(variant: str) -> None:
    x, y, logits, wrong = planted()
    pairs = Pairs(x, y, space="cosine")
    batch = Batch(y, logits={"class": logits})
    loss = WeightedContrastiveLoss(negative_share=0.0)
    plain = loss.on_pairs(pairs)
    attended = loss.on_pairs(pairs, class_aware_attention(pairs, batch, variant=variant))
    before, after = (t.per_anchor[wrong].sum() / t.value for t in (plain, attended))
    assert after < (0.1 if variant == "paper" else 0.8) * before


# --- in the objective -----------------------------------------------------------------------------

CAA = {"name": "class_aware_attention"}


class Outputs:
    """A model's output with a graph."""

    def __init__(self) -> None:
        self.embeddings = {"embedding": rows().requires_grad_()}
        self.logits = {"class": guesses().requires_grad_()}


def build(*miners: dict, multilabel: bool = False, **options: object) -> Objective:
    term = {"loss": {"name": "weighted_contrastive"}, "miners": list(miners)}
    name = "binary_cross_entropy" if multilabel else "cross_entropy"
    spec = {"classification": {"name": name, "weight": 0.0}, "terms": [term]} | options
    parsed = parse(ObjectiveSpec, spec, "objective")
    return build_objective(parsed, num_classes=5, dims={"embedding": 4}, multilabel=multilabel)


def test_the_objective_gives_attention_its_logits() -> None:
    outputs = Outputs()
    result = build({"name": "online_soft_mining"}, CAA)(outputs, Batch(Y))
    pairs = Pairs(outputs.embeddings["embedding"], Y, space="cosine")
    expected = WeightedContrastiveLoss().on_pairs(pairs, both()(pairs.detach(), asked())).value
    torch.testing.assert_close(result.parts["weighted_contrastive"].value, expected.detach())
    result.loss.backward()
    assert not outputs.logits["class"].grad.any()  # the classification has no weight here
    assert outputs.embeddings["embedding"].grad.any()


@pytest.mark.parametrize("name", ["online_soft_mining", "class_aware_attention"])
def test_the_objective_hands_on_the_graph_where_a_miner_asks_for_it(name: str) -> None:
    plain, free = Outputs(), Outputs()
    build({"name": name})(plain, Batch(Y)).loss.backward()
    build({"name": name, "differentiable": True})(free, Batch(Y)).loss.backward()
    mine, theirs = (each.embeddings["embedding"].grad for each in (plain, free))
    assert torch.equal(mine, theirs) == (name == "class_aware_attention")
    assert bool(free.logits["class"].grad.any()) == (name == "class_aware_attention")
    assert not plain.logits["class"].grad.any()


def test_attention_without_a_classifier_is_refused_before_training() -> None:
    message = "classification must be given where the miner class_aware_attention reads its logits"
    with pytest.raises(UserError, match=message):
        build(CAA, classification=None)
    message = "miners must be .* without class_aware_attention for several labels per image"
    with pytest.raises(UserError, match=message):
        build(CAA, multilabel=True)
    with pytest.raises(UserError, match=r"must be one of class, got 'other'"):
        build(CAA | {"head": "other"})(Outputs(), Batch(Y))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "other"}, "head of class_aware_attention must be one of class, got 'other'"),
        ({"sigma": 0.0}, "sigma must be > 0, got 0"),
        ({"sigma": math.nan}, "sigma must be > 0, got nan"),
    ],
)
def test_options_of_attention_are_checked(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        class_aware_attention(Pairs(rows(), Y), asked(), **options)


def test_what_attention_cannot_weigh_is_refused() -> None:
    pairs = Pairs(rows(), Y)
    with pytest.raises(UserError, match="must be one of none at all, got 'class'"):
        class_aware_attention(pairs, Batch(Y))
    with pytest.raises(UserError, match=r"logits of 'class' must be of shape \(11, C\), got \(3,"):
        class_aware_attention(pairs, asked(Y, **{"class": guesses(3)}))
    memory = Pairs(rows(), Y, reference=rows(3), reference_labels=Y[:3])
    with pytest.raises(UserError, match="reference must be the batch itself"):
        class_aware_attention(memory, asked())
    several = torch.zeros(11, 5)
    with pytest.raises(UserError, match=r"labels must be of shape \(N,\) for class_aware"):
        class_aware_attention(Pairs(rows(), several), Batch(several))


def test_what_soft_mining_cannot_weigh_is_refused() -> None:
    for options in ({"sigma": -1.0}, {"margin": 0.0}):
        name = next(iter(options))
        with pytest.raises(UserError, match=f"{name} must be > 0"):
            online_soft_mining(Pairs(rows(), Y), Batch(Y), **options)
    with pytest.raises(UserError, match="space must be euclidean or cosine"):
        online_soft_mining(Pairs(rows(), Y, space="dot"), Batch(Y))


@pytest.mark.plain
def test_an_unknown_variant_is_named() -> None:
    for miner in (online_soft_mining, class_aware_attention):
        with pytest.raises(UserError, match="variant must be 'paper' or 'caffe', got 'port'"):
            miner(Pairs(rows(), Y), asked(), variant="port")
