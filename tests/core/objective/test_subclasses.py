"""Terms on sub-classes: what they tell apart, what they keep, and where they are refused."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from likeness.batch import Batch
from likeness.config import parse
from likeness.errors import UserError
from likeness.losses import ContrastiveLoss, GaussianStructuredLoss, TripletLoss
from likeness.mining import batch_hard
from likeness.objective import Objective, ObjectiveSpec, build_objective
from likeness.pairs import Pairs

LABELS = torch.arange(12) % 3
SUBCLASS = LABELS * 4 + torch.arange(12) // 6
BATCH = Batch(LABELS, subclass=SUBCLASS)


class Outputs(NamedTuple):
    embeddings: dict[str, Tensor]
    logits: dict[str, Tensor]


@pytest.fixture
def outputs() -> Outputs:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(12, 5, generator=generator, requires_grad=True)
    logits = torch.randn(12, 3, generator=generator, requires_grad=True)
    return Outputs({"embedding": embeddings}, {"class": logits})


def build(*losses: dict[str, object], subclasses: int | None = 4, **options: object) -> Objective:
    terms = [{"loss": loss, "labels": "subclass"} for loss in losses]
    spec = parse(ObjectiveSpec, {"terms": terms, **options.pop("spec", {})}, "objective")
    return build_objective(
        spec, num_classes=3, dims={"embedding": 5}, subclasses=subclasses, **options
    )


def test_pair_losses_go_by_sub_classes_and_classification_by_classes(outputs: Outputs) -> None:
    objective = build({"name": "triplet"}, {"name": "gaussian_structured"})
    result = objective(outputs, BATCH)
    rows = outputs.embeddings["embedding"]
    triplet = TripletLoss(space="cosine")(rows, SUBCLASS)
    gaussian = GaussianStructuredLoss(12, 5)(rows, SUBCLASS)
    classes = F.cross_entropy(outputs.logits["class"], LABELS)
    torch.testing.assert_close(result.loss, triplet + gaussian + classes)
    names = {"triplet_subclass", "gaussian_structured_subclass", "classification"}
    assert set(result.parts) == names


def test_one_loss_on_both_shares_nothing_but_the_batch(outputs: Outputs) -> None:
    spec = {
        "classification": None,
        "terms": [
            {"loss": {"name": "contrastive"}, "labels": "class"},
            {"loss": {"name": "contrastive"}, "labels": "subclass"},
        ],
    }
    result = build(spec=spec)(outputs, BATCH)
    rows = outputs.embeddings["embedding"]
    for name, labels in (("contrastive", LABELS), ("contrastive_subclass", SUBCLASS)):
        expected = ContrastiveLoss(space="cosine")(rows, labels)
        torch.testing.assert_close(result.parts[name].value, expected)


def test_miners_choose_pairs_by_sub_classes(outputs: Outputs) -> None:
    term = {
        "loss": {"name": "contrastive"},
        "labels": "subclass",
        "miners": [{"name": "batch_hard"}],
    }
    result = build(spec={"classification": None, "terms": [term]})(outputs, BATCH)
    pairs = Pairs(outputs.embeddings["embedding"], SUBCLASS, space="cosine")
    selection = batch_hard(pairs.detach(), BATCH)
    expected = ContrastiveLoss(space="cosine").on_pairs(pairs, selection).value
    torch.testing.assert_close(result.loss, expected)


def test_what_is_kept_is_imprinted_and_moved_by_sub_classes(outputs: Outputs) -> None:
    spec = {"terms": [{"loss": {"name": "gaussian_structured"}}]}
    spec["terms"].append({"loss": {"name": "gaussian_structured"}, "labels": "subclass"})
    objective = build(spec=spec)
    own, finer = (term.loss for term in objective.terms.values())
    rows = {"embedding": outputs.embeddings["embedding"].detach()}
    objective.imprint(rows, LABELS)
    assert own.seen_C.all()
    assert not finer.seen_C.any()
    objective.imprint(rows, SUBCLASS, kind="subclass")
    assert finer.seen_C.nonzero().flatten().tolist() == SUBCLASS.unique().tolist()
    torch.testing.assert_close(finer.running_CD[5], rows["embedding"][SUBCLASS == 5].mean(0))
    finer.seen_C.zero_()
    objective.after_step(outputs, BATCH)
    assert finer.seen_C.nonzero().flatten().tolist() == SUBCLASS.unique().tolist()


@pytest.mark.parametrize("name", ["centre", "triplet", "lifted_structured"])
def test_any_loss_of_pairs_trains_on_sub_classes(name: str, outputs: Outputs) -> None:
    objective = build({"name": name}, spec={"classification": None})
    objective(outputs, BATCH).loss.backward()
    assert outputs.embeddings["embedding"].grad is not None


def test_where_sub_classes_make_no_sense_they_are_refused(outputs: Outputs) -> None:
    gaussian = {"name": "gaussian_structured"}
    with pytest.raises(UserError, match="labels must be 'class' in a run without subclasses, got"):
        build(gaussian, subclasses=None)
    with pytest.raises(UserError, match="labels must be 'class' for several labels per image"):
        build({"name": "triplet"}, spec={"classification": None}, multilabel=True)
    with pytest.raises(UserError, match="centres must be 'batch_mean' on sub-classes"):
        build({"name": "centre_structured"})
    build({"name": "centre_structured", "centres": "batch_mean"})
    with pytest.raises(UserError, match="subclass must be given for terms on sub-classes, got"):
        build(gaussian)(outputs, Batch(LABELS))
