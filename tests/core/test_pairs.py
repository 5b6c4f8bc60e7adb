"""The geometry of a batch against numpy written from the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from likeness.errors import UserError
from likeness.pairs import SPACES, Pairs, _check, project, unit_rows

MATRICES = ("gram", "cosine", "squared_distance", "distance")


def draw(count: int, seed: int = 0, dim: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64)


def by_numpy(name: str, a: np.ndarray, b: np.ndarray, space: str) -> np.ndarray:
    def unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    if space == "cosine" or name == "cosine":
        a, b = unit(a), unit(b)
    if name in ("gram", "cosine"):
        return a @ b.T
    distance = np.linalg.norm(a[:, None] - b[None], axis=2)
    return distance**2 if name == "squared_distance" else distance


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", MATRICES)
def test_matrices_with_references(name: str, space: str) -> None:
    x, r = draw(5), draw(7, seed=1)
    pairs = Pairs(x, torch.arange(5), reference=r, reference_labels=torch.arange(7), space=space)
    if (name, space) == ("distance", "dot"):
        with pytest.raises(UserError, match="space must be euclidean or cosine where a distance"):
            _ = pairs.distance
        return
    expected = by_numpy(name, x.numpy(), r.numpy(), space)
    np.testing.assert_allclose(getattr(pairs, name).numpy(), expected, rtol=1e-10, atol=1e-12)
    assert not pairs.is_square


@pytest.mark.parametrize("space", ["euclidean", "cosine"])
@pytest.mark.parametrize("name", MATRICES)
def test_matrices_of_a_batch_with_itself(name: str, space: str) -> None:
    x = draw(6)
    pairs = Pairs(x, torch.arange(6), space=space)
    expected = by_numpy(name, x.numpy(), x.numpy(), space)
    np.testing.assert_allclose(getattr(pairs, name).numpy(), expected, rtol=1e-7, atol=1e-7)
    assert pairs.is_square
    assert pairs.reference is pairs.embeddings


@pytest.mark.parametrize("space", ["euclidean", "cosine"])
@pytest.mark.parametrize("name", MATRICES)
def test_gradients(name: str, space: str) -> None:
    """Off the diagonal, where the distance has no slope."""
    off = ~torch.eye(4, dtype=torch.bool)

    def square(x: Tensor) -> Tensor:
        return getattr(Pairs(x, torch.arange(4), space=space), name)[off]

    def memory(x: Tensor, r: Tensor) -> Tensor:
        y = torch.arange(4)
        return getattr(Pairs(x, y, reference=r, reference_labels=y, space=space), name)

    x, r = draw(4).requires_grad_(), draw(4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(square, (x,))
    assert torch.autograd.gradcheck(memory, (x, r))
    assert torch.autograd.gradgradcheck(memory, (x, r))


@pytest.mark.parametrize("name", MATRICES)
def test_each_matrix_is_computed_once(name: str) -> None:
    pairs = Pairs(draw(4), torch.arange(4), space="cosine")
    first = getattr(pairs, name)
    assert getattr(pairs, name) is first
    assert getattr(pairs.detach(), name).data_ptr() == first.data_ptr()
    assert pairs.positive is pairs.positive
    assert pairs.negative is pairs.negative


# --- hard numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("space", ["euclidean", "cosine"])
def test_coincident_rows(space: str, dtype: torch.dtype) -> None:
    """Positive distance, no gradient that explodes."""
    x = draw(2).to(dtype)[[0, 0, 1]].requires_grad_()
    pairs = Pairs(x, torch.arange(3), space=space)
    assert 0 < pairs.distance[0, 1] < 2e-3
    pairs.distance[0, 1].backward()
    assert x.grad.abs().max() < 10


def test_coincident_rows_that_are_exact_get_no_gradient() -> None:
    x = torch.tensor([[1.0, 2.0], [1.0, 2.0]], requires_grad=True)
    pairs = Pairs(x, torch.arange(2))
    assert pairs.distance[0, 1].item() == pytest.approx(1e-6)
    assert pairs.squared_distance[0, 1] == 0
    pairs.distance.sum().backward()
    assert torch.equal(x.grad, torch.zeros(2, 2))


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("space", ["euclidean", "cosine"])
def test_zero_rows_get_a_bounded_gradient(name: str, space: str) -> None:
    x = torch.zeros(3, 2)
    x[0, 0] = 2.0
    x.requires_grad_()
    matrix = getattr(Pairs(x, torch.arange(3), space=space), name)
    assert torch.isfinite(matrix).all()
    matrix.sum().backward()
    assert x.grad.abs().max() < 20
    assert not matrix.isnan().any()


def test_unit_rows() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-20, 0.0], [1e18, 0.0]])
    assert unit_rows(rows).tolist() == [
        pytest.approx([0.6, 0.8]),
        [0.0, 0.0],
        [0.0, 0.0],
        [1.0, 0.0],
    ]
    assert project(rows, "euclidean") is rows
    assert project(rows, "dot") is rows
    assert torch.equal(project(rows, "cosine"), unit_rows(rows))
    assert unit_rows(torch.tensor([[torch.nan, 1.0]])).isnan().all()  # not taken for zero


def test_squared_distances_of_far_but_close_rows_are_not_negative() -> None:
    x = 1e4 + torch.randn(50, 8) * 1e-3
    assert (Pairs(x, torch.arange(50)).squared_distance >= 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised(dtype: torch.dtype) -> None:
    x = (draw(4) * 300).to(dtype)  # squares overflow float16
    pairs = Pairs(x, torch.arange(4), reference=x, reference_labels=torch.arange(4))
    assert pairs.squared_distance.dtype == torch.float32
    assert torch.isfinite(pairs.squared_distance).all()
    assert torch.equal(pairs.gram, x.float() @ x.float().T)


def test_autocast_is_off_inside() -> None:
    x = draw(4).float()
    with torch.autocast("cpu", torch.bfloat16):
        gram = Pairs(x, torch.arange(4)).gram
    assert gram.dtype == torch.float32
    assert torch.equal(gram, x @ x.T)


def test_references_take_the_type_of_the_anchors() -> None:
    pairs = Pairs(
        draw(3), torch.arange(3), reference=draw(2).half(), reference_labels=torch.arange(2)
    )
    assert pairs.gram.dtype == torch.float64


# --- who is what to whom --------------------------------------------------------------------


def relations(pairs: Pairs) -> list[list[str]]:
    """p, n, or . for each pair; no pair is both."""
    assert not (pairs.positive & pairs.negative).any()
    rows = zip(pairs.positive.tolist(), pairs.negative.tolist(), strict=True)
    return [["p" if a else "n" if b else "." for a, b in zip(*row, strict=True)] for row in rows]


def lines(pairs: Pairs) -> list[str]:
    return ["".join(row) for row in relations(pairs)]


def test_masks() -> None:
    y = torch.tensor([5, -2, 5])
    assert lines(Pairs(draw(3), y)) == [".np", "n.n", "pn."]


def test_the_same_picture_twice_is_itself() -> None:
    y, ids = torch.tensor([0, 0, 0, 1]), torch.tensor([7, 7, 8, 9])
    assert lines(Pairs(draw(4), y, ids=ids)) == ["..pn", "..pn", "pp.n", "nnn."]
    views = Pairs(draw(4), y, ids=ids, allow_views=True)
    assert lines(views) == [".ppn", "p.pn", "pp.n", "nnn."]


def test_a_memory_excludes_itself_by_id() -> None:
    y, ids = torch.tensor([0, 1]), torch.tensor([3, 4])
    memory = {"reference": draw(3), "reference_labels": torch.tensor([0, 0, 1])}
    assert lines(Pairs(draw(2), y, **memory)) == ["ppn", "nnp"]
    known = Pairs(draw(2), y, ids=ids, **memory, reference_ids=torch.tensor([3, 5, 4]))
    assert lines(known) == [".pn", "nn."]
    assert known.itself.tolist() == [[True, False, False], [False, False, True]]


def test_a_picture_of_two_labels_is_never_its_own_negative() -> None:
    y, ids = torch.tensor([0, 1]), torch.tensor([3, 3])
    assert lines(Pairs(draw(2), y, ids=ids)) == ["..", ".."]


def test_multi_label_targets() -> None:
    y = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    pairs = Pairs(draw(4), y)
    assert lines(pairs) == [".pnn", "p.nn", "nn.n", "nnn."]
    assert pairs.relevance[0].tolist() == pytest.approx([1, 2**-0.5, 0, 0])
    assert pairs.relevance[3].tolist() == [0, 0, 0, 0]
    assert pairs.labels is y


def test_relevance_of_classes() -> None:
    pairs = Pairs(
        draw(2), torch.tensor([4, 6]), reference=draw(3), reference_labels=torch.tensor([6, 6, 1])
    )
    assert pairs.relevance.tolist() == [[0, 0, 0], [1, 1, 0]]
    assert pairs.reference_labels.tolist() == [6, 6, 1]


def test_excluding_a_group_keeps_the_geometry() -> None:
    y = torch.tensor([0, 0, 0, 1])
    pairs = Pairs(draw(4), y)
    gram = pairs.gram
    view = pairs.excluding_group(torch.tensor([1, 1, 2, 1]))
    assert lines(view) == ["..pn", "..pn", "pp.n", "nnn."]
    assert view.gram is gram
    assert lines(pairs) == [".ppn", "p.pn", "pp.n", "nnn."]
    both = view.excluding_group(torch.tensor([1, 2, 1, 2]))
    assert lines(both) == ["...n", "..pn", ".p.n", "nnn."]


def test_excluding_a_group_of_a_memory() -> None:
    pairs = Pairs(
        draw(2), torch.tensor([0, 0]), reference=draw(2), reference_labels=torch.tensor([0, 1])
    )
    view = pairs.excluding_group(torch.tensor([1, 2]), torch.tensor([2, 2]))
    assert lines(view) == ["pn", ".n"]
    with pytest.raises(UserError, match=r"group must be of shape \(2,\), got \(3,\)"):
        pairs.excluding_group(torch.tensor([1, 2, 3]))


# --- views and gradients --------------------------------------------------------------------


@pytest.mark.parametrize("first", MATRICES)
@pytest.mark.parametrize("then", MATRICES)
def test_what_a_miner_reads_first_keeps_its_graph(first: str, then: str) -> None:
    x = draw(4).requires_grad_()
    pairs = Pairs(x, torch.arange(4), space="cosine")
    with torch.no_grad():
        seen = getattr(pairs.detach(), first)
    assert not seen.requires_grad
    assert not pairs.detach().embeddings.requires_grad
    assert getattr(pairs, then).requires_grad
    fresh = draw(4).requires_grad_()
    expected = torch.autograd.grad(
        getattr(Pairs(fresh, torch.arange(4), space="cosine"), then).sum(), fresh
    )
    found = torch.autograd.grad(getattr(pairs, then).sum(), x)
    assert torch.equal(found[0], expected[0])


def test_no_sample_at_all() -> None:
    pairs = Pairs(draw(0), torch.arange(0))
    assert pairs.distance.shape == pairs.positive.shape == pairs.relevance.shape == (0, 0)


# --- what is refused ------------------------------------------------------------------------

GOOD = {
    "embeddings": torch.zeros(3, 2),
    "labels": torch.arange(3),
    "ids": None,
    "reference": None,
    "reference_labels": None,
    "reference_ids": None,
    "space": "cosine",
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": "cosin"}, "space must be one of euclidean, cosine, dot, got 'cosin'"),
        ({"embeddings": torch.zeros(3)}, r"embeddings must be of shape \(N, D\), got \(3,\)"),
        ({"labels": torch.arange(4)}, r"labels must be of shape \(3,\) or \(3, L\), got \(4,\)"),
        ({"ids": torch.arange(2)}, r"ids must be of shape \(3,\), got \(2,\)"),
        ({"reference_labels": torch.arange(3)}, "reference_labels must be absent without"),
        ({"reference_ids": torch.arange(3)}, "reference_ids must be absent without"),
        ({"reference": torch.zeros(4, 2)}, "reference_labels must be given with a reference"),
        ({"reference": torch.zeros(4, 5)}, r"reference must be of shape \(M, 2\), got \(4, 5\)"),
        (
            {"reference": torch.zeros(4, 2), "reference_labels": torch.zeros(4, 6)},
            r"reference_labels must be of the same form as labels, got \(4, 6\)",
        ),
        (
            {"reference": torch.zeros(4, 2), "reference_labels": torch.arange(5)},
            r"reference_labels must be of shape \(4,\) or \(4, L\), got \(5,\)",
        ),
    ],
)
def test_mistakes_are_named(changes: dict, message: str) -> None:
    # The check itself: the run-time shape check would speak before the constructor does.
    with pytest.raises(UserError, match=message):
        _check(**(GOOD | changes))


def test_the_constructor_checks() -> None:
    with pytest.raises(UserError, match="labels must be of shape"):
        Pairs(torch.zeros(3, 2), torch.arange(4))


@pytest.mark.parametrize("space", SPACES)
def test_another_matrix_in_the_place_of_the_own(space: str) -> None:
    pairs = Pairs(torch.randn(3, 2), torch.tensor([0, 0, 1]), space=space)
    before = pairs.gram.clone()
    other = torch.full((3, 3), 0.25, requires_grad=True)
    view = pairs.with_matrix(other)
    if space == "euclidean":
        assert view.squared_distance is other
        torch.testing.assert_close(view.distance, torch.full((3, 3), 0.5))
    else:
        assert view.gram is other
    if space == "cosine":
        assert view.cosine is other
        torch.testing.assert_close(view.squared_distance, torch.full((3, 3), 1.5))
    assert view.embeddings is pairs.embeddings
    assert view.reference is pairs.reference
    assert view.positive is pairs.positive
    assert torch.equal(pairs.gram, before)
    assert not view.detach().squared_distance.requires_grad
    with pytest.raises(UserError, match=r"matrix must be of shape \(3, 3\), got \(2, 3\)"):
        pairs.with_matrix(other[:2])


# --- a few distances, read off the rows -----------------------------------------------------


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("space", ["euclidean", "cosine"])
def test_a_few_distances_are_those_of_the_matrix(space, squared):
    generator = torch.Generator().manual_seed(0)
    x, past = (torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in (6, 4))
    x[2], past[1] = 0, x[3]  # a row without direction, and a duplicate
    column = torch.randint(10, (6, 3), generator=generator)
    column[3, 0] = 7  # the duplicate
    found = []
    for listed in (False, True):
        leaf = x.clone().requires_grad_()
        labels = torch.arange(10)
        options = {"reference": past, "reference_labels": labels[6:], "and_batch": True}
        pairs = Pairs(leaf, labels[:6], space=space, **options)
        matrix = pairs.squared_distance if squared else pairs.distance
        value = pairs.distance_to(column, squared=squared) if listed else matrix.gather(1, column)
        weight = torch.linspace(1, 2, 18, dtype=torch.float64).view(6, 3)
        found.append((value.detach(), torch.autograd.grad((value * weight).sum(), leaf)[0]))
    torch.testing.assert_close(*(value for value, _ in found), rtol=1e-9, atol=1e-7)
    torch.testing.assert_close(*(slope for _, slope in found), rtol=1e-6, atol=1e-6)


def test_where_another_matrix_was_given_it_is_read():
    x = torch.randn(4, 3)
    column = torch.tensor([[1], [2], [3], [0]])
    given = torch.arange(16.0).view(4, 4)
    other = Pairs(x, torch.arange(4)).with_matrix(given)
    assert torch.equal(other.distance_to(column, squared=True), given.gather(1, column))
    leaf = x.clone().requires_grad_()
    through = Pairs(leaf, torch.arange(4), space="cosine").through_matrix()
    (slope,) = torch.autograd.grad(through.distance_to(column, squared=True).sum(), through.gram)
    assert (slope != 0).sum() == 4
    with pytest.raises(UserError, match="space must be euclidean or cosine where a distance"):
        Pairs(x, torch.arange(4), space="dot").distance_to(column)
