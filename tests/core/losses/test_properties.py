"""What every loss must do, over the one list of losses and oracles in fixtures/losses/cases.py."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from fixtures.losses import oracles
from fixtures.losses.cases import CASES, CLASSES, DIM, PAIR_CASES, Case, kept_bank
from fixtures.tensor_memory import peak_bytes
from likeness import rows
from likeness.batch import Batch
from likeness.losses.base import PairLoss
from likeness.mining import batch_hard, semi_hard
from likeness.pairs import Pairs
from likeness.selection import Selection

every_loss = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_pair_loss = pytest.mark.parametrize("case", PAIR_CASES, ids=lambda case: case.name)

# Uneven classes, shuffled; class 3 has one sample, class 1 none.
LABELS = torch.tensor([0, 2, 0, 4, 2, 2, 0, 3, 4, 0, 2])


def embeddings(count: int = len(LABELS), seed: int = 0, dtype=torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, DIM, generator=generator, dtype=torch.float64).to(dtype)


def value_and_gradient(loss: PairLoss, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    value = loss(leaf, y)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def spread(*shape: int, seed: int = 5) -> Tensor:
    """Weights in (0, 1), a third of them zero."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(*shape, generator=generator, dtype=torch.float64)
    return torch.where(draw < 1 / 3, torch.zeros(()), draw)


@every_loss
def test_value_and_gradient_are_the_definitions(case: Case) -> None:
    loss = case.build()
    value, gradient = value_and_gradient(loss, embeddings(), LABELS)
    leaf = embeddings().requires_grad_()
    expected = case.value(loss, leaf, LABELS)
    assert expected > 0.01
    torch.testing.assert_close(value, expected.detach(), rtol=1e-9, atol=1e-11)
    slope = torch.autograd.grad(expected, leaf)[0]
    torch.testing.assert_close(gradient, slope, rtol=1e-8, atol=1e-9)


@every_loss
def test_gradcheck(case: Case) -> None:
    if case.constants:
        pytest.skip("its gradient is not the slope of its value; the oracle's is the same")
    loss = case.build().double()
    x = embeddings(6, seed=1).requires_grad_()
    y = torch.tensor([0, 0, 2, 2, 2, 4])
    parameters = [p for p in loss.parameters() if p.requires_grad]
    assert torch.autograd.gradcheck(lambda x, *p: loss(x, y), (x, *parameters))


@every_loss
def test_shares_add_up_and_counts_are_integers(case: Case) -> None:
    loss = case.build()
    terms = loss.on_pairs(Pairs(embeddings(), LABELS, space=loss.space))
    torch.testing.assert_close(terms.per_anchor.sum(), terms.value)
    assert terms.per_anchor.shape == terms.valid.shape == LABELS.shape
    assert terms.valid.dtype == torch.bool
    assert terms.n_active.dtype == torch.int64
    assert terms.n_active.shape == ()
    assert not terms.n_active.requires_grad
    if not case.per_class:
        lonely = LABELS == 3
        assert terms.valid[~lonely].all()


@every_loss
def test_the_order_of_the_batch_does_not_matter(case: Case) -> None:
    loss = case.build()
    order = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(2))
    value, gradient = value_and_gradient(loss, embeddings(), LABELS)
    shuffled, moved = value_and_gradient(loss, embeddings()[order], LABELS[order])
    torch.testing.assert_close(shuffled, value)
    torch.testing.assert_close(moved, gradient[order])


@every_loss
def test_rotating_the_space_does_not_matter(case: Case) -> None:
    loss = case.build().double()
    rotation = torch.linalg.qr(embeddings(DIM, seed=9)).Q
    value, gradient = value_and_gradient(loss, embeddings(), LABELS)
    bank = kept_bank(loss)
    if bank is not None:
        with torch.no_grad():
            bank.weight.copy_(bank.weight @ rotation)
    turned, slope = value_and_gradient(loss, embeddings() @ rotation, LABELS)
    torch.testing.assert_close(turned, value)
    torch.testing.assert_close(slope, gradient @ rotation)


@every_loss
@pytest.mark.parametrize("scale", [0.01, 1000.0])
def test_the_cosine_space_sees_no_length(case: Case, scale: float) -> None:
    loss = case.build()
    value, _ = value_and_gradient(loss, embeddings(), LABELS)
    scaled, _ = value_and_gradient(loss, embeddings() * scale, LABELS)
    assert bool(torch.isclose(scaled, value)) == (loss.space == "cosine")


@every_pair_loss
def test_labels_are_any_integers(case: Case) -> None:
    loss = case.build()
    value, gradient = value_and_gradient(loss, embeddings(), LABELS)
    renamed, same = value_and_gradient(loss, embeddings(), LABELS * -(2**40) + 7)
    assert renamed == value
    torch.testing.assert_close(same, gradient, rtol=0, atol=0)


# --- selections and references --------------------------------------------------------------


@every_pair_loss
@pytest.mark.parametrize("kind", ["soft", "mined"])
def test_a_selection_weighs_the_pairs(case: Case, kind: str) -> None:
    loss = case.build()
    count = len(LABELS)
    weights = (spread(count, count), spread(count, count, seed=6))
    if kind == "mined":
        weights = (weights[0] > 0, weights[1] > 0)
    leaf = embeddings().requires_grad_()
    pairs = Pairs(leaf, LABELS, space=loss.space)
    terms = loss.on_pairs(pairs, Selection(*weights))
    other = embeddings().requires_grad_()
    expected = case.value(loss, other, LABELS, weights=weights)
    torch.testing.assert_close(terms.value, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(
        torch.autograd.grad(terms.value, leaf)[0],
        torch.autograd.grad(expected, other)[0],
        rtol=1e-8,
        atol=1e-9,
    )


@every_pair_loss
def test_weights_of_one_are_no_selection(case: Case) -> None:
    loss = case.build()
    pairs = Pairs(embeddings(), LABELS, space=loss.space)
    ones = torch.ones(len(LABELS), len(LABELS), dtype=torch.float64)
    plain, soft = loss.on_pairs(pairs), loss.on_pairs(pairs, Selection(ones, ones))
    torch.testing.assert_close(soft.value, plain.value)
    torch.testing.assert_close(soft.per_anchor, plain.per_anchor)
    assert soft.n_active == plain.n_active
    assert torch.equal(soft.valid, plain.valid)


@every_pair_loss
def test_soft_weights_count_the_same_pairs_as_their_mask(case: Case) -> None:
    loss = case.build()
    pairs = Pairs(embeddings(), LABELS, space=loss.space)
    weights = Selection(spread(11, 11), spread(11, 11, seed=6))
    soft = loss.on_pairs(pairs, weights)
    mined = loss.on_pairs(pairs, Selection(*(w > 0 for w in weights)))
    assert torch.equal(soft.valid, mined.valid)
    inside_the_hinge = "generalised" in case.name or "hinge" in case.name
    if not inside_the_hinge:
        assert soft.n_active == mined.n_active > 0


@every_pair_loss
def test_differentiable_weights_get_their_gradient(case: Case) -> None:
    loss = case.build()
    y = torch.tensor([0, 0, 2, 2, 4])
    pairs = Pairs(embeddings(5, seed=4), y, space=loss.space)
    weights = torch.rand(2, 5, 5, dtype=torch.float64) * 0.9 + 0.1

    def weigh(positive: Tensor, negative: Tensor) -> Tensor:
        return loss.on_pairs(pairs, Selection(positive, negative)).value

    leaves = tuple(w.clone().requires_grad_() for w in weights)
    assert torch.autograd.gradcheck(weigh, leaves)


@every_pair_loss
def test_references_other_than_the_batch(case: Case) -> None:
    loss = case.build()
    memory, memory_labels = embeddings(7, seed=8), torch.tensor([4, 0, 0, 2, 3, 1, 2])
    leaves = [embeddings(6, seed=3).requires_grad_(), memory.clone().requires_grad_()]
    pairs = Pairs(
        leaves[0],
        LABELS[:6],
        reference=leaves[1],
        reference_labels=memory_labels,
        space=loss.space,
    )
    others = [embeddings(6, seed=3).requires_grad_(), memory.clone().requires_grad_()]
    expected = case.value(
        loss, others[0], LABELS[:6], reference=others[1], reference_labels=memory_labels
    )
    value = loss.on_pairs(pairs).value
    torch.testing.assert_close(value, expected)
    slopes = torch.autograd.grad(expected, others)
    for ours, theirs in zip(torch.autograd.grad(value, leaves), slopes, strict=True):
        torch.testing.assert_close(ours, theirs)


@every_pair_loss
def test_a_miner_before_the_loss_keeps_the_gradient(case: Case) -> None:
    loss = case.build()
    _, alone = value_and_gradient(loss, embeddings(), LABELS)
    leaf = embeddings().requires_grad_()
    pairs = Pairs(leaf, LABELS, space=loss.space)
    with torch.no_grad():
        batch_hard(pairs.detach(), Batch(LABELS))
        semi_hard(pairs.detach(), Batch(LABELS))
        _ = pairs.detach().squared_distance
    slope = torch.autograd.grad(loss.on_pairs(pairs).value, leaf)[0]
    torch.testing.assert_close(slope, alone, rtol=0, atol=0)


@every_loss
def test_nobody_writes_into_the_shared_tensors(case: Case) -> None:
    loss = case.build()
    pairs = Pairs(embeddings().requires_grad_(), LABELS, space=loss.space)
    names = ["embeddings", "reference", "gram", "cosine", "squared_distance"]
    names += ["distance"] if loss.space != "dot" else []
    shared = [getattr(pairs, name) for name in [*names, "positive", "negative", "itself"]]
    before = [(t._version, t.detach().clone()) for t in shared]
    weights = Selection(spread(11, 11), spread(11, 11))
    kept = [w.clone() for w in weights]
    loss.on_pairs(pairs).value.backward()
    if not case.per_class:
        loss.on_pairs(pairs, weights)
    for tensor, (version, content) in zip(shared, before, strict=True):
        assert tensor._version == version
        assert torch.equal(tensor, content)
    assert all(torch.equal(a, b) for a, b in zip(weights, kept, strict=True))


# --- degenerate batches ---------------------------------------------------------------------

DEGENERATE = {
    "one class": (embeddings(4), torch.tensor([2, 2, 2, 2])),
    "one sample": (embeddings(1), torch.tensor([2])),
    "no sample": (embeddings(0), torch.tensor([], dtype=torch.int64)),
    "all distinct": (embeddings(4), torch.tensor([0, 1, 2, 3])),
    "duplicates": (embeddings(3)[[0, 0, 1, 1, 0]], torch.tensor([0, 0, 1, 1, 1])),
    "all equal": (embeddings(1).expand(5, DIM), torch.tensor([0, 0, 1, 1, 1])),
    "zero vectors": (torch.zeros(4, DIM, dtype=torch.float64), torch.tensor([0, 0, 1, 1])),
    "one zero vector": (embeddings(4) * torch.tensor([[0.0], [1], [1], [1]]), LABELS[:4]),
    "huge": (embeddings(6) * 1e15, LABELS[:6]),
    "tiny": (embeddings(6) * 1e-15, LABELS[:6]),
}


@every_loss
@pytest.mark.parametrize("kind", DEGENERATE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_degenerate_batches_stay_finite(case: Case, kind: str, dtype: torch.dtype) -> None:
    x, y = DEGENERATE[kind]
    loss = case.build()
    value, gradient = value_and_gradient(loss, x.to(dtype), y)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    if kind not in ("huge", "tiny"):
        assert gradient.abs().max() < 1e4 if len(y) else True


@every_pair_loss
@pytest.mark.parametrize("kind", ["one sample", "no sample"])
def test_without_a_pair_the_loss_is_an_exact_zero(case: Case, kind: str) -> None:
    x, y = DEGENERATE[kind]
    value, gradient = value_and_gradient(case.build(), x, y)
    assert value.item() == 0.0
    assert torch.equal(gradient, torch.zeros_like(x))


@every_pair_loss
def test_without_an_active_pair_the_loss_is_an_exact_zero(case: Case) -> None:
    """Classes far apart; positives either absent or well inside every margin."""
    corners = torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]], dtype=torch.float64)
    loss = case.build()
    if "self-paced" in case.name:
        x, y = corners[:1], torch.tensor([0])  # negatives are pushed without any positive
    elif case.smooth or case.name == "lifted-cosine":
        x, y = 50 * corners, torch.tensor([0, 1])  # no positives
    elif "contrastive" in case.name:
        x, y = 50 * corners, torch.tensor([0, 1])
    else:
        x, y = 50 * corners[[0, 0, 1, 1]], torch.tensor([0, 0, 1, 1])
    leaf = x.clone().requires_grad_()
    terms = loss.on_pairs(Pairs(leaf, y, space=loss.space))
    assert terms.value.item() == 0.0
    assert terms.n_active.item() == 0
    assert torch.equal(torch.autograd.grad(terms.value, leaf)[0], torch.zeros_like(x))


@every_pair_loss
def test_an_empty_selection_is_an_exact_zero(case: Case) -> None:
    loss = case.build()
    for empty in (torch.zeros(11, 11), torch.zeros(11, 11, dtype=torch.bool)):
        leaf = embeddings().requires_grad_()
        pairs = Pairs(leaf, LABELS, space=loss.space)
        terms = loss.on_pairs(pairs, Selection(empty, empty))
        assert terms.value.item() == 0.0
        assert not terms.valid.any()
        assert torch.equal(torch.autograd.grad(terms.value, leaf)[0], torch.zeros_like(leaf))


@every_loss
def test_a_nan_is_not_hidden(case: Case) -> None:
    """The loop stops on nan, so a loss must not mask one away."""
    x = embeddings()
    x[4] = torch.nan
    assert torch.isnan(case.build()(x, LABELS))


# --- precision ------------------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_raised(case: Case, dtype: torch.dtype) -> None:
    loss = case.build()
    x = embeddings(dtype=dtype)
    value, gradient = value_and_gradient(loss, x, LABELS)
    full, slope = value_and_gradient(loss, x.float(), LABELS)
    assert value.dtype == torch.float32
    assert gradient.dtype == dtype
    assert value == full
    torch.testing.assert_close(gradient, slope.to(dtype))


@every_loss
def test_single_precision_is_close_to_double(case: Case) -> None:
    loss = case.build()
    value, gradient = value_and_gradient(loss, embeddings(dtype=torch.float32), LABELS)
    full, slope = value_and_gradient(loss, embeddings(), LABELS)
    torch.testing.assert_close(value.double(), full, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), slope, rtol=1e-4, atol=1e-5)


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_autocast_changes_nothing(case: Case, dtype: torch.dtype) -> None:
    loss = case.build()
    x = embeddings(dtype=dtype)
    value, gradient = value_and_gradient(loss, x, LABELS)
    leaf = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(leaf, LABELS)
    inside.backward()
    assert inside == value
    assert torch.equal(leaf.grad, gradient)


# --- accelerators ---------------------------------------------------------------------------


def on_fake_cuda(case: Case) -> tuple[PairLoss, Tensor, Tensor]:
    """The case on tensors that have a device and shapes but no data: reading one raises."""
    loss = case.build()
    for name, buffer in loss.named_buffers(recurse=False):
        setattr(loss, name, torch.empty_like(buffer, device="cuda:0"))
    for name, parameter in loss.named_parameters(recurse=False):
        moved = torch.empty_like(parameter, device="cuda:0")
        setattr(loss, name, torch.nn.Parameter(moved))
    bank = kept_bank(loss)
    if bank is not None:
        rows = torch.empty(bank.weight.shape, device="cuda:0")
        bank.weight = torch.nn.Parameter(rows, requires_grad=bank.weight.requires_grad)
    labels = torch.empty(12, dtype=torch.int64, device="cuda:0")
    return loss, torch.empty(12, DIM, device="cuda:0", requires_grad=True), labels


@every_loss
def test_no_loss_reads_from_the_device(case: Case) -> None:
    """A host read would stop the accelerator's queue."""
    with FakeTensorMode():
        loss, x, y = on_fake_cuda(case)
        terms = loss.on_pairs(Pairs(x, y, space=loss.space))
        loss.after_step(x, y)
        assert all(tensor.device.type == "cuda" for tensor in terms)
        with pytest.raises(DataDependentOutputException):
            terms.value.item()


@pytest.mark.parametrize("name", ["batch_hard", "facenet", "band"])
def test_no_miner_reads_from_the_device(name: str) -> None:
    with FakeTensorMode():
        _, x, y = on_fake_cuda(PAIR_CASES[0])
        pairs = Pairs(x, y)
        if name == "batch_hard":
            found = batch_hard(pairs, Batch(y))
        else:
            found = semi_hard(pairs, Batch(y), rule=name)
        assert all(tensor.device.type == "cuda" for tensor in found)


@every_loss
def test_the_safe_width_of_accelerators_gives_the_same(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = case.build()
    value, gradient = value_and_gradient(loss, embeddings(), LABELS)
    monkeypatch.setattr(rows, "width", lambda count_N, columns: columns)
    wide, slope = value_and_gradient(loss, embeddings(), LABELS)
    torch.testing.assert_close(wide, value)
    torch.testing.assert_close(slope, gradient)


# --- cost -----------------------------------------------------------------------------------


def one_step(case: Case, count: int) -> int:
    """Peak bytes of tensors that one forward and backward pass adds."""
    x = embeddings(count, dtype=torch.float32).requires_grad_()
    y = torch.arange(count) // 4 if not case.per_class else torch.arange(count) % CLASSES
    loss = case.build()
    return peak_bytes(lambda: loss(x, y).backward())


@every_loss
def test_memory_grows_no_faster_than_the_square(case: Case) -> None:
    small, large = one_step(case, 256), one_step(case, 1024)
    if case.linear:
        assert large <= 1.1 * 4 * small
        return
    assert large <= 1.1 * 16 * small
    matrix = 4 * 1024**2
    assert large >= matrix
    assert large <= 16 * matrix  # N^3 of anything would be at least 256 matrices


def test_the_oracles_disagree_with_each_other() -> None:
    """Otherwise equality with an oracle would say little."""
    t = oracles.table(embeddings(), LABELS, "cosine")
    values = {round(float(case.oracle(t)), 6) for case in PAIR_CASES}
    # Every batch-hard triplet is active here; MATHM's weights may carry gradient or not.
    assert len(values) >= len(PAIR_CASES) - 2
