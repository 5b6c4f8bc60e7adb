"""What every synthesis must do: slopes, degenerate batches, precision, device, memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from fixtures.free_points import normal
from fixtures.planted_rows import generator_of
from fixtures.tensor_memory import peak_bytes
from likeness.batch import Batch
from likeness.losses import (
    AngularLoss,
    LiftedStructuredLoss,
    MultiSimilarityLoss,
    NPairLoss,
    PairLoss,
    SupConLoss,
    TripletLoss,
)
from likeness.synthesis import (
    DenselyAnchoredSampling,
    IntraClassAugmentation,
    SymmetricalSynthesis,
    Synthesiser,
)

CLASSES, DIM = 5, 4
LABELS = torch.tensor([0, 2, 0, 4, 2, 2, 0, 3, 4, 0, 2])

Case = tuple[str, Callable[[], Synthesiser], Callable[[], PairLoss]]


def intra_class() -> Synthesiser:
    synthesis = IntraClassAugmentation(CLASSES, DIM, correct_above=0, neighbours=2)
    synthesis.refresh(normal(50, DIM, seed=7), torch.arange(50) % CLASSES)
    return synthesis


def anchored(**options: object) -> Synthesiser:
    return DenselyAnchoredSampling(CLASSES, DIM, channels=2, beta=0.5, scale_high=1.5, **options)


CASES: list[Case] = [
    ("symmetrical-n-pair", SymmetricalSynthesis, NPairLoss),
    ("symmetrical-angular", SymmetricalSynthesis, AngularLoss),
    ("symmetrical-triplet", lambda: SymmetricalSynthesis(pairs="sixteen"), TripletLoss),
    ("symmetrical-lifted", lambda: SymmetricalSynthesis(pairs="sixteen"), LiftedStructuredLoss),
    ("intra-class", intra_class, MultiSimilarityLoss),
    ("intra-class-lifted", intra_class, LiftedStructuredLoss),
    ("anchored", anchored, MultiSimilarityLoss),
    ("anchored-through", lambda: anchored(detach=False), SupConLoss),
    ("anchored-raw", lambda: anchored(space="dot"), NPairLoss),
]
every = pytest.mark.parametrize(
    ("build", "loss"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)


def value_of(synthesis: Synthesiser, loss: PairLoss, x: Tensor, y: Tensor) -> Tensor:
    """Without moving what is kept, and with the same draws each time."""
    return synthesis.eval()(loss, x, Batch(y, generator=generator_of(0)))


def after_a_batch(build: Callable[[], Synthesiser]) -> Synthesiser:
    """A synthesis that has seen something."""
    synthesis = build()
    synthesis.synthesise(normal(11, DIM, seed=3), Batch(LABELS))
    return synthesis


def value_and_gradient(
    synthesis: Synthesiser, loss: PairLoss, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    value = value_of(synthesis, loss, leaf, y)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


@every
def test_gradcheck(build: Callable[[], Synthesiser], loss: Callable[[], PairLoss]) -> None:
    synthesis, chosen = after_a_batch(build), loss()
    if isinstance(synthesis, DenselyAnchoredSampling) and synthesis.detach:
        pytest.skip("copies are constants, so the gradient is not the slope of the value")
    x = normal(6, DIM, seed=1).requires_grad_()
    y = torch.tensor([0, 0, 2, 2, 4, 4])
    assert torch.autograd.gradcheck(lambda x: value_of(synthesis, chosen, x, y), (x,))


@every
def test_classes_in_another_order(
    build: Callable[[], Synthesiser], loss: Callable[[], PairLoss]
) -> None:
    """What is drawn goes by place, so the draws are switched off."""
    synthesis, chosen = after_a_batch(build), loss()
    if isinstance(synthesis, IntraClassAugmentation):
        synthesis.deviation_CD.zero_()
    if isinstance(synthesis, DenselyAnchoredSampling):
        synthesis.beta, synthesis.scale_low, synthesis.scale_high = 0.0, 1.3, 1.3
    blocks = LABELS.argsort(stable=True)
    order = blocks[torch.tensor([8, 9, 4, 5, 6, 7, 0, 1, 2, 3, 10])]
    x = normal(11, DIM)
    value, gradient = value_and_gradient(synthesis, chosen, x, LABELS)
    moved, slope = value_and_gradient(synthesis, chosen, x[order], LABELS[order])
    torch.testing.assert_close(moved, value)
    torch.testing.assert_close(slope, gradient[order])


# --- degenerate batches ---------------------------------------------------------------------

DEGENERATE = {
    "one class": (normal(4, DIM), torch.tensor([2, 2, 2, 2])),
    "one sample": (normal(1, DIM), torch.tensor([2])),
    "no sample": (normal(0, DIM), torch.tensor([], dtype=torch.int64)),
    "all distinct": (normal(4, DIM), torch.tensor([0, 1, 2, 3])),
    "duplicates": (normal(3, DIM)[[0, 0, 1, 1, 0]], torch.tensor([0, 0, 1, 1, 1])),
    "all equal": (normal(1, DIM).expand(5, DIM), torch.tensor([0, 0, 1, 1, 1])),
    "zero vectors": (torch.zeros(4, DIM, dtype=torch.float64), torch.tensor([0, 0, 1, 1])),
    "one zero vector": (
        normal(4, DIM) * torch.tensor([[0.0], [1], [1], [1]]),
        torch.tensor([0, 0, 1, 1]),
    ),
}


@every
@pytest.mark.parametrize("kind", DEGENERATE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_degenerate_batches_stay_finite(
    build: Callable[[], Synthesiser], loss: Callable[[], PairLoss], kind: str, dtype: torch.dtype
) -> None:
    x, y = DEGENERATE[kind]
    value, gradient = value_and_gradient(build(), loss(), x.to(dtype), y)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@every
@pytest.mark.parametrize("kind", ["no sample", "one sample", "all distinct"])
def test_without_a_pair_the_loss_is_an_exact_zero(
    build: Callable[[], Synthesiser], loss: Callable[[], PairLoss], kind: str
) -> None:
    """But where copies are positives of their parents, or negatives of other samples."""
    x, y = DEGENERATE[kind]
    synthesis, chosen = build(), loss()
    alone = isinstance(synthesis, SymmetricalSynthesis) or isinstance(chosen, LiftedStructuredLoss)
    if not (kind == "no sample" or alone):
        pytest.skip("copies make pairs here")
    value, gradient = value_and_gradient(synthesis, chosen, x, y)
    assert value.item() == 0.0
    assert torch.equal(gradient, torch.zeros_like(x))


# --- precision ------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_is_raised_and_autocast_changes_nothing(
    build: Callable[[], Synthesiser], loss: Callable[[], PairLoss], dtype: torch.dtype
) -> None:
    synthesis, chosen = after_a_batch(build), loss()
    x = normal(11, DIM).to(dtype)
    full, slope = value_and_gradient(synthesis, chosen, x.float(), LABELS)
    leaf = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = value_of(synthesis, chosen, leaf, LABELS)
    value.backward()
    assert value.dtype == torch.float32
    assert value == full
    torch.testing.assert_close(leaf.grad, slope.to(dtype))


# --- cost -----------------------------------------------------------------------------------


@every
def test_nothing_is_read_from_the_device(
    build: Callable[[], Synthesiser], loss: Callable[[], PairLoss]
) -> None:
    synthesis, chosen = build(), loss()
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in synthesis.modules():
            for name, buffer in [*module.named_buffers(recurse=False)]:
                setattr(
                    module, name, torch.empty(buffer.shape, dtype=buffer.dtype, device="cuda:0")
                )
        y = torch.empty(12, dtype=torch.int64, device="cuda:0")
        x = torch.empty(12, DIM, device="cuda:0", requires_grad=True)
        value = synthesis(chosen, x, Batch(y))
        assert value.device.type == "cuda"
        with pytest.raises(DataDependentOutputException):
            value.item()


def one_step(build: Callable[[], Synthesiser], loss: Callable[[], PairLoss], count: int) -> int:
    x = normal(count, DIM, dtype=torch.float32).requires_grad_()
    y, synthesis, chosen = torch.arange(count) // 4, build(), loss()
    if not isinstance(synthesis, SymmetricalSynthesis):
        sizes = (256, DIM)
        kind = type(synthesis)
        options = {"space": chosen.space, "channels": 2} if kind is DenselyAnchoredSampling else {}
        synthesis = kind(*sizes, **options)
    return peak_bytes(lambda: synthesis(chosen, x, Batch(y)).backward())


@every
def test_memory_grows_no_faster_than_the_square(
    build: Callable[[], Synthesiser], loss: Callable[[], PairLoss]
) -> None:
    small, large = one_step(build, loss, 128), one_step(build, loss, 512)
    assert large <= 1.1 * 16 * small


def test_records_have_no_graph() -> None:
    synthesis = anchored(detach=False)
    x = normal(11, DIM).requires_grad_()
    synthesis(SupConLoss(), x, Batch(LABELS)).backward()
    assert not any(buffer.requires_grad for buffer in synthesis.buffers())
