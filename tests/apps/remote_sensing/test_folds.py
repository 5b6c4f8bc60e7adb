"""Protocols, folds and devices by the front door: train, evaluate, pool."""

import json
import shutil

import pandas as pd
import pytest

from fixtures.front_door import assert_refused, likeness, small
from fixtures.layouts import write_coffee
from fixtures.scenes import write_folders, write_table

FOLDS = ("data.protocol=coffee-5fold", "sampler.classes_per_batch=2", "data.val=0.2")


def read(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def coffee(tmp_path_factory):
    return write_coffee(tmp_path_factory.mktemp("coffee"), per_fold=8)


@pytest.fixture(scope="module")
def results(coffee, tmp_path_factory):
    """Two of the five folds, trained and evaluated."""
    top = tmp_path_factory.mktemp("folds")
    for fold in (2, 5):
        words = small(*FOLDS, f"data.fold={fold}", "epochs=1")
        ended = likeness("train", coffee, "--out", top / f"run{fold}", *words)
        assert ended.code == 0, ended.err
        words = ("--out", top / f"test{fold}", "--protocol", "coffee-5fold", "--device", "auto")
        ended = likeness("evaluate", top / f"run{fold}", coffee, *words)
        assert ended.code == 0, ended.err
        assert f"Protocol coffee-5fold, fold {fold}, test split" in ended.out
    return top


def test_the_published_fold_is_tested(results):
    for fold in (2, 5):
        saved = pd.read_csv(results / f"run{fold}" / "splits.csv")
        tested = saved[saved["split"] == "test"]["path"]
        assert len(tested) == 8
        assert tested.str.startswith(f"fold{fold}/").all()
        assert set(saved["split"]) == {"train", "val", "test"}
        metrics = read(results / f"test{fold}")
        assert (metrics["protocol"], metrics["fold"]) == ("coffee-5fold", fold)
        assert "Penatti" in metrics["protocol_source"]
        assert read(results / f"run{fold}" / "model")["fold"] == fold


def test_folds_are_joined(results, tmp_path):
    ended = likeness("pool", results / "test2", results / "test5", "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert "Not joined: fold 1, 3, 4 of coffee-5fold." in ended.out
    metrics = read(tmp_path / "out")
    own = [read(results / f"test{fold}")["classification"]["overall_accuracy"] for fold in (2, 5)]
    found = metrics["classification"]["overall_accuracy"]
    assert found["count"] == 16
    assert found["value"] == pytest.approx(sum(value["value"] for value in own) / 2)
    words = ("pool", results / "test2", results / "test2", "--out", tmp_path / "twice")
    assert_refused(likeness(*words), "of another directory", left=tmp_path / "twice")
    copied = shutil.copytree(results / "test2", tmp_path / "copied")
    words = ("pool", results / "test2", copied, "--out", tmp_path / "twice")
    assert_refused(likeness(*words), "each be of another model", left=tmp_path / "twice")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ((), "data.fold must be the number of the test fold, one of 1, 2, 3, 4, 5, got None"),
        (("data.fold=6",), "data.fold must be the number of the test fold, one of 1, 2, 3, 4, 5"),
        (("data.fold=0",), "config.data.fold must be greater than or equal to 1, got 0"),
        (("data.fold=1", "data.protocol=aid-20"), "must be in the layout aid, got 'brazilian-cof"),
    ],
)
def test_folds_that_are_not_there(coffee, tmp_path, changes, sentence):
    ended = likeness("train", coffee, "--out", tmp_path / "run", *small(*FOLDS, *changes))
    assert_refused(ended, sentence, left=tmp_path / "run")


def test_a_missing_fold_of_the_protocol(coffee, tmp_path):
    data = shutil.copytree(coffee, tmp_path / "data" / coffee.name)
    (data / "fold4.txt").unlink()
    words = small(*FOLDS, "data.fold=1")
    ended = likeness("train", data, "--out", tmp_path / "run", *words)
    rule = "data of protocol coffee-5fold must be images in all folds from 1 to 5, got [1, 2, 3, 5]"
    assert_refused(ended, rule, left=tmp_path / "run")


def test_a_fold_that_names_a_missing_image(coffee, tmp_path):
    data = shutil.copytree(coffee, tmp_path / "data" / coffee.name)
    with (data / "fold2.txt").open("a") as lines:
        lines.write("coffee.not.there\n")
    told = "fold2.txt: line 9: there is no image fold2/not.there.jpg"
    ended = likeness("inspect", data)
    assert ended.code == 1
    assert f"error: {told}" in ended.out
    assert "folds            │ 1: 8 images, 2: 8 images" in ended.out
    ended = likeness("train", data, "--out", tmp_path / "run", *small(*FOLDS, "data.fold=1"))
    rule = "data of protocol coffee-5fold must be as published"
    assert_refused(ended, rule, told, left=tmp_path / "run")
    own = small("data.fold=1", "sampler.classes_per_batch=2", "data.val=0.2", "epochs=1")
    ended = likeness("train", data, "--out", tmp_path / "run", *own)
    assert ended.code == 0, ended.err
    assert told in ended.out  # nothing is left out in silence


def test_folds_of_ones_own_table(tmp_path):
    table = write_table(tmp_path, per_class=12)
    frame = pd.read_csv(table)
    words = small("data.fold=2", "sampler.classes_per_batch=2", "epochs=1")
    ended = likeness("train", table, "--out", tmp_path / "run", *words)
    assert_refused(ended, "data must be a set with a column 'fold'", left=tmp_path / "run")
    frame.assign(fold=[1 + row % 3 for row in range(24)]).to_csv(table, index=False)
    assert likeness("train", table, "--out", tmp_path / "run", *words).code == 0
    saved = pd.read_csv(tmp_path / "run" / "splits.csv")
    assert (saved["split"] == "test").sum() == 8
    assert likeness("evaluate", tmp_path / "run", table, "--out", tmp_path / "out").code == 0
    assert (read(tmp_path / "out")["protocol"], read(tmp_path / "out")["fold"]) == ("own folds", 2)


def test_lists_beside_the_images_are_a_protocol_of_their_own_layout_only(tmp_path):
    data = write_folders(tmp_path, per_class=4)
    ended = likeness("train", data, "--out", tmp_path / "run", *small("data.protocol=eurosat"))
    rule = "must be in the layout eurosat-rgb or eurosat-13, got 'folder-per-class'"
    assert_refused(ended, rule, left=tmp_path / "run")


# --- devices --------------------------------------------------------------------------------------


def test_every_command_that_asks_a_model_takes_a_device(run, archive, scenes, tmp_path):
    image = scenes / "Images" / "beach" / "beach00.tif"
    calls = {
        "evaluate": (run, scenes, "--out", tmp_path / "result"),
        "predict": (run, image, "--out", tmp_path / "labels.csv"),
        "embed": (run, image, "--out", tmp_path / "embeddings.parquet"),
        "index": (run, scenes, "--out", tmp_path / "index"),
        "search": (archive, image, "--out", tmp_path / "found.csv"),
    }
    for name, words in calls.items():
        ended = likeness(name, *words, "--device", "abacus")
        rule = "device must be one that this machine has, got 'abacus'"
        assert_refused(ended, rule, left=words[-1])
        for device in ("cpu", "auto"):
            ended = likeness(name, *words, "--device", device, "--quiet")
            assert ended.code == 0, (name, device, ended.err)
            if words[-1].is_dir():
                shutil.rmtree(words[-1])
            else:
                words[-1].unlink()
