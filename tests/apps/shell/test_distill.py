"""`distill` by the front door: a student beside a teacher, stopped and resumed, and its papers."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fixtures.front_door import SMALL, assert_refused, changes, likeness
from fixtures.scenes import write_ucmerced
from likeness.bundle import load_bundle
from likeness.card import section_of
from likeness_apps.shell import teacher as module
from likeness_apps.shell.teacher import CACHE

TEACHER = (
    *("model.image_size=48", "model.embedding_dim=24"),
    *("objective.classification=null", "monitor=map_at_r"),
)
STUDENT = ("model.embedding_dim=8", "epochs=2")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_ucmerced(tmp_path_factory.mktemp("scenes"), per_class=12)


@pytest.fixture(scope="module")
def teacher(scenes, tmp_path_factory):
    """Another size of images, another dimension, no class layer."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    options = ["--config", "smoke", "--quiet", *changes(*SMALL, "epochs=1", *TEACHER)]
    ended = likeness("train", scenes, "--out", out, *options)
    assert ended.code == 0, ended.err
    return out


def distill(teacher, scenes, out, *more, words=()):
    options = ["--config", "smoke", *changes(*SMALL, *STUDENT, *more), *words]
    return likeness("distill", teacher, scenes, "--out", out, *options)


@pytest.fixture(scope="module")
def student(scenes, teacher, tmp_path_factory):
    out = tmp_path_factory.mktemp("student") / "run"
    ended = distill(teacher, scenes, out)
    assert ended.code == 0, ended.err
    assert "Distillation: distances x 1, angles x 2" in ended.out
    return out


def test_the_student_is_a_model_of_its_own_dimension(student, scenes, tmp_path):
    bundle = load_bundle(student)
    assert bundle.embedder.embedding_dim == 8
    assert bundle.preprocessing.size == 32
    terms = bundle.config["objective"]["distillation"]
    assert [(term["loss"]["name"], term["weight"]) for term in terms] == [
        ("relational_distance", 1.0),
        ("relational_angle", 2.0),
    ]
    log = pd.read_csv(student / "logs" / "train.csv")
    assert (log[["loss_relational_distance", "loss_relational_angle"]] > 0).all(axis=None)
    out = tmp_path / "labels.csv"
    assert likeness("predict", student, scenes, "--out", out).code == 0


def test_the_teachers_embeddings_are_what_embed_gives(student, teacher, scenes, tmp_path):
    ended = likeness("embed", teacher, scenes / "Images", "--out", tmp_path / "rows.parquet")
    assert ended.code == 0, ended.err
    table = pd.read_parquet(tmp_path / "rows.parquet").set_index("path")
    splits = pd.read_csv(student / "splits.csv")
    rows = splits[splits["split"] == "train"]["path"].tolist()
    kept = load_file(student / CACHE)["embeddings"]
    expected = torch.from_numpy(np.stack(table.loc[rows, "embedding"].tolist()))
    torch.testing.assert_close(kept, expected, atol=1e-5, rtol=1e-5)
    assert kept.shape[1] == 24


def test_the_papers_name_the_teacher(student, teacher):
    of, bundle = load_bundle(teacher), load_bundle(student)
    assert bundle.provenance["distilled_from"] == of.model_id
    assert f"Distilled from the model {of.model_id}" in section_of(bundle.card, "Data")
    assert bundle.data_licence == of.data_licence


def test_limits_and_licence_are_inherited(student, teacher, scenes, tmp_path):
    """Of a teacher from another field or set: both are said."""
    of = load_bundle(teacher)
    other = shutil.copytree(teacher / "model", tmp_path / "other")
    card = other / "README.md"
    card.write_text(card.read_text().replace(section_of(of.card, "Limits"), "Only by night."))
    record = json.loads((other / "provenance.json").read_text())
    record["data_licence"] = "research only"
    seal_again(other, record)
    out = tmp_path / "run"
    assert distill(other, scenes, out, "epochs=1", words=["--quiet"]).code == 0
    bundle = load_bundle(out)
    limits = section_of(bundle.card, "Limits")
    assert "Only by night." in limits
    assert section_of(load_bundle(student).card, "Limits") in limits
    own = load_bundle(student).data_licence
    assert bundle.data_licence == f"{own}; of the teacher's data: research only"
    record["data_licence"] = None
    seal_again(other, record)
    assert distill(other, scenes, tmp_path / "unset", "epochs=1", words=["--quiet"]).code == 0
    assert load_bundle(tmp_path / "unset").data_licence is None


def seal_again(directory, record):
    from likeness.provenance import PROVENANCE_FILE, seal

    kept = {key: value for key, value in record.items() if key != "digest"}
    (directory / PROVENANCE_FILE).write_text(json.dumps(seal(directory, kept)))


def test_a_stopped_run_goes_on_with_the_embeddings_it_has(
    student, teacher, scenes, tmp_path, monkeypatch
):
    """Killed before the first step; the teacher is not asked again, and the end is the same."""
    out, asked = tmp_path / "run", []
    monkeypatch.setattr("likeness_apps.shell.train.fit", stop)
    with pytest.raises(KeyboardInterrupt):
        raise_through(distill(teacher, scenes, out))
    assert (out / CACHE).is_file()
    monkeypatch.undo()
    embedded = module._embedded
    monkeypatch.setattr(module, "_embedded", lambda *a, **k: asked.append(1) or embedded(*a, **k))
    ended = distill(teacher, scenes, out, words=["--resume"])
    assert ended.code == 0, ended.err
    assert not asked
    ours, theirs = (load_bundle(run).embedder.state_dict() for run in (out, student))
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    again = distill(teacher, scenes, out, words=["--resume"])
    assert again.code == 0
    assert not asked


def stop(*_args, **_kwargs):
    raise KeyboardInterrupt


def raise_through(ended):
    if ended.code == 130:
        raise KeyboardInterrupt


def test_a_spoilt_cache_is_made_anew_and_another_teacher_is_refused(
    student, teacher, scenes, tmp_path
):
    out = shutil.copytree(student, tmp_path / "run")
    whole = load_file(out / CACHE)["embeddings"].clone()  # not the file's own memory
    with safe_open(out / CACHE, framework="pt") as file:
        metadata = file.metadata()
    for spoil in (
        lambda: (out / CACHE).write_bytes(b"cut off"),
        lambda: save_file({"embeddings": whole + 1}, out / CACHE, metadata),
        (out / CACHE).unlink,
    ):
        spoil()
        ended = distill(teacher, scenes, out, words=["--resume"])
        assert ended.code == 0, ended.err
        assert torch.equal(load_file(out / CACHE)["embeddings"], whole)
    other = distill(student, scenes, out, words=["--resume"])
    assert_refused(other, "teacher must be the model", "as in the run to resume")
    assert torch.equal(load_file(out / CACHE)["embeddings"], whole)


def test_what_is_asked_for_by_name_is_what_is_learned(teacher, scenes, tmp_path):
    only = "objective.distillation=[{loss: {name: relational_angle, vertices: 4}, weight: 3}]"
    ended = distill(teacher, scenes, tmp_path / "run", "epochs=1", only)
    assert ended.code == 0, ended.err
    assert "Distillation:" not in ended.out
    (term,) = load_bundle(tmp_path / "run").config["objective"]["distillation"]
    assert (term["loss"]["vertices"], term["weight"]) == (4, 3.0)


def test_refusals_leave_nothing(teacher, scenes, tmp_path):
    out = tmp_path / "run"
    assert_refused(
        distill(tmp_path / "nobody", scenes, out), "model must be a model or run", left=out
    )
    asked = changes(*SMALL, "objective.distillation=[{loss: {name: relational_angle}}]")
    ended = likeness("train", scenes, "--out", out, "--config", "smoke", *asked)
    assert_refused(ended, "objective.distillation must be empty without a teacher", left=out)
    spoilt = distill(teacher, scenes, out, "objective=[1]")
    assert_refused(spoilt, "config.objective must be", left=out)
