"""Cross-batch memory: a ring, the right pairs, its state, and what small batches gain by it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fixtures.losses.cases import PAIR_CASES, Case
from fixtures.planted_rows import Batches, clouds, generator_of
from likeness.batch import Batch
from likeness.config import parse
from likeness.errors import UserError
from likeness.losses import ContrastiveLoss, NTXentLoss, ProxyNCALoss, SupConLoss
from likeness.models import Outputs
from likeness.objective import CrossBatchMemory, ObjectiveSpec, build_objective
from likeness.pairs import Pairs

DIM = 4


def batch_of(ids: list[int], **columns: Tensor) -> Batch:
    """Images by number; every three of them are a class."""
    index = torch.tensor(ids)
    return Batch(index // 3, ids=index, **columns)


def rows_of(ids: list[int], seed: int = 0) -> Tensor:
    return torch.randn(len(ids), DIM, generator=generator_of(seed))


def remembered(memory: CrossBatchMemory) -> list[int]:
    return memory.ids_M[: memory.filled].tolist()


# --- the ring -------------------------------------------------------------------------------


def test_the_oldest_rows_are_written_over() -> None:
    memory = CrossBatchMemory(5, DIM)
    for number, ids in enumerate(([1, 2, 3], [4, 5, 6], [7])):
        memory.remember(rows_of(ids, number), batch_of(ids))
    assert remembered(memory) == [6, 7, 3, 4, 5]
    assert memory.labels_M.tolist() == [2, 2, 1, 1, 1]
    assert torch.equal(memory.embeddings_MD[1], rows_of([7], 2)[0])


def test_a_batch_beyond_its_size_leaves_its_last_samples() -> None:
    memory = CrossBatchMemory(3, DIM)
    memory.remember(rows_of([0, 1]), batch_of([0, 1]))
    ids = list(range(10, 17))
    memory.remember(rows_of(ids), batch_of(ids))
    assert sorted(remembered(memory)) == [14, 15, 16]


def test_it_begins_after_its_start_step() -> None:
    memory = CrossBatchMemory(8, DIM, start_step=2)
    for step in range(4):
        memory.remember(rows_of([step]), batch_of([step]))
    assert remembered(memory) == [2, 3]


def test_what_is_remembered_has_no_graph_and_no_later_change() -> None:
    memory = CrossBatchMemory(4, DIM)
    x = rows_of([0, 1]).requires_grad_()
    pairs = memory.pairs(x, batch_of([0, 1]), space="cosine")
    memory.remember(x, batch_of([0, 1]))
    kept = memory.embeddings_MD.clone()
    pairs.gram.sum().backward()
    with torch.no_grad():
        x.mul_(3)
    assert torch.equal(memory.embeddings_MD, kept)
    assert not memory.embeddings_MD.requires_grad


def test_the_state_is_whole() -> None:
    """The place of the next row too: the restored ring goes on like the first."""
    first, second = CrossBatchMemory(5, DIM, start_step=1), CrossBatchMemory(5, DIM, start_step=1)
    for step in range(4):
        first.remember(rows_of([step, step + 9], step), batch_of([step, step + 9]))
    second.load_state_dict(first.state_dict())
    for memory in (first, second):
        memory.remember(rows_of([40, 41, 42]), batch_of([40, 41, 42]))
    assert second.filled == 5
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_new_labels_reach_what_is_remembered() -> None:
    memory = CrossBatchMemory(4, DIM)
    memory.remember(rows_of([5, 2]), batch_of([5, 2]))
    memory.relabel(torch.arange(10) + 100)
    assert memory.labels_M[:2].tolist() == [105, 102]


# --- the pairs ------------------------------------------------------------------------------


def test_pairs_with_the_batch_and_the_memory_by_hand() -> None:
    memory = CrossBatchMemory(8, DIM)
    memory.remember(rows_of([0, 1, 5]), batch_of([0, 1, 5]))
    x = rows_of([0, 3, 4], 1)
    pairs = memory.pairs(x, batch_of([0, 3, 4]), space="euclidean")
    whole = torch.cat([x, rows_of([0, 1, 5])])
    torch.testing.assert_close(pairs.squared_distance, torch.cdist(x, whole).square())
    # References: images 0, 3, 4 now; 0, 1, 5 then. An earlier draw of image 0 is image 0.
    assert pairs.itself.int().tolist() == [
        [1, 0, 0, 1, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0],
    ]
    assert pairs.positive.int().tolist() == [
        [0, 0, 0, 0, 1, 0],
        [0, 0, 1, 0, 0, 1],
        [0, 1, 0, 0, 0, 1],
    ]
    assert torch.equal(pairs.negative, ~(pairs.positive | pairs.itself))


def test_earlier_draws_are_views_where_views_are_pairs() -> None:
    memory = CrossBatchMemory(8, DIM)
    memory.remember(rows_of([0]), batch_of([0]))
    options = {"space": "cosine", "allow_views": True}
    pairs = memory.pairs(rows_of([0, 0, 7], 1), batch_of([0, 0, 7]), **options)
    assert pairs.positive.int().tolist() == [[0, 1, 0, 1], [1, 0, 0, 1], [0, 0, 0, 0]]


def test_no_positive_of_the_own_group_in_the_memory_either() -> None:
    memory = CrossBatchMemory(8, DIM)
    memory.remember(rows_of([0, 1]), batch_of([0, 1], group=torch.tensor([7, 8])))
    now = batch_of([2], group=torch.tensor([8]))
    pairs = memory.pairs(rows_of([2]), now, space="cosine", exclude_groups=True)
    assert pairs.positive.tolist() == [[False, True, False]]


def test_several_labels_per_image() -> None:
    memory = CrossBatchMemory(8, DIM, labels=3)
    then = Batch(torch.tensor([[1, 0, 0], [0, 1, 1]]), ids=torch.tensor([0, 1]))
    memory.remember(rows_of([0, 1]), then)
    now = Batch(torch.tensor([[1, 1, 0]]), ids=torch.tensor([2]))
    pairs = memory.pairs(rows_of([2]), now, space="cosine")
    torch.testing.assert_close(pairs.relevance, torch.tensor([[1.0, 0.5**0.5, 0.5]]))


@pytest.mark.parametrize(
    "case",
    [case for case in PAIR_CASES if case.build().reads_references],
    ids=lambda case: case.name,
)
def test_any_loss_of_pairs_sees_the_memory_as_it_sees_references(case: Case) -> None:
    """Value and gradient of a loss on hand-made references; the memory itself gets no gradient."""
    loss, seen = case.build(), list(range(8, 24))
    memory = CrossBatchMemory(16, DIM)
    memory.remember(rows_of(seen, 3), batch_of(seen))
    ids = list(range(6))
    x = rows_of(ids).requires_grad_()
    value = memory(loss, x, batch_of(ids))
    leaf, past = x.detach().clone().requires_grad_(), rows_of(seen, 3)
    every = batch_of([*ids, *seen])
    pairs = Pairs(
        *(leaf, batch_of(ids).labels),
        ids=batch_of(ids).ids,
        reference=torch.cat([leaf, past]),
        reference_labels=every.labels,
        reference_ids=every.ids,
        space=loss.space,
    )
    wanted = loss.on_pairs(pairs).value
    torch.testing.assert_close(value, wanted)
    slopes = (torch.autograd.grad(value, x), torch.autograd.grad(wanted, leaf))
    torch.testing.assert_close(*slopes)
    assert torch.isfinite(value)


def test_an_empty_memory_changes_nothing() -> None:
    for loss in (ContrastiveLoss(), SupConLoss()):
        x = rows_of([0, 1, 4])
        batch = batch_of([0, 1, 4])
        assert CrossBatchMemory(9, DIM)(loss, x, batch) == loss(x, batch.labels, batch=batch)


def test_the_order_of_the_memory_does_not_matter() -> None:
    values = []
    for ids in ([0, 4, 8, 12], [12, 8, 4, 0]):
        memory = CrossBatchMemory(9, DIM)
        memory.remember(rows_of(list(range(13)))[ids], batch_of(ids))
        values.append(memory(NTXentLoss(), rows_of([1, 5, 9], 2), batch_of([1, 5, 9])))
    torch.testing.assert_close(*values)


# --- in an objective ------------------------------------------------------------------------


def objective_with(*terms: dict[str, object], **options: object) -> nn.Module:
    spec = parse(ObjectiveSpec, {"terms": list(terms), "classification": None})
    return build_objective(spec, num_classes=5, dims={"embedding": DIM}, **options)


def test_an_objective_remembers_after_the_step() -> None:
    objective = objective_with({"loss": {"name": "supcon"}, "memory": {"size": 6, "start_step": 1}})
    memory = objective.terms["supcon"].memory
    assert "terms.supcon.memory.embeddings_MD" in objective.state_dict()
    for ids in ([0, 3], [1, 4], [2, 5]):
        outputs = Outputs(rows_of(ids), {"embedding": rows_of(ids)}, {})
        result = objective(outputs, batch_of(ids))
        objective.after_step(outputs, batch_of(ids))
    assert remembered(memory) == [1, 4, 2, 5]
    assert result.parts["supcon"].n_active == 2  # 2 and 5 met 1 and 4, not 0 and 3


@pytest.mark.parametrize("first", ["plain", "remembering"])
def test_a_term_with_memory_reads_it_beside_one_without(first: str) -> None:
    """Batch against batch, and batch against memory, of one head in one space: two terms."""
    plain = {"loss": {"name": "multi_similarity"}}
    remembering = {"loss": {"name": "circle"}, "memory": {"size": 4}}
    terms = [plain, remembering] if first == "plain" else [remembering, plain]
    objective = objective_with(*terms)
    for ids in ([0, 3], [1, 4], [2, 5]):
        outputs = Outputs(rows_of(ids), {"embedding": rows_of(ids)}, {})
        result = objective(outputs, batch_of(ids))
        objective.after_step(outputs, batch_of(ids))
    assert result.parts["multi_similarity"].n_active == 0  # no two of a class in one batch
    assert result.parts["circle"].n_active > 0


@pytest.mark.parametrize(
    ("term", "sentence"),
    [
        ({"loss": {"name": "proxy_nca"}}, "memory of ProxyNCALoss must be null"),
        ({"loss": {"name": "centre"}}, "memory of CentreLoss must be null"),
        (
            {"loss": {"name": "triplet"}, "miners": [{"name": "random_triplets"}]},
            "memory must be null with the miner random_triplets",
        ),
        (
            {"loss": {"name": "n_pair"}, "miners": [{"name": "n_pairs"}]},
            "memory must be null with the miner n_pairs",
        ),
    ],
)
def test_what_knows_the_batch_alone_is_refused(term: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        objective_with({**term, "memory": {"size": 8}})


def test_misuse_is_named() -> None:
    memory = CrossBatchMemory(4, DIM)
    with pytest.raises(UserError, match="ids must be given with a memory"):
        memory.remember(rows_of([0]), Batch(torch.tensor([0])))
    with pytest.raises(UserError, match="dim must be 4, got 3"):
        memory.remember(torch.zeros(1, 3), batch_of([0]))
    with pytest.raises(UserError, match="labels must be of shape"):
        memory.remember(rows_of([0]), Batch(torch.zeros(1, 3), ids=torch.tensor([0])))
    with pytest.raises(UserError, match="memory of ProxyNCALoss must be null"):
        memory(ProxyNCALoss(5, DIM), rows_of([0]), batch_of([0]))
    with pytest.raises(UserError, match="size must be >= 1, got 0"):
        CrossBatchMemory(0, DIM)


# --- claim ----------------------------------------------------------------------------------

CLASSES, EACH, FEATURES = 12, 20, 24
STEPS = 120


def planted(seed: int, shared: float) -> tuple[Tensor, Tensor]:
    """Twelve classes, told apart in a few features, beside loud noise and one that all share."""
    means = torch.zeros(CLASSES, FEATURES)
    means[:, :8] = 2 * torch.randn(CLASSES, 8, generator=generator_of(7))
    means[:, 8] = shared
    noise = torch.tensor([0.6] * 9 + [3.0] * (FEATURES - 9))
    return clouds(means, EACH, noise=noise, seed=seed)


def lone(x: Tensor, y: Tensor, seed: int) -> Batches:
    """Batches without a positive pair: one image of each of four classes."""
    generator = generator_of(seed)
    while True:
        classes = torch.randperm(CLASSES, generator=generator)[:4]
        rows = classes * EACH + torch.randint(EACH, (4,), generator=generator)
        yield x[rows], Batch(y[rows], ids=rows)


def of_one_class(x: Tensor, y: Tensor, seed: int) -> Batches:
    """Batches without a negative pair: four images of one class."""
    generator = generator_of(seed)
    while True:
        start = EACH * int(torch.randint(CLASSES, (1,), generator=generator))
        rows = start + torch.randperm(EACH, generator=generator)[:4]
        yield x[rows], Batch(y[rows], ids=rows)


def learn(batches: Batches, x: Tensor, size: int, seed: int) -> tuple[nn.Module, list[float]]:
    """A linear embedding after some steps, and how far the memory had drifted at each: 1 - cosine
    of a remembered row to what the network says of its image now. With size 0 none is kept."""
    torch.manual_seed(seed)
    net, loss = nn.Linear(FEATURES, 6, bias=False), ContrastiveLoss()
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    memory = CrossBatchMemory(max(size, 1), 6, start_step=0 if size else STEPS)
    drift = []
    for _ in range(STEPS):
        rows, batch = next(batches)
        optimiser.zero_grad()
        embeddings = net(rows)
        memory(loss, embeddings, batch).backward()
        optimiser.step()
        memory.remember(embeddings, batch)
        if memory.filled == size:
            now = net(x[memory.ids_M]).detach()
            drift.append((1 - F.cosine_similarity(now, memory.embeddings_MD)).mean().item())
    return net, drift


def gap(
    kind: Callable[[Tensor, Tensor, int], Batches], shared: float, size: int, seed: int
) -> float:
    """Mean cosine of positive pairs of new images minus that of negative ones."""
    x, y = planted(seed, shared)
    net, _ = learn(kind(x, y, seed), x, size, seed)
    unseen, other = planted(seed + 100, shared)
    pairs = Pairs(net(unseen).detach(), other, space="cosine")
    return (pairs.cosine[pairs.positive].mean() - pairs.cosine[pairs.negative].mean()).item()


@pytest.mark.parametrize("seed", [0, 1])
def test_small_batches_find_the_positives_that_they_never_hold(seed: int) -> None:
    """Batches of 4, the memory is ten of them. Seeds 0 to 4 gave 0.52 to 0.69, and without it 0.17
    to 0.26."""
    assert gap(lone, 4.0, 40, seed) > 0.38
    assert gap(lone, 4.0, 0, seed) < 0.38


@pytest.mark.parametrize("seed", [0, 1])
def test_small_batches_find_the_negatives_that_they_never_hold(seed: int) -> None:
    """Without, all classes fall together: seeds 0 to 4 gave 0.37 to 0.48, and 0.01 to 0.06."""
    assert gap(of_one_class, 10.0, 40, seed) > 0.2
    assert gap(of_one_class, 10.0, 0, seed) < 0.2


@pytest.mark.parametrize("seed", [0, 1])
def test_embeddings_drift_slowly_once_the_first_steps_are_over(seed: int) -> None:
    """1 - cosine over ten steps was 0.07 to 0.10 at first, and 0.003 at most in the later half."""
    x, y = planted(seed, 4.0)
    _, drift = learn(lone(x, y, seed), x, 40, seed)
    assert drift[0] > 0.03
    assert max(drift[len(drift) // 2 :]) < 0.01
