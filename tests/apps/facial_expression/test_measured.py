"""From drawn faces to figures: protocols, read-outs, coverage, comparison, others' tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fixtures.front_door import assert_refused, changes, likeness
from likeness.bundle import load_bundle
from likeness.inference.readers import available_readouts
from likeness_apps.facial_expression.crop import crop
from likeness_apps.facial_expression.domain import DOMAIN
from likeness_apps.facial_expression.faces.detector import Face
from likeness_apps.facial_expression.layouts import recognise
from likeness_apps.facial_expression.sample import write_sample
from likeness_apps.facial_expression.votes import COLUMNS, official_labels, votes_of

QUICK = (
    *("epochs=1", "workers=0", "model.image_size=24", "model.embedding_dim=6", "data.cache_gib=0"),
    *("sampler.per_class=2", "schedule.warmup_epochs=0", "data.augmentation.rotate_degrees=0"),
)
LAYERLESS = ("objective.classification=null", "monitor=null")
CLASSES = 8


def call(*words: object):
    ended = likeness(*words, application="facial-expression")
    assert ended.code == 0, ended.err
    return ended


def trained(data: Path, out: Path, *settings: str) -> Path:
    words = ("train", data, "--config", "smoke", *changes(*QUICK, *settings))
    call(*words, "--out", out, "--quiet")
    return out


def evaluated(model: Path, data: Path, out: Path, *more: str) -> dict:
    call("evaluate", model, data, "--out", out, "--quiet", *more)
    return json.loads((out / "metrics.json").read_text())


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    return write_sample(tmp_path_factory.mktemp("faces"), seed=1, per_class=20)


@pytest.fixture(scope="module")
def soft(faces, tmp_path_factory) -> Path:
    """With a class layer, on the pictures that FER+'s authors train on with distributions."""
    return trained(faces, tmp_path_factory.mktemp("soft") / "run", "data.protocol=ferplus-soft")


@pytest.fixture(scope="module")
def layerless(faces, tmp_path_factory) -> Path:
    """Gaussian structure alone, on the authors' majority."""
    out = tmp_path_factory.mktemp("layerless") / "run"
    return trained(faces, out, *LAYERLESS, "data.protocol=ferplus-majority")


@pytest.fixture(scope="module")
def of_soft(faces, soft, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("of_soft") / "result"
    evaluated(soft, faces, out)
    return out


@pytest.fixture(scope="module")
def crops(tmp_path_factory) -> Path:
    """Other faces, of which every third is not found."""
    root = tmp_path_factory.mktemp("other")
    source = write_sample(root, seed=5, per_class=10)

    def detector(image_HW3: np.ndarray):
        if image_HW3[0, 0, 0] % 3:
            yield Face(0, 0, 48, 48, 1.0)

    crop(DOMAIN, source, root / "crops", detector=detector, quiet=True)
    return root / "crops"


# Protocols


def test_the_pictures_and_labels_of_the_authors_rules(faces, soft, layerless, of_soft):
    known = recognise(faces).table
    for run, mode in ((soft, "probability"), (layerless, "majority")):
        labels = dict(zip(known["path"], official_labels(votes_of(known), mode), strict=True))
        wanted = {path: label for path, label in labels.items() if label}
        splits = load_bundle(run).splits
        assert dict(zip(splits["path"], splits["label"], strict=True)) == wanted
    predictions = pd.read_csv(of_soft / "predictions.csv")
    test = known[known["split"] == "test"]
    labels = official_labels(votes_of(test), "probability")
    assert len(predictions) == sum(map(bool, labels))
    metrics = json.loads((of_soft / "metrics.json").read_text())
    assert metrics["protocol"] == "ferplus-soft"
    official = metrics["expression"]["votes"]["official"]["probability"]
    assert (official["pictures"], official["left_out"]) == (len(predictions), 0)
    accuracy = metrics["classification"]["overall_accuracy"]["value"]
    assert official["overall_accuracy"]["value"] == pytest.approx(accuracy)


def test_a_protocol_of_votes_needs_votes(soft, faces, tmp_path):
    plain = faces.parent / "plain.csv"
    table = recognise(faces).table
    root = recognise(faces).root.relative_to(faces.parent)
    paths = [str(root / path) for path in table["path"]]
    table = table.assign(path=paths)[table["label"] != ""]
    table[["path", "label", "split"]].to_csv(plain, index=False)
    words = ("train", plain, "--config", "smoke", *changes(*QUICK, "data.protocol=ferplus-soft"))
    ended = likeness(*words, "--out", tmp_path / "run", application="facial-expression")
    assert_refused(ended, "must be in the layout ferplus")
    found = evaluated(soft, plain, tmp_path / "result")  # the same files: labels as they are there
    assert "reason" in found["expression"]["votes"]


# Read-outs


def test_read_outs_with_and_without_a_class_layer(soft, layerless, faces, tmp_path, of_soft):
    assert available_readouts(load_bundle(soft)) == ["softmax", "gaussian", "nearest_centre", "knn"]
    bundle = load_bundle(layerless)
    assert available_readouts(bundle) == ["gaussian", "nearest_centre", "knn"]
    assert bundle.metrics["classification_readout"] == "gaussian"
    temperature = bundle.metrics["temperature"]
    assert set(temperature) == {"gaussian", "nearest_centre"}
    # One scale for both: the squared distances of one are halved in the other.
    if 0.01 < temperature["gaussian"] < 100:
        assert temperature["nearest_centre"] == pytest.approx(2 * temperature["gaussian"], rel=0.01)
    assert "Gaussians of one width" in bundle.card
    found = evaluated(layerless, faces, tmp_path / "result")
    assert found["classification_readout"] == "gaussian"
    assert list(found["readouts"]) == sorted(["gaussian", "nearest_centre", "knn"])
    metrics = json.loads((of_soft / "metrics.json").read_text())
    assert set(metrics["readouts"]) == {"softmax", "gaussian", "nearest_centre", "knn"}


def test_means_are_those_of_training_pictures(layerless):
    """Trap 32."""
    bundle = load_bundle(layerless)
    rows = bundle.gallery_rows()
    assert set(rows["split"]) == {"train"}
    embeddings, labels = bundle.gallery.embeddings_MD.numpy(), bundle.gallery.labels_M.numpy()
    for label in range(CLASSES):
        mean = embeddings[labels == label].astype(float).mean(axis=0)
        np.testing.assert_allclose(bundle.centres_CD[label].numpy(), mean, atol=1e-5)


def test_labels_of_the_evaluated_pictures_change_no_answer(layerless, crops, tmp_path):
    """Trap 32: were means made of them, wrong labels would move the answers."""
    said = {}
    for name, turn in (("true", 0), ("wrong", 3)):
        folder = tmp_path / name
        shutil.copytree(crops, folder)
        table = pd.read_csv(folder / "manifest.csv", keep_default_na=False)
        known = sorted(set(table["label"]) - {""})
        turned = {label: known[(place + turn) % len(known)] for place, label in enumerate(known)}
        table["label"] = [turned.get(label, "") for label in table["label"]]
        table.drop(columns=list(COLUMNS)).to_csv(folder / "manifest.csv", index=False)
        evaluated(layerless, folder, tmp_path / f"of_{name}", "--protocol", "cross-dataset")
        said[name] = pd.read_csv(tmp_path / f"of_{name}" / "predictions.csv")
    one, other = (table[table["status"] == "ok"].set_index("path") for table in said.values())
    assert (one["truth"] != other["truth"]).all()
    columns = [name for name in one.columns if name.startswith("p_")]
    pd.testing.assert_frame_equal(one[["label", *columns]], other[["label", *columns]])


# Coverage, and another set


def test_a_set_of_crops_by_a_model_of_another(soft, crops, tmp_path):
    out = tmp_path / "result"
    metrics = evaluated(soft, crops, out, "--protocol", "cross-dataset")
    table = pd.read_csv(out / "predictions.csv", keep_default_na=False)
    statuses = table["status"].value_counts().to_dict()
    assert set(statuses) == {"ok", "no_face"}
    covered = metrics["coverage"]
    assert covered["by_status"] == statuses
    assert covered["items"] == len(table)
    assert covered["answered"]["value"] == pytest.approx(statuses["ok"] / len(table))
    right = (table["truth"] == table["label"]).sum()
    assert covered["on_all"]["overall_accuracy"]["value"] == pytest.approx(right / len(table))
    on_faces = metrics["classification"]["overall_accuracy"]["value"]
    assert on_faces == pytest.approx(right / statuses["ok"])
    missing = table[table["status"] == "no_face"]
    assert (missing["reason"] == "no face was found").all()
    assert not missing["path"].str.startswith("faces/").any()
    assert metrics["shared_classes"]["left_out"] == {}
    assert metrics["split"] == "external"
    assert (tmp_path / "result" / "report.html").is_file()


def test_classes_that_the_model_does_not_know(faces, crops, tmp_path):
    """A model of FER2013's seven classes, on pictures of eight."""
    seven = write_sample(tmp_path, seed=2, layout="fer2013", per_class=10)
    run = trained(seven, tmp_path / "run", "sampler.classes_per_batch=7")
    metrics = evaluated(run, crops, tmp_path / "result", "--protocol", "cross-dataset")
    table = pd.read_csv(crops / "manifest.csv", keep_default_na=False)
    contempt = int(((table["label"] == "contempt") & (table["status"] == "ok")).sum())
    assert metrics["shared_classes"]["left_out"] == {"contempt": contempt}
    predictions = pd.read_csv(tmp_path / "result" / "predictions.csv")
    assert "contempt" not in set(predictions["truth"])
    words = ("evaluate", run, crops, "--out", tmp_path / "other", "--quiet")
    ended = likeness(*words, application="facial-expression")
    rule = "labels must be among the model's 7 classes, or left out with --protocol cross-dataset"
    assert_refused(ended, rule)


# Comparison, and tables of others


def test_paired_differences_of_the_fields_figures(faces, soft, of_soft, tmp_path):
    evaluated(soft, faces, tmp_path / "flips", "--tta", "flips")
    call("compare", tmp_path / "flips", of_soft, "--out", tmp_path)
    found = json.loads((tmp_path / "comparison.json").read_text())["differences"]
    wanted = {"overall_accuracy", "macro_f1", "harmonic_macro_precision_recall", "kappa"}
    assert wanted | {"kl_to_votes", "said_by_one", "said_by_three"} <= set(found)
    means = [
        json.loads((folder / "metrics.json").read_text())["expression"]["votes"]["kl"]["value"]
        for folder in (tmp_path / "flips", of_soft)
    ]
    assert found["kl_to_votes"]["value"] == pytest.approx(means[0] - means[1], abs=1e-6)
    assert "p_holm" in found["kl_to_votes"]


def test_somebodys_table_is_scored_beside_the_votes(faces, of_soft, tmp_path):
    predictions = pd.read_csv(of_soft / "predictions.csv")
    table = recognise(faces).table.set_index("path").loc[predictions["path"]]
    truth = table[list(COLUMNS)].assign(label=predictions["truth"].to_numpy()).reset_index()
    truth.sample(frac=1, random_state=0).to_csv(tmp_path / "truth.csv", index=False)
    words = ("score", tmp_path / "truth.csv", of_soft / "predictions.csv")
    call(*words, "--out", tmp_path / "scored")
    mine = json.loads((tmp_path / "scored" / "metrics.json").read_text())["expression"]
    theirs = json.loads((of_soft / "metrics.json").read_text())["expression"]
    for name in ("kl", "said_by_three"):
        assert mine["votes"][name]["value"] == pytest.approx(theirs["votes"][name]["value"])
    human = [one["human"]["human"]["macro_f1"]["value"] for one in (mine, theirs)]
    assert human[0] == pytest.approx(human[1])
    assert "copies" not in mine
    assert "copies" in theirs
