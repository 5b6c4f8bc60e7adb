"""Several models as one: means by loops, one read of each file, and what does not fit together."""

import os

import numpy as np
import pandas as pd
import pytest

from fixtures.scoped_model import CLASSES, PREPARED, spots, strangers, write_model, write_pictures
from likeness.bundle import load_bundle
from likeness.data.transforms import Preprocessing
from likeness.errors import UserError
from likeness.inference import ensemble as subject
from likeness.inference import shards
from likeness.inference.ensemble import Ensemble
from likeness.inference.hashed import answer_hashed
from likeness.inference.predictor import Predictor


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("members")
    return [write_model(root / str(seed), seed=seed, scope=False) for seed in range(3)]


@pytest.fixture(scope="module")
def members(models):
    return [Predictor(model, batch_size=4) for model in models]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures") / "in"
    write_pictures(root, {"own": spots(5, 1), "noise": strangers(2, 4)["noise"]})
    (root / "broken.png").write_bytes(b"no image")
    return root


def test_probabilities_are_the_mean_and_the_label_follows(members, folder, tmp_path):
    shards.predict(Ensemble(members), folder, tmp_path / "out.csv", part_rows=3)
    table = pd.read_csv(tmp_path / "out.csv")
    for row in table.itertuples():
        if row.path == "broken.png":
            assert row.status == "error"
            continue
        said = [member({"path": [str(folder / row.path)]}) for member in members]
        means = [sum(float(one[f"p_{name}"][0]) for one in said) / 3 for name in CLASSES]
        assert [row.p_large, row.p_small] == pytest.approx(means, abs=1e-5)
        assert row.label == CLASSES[int(np.argmax(means))]
        assert row.model_id == "+".join(member.model_id for member in members)


def test_embeddings_side_by_side_compare_as_the_members_do_on_average(members, folder):
    names = [name for name in sorted(os.listdir(folder)) if name != "broken.png"]
    asked = Ensemble(members)
    rows = asked.answer([asked.prepare(folder / name) for name in names]).embeddings_ND
    assert rows.shape == (7, asked.embedding_dim)
    own = [
        member.answer([member.prepare(folder / name) for name in names]).embeddings_ND
        for member in members
    ]
    for i in range(7):
        for j in range(7):
            cosines = [float(unit[i] @ unit[j]) for unit in own]
            assert float(rows[i] @ rows[j]) == pytest.approx(sum(cosines) / 3, abs=1e-5)


def test_a_file_is_read_once_and_prepared_once_for_alike_members(members, folder, monkeypatch):
    reads, prepared = [], []
    whole, prepare = subject.read_bytes, Predictor.prepare
    monkeypatch.setattr(subject, "read_bytes", lambda path: reads.append(path) or whole(path))

    def counted(self, source, *, beside=None):
        prepared.append(beside)
        return prepare(self, source, beside=beside)

    monkeypatch.setattr(Predictor, "prepare", counted)
    ready = Ensemble(members).prepare(folder / "own-00.png")
    assert reads == prepared == [folder / "own-00.png"]
    assert len(ready) == 3


def test_hashed_answers_are_those_of_a_call(members, folder):
    names = sorted(os.listdir(folder))
    hashed = answer_hashed(Ensemble(members), names, folder)
    assert len(hashed.sha256) == len(names)
    labels = [label for block in hashed.blocks for label in block.labels]
    assert labels[0] == ""
    assert all(label in CLASSES for label in labels[1:])
    assert hashed.blocks[0].logits_BL.shape[1] == 0


def test_what_changes_the_answers_is_stated(members):
    asked = Ensemble(members)
    assert asked.settings == {"ensemble": {member.model_id: member.settings for member in members}}
    assert asked.terms["data_licence"] == "licence 0; licence 1; licence 2"


@pytest.fixture(scope="module")
def scoped(tmp_path_factory):
    """Three members of which two know what their kind looks like."""
    root = tmp_path_factory.mktemp("scoped")
    models = [write_model(root / str(seed), seed=seed, scope=seed > 0) for seed in range(3)]
    return [Predictor(model) for model in models]


def test_most_of_the_members_that_look_decide_the_scope(scoped, folder, monkeypatch):
    def statuses():
        columns = shards_of(Ensemble(scoped), folder)
        return [columns[name] for name in ("noise-00.png", "own-00.png", "broken.png")]

    assert statuses() == ["out_of_scope", "ok", "error"]
    monkeypatch.setattr(scoped[1].scope, "reasons", lambda seen: [""] * len(seen.looks_NF))
    assert statuses() == ["ok", "ok", "error"]  # one of two is no majority


def shards_of(model, folder) -> dict[str, str]:
    names = sorted(os.listdir(folder))
    hashed = answer_hashed(model, names, folder)
    statuses = [status for block in hashed.blocks for status in block.withheld().status]
    return dict(zip(names, statuses, strict=True))


def test_members_must_fit_each_other(models, tmp_path, members):
    renamed = Predictor(write_model(tmp_path / "a", seed=7, scope=False, classes=["x", "y"]))
    with pytest.raises(
        UserError, match=f"also must be a model with the classes of .*, got '{renamed.model_id}'"
    ):
        Ensemble([members[0], renamed])
    with pytest.raises(UserError, match="also must be another model each time"):
        Ensemble([members[0], Predictor(load_bundle(models[0]))])
    with pytest.raises(UserError, match="models must be two or more, got 1"):
        Ensemble(members[:1])


def test_members_may_prepare_images_differently(models, folder):
    other = Predictor(models[1])
    other.preprocessing = Preprocessing(size=PREPARED.size, mean=[0.0] * 3, std=[1.0] * 3)
    first = Predictor(models[0])
    ready = Ensemble([first, other]).prepare(folder / "own-00.png")
    for member, made in zip((first, other), ready, strict=True):
        assert (made == member.prepare(folder / "own-00.png")).all()
    assert (ready[0] != ready[1]).any()


def test_independent_labels_reach_the_mean_of_the_thresholds(tmp_path, folder):
    members = []
    for seed, threshold in ((0, 0.1), (1, 0.9)):
        model = write_model(
            tmp_path / str(seed),
            seed=seed,
            scope=False,
            multilabel=True,
            gallery=None,
            metrics={"thresholds": {"sigmoid": {"large": threshold, "small": 0.2}}},
        )
        members.append(Predictor(model))
    names = [name for name in sorted(os.listdir(folder)) if name != "broken.png"]
    asked = Ensemble(members)
    answers = asked.answer([asked.prepare(folder / name) for name in names])
    for row, name in enumerate(names):
        said = [member({"path": [str(folder / name)]}) for member in members]
        means = [float(np.mean([one[f"p_{label}"][0] for one in said])) for label in CLASSES]
        wanted = [int(mean >= threshold) for mean, threshold in zip(means, (0.5, 0.2), strict=True)]
        assert answers.labels_N[row].tolist() == wanted
