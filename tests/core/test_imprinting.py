"""Weight imprinting: definitions in loops, a class layer that grows, a planted new class.

Shapes: N = examples, C = classes, D = embedding dimension.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fixtures.tensor_memory import peak_bytes
from likeness.errors import UserError
from likeness.imprinting import CosineClassifier, Exemplars, averaged_exemplars, nearest_instance
from likeness.proxies import ProxyBank

N, C, D = 9, 3, 4
LABELS = torch.tensor([0, 0, 1, 1, 1, 0, 2, 2, 2])


def points(seed: int = 0, count: int = N, dim: int = D) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator)


def unit(row: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in row))
    return [x / length for x in row]


def oracle(rows: list[list[float]], labels: list[int], label: int) -> list[float]:
    own = [unit(row) for row, y in zip(rows, labels, strict=True) if y == label]
    return unit([sum(column) / len(own) for column in zip(*own, strict=True)])


# --- exemplars ------------------------------------------------------------------------------


def test_a_row_is_the_mean_direction_of_the_examples() -> None:
    rows = averaged_exemplars(points(), LABELS, C)
    for label in range(C):
        expected = oracle(points().double().tolist(), LABELS.tolist(), label)
        assert rows[label].tolist() == pytest.approx(expected, abs=1e-6)


def test_parts_in_any_order_and_size_give_the_same() -> None:
    whole = averaged_exemplars(points(), LABELS, C)
    for order in (torch.tensor([4, 8, 0, 2, 7, 1, 6, 3, 5]), torch.arange(N).flip(0)):
        found = Exemplars(C, D)
        for part in order.split(4):
            found.add(points()[part], LABELS[part])
        torch.testing.assert_close(found.rows(), whole)
        assert found.count_C.tolist() == [3, 3, 3]


def test_lengths_of_examples_play_no_part() -> None:
    long = points() * torch.arange(1.0, N + 1)[:, None]
    torch.testing.assert_close(
        averaged_exemplars(long, LABELS, C), averaged_exemplars(points(), LABELS, C)
    )


def test_examples_that_cancel_out_and_classes_without_any_have_no_row() -> None:
    opposite = torch.stack([points()[0], -3 * points()[0]])
    rows = averaged_exemplars(opposite, torch.tensor([1, 1]), C)
    assert not rows.any()
    assert not averaged_exemplars(torch.zeros(2, D), torch.tensor([0, 0]), C).any()
    assert not averaged_exemplars(points()[:0], LABELS[:0], C).any()


def test_half_precision_is_summed_in_full() -> None:
    many = points(2, 3000).half()
    rows = averaged_exemplars(many, torch.zeros(3000, dtype=torch.int64), 1)
    exact = averaged_exemplars(many.double(), torch.zeros(3000, dtype=torch.int64), 1)
    torch.testing.assert_close(rows.float(), exact.float(), atol=1e-3, rtol=1e-3)


def test_the_nearest_instance_is_the_most_similar_example_of_each_class() -> None:
    asked, kept = points(3, 5).double(), points().double()
    found = nearest_instance(asked, kept, LABELS, C + 1)
    for n, query in enumerate(asked.tolist()):
        for label in range(C):
            cosines = [
                sum(a * b for a, b in zip(unit(query), unit(row), strict=True))
                for row, y in zip(kept.tolist(), LABELS.tolist(), strict=True)
                if y == label
            ]
            assert found[n, label].item() == pytest.approx(max(cosines))
    assert (found[:, C] == -torch.inf).all()


def test_one_example_of_each_class_is_its_own_average() -> None:
    asked, kept, each = points(3, 5), points(4, C), torch.arange(C)
    averaged = F.normalize(asked) @ averaged_exemplars(kept, each, C).T
    torch.testing.assert_close(nearest_instance(asked, kept, each, C), averaged)


def test_any_proxies_may_start_there() -> None:
    bank = ProxyBank(C, D)
    bank.imprint(F.normalize(points()), LABELS)
    rows = averaged_exemplars(points(), LABELS, C)
    torch.testing.assert_close(F.normalize(bank.weight.detach()), rows)


# --- the class layer ------------------------------------------------------------------------


def layer(**options: float) -> CosineClassifier:
    torch.manual_seed(0)
    return CosineClassifier(D, C, **options)


def test_logits_are_scaled_cosines() -> None:
    made = layer(scale=7.0)
    rows = made.bank.weight.detach().double().tolist()
    logits = made(points().double()).tolist()
    for x, found in zip(points().double().tolist(), logits, strict=True):
        for w, value in zip(rows, found, strict=True):
            cosine = sum(a * b for a, b in zip(unit(x), unit(w), strict=True))
            assert value == pytest.approx(7 * cosine, rel=1e-6)
    assert not made(torch.zeros(2, D)).any()


def test_slopes() -> None:
    made = layer().double()
    x = points().double().requires_grad_()
    parameters = (made.bank.weight, made.scale)
    assert torch.autograd.gradcheck(lambda *given: made(given[0]), (x, *parameters))
    made(torch.zeros(2, D, dtype=torch.float64)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in parameters)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_logits_are_computed_in_full_under_autocast(dtype: torch.dtype) -> None:
    made, x = layer(scale=30.0), points().to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = made(x)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, made(x.float()))


def test_what_is_imprinted_is_served_and_the_rest_stays_bit_for_bit() -> None:
    made = layer()
    before, scale = made.bank.weight.detach().clone(), made.scale.item()
    made.grow(2)
    assert torch.equal(made.bank.weight[:C], before)
    examples = points(5, 4) + 20 * torch.eye(D)[0]
    made.imprint(examples, torch.full((4,), C + 1))
    assert torch.equal(made.bank.weight[:C], before)
    expected = averaged_exemplars(examples, torch.zeros(4, dtype=torch.int64), 1)
    torch.testing.assert_close(made.prototypes()[C + 1 :], expected)
    assert made.scale.item() == scale
    assert made(points()).shape == (N, C + 2)
    with pytest.raises(UserError, match=r"labels must be in \[0, 5\), got \[5, 5\]"):
        made.imprint(examples, torch.full((4,), C + 2))  # numbers go on without a gap


def test_examples_that_cancel_out_leave_the_row_that_was_there() -> None:
    made = layer()
    before = made.bank.weight.detach().clone()
    made.imprint(torch.stack([points()[0], -points()[0]]), torch.tensor([1, 1]))
    assert torch.equal(made.bank.weight, before)


def test_the_rows_are_learned_without_decay_and_without_the_old_object() -> None:
    made = layer()
    old = made.bank.weight
    made.grow(1)
    assert made.bank.weight is not old
    made(points()).logsumexp(1).sum().backward()
    assert made.bank.weight.grad.shape == (C + 1, D)
    assert isinstance(made.bank, ProxyBank)  # `training.optimisers` never decays it


def test_memory_is_of_embeddings_and_logits_only() -> None:
    def step(count: int) -> int:
        made, x = CosineClassifier(16, 50), points(0, count, 16).requires_grad_()
        return peak_bytes(lambda: made(x).logsumexp(1).sum().backward())

    assert step(1024) <= 1.2 * 4 * step(256)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: CosineClassifier(D, C, scale=0.0), "scale must be > 0 and finite, got 0.0"),
        (lambda: CosineClassifier(0, C), "dim must be >= 1, got 0"),
        (lambda: Exemplars(0, D), "num_classes must be >= 1, got 0"),
        (lambda: averaged_exemplars(points(), LABELS, 2), r"labels must be in [0, 2), got [0, 2]"),
        (
            lambda: averaged_exemplars(points() / 0.0, LABELS, C),
            "embeddings must be finite, got 'numbers that are not'",
        ),
        (lambda: Exemplars(C, D + 1).add(points(), LABELS), "dim must be 5, got 4"),
        (
            lambda: nearest_instance(points(), points()[:0], LABELS[:0], C),
            "exemplars must be at least one, got 0",
        ),
    ],
)
def test_mistakes(make: object, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        make()  # type: ignore[operator]
    assert sentence in str(caught.value)


# --- a planted task -------------------------------------------------------------------------
# Classes are directions in 16 pixels, seen through noise; a network learns six of eight.

KNOWN, ALL, PIXELS, SHOTS = 6, 8, 16, 5
LEAST = 0.8  # accuracy on new samples, of either group of classes


def seen(seed: int, labels: Tensor) -> Tensor:
    directions = F.normalize(torch.randn(ALL, PIXELS, generator=torch.Generator().manual_seed(99)))
    noise = torch.randn(len(labels), PIXELS, generator=torch.Generator().manual_seed(seed))
    return 3 * directions[labels] + 0.35 * noise


def trained(seed: int) -> tuple[nn.Module, CosineClassifier]:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(PIXELS, 32), nn.Tanh(), nn.Linear(32, 16))
    classifier = CosineClassifier(16, KNOWN)
    parameters = [*network.parameters(), *classifier.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=3e-3)
    labels = torch.arange(48) % KNOWN
    for step in range(120):
        loss = F.cross_entropy(classifier(network(seen(1000 * seed + step, labels))), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network, classifier


def accuracies(network: nn.Module, classifier: CosineClassifier) -> tuple[float, float]:
    """Of known and of new classes, all of them being possible answers."""
    labels = torch.arange(400) % ALL
    with torch.no_grad():
        right = (classifier(network(seen(10**6, labels))).argmax(1) == labels).float()
    return float(right[labels < KNOWN].mean()), float(right[labels >= KNOWN].mean())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_imprinting_serves_classes_that_were_never_trained(seed: int) -> None:
    network, classifier = trained(seed)
    examples = torch.arange(KNOWN, ALL).repeat(SHOTS)
    before, none = accuracies(network, classifier)
    assert before >= LEAST
    assert none == 0  # without growing nothing answers to them
    classifier.grow(ALL - KNOWN)
    _, by_chance = accuracies(network, classifier)
    assert by_chance < LEAST / 2  # rows at random
    with torch.no_grad():
        classifier.imprint(network(seen(7, examples)), examples)
    known, new = accuracies(network, classifier)
    assert min(known, new) >= LEAST
