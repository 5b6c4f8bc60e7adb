"""The self-paced loss of samples trusted unequally; trusted alike it is in the list of cases."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fixtures.losses import oracles
from likeness.batch import Batch
from likeness.errors import UserError
from likeness.losses import ContrastiveLoss, MultiSimilarityLoss, SelfPacedLoss
from likeness.mining import self_paced
from likeness.pairs import Pairs
from likeness.selection import Selection

Y = torch.tensor([0, 1, 0, 2, 1, 2, 0])
TRUST = torch.tensor([1.0, 0.5, 0.0, 0.25, 1.0, 0.75, 0.5], dtype=torch.float64)
both_forms = pytest.mark.parametrize("form", ["mean", "logsum"])


def rows(count: int = len(Y), seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, generator=generator, dtype=torch.float64)


@both_forms
@pytest.mark.parametrize("weighed", [False, True])
def test_trusted_pairs_by_loops(form: str, weighed: bool) -> None:
    loss = SelfPacedLoss(form=form, alpha=3.0, beta=7.0, base=0.2)
    weights = torch.rand(2, 7, 7, generator=torch.Generator().manual_seed(1)).double()
    leaf, other = rows().requires_grad_(), rows().requires_grad_()
    chosen = Selection(*weights) if weighed else None
    pairs = Pairs(leaf, Y, space="cosine")
    found = loss.on_pairs(pairs, chosen, Batch(Y, weight=TRUST))
    options = {"form": form, "alpha": 3, "beta": 7, "base": 0.2, "trust": TRUST.tolist()}
    asked = {"weights": tuple(weights)} if weighed else {}
    expected = oracles.self_paced(
        oracles.table(other, Y, "cosine", squared=True, **asked), **options
    )
    torch.testing.assert_close(found.value, expected)
    slopes = (
        torch.autograd.grad(each, x)[0] for each, x in ((found.value, leaf), (expected, other))
    )
    torch.testing.assert_close(*slopes)
    torch.testing.assert_close(found.per_anchor.sum(), found.value)
    assert found.per_anchor[2] == 0


@both_forms
def test_an_untrusted_sample_is_not_there(form: str) -> None:
    """It moves nothing, and nothing moves it; only the counts of pairs know it."""
    leaf = rows().requires_grad_()
    SelfPacedLoss(form=form)(leaf, Y, batch=Batch(Y, weight=TRUST)).backward()
    assert not leaf.grad[2].any()
    assert leaf.grad[[0, 1, 3, 4, 5, 6]].any(1).all()


@both_forms
def test_nobody_trusted_is_an_exact_zero(form: str) -> None:
    leaf = rows().requires_grad_()
    found = SelfPacedLoss(form=form).on_pairs(
        Pairs(leaf, Y, space="cosine"), None, Batch(Y, weight=torch.zeros(7))
    )
    found.value.backward()
    assert found.value == 0
    assert not leaf.grad.any()
    assert found.n_active == 0


def test_trusting_all_alike_is_multi_similarity_without_mining() -> None:
    plain = MultiSimilarityLoss(alpha=2.0, beta=9.0, base=0.3, epsilon=None)
    paced = SelfPacedLoss(form="logsum", beta=9.0, base=0.3)
    torch.testing.assert_close(paced(rows(), Y), plain(rows(), Y))
    half = Batch(Y, weight=torch.full((7,), 0.5))
    assert paced(rows(), Y, batch=half) < plain(rows(), Y)  # v_j inside the logarithm


def test_weights_of_the_miner_inside_multi_similarity_are_not_the_same() -> None:
    """There v_i stands inside the logarithm, too: why the method has a loss of its own."""
    pairs, batch = Pairs(rows(), Y, space="cosine"), Batch(Y, weight=TRUST)
    mined = MultiSimilarityLoss(beta=40.0, epsilon=None).on_pairs(pairs, self_paced(pairs, batch))
    own = SelfPacedLoss(form="logsum").on_pairs(pairs, None, batch)
    assert abs(mined.value * 7 / TRUST.sum() - own.value) > 0.01


def test_the_mean_form_is_what_the_miner_gives_any_loss() -> None:
    pairs, batch = Pairs(rows(), Y, space="cosine"), Batch(Y, weight=TRUST)
    loss = SelfPacedLoss()
    mined = loss.on_pairs(pairs, self_paced(pairs, batch))  # without the batch: no weight twice
    # The miner drops pairs of weight 0 from the counts, so compare where there is none.
    assert mined.value > 0
    trust = TRUST.clamp_min(0.1)
    batch = Batch(Y, weight=trust)
    mined = loss.on_pairs(pairs, self_paced(pairs, batch))
    torch.testing.assert_close(
        mined.value * 7 / trust.sum(), loss.on_pairs(pairs, None, batch).value
    )


def test_a_memory_has_no_weights() -> None:
    pairs = Pairs(rows(), Y, reference=rows(5, seed=1), reference_labels=Y[:5], space="cosine")
    assert SelfPacedLoss().on_pairs(pairs).value > 0
    with pytest.raises(UserError, match="reference must be the batch itself"):
        SelfPacedLoss().on_pairs(pairs, None, Batch(Y, weight=TRUST))
    with pytest.raises(UserError, match="reference must be the batch itself"):
        self_paced(pairs, Batch(Y, weight=TRUST))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"alpha": 0.0}, "alpha must be > 0"),
        ({"beta": -1.0}, "beta must be > 0"),
        ({"base": 2.0}, r"base must be in \[-1, 1\]"),
    ],
)
def test_options_are_checked(options: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        SelfPacedLoss(**options)


@pytest.mark.plain
def test_an_unknown_form_is_named() -> None:
    with pytest.raises(UserError, match="form must be one of mean, logsum, got 'sum'"):
        SelfPacedLoss(form="sum")


# --- the miner ------------------------------------------------------------------------------------


def test_the_miner_weighs_by_both_samples() -> None:
    pairs = Pairs(rows(), Y, space="cosine")
    trust = TRUST.clone().requires_grad_()
    found = self_paced(pairs, Batch(Y, weight=trust))
    for i in range(7):
        for j in range(7):
            assert found.positive_NM[i, j] == TRUST[i] * TRUST[j]
    assert torch.equal(found.negative_NM, found.positive_NM)
    assert not found.positive_NM.requires_grad


def test_any_loss_of_pairs_takes_the_weights() -> None:
    leaf = rows().requires_grad_()
    pairs = Pairs(leaf, Y, space="cosine")
    chosen = self_paced(pairs, Batch(Y, weight=TRUST))
    ContrastiveLoss().on_pairs(pairs, chosen).value.backward()
    assert not leaf.grad[2].any()
    assert leaf.grad[0].any()


def test_the_miner_wants_weights() -> None:
    with pytest.raises(UserError, match="weight must be given where self_paced weighs pairs"):
        self_paced(Pairs(rows(), Y), Batch(Y))
    with pytest.raises(UserError, match=r"weight must be of shape \(7,\), got \(3,\)"):
        Batch(Y, weight=torch.ones(3))
