"""The weighted sum: shared geometry, schedules, heads, combinations that make no sense."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import likeness.objective.weighted_sum as objective_module
from likeness.batch import Batch
from likeness.config import parse
from likeness.errors import UserError
from likeness.losses import CentreStructuredLoss, ContrastiveLoss, TripletLoss
from likeness.mining import informative_triplets
from likeness.objective import LinearWeight, Objective, ObjectiveSpec, Term, build_objective
from likeness.pairs import Pairs
from likeness.selection import Selection


class Outputs(NamedTuple):
    embeddings: dict[str, Tensor]
    logits: dict[str, Tensor]


@pytest.fixture
def outputs() -> Outputs:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(12, 5, generator=generator, requires_grad=True)
    logits = torch.randn(12, 4, generator=generator, requires_grad=True)
    return Outputs({"embedding": embeddings}, {"class": logits})


LABELS = torch.arange(12) % 4


def build(**spec: object) -> Objective:
    parsed = parse(ObjectiveSpec, spec, "objective")
    return build_objective(parsed, num_classes=4, dims={"embedding": 5}, class_counts=[3, 3, 3, 3])


def test_the_sum_is_the_weighted_sum_of_its_parts(outputs: Outputs) -> None:
    objective = build(
        classification={"weight": 0.5},
        terms=[
            {"loss": {"name": "contrastive"}, "weight": 2.0},
            {"loss": {"name": "triplet"}, "weight": 3.0},
        ],
    )
    result = objective(outputs, Batch(LABELS))
    embeddings = outputs.embeddings["embedding"]
    expected = (
        0.5 * F.cross_entropy(outputs.logits["class"], LABELS)
        + 2.0 * ContrastiveLoss(space="cosine")(embeddings, LABELS)
        + 3.0 * TripletLoss(space="cosine")(embeddings, LABELS)
    )
    torch.testing.assert_close(result.loss, expected)
    assert set(result.parts) == {"contrastive", "triplet", "classification"}
    assert not any(part.value.requires_grad for part in result.parts.values())
    result.loss.backward()
    assert embeddings.grad is not None


def test_the_same_loss_twice_gets_two_names(outputs: Outputs) -> None:
    objective = build(
        classification=None,
        terms=[{"loss": {"name": "contrastive"}}, {"loss": {"name": "contrastive"}}],
    )
    assert set(objective(outputs, Batch(LABELS)).parts) == {"contrastive", "contrastive_again"}


def test_pairs_are_built_once_per_head_and_space(
    outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaces: list[str] = []

    def counted(*args: object, **kwargs: object) -> Pairs:
        spaces.append(str(kwargs["space"]))
        return Pairs(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(objective_module, "Pairs", counted)
    objective = build(
        terms=[
            {"loss": {"name": "contrastive"}, "miners": [{"name": "batch_hard"}]},
            {"loss": {"name": "triplet"}},
            {"loss": {"name": "lifted_structured", "space": "euclidean"}},
        ]
    )
    objective(outputs, Batch(LABELS))
    assert sorted(spaces) == ["cosine", "euclidean"]


def test_a_miner_sees_no_graph_and_leaves_the_gradient_whole(outputs: Outputs) -> None:
    seen: list[bool] = []

    def all_pairs(pairs: Pairs, batch: Batch) -> Selection:
        seen.append(pairs.distance.requires_grad)
        return Selection(pairs.positive, pairs.negative)

    loss = ContrastiveLoss(space="cosine")
    mined = Objective({"c": Term(loss, all_pairs, 1.0, "embedding")})
    plain = Objective({"c": Term(loss, None, 1.0, "embedding")})
    embeddings = outputs.embeddings["embedding"]
    grads = [
        torch.autograd.grad(each(outputs, Batch(LABELS)).loss, embeddings)[0]
        for each in (mined, plain)
    ]
    assert seen == [False]
    torch.testing.assert_close(*grads)
    assert grads[0].abs().sum() > 0


@pytest.mark.parametrize(("epoch", "weight"), [(0.0, 1.0), (2.5, 0.75), (5.0, 0.5), (50.0, 0.5)])
def test_a_linear_weight_goes_from_start_to_end(epoch: float, weight: float) -> None:
    assert LinearWeight(start=1.0, end=0.5, epochs=5).at(epoch) == pytest.approx(weight)


def test_a_scheduled_term_follows_the_epoch(outputs: Outputs) -> None:
    objective = build(
        classification=None,
        terms=[{"loss": {"name": "triplet"}, "weight": {"start": 0.0, "end": 2.0, "epochs": 4}}],
    )
    full = TripletLoss(space="cosine")(outputs.embeddings["embedding"], LABELS)
    for epoch, factor in ((0.0, 0.0), (1.0, 0.5), (4.0, 2.0)):
        found = objective(outputs, Batch(LABELS), epoch=epoch).loss
        torch.testing.assert_close(found, full * factor)


def test_excluded_groups_make_no_positive_pair(outputs: Outputs) -> None:
    objective = build(
        classification=None, exclude_groups=True, terms=[{"loss": {"name": "triplet"}}]
    )
    same_group_as_class = Batch(LABELS, group=LABELS)
    result = objective(outputs, same_group_as_class)
    assert result.loss.item() == 0.0
    assert objective(outputs, Batch(LABELS, group=torch.arange(12))).loss.item() > 0
    with pytest.raises(UserError, match="group must be given with exclude_groups, got None"):
        objective(outputs, Batch(LABELS))


def test_centres_are_imprinted_from_class_means(outputs: Outputs) -> None:
    objective = build(terms=[{"loss": {"name": "centre_structured", "space": "euclidean"}}])
    assert objective.needs_class_means
    embeddings = outputs.embeddings["embedding"].detach()
    objective.imprint({"embedding": embeddings}, LABELS)
    term = objective.terms["centre_structured"]
    assert isinstance(term, Term)
    assert isinstance(term.loss, CentreStructuredLoss)
    bank = term.loss.centres.bank
    assert bank is not None
    for label in range(4):
        torch.testing.assert_close(bank.weight[label], embeddings[label == LABELS].mean(0))


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"classification": None}, "objective must be at least one term or classification"),
        (
            {"terms": [{"loss": {"name": "triplet"}, "head": "other"}]},
            "head must be one of embedding, got 'other'",
        ),
        (
            {"terms": [{"loss": {"name": "contrastive"}, "miners": [{"name": "semi_hard"}]}]},
            "miners of ContrastiveLoss",
        ),
        ({"terms": [{"loss": {"name": "triplet"}, "weight": -1}]}, "objective.terms.0.weight"),
        ({"terms": [{"loss": {"name": "tripet"}}]}, "objective.terms.0.loss"),
    ],
)
def test_what_makes_no_sense_is_refused_before_training(
    spec: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        build(**spec)


def test_a_missing_head_of_the_model_is_named(outputs: Outputs) -> None:
    objective = build(classification={"head": "species"})
    with pytest.raises(UserError, match="head must be one of the logits class, got 'species'"):
        objective(outputs, Batch(LABELS))


def test_several_heads_are_classified_with_the_weight_each(outputs: Outputs) -> None:
    own = outputs.logits["class"].detach()
    logits = {"first": own, "second": own.flip(0), "third": 2 * own}
    three = outputs._replace(logits=logits)
    objective = build(classification={"head": ["first", "second", "third"], "weight": 0.5})
    result = objective(three, Batch(LABELS))
    expected = {
        f"classification.{name}": F.cross_entropy(value, LABELS).item()
        for name, value in logits.items()
    }
    found = {name: part.value.item() for name, part in result.parts.items()}
    assert found == pytest.approx(expected)
    assert result.loss.item() == pytest.approx(0.5 * sum(expected.values()))
    single = build(classification={"head": ["second"]})(three, Batch(LABELS))
    assert list(single.parts) == ["classification"]
    with pytest.raises(UserError, match="head must be one of the logits first, second, third, got"):
        build()(three, Batch(LABELS))


def test_one_head_is_written_as_before() -> None:
    """So that runs from before there were several can be resumed."""
    plain = parse(ObjectiveSpec, {"classification": {"head": "class"}}).model_dump(mode="json")
    assert plain["classification"]["head"] == "class"
    assert plain["sets"] is None


@pytest.mark.parametrize("head", [[], 3, [3]])
def test_heads_are_names(head: object) -> None:
    with pytest.raises(UserError, match=r"objective\.classification\.head"):
        build(classification={"head": head})


def test_several_labels_per_image(outputs: Outputs) -> None:
    """Binary cross-entropy and mined triplets whose negatives may share labels."""
    labels = (torch.rand(12, 4, generator=torch.Generator().manual_seed(1)) < 0.4).to(torch.uint8)
    spec = {
        "classification": {"name": "binary_cross_entropy", "class_weights": "balanced"},
        "terms": [
            {
                "loss": {"name": "triplet", "margin": 1.0, "squared": True, "reduction": "all"},
                "miners": [{"name": "informative_triplets", "anchors": 5}],
                "weight": 2.0,
            }
        ],
    }
    counts = labels.sum(0).tolist()
    objective = build_objective(
        parse(ObjectiveSpec, spec, "objective"),
        num_classes=4,
        dims={"embedding": 5},
        class_counts=counts,
        images=12,
        multilabel=True,
    )
    batch = Batch(labels, generator=torch.Generator().manual_seed(0))
    result = objective(outputs, batch)
    weight = (12 - labels.sum(0)) / labels.sum(0)
    binary = F.binary_cross_entropy_with_logits(
        outputs.logits["class"], labels.float(), pos_weight=weight
    )
    pairs = Pairs(outputs.embeddings["embedding"], labels, space="cosine")
    same = Batch(labels, generator=torch.Generator().manual_seed(0))
    triplets = informative_triplets(pairs, same, anchors=5)
    shared = (labels[triplets.anchor_T] & labels[triplets.negative_T]).any(1)
    assert (shared & (triplets.weight_T > 0)).any()
    loss = TripletLoss(margin=1.0, squared=True, reduction="all", space="cosine")
    mined = loss.on_pairs(pairs, triplets).value
    torch.testing.assert_close(result.loss, binary + 2 * mined)
    with pytest.raises(UserError, match="must be 'binary_cross_entropy' for several labels"):
        build_objective(ObjectiveSpec(), num_classes=4, dims={"embedding": 5}, multilabel=True)
    with pytest.raises(UserError, match="must be 'cross_entropy' or 'focal' for one class"):
        build(classification={"name": "binary_cross_entropy"})
