"""Runs that learn from what several annotators said: the same again, the same after a resume."""

from functools import partial

import pytest
import torch
from torch.nn import functional

from fixtures.tiny_training import (
    CLASSES,
    LABELS,
    ROWS,
    TARGETS,
    tiny_data,
    tiny_objective,
    tiny_spec,
    train,
)
from fixtures.watched_runs import Stop, StoppedAfter
from likeness.batch import Batch
from likeness.errors import UserError
from likeness.models import Outputs
from likeness.training import Method


def spec_of(targets, **options):
    term = {"loss": {"name": "triplet"}, "miners": [{"name": "class_balanced_triplets"}]}
    return tiny_spec(objective={"terms": [term], "classification": {"targets": targets, **options}})


def weights(folder, spec, **options):
    _, embedder, objective = train(folder, spec, **options)
    return Method(embedder, objective).state_dict()


@pytest.mark.parametrize("targets", ["drawn", "soft", "multi"])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, targets):
    """Drawn labels and the miner's draws come from one generator, seeded by the step."""
    spec = spec_of(targets)
    whole = weights(tmp_path / "whole", spec)
    cut = partial(StoppedAfter, steps=5)
    with pytest.raises(Stop):
        train(tmp_path / "cut", spec, method=cut, checkpoint_steps=1)
    for name, tensor in weights(tmp_path / "cut", spec, resume=True).items():
        assert torch.equal(tensor, whole[name]), name
    other = weights(tmp_path / "other", tiny_spec(objective=spec.objective, seed=6))
    assert any(not torch.equal(tensor, whole[name]) for name, tensor in other.items())


def heads(count=8):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(count, CLASSES, generator=generator, requires_grad=True)
    return Outputs(
        logits, {"embedding": torch.randn(count, 6, generator=generator)}, {"class": logits}
    )


def test_a_step_reads_the_rows_of_its_batch():
    """The gradient on the logits is p - t, and that of drawn labels p - one of the classes."""
    rows = torch.tensor([3, 30, 9, 17, 3, 0, 25, 12])
    data = tiny_data(targets=TARGETS)
    outputs = heads()
    chances = outputs.logits["class"].detach().softmax(1)
    wanted = {}
    for targets in ("soft", "drawn"):
        objective = tiny_objective(tiny_spec(objective={"classification": {"targets": targets}}))
        batch = Batch(
            data.labels[rows],
            target=data.targets[rows],
            generator=torch.Generator().manual_seed(1),
        )
        (slope,) = torch.autograd.grad(objective(outputs, batch).loss, outputs.logits["class"])
        wanted[targets] = chances - 8 * slope
    torch.testing.assert_close(wanted["soft"], TARGETS[rows], atol=1e-5, rtol=0)
    drawn = wanted["drawn"].round()
    torch.testing.assert_close(wanted["drawn"], drawn, atol=1e-5, rtol=0)
    assert (drawn.sum(1) == 1).all()


def test_all_heads_learn_the_same_drawn_label():
    spec = tiny_spec(objective={"classification": {"targets": "drawn", "head": ["class", "more"]}})
    objective, outputs = tiny_objective(spec), heads(64)
    outputs.logits["more"] = outputs.logits["class"]
    batch = Batch(LABELS.repeat(2), target=TARGETS.repeat(2, 1))
    parts = objective(outputs, batch).parts
    assert parts["classification.class"].value == parts["classification.more"].value
    assert parts["classification.class"].value != functional.cross_entropy(
        outputs.logits["class"], batch.labels
    )


def test_votes_of_another_kind_end_a_resume(tmp_path):
    spec = spec_of("soft")
    with pytest.raises(Stop):
        train(tmp_path, spec, method=partial(StoppedAfter, steps=2), checkpoint_steps=1)
    changed = TARGETS.clone()
    changed[4] = torch.tensor([0.5, 0.5, 0.0, 0.0])
    with pytest.raises(UserError, match="data must be the images, labels and splits of the run"):
        train(tmp_path, spec, data=tiny_data(targets=changed), resume=True)


def test_a_set_without_votes_is_refused(tmp_path):
    with pytest.raises(UserError, match="targets must be given for targets 'soft', got None"):
        train(tmp_path, spec_of("soft"), data=tiny_data())
    assert not list(tmp_path.iterdir())
    objective = tiny_objective(spec_of("multi"))
    with pytest.raises(UserError, match="target must be given for targets 'multi', got None"):
        objective(heads(), Batch(LABELS[:8]))


def test_rows_that_are_no_distribution_are_named():
    broken = TARGETS.clone()
    broken[7] = 0
    with pytest.raises(UserError, match=r"sum to 1 in every row, got 0, 0, 0, 0 at scene07\.png"):
        tiny_data(targets=broken)
    with pytest.raises(UserError, match=f"targets must be {ROWS} rows, got 5"):
        tiny_data(targets=TARGETS[:5])


def test_sets_learn_the_label():
    """A sequence has one class, so nothing soft can be asked of it."""
    options = {"sets": {"classification": {"targets": "soft"}}}
    with pytest.raises(UserError, match=r"targets must be 'label' for sets, .* got 'soft'"):
        tiny_spec(objective=options)
