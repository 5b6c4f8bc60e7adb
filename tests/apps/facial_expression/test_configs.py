"""What all shipped configurations for faces have in common, and where they must differ."""

from __future__ import annotations

import pytest

from likeness.config import parse
from likeness.training.spec import RunSpec
from likeness_apps.facial_expression.domain import DOMAIN
from likeness_apps.shell.configs import load, names

NAMES = names(DOMAIN.folder)
ROUNDS = {"subclasses", "demo_subclasses"}


def spec_of(name: str) -> RunSpec:
    return parse(RunSpec, load(DOMAIN.folder, name))


def test_every_purpose_has_one():
    wanted = {"gaussian", "cross_entropy", "triplet", "soft_votes", "preact_resnet18", "smoke"}
    assert wanted | ROUNDS | {"demo"} == {*NAMES}
    assert DOMAIN.default_config in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_faces_are_grey_and_stay_upright(name):
    data = spec_of(name).data
    assert data.grey
    assert data.per_image_standardisation
    assert data.augmentation is not None
    assert data.augmentation.flips
    assert not data.augmentation.rotate90
    assert data.augmentation.rotate_degrees <= 15


@pytest.mark.parametrize("name", NAMES)
def test_a_gaussian_sees_every_class_with_several_pictures(name):
    """A mean of one picture says nothing, and sub-classes share the pictures of their class."""
    spec = spec_of(name)
    terms = [term for term in spec.objective.terms if term.loss.name == "gaussian_structured"]
    assert spec.model.space == "euclidean"
    for term in terms:
        assert spec.sampler.name == "class_balanced"
        parts = spec.subclasses.most if term.labels == "subclass" else 1
        assert spec.sampler.per_class >= 4 * parts
        assert spec.objective.classification is not None
    assert (name in ROUNDS) == (spec.subclasses is not None)


@pytest.mark.parametrize(
    ("name", "before"), [("subclasses", "gaussian"), ("demo_subclasses", "demo")]
)
def test_rounds_fit_the_model_that_they_start_from(name, before):
    rounds, start = spec_of(name), spec_of(before)
    assert rounds.model == start.model
    assert rounds.data == start.data
    assert rounds.monitor is None  # the sub-classes that are kept belong to the last round
    assert rounds.epochs % rounds.subclasses.epochs_per_round == 0
