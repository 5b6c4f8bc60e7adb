"""A multi-label set through every shared command, by the front door."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn import metrics as sk

from fixtures.front_door import assert_refused, changes, likeness, small
from fixtures.multilabel import LABELS, draw_quarters, write_multilabel
from fixtures.scenes import save, write_ucmerced
from likeness.bundle import load_bundle
from likeness.inference.readers import available_readouts
from likeness.training.spec import DataSpec
from likeness_apps.remote_sensing.cli import DOMAIN
from likeness_apps.shell.data import prepare

COLUMNS = [f"p_{name}" for name in LABELS]
TINY = (
    "epochs=2",
    "workers=0",
    "monitor=macro_ap",
    "model.image_size=32",
    "model.embedding_dim=16",
    "sampler={name: multilabel, batch_size: 12, labels_per_batch: 4, per_label: 2}",
    "schedule.warmup_epochs=0",
)


def tiny(*more):
    return ["--config", "multilabel_triplets", *changes(*TINY, *more)]


def read(path):
    return json.loads(path.read_text())


def table_of(cells):
    return np.array([[name in cell.split("|") for name in LABELS] for cell in cells]).astype(int)


def values(metrics, family):
    return {name: value["value"] for name, value in metrics[family].items()}


@pytest.fixture(scope="module")
def quarters(tmp_path_factory):
    """48 pictures, one of them without a label."""
    path = write_multilabel(tmp_path_factory.mktemp("data"))
    table = pd.read_csv(path)
    table.loc[7, list(LABELS)] = 0
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def trained(quarters, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    ended = likeness("train", quarters, "--out", out, *tiny())
    assert ended.code == 0, ended.err
    assert "left out: 1 images without a label, the first images/07.png" in ended.out
    return out


@pytest.fixture(scope="module")
def tested(trained, quarters, tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "test"
    ended = likeness("evaluate", trained, quarters, "--out", out)
    assert ended.code == 0, ended.err
    assert "hamming_loss" in ended.out
    return out


@pytest.fixture(scope="module")
def said(tested):
    return pd.read_csv(tested / "predictions.csv", keep_default_na=False)


# ---- inspect and train --------------------------------------------------------------------------


def test_inspect_counts_each_label(quarters):
    ended = likeness("inspect", quarters)
    assert ended.code == 0
    assert "labels per image" in ended.out
    counts = pd.read_csv(quarters)[list(LABELS)].sum()
    assert f"{counts.min()} to {counts.max()}" in ended.out
    assert "images/07.png: no label is set; not used" in ended.out


def test_the_bundle_knows_its_labels_and_their_thresholds(trained, quarters):
    bundle = load_bundle(trained)
    assert bundle.multilabel
    assert bundle.classes == list(LABELS)
    assert available_readouts(bundle) == ["sigmoid", "knn"]
    assert set(bundle.metrics["thresholds"]["sigmoid"]) == set(LABELS)
    assert "temperature" not in bundle.metrics
    table = pd.read_csv(quarters).set_index("path").loc[bundle.splits["path"]]
    expected = ["|".join(np.array(LABELS)[row == 1]) for row in table[list(LABELS)].to_numpy()]
    assert bundle.splits["label"].tolist() == expected
    epochs = pd.read_csv(trained / "logs" / "epochs.csv")
    best = epochs["val_macro_ap"].argmax()
    assert bundle.metrics["best_epoch"] == epochs["epoch"][best]
    shown = bundle.metrics["classification"]["macro_ap"]["value"]
    assert shown == pytest.approx(epochs["val_macro_ap"][best], abs=1e-4)
    assert "Every label whose independent probability reaches its threshold" in bundle.card
    assert "| hamming_loss |" in bundle.card


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        (["--config", "smoke"], ["multi-label set", "monitor=accuracy", "multilabel_triplets"]),
        (tiny("monitor=map_at_r"), ["got monitor=map_at_r", "macro_ap, map, wmap, ndcg"]),
        (
            tiny("sampler={name: class_balanced}"),
            ["multi-label set, got sampler.name=class_balanced"],
        ),
        (
            tiny("objective.classification.name=cross_entropy"),
            ["objective.classification.name=cross_entropy"],
        ),
        (tiny("objective.classification=null"), ["monitor must be one of map, wmap, ndcg"]),
        (tiny("objective.terms=[{loss: {name: centre}}]"), ["centre"]),
    ],
)
def test_a_configuration_for_other_labels_is_refused(quarters, tmp_path, more, parts):
    out = tmp_path / "run"
    assert_refused(likeness("train", quarters, "--out", out, *more), *parts, left=out)


def test_the_configuration_is_one_for_the_labels_unless_given(quarters, tmp_path):
    out = tmp_path / "run"
    ended = likeness("train", quarters, "--out", out, *changes(*TINY, "epochs=1"))
    assert ended.code == 0, ended.err
    assert "Several labels per image: --config multilabel_triplets" in ended.out
    loss = yaml.safe_load((out / "config.yaml").read_text())["objective"]["terms"][0]["loss"]
    assert "triplet" in loss["name"]


def test_and_the_other_way_round(tmp_path):
    data = write_ucmerced(tmp_path, per_class=6)
    ended = likeness("train", data, "--out", tmp_path / "run", *tiny())
    parts = ["single-label set, got monitor=macro_ap", "binary_cross_entropy", "multilabel"]
    assert_refused(ended, *parts, "--config center_structured", left=tmp_path / "run")


def test_every_label_needs_two_training_images(quarters, tmp_path):
    data = shutil.copytree(quarters.parent, tmp_path / "data") / quarters.name
    table = pd.read_csv(data).assign(rare=0)
    table.loc[table.index[:2], "rare"] = 1  # one group, which is one picture for training ...
    table.loc[1, "split"], table.loc[1, "group"] = "test", "own"
    table.to_csv(data, index=False)
    ended = likeness("train", data, "--out", tmp_path / "run", *tiny())
    assert_refused(ended, "class 'rare' must be in at least two training images, got 1")


def test_unreadable_pictures_count_for_each_of_their_labels(quarters, tmp_path):
    data = shutil.copytree(quarters.parent, tmp_path / "data") / quarters.name
    table = pd.read_csv(data).assign(rare=0)
    table.loc[[0, 1], "rare"] = 1
    table.to_csv(data, index=False)
    (data.parent / table["path"][0]).write_bytes(b"")
    ended = likeness("train", data, "--out", tmp_path / "run", *tiny())
    assert_refused(ended, "class 'rare' must be of >= 2 readable images, got 1")


def test_labels_in_one_column_are_the_same_set(quarters, tmp_path):
    flags, names = (
        prepare(DOMAIN, write_multilabel(tmp_path / form, form), DataSpec(), seed=0, quiet=True)
        for form in ("flags", "labels")
    )
    assert flags.manifest.multilabel
    assert flags.labels.classes == list(LABELS)
    assert flags.splits.equals(names.splits)
    np.testing.assert_array_equal(flags.targets("train"), names.targets("train"))
    cells = flags.manifest.rows("train")["label"]
    np.testing.assert_array_equal(flags.targets("train"), table_of(cells))
    assert flags.labels.counts(flags.targets("train")) == table_of(cells).sum(axis=0).tolist()


# ---- evaluate -----------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_predictions(tested, said, quarters):
    metrics = read(tested / "metrics.json")
    given = pd.read_csv(quarters).set_index("path").loc[said["path"]]
    assert set(given["split"]) == {"test"}
    truth, answered = given[list(LABELS)].to_numpy(), table_of(said["label"])
    np.testing.assert_array_equal(table_of(said["truth"]), truth)
    shown = values(metrics, "classification")
    assert shown["micro_f1"] == pytest.approx(sk.f1_score(truth, answered, average="micro"))
    assert shown["hamming_loss"] == pytest.approx(sk.hamming_loss(truth, answered))
    assert shown["subset_accuracy"] == pytest.approx(sk.accuracy_score(truth, answered))
    wide = said[COLUMNS].to_numpy(float)
    expected = sk.average_precision_score(truth, wide, average="macro")
    assert shown["macro_ap"] == pytest.approx(expected, abs=1e-6)
    assert metrics["task"] == "multi-label"
    assert "correct" not in said.columns
    jaccard = [sk.jaccard_score(*pair) for pair in zip(truth, answered, strict=True)]
    assert said["example_accuracy"].astype(float).tolist() == pytest.approx(jaccard)


def test_a_label_is_said_where_it_reaches_its_threshold(trained, said):
    thresholds = load_bundle(trained).metrics["thresholds"]["sigmoid"]
    limits = np.array([thresholds[name] for name in LABELS])
    wide = said[COLUMNS].to_numpy(float)
    clear = np.abs(wide - limits) > 1e-6
    assert (table_of(said["label"]) == (wide >= limits))[clear].all()


def test_neighbours_vote_for_each_label(tested, said, trained):
    bundle, embeddings = load_bundle(trained), np.load(tested / "embeddings.npy")
    gallery = bundle.gallery.embeddings_MD.numpy()
    gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    near = np.argsort(-(embeddings @ gallery.T), axis=1)[:, :5]
    votes = bundle.gallery.labels_M.numpy()[near].sum(axis=1) >= 3
    shown = read(tested / "metrics.json")["readouts"]["knn"]["micro_f1"]["value"]
    truth = table_of(said["truth"])
    assert shown == pytest.approx(sk.f1_score(truth, votes, average="micro"))


def test_labels_that_the_model_has_not(trained, quarters, tmp_path):
    data = shutil.copytree(quarters.parent, tmp_path / "data") / quarters.name
    pd.read_csv(data).rename(columns={"ship": "boat"}).to_csv(data, index=False)
    out = tmp_path / "out"
    ended = likeness("evaluate", trained, data, "--out", out)
    assert_refused(ended, "labels must be among the model's 4 classes", "boat", left=out)
    scenes = write_ucmerced(tmp_path, per_class=3)
    ended = likeness("evaluate", trained, scenes, "--out", out)
    rule = "data must be labelled with several labels per image"
    assert_refused(ended, rule, "one class per image", left=out)


def test_pictures_without_labels_are_told_and_left_out(trained, tmp_path):
    for number in range(6):
        save(
            tmp_path / f"{number}.png", draw_quarters([number % 4, (number + 1) % 4], 900 + number)
        )
    cells = ["cars|ship", "ship|trees", "", "cars|water", "cars|ship", "ship|trees"]
    rows = {"path": [f"{number}.png" for number in range(6)], "labels": cells}
    pd.DataFrame(rows).to_csv(tmp_path / "new.csv", index=False)
    ended = likeness("evaluate", trained, tmp_path / "new.csv", "--out", tmp_path / "out")
    assert ended.code == 0
    assert "left out: 1 images without a label, the first 2.png" in ended.out
    metrics = read(tmp_path / "out" / "metrics.json")
    assert metrics["split"] == "external"
    assert metrics["items"]["measured"] == 5


# ---- score and compare --------------------------------------------------------------------------


def test_score_of_evaluates_own_files_equals_evaluate(tested, tmp_path):
    own, before = tested / "predictions.csv", read(tested / "metrics.json")
    assert likeness("score", own, own, "--out", tmp_path / "a").code == 0
    metrics = read(tmp_path / "a" / "metrics.json")
    for family in ("per_class", "interval", "task"):
        assert metrics[family] == before[family], family
    assert values(metrics, "classification") == pytest.approx(values(before, "classification"))
    assert likeness("score", own, tested / "embeddings.npy", "--out", tmp_path / "b").code == 0
    metrics = read(tmp_path / "b" / "metrics.json")
    for family in ("retrieval", "interval", "task"):
        assert metrics[family] == before[family], family


def test_score_reads_every_form(tested, said, quarters, tmp_path):
    """Truth in 0/1 columns or `labels`; predictions in labels, 0/1 or probabilities."""
    before = values(read(tested / "metrics.json"), "classification")
    truth = pd.read_csv(quarters)
    truth = truth[truth["path"].isin(said["path"])].drop(columns="split")
    truth.to_csv(tmp_path / "flags.csv", index=False)
    named = truth[["path", "group"]].assign(
        labels=[" | ".join(np.array(LABELS)[row == 1]) for row in truth[list(LABELS)].to_numpy()]
    )
    named.to_csv(tmp_path / "names.csv", index=False)
    answered = pd.DataFrame(table_of(said["label"]), columns=LABELS).assign(image=said["path"])
    answered.to_csv(tmp_path / "said.flags.csv", index=False)
    said[["path", "label"]].to_parquet(tmp_path / "said.label.parquet")
    said[["path", "label"]].rename(columns={"label": "labels"}).to_csv(
        tmp_path / "said.labels.csv", index=False
    )
    for first in ("flags.csv", "names.csv"):
        option = ["--multilabel"] if first == "flags.csv" else []
        for second in ("said.flags.csv", "said.label.parquet", "said.labels.csv"):
            out = tmp_path / f"{first} {second}"
            ended = likeness("score", tmp_path / first, tmp_path / second, "--out", out, *option)
            assert ended.code == 0, ended.err
            shown = values(read(out / "metrics.json"), "classification")
            assert shown.pop("macro_ap", None) is None
            expected = {name: value for name, value in before.items() if name != "macro_ap"}
            assert shown == pytest.approx(expected), (first, second)


def test_score_of_probabilities_decides_at_a_half(said, quarters, tmp_path):
    said[["path", *COLUMNS]].to_csv(tmp_path / "wide.csv", index=False)
    truth = said[["path", "truth"]].rename(columns={"truth": "labels"})
    truth.to_csv(tmp_path / "truth.csv", index=False)
    words = ("score", tmp_path / "truth.csv", tmp_path / "wide.csv", "--out", tmp_path / "out")
    assert likeness(*words).code == 0
    shown = values(read(tmp_path / "out" / "metrics.json"), "classification")
    wide, flags = said[COLUMNS].astype(float).to_numpy(), table_of(said["truth"])
    assert shown["micro_f1"] == pytest.approx(sk.f1_score(flags, wide >= 0.5, average="micro"))
    expected = sk.average_precision_score(flags, wide, average="macro")
    assert shown["macro_ap"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("truth", "said", "option", "sentence"),
    [
        ("path,a,b\nx,1,1\ny,0,1\n", "path,label\nx,a\ny,b\n", [], "--multilabel"),
        ("path,a,b\nx,1,2\n", "path,label\nx,a\n", ["--multilabel"], "b of x must be 0 or 1"),
        ("path,labels\nx,a|b\n", "path,a,b\nx,1,7\n", [], "b of x must be a probability"),
        ("path,labels\nx,a|b\n", "path,c\nx,1\n", [], "or one column per class"),
        (
            *("path,labels\nx,a|b\n", "path,labels\nx,a\n", ["--protocol", "ucm-80"]),
            "truth of protocol ucm-80 must be one label per image, got 'several'",
        ),
        (
            *("path,label\nx,a\n", "path,label\nx,a\n", ["--protocol", "multilabel-retrieval"]),
            "truth of protocol multilabel-retrieval must be several labels per image, got 'one'",
        ),
    ],
)
def test_tables_that_cannot_be_scored(tmp_path, truth, said, option, sentence):
    (tmp_path / "t.csv").write_text(truth)
    (tmp_path / "p.csv").write_text(said)
    out = tmp_path / "out"
    ended = likeness("score", tmp_path / "t.csv", tmp_path / "p.csv", "--out", out, *option)
    assert_refused(ended, sentence, left=out)


def test_compare_pairs_the_figures_of_labels(tested, said, tmp_path):
    other = shutil.copytree(tested, tmp_path / "other")
    changed = said.assign(example_f1=0.5, hamming_loss=0.25)
    changed.to_csv(other / "predictions.csv", index=False)
    assert likeness("compare", tested, other, "--out", tmp_path).code == 0
    rows = read(tmp_path / "comparison.json")["differences"]
    assert {"example_f1", "hamming_loss", "subset_accuracy", "map", "wap@10"} <= set(rows)
    assert "overall_accuracy" not in rows
    mine = said["example_f1"].astype(float).mean()
    assert rows["example_f1"]["value"] == pytest.approx(mine - 0.5)
    assert rows["hamming_loss"]["b"] == pytest.approx(0.25)
    assert rows["map"]["value"] == 0


# ---- predict, index, search ---------------------------------------------------------------------


def test_predict_says_what_evaluate_said(trained, quarters, said, tmp_path):
    out = tmp_path / "labels.csv"
    assert likeness("predict", trained, quarters, "--out", out).code == 0
    table = pd.read_csv(out, keep_default_na=False).set_index("path").loc[said["path"]]
    assert table["label"].tolist() == said["label"].tolist()
    mine = table[COLUMNS].to_numpy(float)
    np.testing.assert_allclose(mine, said[COLUMNS].to_numpy(float), atol=1e-6)
    assert not np.allclose(mine.sum(axis=1), 1, atol=1e-3)  # independent of each other


def test_an_archive_marks_what_shares_a_label(trained, quarters, tmp_path, monkeypatch):
    archive = tmp_path / "archive"
    assert likeness("index", trained, quarters, "--out", archive).code == 0
    drawn = []
    monkeypatch.setattr(
        "likeness_apps.shell.answers.write_sheet", lambda path, rows, **_: drawn.extend(rows)
    )
    query, out = quarters.parent / "images" / "06.png", tmp_path / "found.csv"
    words = ("search", archive, query, "-k", 20, "--out", out, "--sheet", tmp_path / "sheet.png")
    assert likeness(*words).code == 0
    found = pd.read_csv(out, keep_default_na=False)
    assert "images/06.png" not in set(found["path"])
    own = set(drawn[0].query.label.split("|"))
    assert len(own) > 0
    for item in drawn[0].results:
        expected = None if not item.label else bool(own & set(item.label.split("|")))
        assert item.right is expected
    assert {item.right for item in drawn[0].results} >= {True}


# ---- triplets alone -----------------------------------------------------------------------------


def test_without_a_class_layer_neighbours_decide(quarters, tmp_path):
    out = tmp_path / "run"
    more = tiny("objective.classification=null", "monitor=wmap", "epochs=1")
    ended = likeness("train", quarters, "--out", out, *more)
    assert ended.code == 0, ended.err
    bundle = load_bundle(out)
    assert bundle.embedder.num_classes == 0
    assert available_readouts(bundle) == ["knn"]
    assert bundle.metrics["classification_readout"] == "knn"
    assert "more than half of the 5 nearest training images" in bundle.card
    assert likeness("evaluate", out, quarters, "--out", tmp_path / "test").code == 0
    metrics = read(tmp_path / "test" / "metrics.json")
    assert list(metrics["readouts"]) == ["knn"]
    assert not math.isnan(metrics["classification"]["macro_ap"]["value"])


def test_and_so_does_the_nearest_centre_of_single_labels(tmp_path):
    data, out = write_ucmerced(tmp_path, per_class=10), tmp_path / "run"
    more = ("objective.classification=null", "objective.terms=[{loss: {name: triplet}}]")
    ended = likeness("train", data, "--out", out, *small(*more, "monitor=map_at_r", "epochs=1"))
    assert ended.code == 0, ended.err
    bundle = load_bundle(out)
    assert available_readouts(bundle) == ["nearest_centre", "knn"]
    assert bundle.metrics["classification_readout"] == "nearest_centre"
    assert likeness("predict", out, data, "--out", tmp_path / "labels.csv").code == 0
