"""Lesions: a model that gains a class or a student, with names that could name a patient hidden."""

from pathlib import Path

import pandas as pd
import pytest

from fixtures.front_door import changes
from fixtures.lesion_door import likeness, small
from likeness.bundle import load_bundle
from likeness_apps.skin_lesion.sample import write_sample


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Pictures of a set that the model never saw."""
    top = tmp_path_factory.mktemp("others")
    root = write_sample(top, layout="ham10000", per_class=4, size=(48, 64), seed=7)
    return sorted(root.rglob("*.jpg"))[0].parent


def test_a_class_is_added_and_the_scope_check_is_off(ham_run, others, tmp_path):
    out = tmp_path / "more"
    ended = likeness("imprint", ham_run, others, "--label", "new", "--out", out)
    assert ended.code == 0, ended.err
    assert "The scope check is off" in ended.out
    old, new = load_bundle(ham_run), load_bundle(out)
    assert old.scope is not None
    assert new.scope is None
    assert new.classes == [*old.classes, "new"]
    assert "clinical" not in new.metrics  # thresholds that were fixed without the class
    table = tmp_path / "labels.csv"
    assert likeness("predict", out, others, "--out", table, "--quiet").code == 0
    found = pd.read_csv(table)
    assert set(found["status"]) == {"ok"}
    assert "p_new" in found


def test_a_student_of_a_lesion_model(ham_run, ham, tmp_path):
    out = tmp_path / "student"
    asked = [*small(), *changes("model.embedding_dim=8", "data.scope_check=false")]
    ended = likeness("distill", ham_run, ham, "--out", out, *asked)
    assert ended.code == 0, ended.err
    bundle = load_bundle(out)
    assert bundle.provenance["distilled_from"] == load_bundle(ham_run).model_id
    assert Path(out / "teacher.safetensors").is_file()
