"""People: a student keeps no embedding of anybody; a person is imprinted for a stated purpose."""

import pytest

from fixtures.front_door import assert_refused, changes
from fixtures.people_door import likeness, small
from likeness.bundle import load_bundle
from likeness_apps.person_reid.sample import write_sample

STATED = ("--purpose", "study", "--legal-basis", "consent", "--retention", "2999-01-31")


@pytest.fixture(scope="module")
def student(walkers, walkers_run, tmp_path_factory):
    """Distilled, with a layer of cosines."""
    out = tmp_path_factory.mktemp("student") / "run"
    asked = [*small(), *changes("model.embedding_dim=8", "model.class_layer=cosine")]
    ended = likeness("distill", walkers_run, walkers, "--out", out, *asked)
    assert ended.code == 0, ended.err
    return out


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Somebody of another set."""
    root = write_sample(tmp_path_factory.mktemp("others"), people=4, size=(32, 16), seed=5)
    return sorted(path for path in (root / "bbox_train").iterdir() if path.is_dir())[0]


def test_a_finished_student_keeps_no_embeddings(student, walkers_run):
    assert not list(student.rglob("teacher.safetensors"))
    bundle = load_bundle(student)
    assert bundle.provenance["distilled_from"] == load_bundle(walkers_run).model_id
    assert "Distilled from the model" in bundle.card


def test_a_person_is_imprinted_with_purpose_and_term(student, frames, tmp_path):
    out = tmp_path / "more"
    asked = (student, frames, "--label", "somebody", "--out", out)
    assert_refused(
        likeness("imprint", *asked), "embeddings of people must be kept with --purpose", left=out
    )
    ended = likeness("imprint", *asked, *STATED)
    assert ended.code == 0, ended.err
    old, new = load_bundle(student), load_bundle(out)
    assert new.classes == [*old.classes, "somebody"]
    assert new.gallery is new.centres_CD is None
    assert new.metrics["retrieval"] == old.metrics["retrieval"]
    assert new.provenance["retention"] == "2999-01-31"
    assert "Purpose: study" in new.card


def test_a_linear_layer_of_people_cannot_gain_one(walkers_run, frames, tmp_path):
    out = tmp_path / "more"
    ended = likeness(*("imprint", walkers_run, frames, "--label", "p", "--out", out, *STATED))
    assert_refused(ended, "model must have a class layer of cosines", left=out)
