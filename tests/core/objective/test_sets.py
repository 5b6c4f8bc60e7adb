"""The second level: frames pooled into sets, against loops in plain Python."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from likeness.batch import Batch
from likeness.config import parse
from likeness.errors import UserError
from likeness.losses import CentreLoss, ContrastiveLoss
from likeness.objective import (
    Objective,
    ObjectiveSpec,
    SetClassifier,
    SetLevel,
    Term,
    build_objective,
)
from likeness.pairs import Pairs
from likeness.selection import Selection, everything
from likeness.training.optimisers import parameter_groups
from likeness.training.spec import SGDSpec

CLASSES, DIM = 3, 4
# Twelve frames of five sequences of three classes, in no order; lengths 4, 3, 2, 2, 1.
SEQUENCE = torch.tensor([8, 2, 8, 5, 2, 8, 0, 5, 2, 8, 0, 1])
CLASS_OF = {8: 0, 2: 0, 5: 1, 0: 2, 1: 1}
LABELS = torch.tensor([CLASS_OF[int(number)] for number in SEQUENCE])
CAMERA = SEQUENCE % 3
NUMBERS = sorted(CLASS_OF)


class Outputs(NamedTuple):
    embeddings: dict[str, Tensor]
    logits: dict[str, Tensor]


@pytest.fixture
def outputs() -> Outputs:
    generator = torch.Generator().manual_seed(0)

    def leaf(width: int) -> Tensor:
        values = torch.randn(12, width, generator=generator, dtype=torch.float64)
        return values.requires_grad_()

    return Outputs({"embedding": leaf(DIM), "side": leaf(DIM)}, {"class": leaf(3), "aux": leaf(3)})


@pytest.fixture
def batch() -> Batch:
    return Batch(LABELS, ids=torch.arange(12) + 40, camera=CAMERA, sequence=SEQUENCE)


def build(**spec: object) -> Objective:
    torch.manual_seed(0)
    parsed = parse(ObjectiveSpec, spec, "objective")
    dims = {"embedding": DIM, "side": DIM}
    return build_objective(parsed, num_classes=CLASSES, dims=dims).double()


def softmax(values: list[float]) -> list[float]:
    whole = sum(map(math.exp, values))
    return [math.exp(value) / whole for value in values]


def pooled_by_hand(rows: Tensor, logits: Tensor | None, how: str = "mean") -> list[list[float]]:
    """One vector for each of `NUMBERS`; with logits weighted by the Gaussian of p about 1."""
    pooled = []
    for number in NUMBERS:
        places = [place for place in range(12) if SEQUENCE[place] == number]
        weights = [1.0] * len(places)
        if logits is not None:
            own = [softmax(logits[place].tolist())[CLASS_OF[number]] for place in places]
            weights = [math.exp(-((p - 1) ** 2) / (2 * 0.68**2)) for p in own]
        columns = zip(*(rows[place].tolist() for place in places), strict=True)
        if how == "max":
            pooled.append([max(column) for column in columns])
            continue
        pooled.append(
            [
                sum(w * value for w, value in zip(weights, column, strict=True)) / sum(weights)
                for column in columns
            ]
        )
    return pooled


def contrastive_by_hand(rows: list[list[float]], margin: float) -> float:
    """Mean squared distance of positives, mean squared lack of distance of negatives."""
    units = [[value / math.hypot(*row) for value in row] for row in rows]
    pull, push = [], []
    for i in range(5):
        for j in range(5):
            distance = math.dist(units[i], units[j])
            if i != j and CLASS_OF[NUMBERS[i]] == CLASS_OF[NUMBERS[j]]:
                pull.append(distance**2)
            elif i != j:
                push.append(max(0.0, margin - distance) ** 2)
    return sum(pull) / len(pull) + sum(push) / len(push)


def entropy_by_hand(rows: list[list[float]], layer: SetClassifier) -> float:
    costs = []
    for number, row in zip(NUMBERS, rows, strict=True):
        logits = [
            sum(w * value for w, value in zip(weights, row, strict=True)) + bias
            for weights, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        ]
        costs.append(-math.log(softmax(logits)[CLASS_OF[number]]))
    return sum(costs) / len(costs)


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_against_a_computation_by_hand(outputs: Outputs, batch: Batch, pooling: str) -> None:
    objective = build(
        classification={"weight": 0.0},
        sets={
            "head": "side",
            "pooling": pooling,
            "attention_head": "aux",
            "terms": [{"loss": {"name": "contrastive"}, "weight": 2.0}],
            "classification": {"weight": 0.5},
        },
    )
    result = objective(outputs, batch)
    logits = outputs.logits["aux"] if pooling == "attention" else None
    rows = pooled_by_hand(outputs.embeddings["side"], logits, pooling)
    assert objective.sets is not None
    assert objective.sets.classifier is not None
    metric, entropy = (
        contrastive_by_hand(rows, margin=1.0),
        entropy_by_hand(rows, objective.sets.classifier),
    )
    parts = {name: part.value.item() for name, part in result.parts.items()}
    assert list(parts) == ["classification", "sets.contrastive", "sets.classification"]
    assert parts["sets.contrastive"] == pytest.approx(metric, rel=1e-10)
    assert parts["sets.classification"] == pytest.approx(entropy, rel=1e-10)
    assert result.loss.item() == pytest.approx(2.0 * metric + 0.5 * entropy, rel=1e-10)


def test_attention_is_not_differentiated(outputs: Outputs, batch: Batch) -> None:
    objective = build(sets={"pooling": "attention", "terms": [{"loss": {"name": "contrastive"}}]})
    assert objective.sets is not None
    loss = objective.sets(outputs, batch).loss
    embeddings, logits = outputs.embeddings["embedding"], outputs.logits["class"]
    parameters = list(objective.parameters())
    to_rows, to_logits, *to_layer = torch.autograd.grad(
        loss, [embeddings, logits, *parameters], allow_unused=True
    )
    assert to_logits is None
    assert (to_rows.abs().sum(1) > 0).all()
    assert len(to_layer) == 2
    assert all(gradient.abs().sum() > 0 for gradient in to_layer)


def test_frames_and_sets_with_soft_mining_and_attention(outputs: Outputs, batch: Batch) -> None:
    """The composition of the official code: everything at weight 1."""
    term = {
        "loss": {"name": "weighted_contrastive"},
        "miners": [{"name": "online_soft_mining"}, {"name": "class_aware_attention"}],
    }
    objective = build(
        classification={"head": ["class", "aux"]},
        terms=[term],
        sets={"pooling": "attention", "terms": [term]},
    )
    result = objective(outputs, batch)
    assert set(result.parts) == {
        "weighted_contrastive",
        "classification.class",
        "classification.aux",
        "sets.weighted_contrastive",
        "sets.classification",
    }
    total = sum(part.value.item() for part in result.parts.values())
    assert result.loss.item() == pytest.approx(total, rel=1e-12)
    result.loss.backward()
    for leaf in (outputs.embeddings["embedding"], outputs.logits["class"], outputs.logits["aux"]):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


def test_a_miner_of_sets_finds_the_sets_own_logits_cameras_and_ids(
    outputs: Outputs, batch: Batch
) -> None:
    met: list[tuple[Pairs, Batch]] = []

    def noting(pairs: Pairs, of_sets: Batch) -> Selection:
        met.append((pairs, of_sets))
        return everything(pairs)

    layer = SetClassifier(DIM, CLASSES).double()
    inner = Objective({"c": Term(ContrastiveLoss(), noting, 1.0, "embedding")})
    SetLevel(inner, classifier=layer)(outputs, batch)
    ((pairs, of_sets),) = met
    rows = torch.tensor(pooled_by_hand(outputs.embeddings["embedding"], None), dtype=torch.float64)
    torch.testing.assert_close(of_sets.logits["class"], layer(rows).detach())
    assert of_sets.ids is not None
    assert of_sets.camera is not None
    assert of_sets.ids.tolist() == NUMBERS
    assert of_sets.camera.tolist() == [number % 3 for number in NUMBERS]
    assert of_sets.labels.tolist() == [CLASS_OF[number] for number in NUMBERS]
    assert int(pairs.positive.sum()) == 4  # sequences 2 and 8, 1 and 5, both ways


def test_a_sequence_drawn_twice_is_one_set_and_no_pair(outputs: Outputs) -> None:
    twice = Batch(torch.zeros(12, dtype=torch.long), sequence=torch.full((12,), 6))
    sets = {"classification": None, "terms": [{"loss": {"name": "contrastive"}}]}
    objective = build(classification=None, sets=sets)
    assert objective(outputs, twice).loss.item() == 0.0


def test_attention_withstands_outliers_that_move_the_mean_to_the_other_side() -> None:
    """Sets of two frames at +-1 and a stranger at -+5, on a line with the classes at its ends.

    By hand: the stranger's p is about 0, so attention leaves it exp(-1 / (2 0.68^2)) = 0.339 of a
    frame's weight: (2 - 5 * 0.339) / 2.339 = 0.13 is still on the right side; the mean is -1.
    """
    side = torch.tensor([1.0, 1.0, -5.0, -1.0, -1.0, 5.0])
    rows = torch.stack([side, torch.ones(6)], dim=1)
    sure = torch.tensor([[9.0, -9.0]] * 2 + [[-9.0, 9.0]] * 3 + [[9.0, -9.0]])
    outputs = Outputs({"embedding": rows}, {"class": sure})
    batch = Batch(torch.tensor([0, 0, 0, 1, 1, 1]), sequence=torch.tensor([0, 0, 0, 1, 1, 1]))
    layer = SetClassifier(2, 2)
    layer.weight = nn.Parameter(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    layer.bias = nn.Parameter(torch.zeros(2))
    pooled, cost = {}, {}
    for pooling in ("mean", "attention"):
        inner = build(classification={"name": "cross_entropy"})
        level = SetLevel(inner, classifier=layer, pooling=pooling)  # type: ignore[arg-type]
        pooled[pooling] = level.pool(outputs, batch)[0].embeddings["embedding"][:, 0].tolist()
        cost[pooling] = level(outputs, batch).loss.item()
    stranger = math.exp(-1 / (2 * 0.68**2))
    held = (2 - 5 * stranger) / (2 + stranger)
    assert pooled["mean"] == pytest.approx([-1.0, 1.0])
    assert pooled["attention"] == pytest.approx([held, -held], abs=1e-4)
    assert cost["mean"] == pytest.approx(math.log(1 + math.exp(2)), rel=1e-5)
    assert cost["attention"] == pytest.approx(math.log(1 + math.exp(-2 * held)), abs=1e-4)
    assert cost["attention"] < math.log(2) < cost["mean"]


def test_centres_of_sets_are_imprinted_and_follow_the_pooled_embeddings(
    outputs: Outputs, batch: Batch
) -> None:
    loss = {"name": "centre", "centres": "ema", "eta": 0.5}
    objective = build(classification=None, sets={"classification": None, "terms": [{"loss": loss}]})
    assert objective.needs_class_means
    embeddings = outputs.embeddings["embedding"].detach()
    objective.imprint({"embedding": embeddings}, LABELS)
    assert objective.sets is not None
    term = objective.sets.objective.terms["centre"]
    assert isinstance(term, Term)
    assert isinstance(term.loss, CentreLoss)
    before = embeddings[LABELS == 2].mean(0)
    pooled = embeddings[SEQUENCE == 0].mean(0)  # the one set of class 2
    reference = CentreLoss(CLASSES, DIM, centres="ema", eta=0.5).double()
    reference.imprint(embeddings, LABELS)
    sets = torch.tensor(pooled_by_hand(embeddings, None), dtype=torch.float64)
    reference.after_step(sets, torch.tensor([CLASS_OF[number] for number in NUMBERS]))
    objective.after_step(outputs, batch)
    for name, tensor in reference.state_dict().items():
        torch.testing.assert_close(term.loss.state_dict()[name], tensor)
    torch.testing.assert_close(before, pooled)  # class 2 has one sequence: its mean is the set


def test_the_class_layer_of_sets_is_trained_at_its_own_rate() -> None:
    objective = build(sets={"classification": {"lr_mult": 10.0}})
    groups = parameter_groups([objective], SGDSpec(lr=0.1, weight_decay=0.01))
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(1.0, 0.01), (1.0, 0.0)]
    assert set(objective.state_dict()) == {"sets.classifier.weight", "sets.classifier.bias"}


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            {"classification": None, "sets": {"pooling": "attention"}},
            r"objective\.sets\.pooling must be 'mean' or 'max' without a classification of images",
        ),
        (
            {"sets": {"classification": None}},
            r"objective\.sets\.terms must be at least one where sets have no classification",
        ),
        (
            {"sets": {"classification": {"class_weights": "balanced"}}},
            r"class_weights must be 'none' for sets, which are not counted by class, got",
        ),
        ({"sets": {"head": "other"}}, r"sets\.head must be one of embedding, side, got 'other'"),
        ({"sets": {"sigma": 0}}, r"objective\.sets\.sigma must be"),
        ({"sets": {"pooling": "median"}}, r"objective\.sets\.pooling must be"),
        (
            {"sets": {"terms": [{"loss": {"name": "triplet"}, "head": "side"}]}},
            r"objective\.sets\.terms\.0\.head must be a known key",
        ),
        (
            {
                "sets": {
                    "classification": None,
                    "terms": [
                        {
                            "loss": {"name": "weighted_contrastive"},
                            "miners": [{"name": "class_aware_attention"}],
                        }
                    ],
                }
            },
            "classification must be given where the miner class_aware_attention reads its logits",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_training(
    spec: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        build(**spec)


def test_attention_has_no_meaning_for_several_labels_per_image() -> None:
    spec = parse(
        ObjectiveSpec,
        {
            "classification": {"name": "binary_cross_entropy"},
            "sets": {
                "pooling": "attention",
                "classification": {"name": "binary_cross_entropy"},
            },
        },
        "objective",
    )
    with pytest.raises(
        UserError, match=r"sets\.pooling must be 'mean' or 'max' for several labels"
    ):
        build_objective(spec, num_classes=3, dims={"embedding": DIM}, multilabel=True)


def test_a_batch_without_sequences_and_a_missing_head_are_named(
    outputs: Outputs, batch: Batch
) -> None:
    objective = build(sets={})
    with pytest.raises(UserError, match=r"sequence must be given with objective\.sets, got None"):
        objective(outputs, Batch(LABELS))
    objective = build(sets={"pooling": "attention", "attention_head": "loss3"})
    with pytest.raises(UserError, match="head must be one of the logits class, aux, got 'loss3'"):
        objective(outputs, batch)
