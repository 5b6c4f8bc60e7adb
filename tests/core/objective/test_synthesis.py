"""Syntheses by name: what terms see, what goes together, one geometry and one head."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.planted_rows import generator_of
from likeness.batch import Batch
from likeness.config import parse
from likeness.errors import UserError
from likeness.losses import ContrastiveLoss, MultiSimilarityLoss, NPairLoss, TripletLoss
from likeness.models import Outputs
from likeness.objective import Objective, ObjectiveSpec, build_objective
from likeness.synthesis import (
    DenselyAnchoredSampling,
    IntraClassAugmentation,
    SymmetricalSynthesis,
)

DIM = 4
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
INTRA = {"name": "intra_class", "start_epoch": 0}
TRIPLET = {"loss": {"name": "triplet", "margin": 1.0}}


def objective_of(
    synthesis: dict[str, Any], *terms: dict[str, Any], build: Any = None, **more: Any
) -> Objective:
    plain = {"terms": terms, "synthesis": synthesis, "classification": None, **more}
    spec = parse(ObjectiveSpec, plain, "objective")
    options = {"num_classes": 3, "dims": {"embedding": DIM, "other": DIM}, **(build or {})}
    return build_objective(spec, **options)


def rows_of(seed: int = 0) -> Tensor:
    return torch.randn(6, DIM, generator=generator_of(seed))


def outputs_of(x: Tensor) -> Outputs:
    return Outputs(x, {"embedding": x, "other": x}, {"class": x[:, :3]})


def batch_of(**columns: Any) -> Batch:
    return Batch(LABELS, ids=torch.arange(6), generator=generator_of(0), **columns)


def value_of(objective: Objective, x: Tensor, **columns: Any) -> dict[str, Tensor]:
    parts = objective(outputs_of(x), batch_of(**columns)).parts
    return {name: part.value for name, part in parts.items()}


def test_a_configuration_is_the_part_used_alone() -> None:
    x = rows_of()
    anchored = {"name": "densely_anchored", "beta": 0.4, "channels": 2}
    alone = [
        ({"name": "symmetrical"}, SymmetricalSynthesis(), NPairLoss()),
        (INTRA, IntraClassAugmentation(3, DIM, start_epoch=0), MultiSimilarityLoss()),
        (anchored, DenselyAnchoredSampling(3, DIM, beta=0.4, channels=2), ContrastiveLoss()),
    ]
    names = {NPairLoss: "n_pair", MultiSimilarityLoss: "multi_similarity"}
    for spec, synthesis, loss in alone:
        name = names.get(type(loss), "contrastive")
        objective = objective_of(spec, {"loss": {"name": name}})
        objective.refresh({"embedding": rows_of(3)}, LABELS)
        synthesis.refresh(rows_of(3), LABELS)
        assert value_of(objective, x)[name] == synthesis(loss, x, batch_of())


def test_only_synthetic_terms_on_its_head_see_what_is_made() -> None:
    x = rows_of()
    terms = (TRIPLET, {**TRIPLET, "synthetic": False}, {**TRIPLET, "head": "other"})
    found = value_of(objective_of({"name": "symmetrical"}, *terms), x)
    plain = TripletLoss(margin=1.0)(x, LABELS)
    assert found["triplet"] != plain
    assert found["triplet_again"] == found["triplet_again_again"] == plain


def test_what_is_made_is_made_once_for_all_terms() -> None:
    """Records move once per step, and all terms of a space share one geometry."""
    objective = objective_of({"name": "densely_anchored"}, TRIPLET, {"loss": {"name": "supcon"}})
    value_of(objective, rows_of())
    sampling = objective.synthesis.synthesiser
    assert sampling.bank.filled_C.tolist() == [2, 2, 2]
    state = objective.state_dict()
    assert "synthesis.synthesiser.bank.row_CQD" in state
    assert "synthesis.synthesiser.counts.count_CD" in state


def test_sub_classes_have_copies_of_their_own() -> None:
    term = {**TRIPLET, "labels": "subclass"}
    for spec in (INTRA, {"name": "densely_anchored"}, {"name": "symmetrical"}):
        objective = objective_of(spec, TRIPLET, term, build={"subclasses": 2})
        same = value_of(objective.eval(), rows_of(), subclass=LABELS)
        assert same["triplet"] == same["triplet_subclass"]
        split = torch.tensor([0, 1, 2, 3, 4, 4])
        other = value_of(objective.eval(), rows_of(), subclass=split)
        assert other["triplet"] == same["triplet"]
        assert other["triplet_subclass"] != same["triplet"]


def test_groups_are_kept_apart() -> None:
    objective = objective_of({"name": "densely_anchored"}, TRIPLET, exclude_groups=True)
    group = torch.tensor([0, 0, 1, 1, 2, 2])
    assert value_of(objective, rows_of(), group=group)["triplet"] == 0.0


def test_the_graph_reaches_differentiable_miners() -> None:
    attention = {"name": "class_aware_attention", "differentiable": True}
    term = {"loss": {"name": "weighted_contrastive"}, "miners": [attention]}
    classification = {"name": "cross_entropy", "weight": 0.0}
    objective = objective_of({"name": "densely_anchored"}, term, classification=classification)
    x, logits = rows_of(), rows_of(5)[:, :3].requires_grad_()
    objective(Outputs(x, {"embedding": x}, {"class": logits}), batch_of()).loss.backward()
    assert logits.grad.abs().max() > 0


def test_a_schedule_reaches_the_synthesis() -> None:
    objective = objective_of({**INTRA, "start_epoch": 2}, {"loss": {"name": "multi_similarity"}})
    objective.refresh({"embedding": rows_of(3)}, LABELS)
    assert [epoch for epoch in range(6) if objective.wants_embeddings(epoch)] == [2, 4]
    values = [
        objective(outputs_of(rows_of()), batch_of(), epoch=epoch).loss.item()
        for epoch in (0.0, 1.9, 2.0)
    ]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize(
    ("synthesis", "terms", "sentence"),
    [
        ("symmetrical", [{"loss": {"name": "proxy_nca"}}], "loss must be one of NPairLoss"),
        ("symmetrical", [{"loss": {"name": "contrastive"}}], "got 'ContrastiveLoss'"),
        (
            "symmetrical",
            [{**TRIPLET, "miners": [{"name": "batch_hard"}]}],
            "miners of TripletLoss must be none with the synthesis symmetrical",
        ),
        (
            "symmetrical",
            [{**TRIPLET, "memory": {"size": 8}}],
            "memory must be null with the synthesis symmetrical",
        ),
        (
            "intra_class",
            [{"loss": {"name": "proxy_anchor"}}],
            "loss must be one that reads references beside the batch",
        ),
        (
            "intra_class",
            [{**TRIPLET, "miners": [{"name": "random_triplets"}]}],
            "miner of TripletLoss must be one that knows references .* got 'random_triplets'",
        ),
        (
            "densely_anchored",
            [TRIPLET, {"loss": {"name": "lifted_structured"}}],
            "space must be one for all terms with densely_anchored, got 'cosine, euclidean'",
        ),
        ("densely_anchored", [{**TRIPLET, "head": "other"}], "synthesis must be null without a"),
        ("intra_class", [{**TRIPLET, "synthetic": False}], "synthesis must be null without a"),
    ],
)
def test_what_makes_no_sense_is_refused(
    synthesis: str, terms: list[dict[str, Any]], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        objective_of({"name": synthesis}, *terms)


def test_several_labels_and_unknown_heads_are_refused() -> None:
    with pytest.raises(UserError, match="synthesis must be null for several labels per image"):
        objective_of({"name": "symmetrical"}, TRIPLET, build={"multilabel": True})
    with pytest.raises(UserError, match=r"synthesis.head must be one of embedding, other, got 'x'"):
        objective_of({"name": "symmetrical", "head": "x"}, TRIPLET)
    with pytest.raises(UserError, match="decay_epochs must be three epochs"):
        objective_of({"name": "intra_class", "decay_epochs": [9, 3, 4]}, TRIPLET)
    with pytest.raises(UserError, match="scale_high must be >= scale_low"):
        objective_of({"name": "densely_anchored", "scale_low": 2.0}, TRIPLET)
