"""Results, searches and scores that cannot be had: one sentence, exit code 2, nothing written."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from fixtures.front_door import assert_refused, likeness
from fixtures.scenes import save, texture, write_folders


def corrupt(path):
    path.write_bytes(b"this is no image at all")


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# ---- results ------------------------------------------------------------------------------------


def test_places_that_hold_something(run, scenes, evaluated, tmp_path):
    table = tmp_path / "there.csv"
    table.write_text("mine")
    full = tmp_path / "full"
    save(full / "a.png", texture(0, 0))
    assert_refused(likeness("predict", run, scenes, "--out", table), "out must be")
    assert_refused(likeness("evaluate", run, scenes, "--out", full), "out must be a new or empty")
    assert_refused(likeness("sample", full), "out must be a new or empty")
    truth = evaluated / "predictions.csv"
    assert_refused(likeness("score", truth, truth, "--out", full), "out must be a new or empty")
    assert table.read_text() == "mine"
    assert [path.name for path in full.iterdir()] == ["a.png"]


def test_an_index_never_replaces_a_folder_of_images(run, scenes, tmp_path, monkeypatch):
    full = tmp_path / "full"
    save(full / "a.png", texture(0, 0))
    # Before the images are embedded, which may take hours.
    monkeypatch.setattr("likeness_apps.shell.search._embed", None)
    assert_refused(likeness("index", run, scenes, "--out", full), "out must be", str(full))
    assert [path.name for path in full.iterdir()] == ["a.png"]


def test_endings(run, scenes, archive, tmp_path):
    for words in (
        ("predict", run, scenes, "--out", tmp_path / "a.txt"),
        ("embed", run, scenes, "--out", tmp_path / "a.csv"),
        ("search", archive, scenes, "--out", tmp_path / "a.txt"),
        ("search", archive, scenes, "--sheet", tmp_path / "a.jpg"),
    ):
        assert_refused(likeness(*words), "must be", ".", left=words[-1])


def test_predict_with_a_bad_file(run, tmp_path):
    folder = tmp_path / "new"
    save(folder / "good.png", texture(1, 99))
    corrupt(folder / "bad.png")
    out = tmp_path / "labels.csv"
    ended = likeness("predict", run, folder, "--out", out)
    assert ended.code == 0
    assert "1 ok, 1 failed" in ended.out
    table = pd.read_csv(out, keep_default_na=False).set_index("path")
    assert table.loc["good.png", "status"] == "ok"
    assert table.loc["bad.png", "status"] == "error"
    assert table.loc["bad.png", "reason"]
    assert table.loc["bad.png", "label"] == ""
    assert table.loc["bad.png", "p_beach"] == ""


def test_predict_with_only_bad_files(run, tmp_path):
    corrupt_folder = tmp_path / "new"
    corrupt_folder.mkdir()
    corrupt(corrupt_folder / "bad.png")
    for command, name in (("predict", "labels.csv"), ("embed", "vectors.parquet")):
        ended = likeness(command, run, corrupt_folder, "--out", tmp_path / name)
        assert ended.code == 1, ended.err
        assert "0 ok, 1 failed" in ended.out
    assert pd.read_csv(tmp_path / "labels.csv")["status"].tolist() == ["error"]
    ended = likeness("index", run, corrupt_folder, "--out", tmp_path / "index")
    assert_refused(ended, "at least one readable image", left=tmp_path / "index")


def test_nothing_to_predict(run, tmp_path):
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "no"):
        ended = likeness("predict", run, source, "--out", tmp_path / "a.csv")
        assert_refused(ended, "input must be", left=tmp_path / "a.csv")
    assert not (tmp_path / "a.csv.parts").exists()


def test_a_label_that_the_model_does_not_know(run, tmp_path):
    data = write_folders(tmp_path, classes=("beach", "moon"))
    ended = likeness("evaluate", run, data, "--out", tmp_path / "out")
    assert_refused(ended, "labels must be among the model's 3 classes", "moon")
    assert not (tmp_path / "out").exists()


def test_an_unknown_split_or_protocol(run, scenes, tmp_path):
    out = tmp_path / "out"
    for words, part in (
        (("--split", "tests"), "split must be one of train, val, test, all"),
        (("--protocol", "aid-20"), "'ucm-80', got 'aid-20'"),
        (("--protocol", "nothing"), "protocol must be"),
    ):
        assert_refused(likeness("evaluate", run, scenes, "--out", out, *words), part, left=out)


# ---- search -------------------------------------------------------------------------------------


def test_k_beyond_the_index(archive, scenes):
    query = scenes / "Images" / "beach" / "beach00.tif"
    assert_refused(likeness("search", archive, query, "-k", 36), "k must be", "35", "got 36")
    assert likeness("search", archive, query, "-k", 35).code == 0


def test_a_damaged_index(archive, scenes, tmp_path):
    query = scenes / "Images" / "beach" / "beach00.tif"
    for name in ("index.faiss", "rows.parquet"):
        broken = tmp_path / name
        shutil.copytree(archive, broken)
        truncate(broken / name)
        assert_refused(likeness("search", broken, query), "index must be undamaged", name)
    broken = tmp_path / "json"
    shutil.copytree(archive, broken)
    (broken / "index.json").write_text("{")
    assert_refused(likeness("search", broken, query), "index must be", "index.json")
    assert_refused(likeness("search", tmp_path, query), "index must be a directory")
    assert_refused(likeness("search", tmp_path / "no", query), "index must be a directory")


def test_an_index_of_another_model(archive, scenes, tmp_path):
    query = scenes / "Images" / "beach" / "beach00.tif"
    mixed = tmp_path / "mixed"
    shutil.copytree(archive, mixed)
    facts = json.loads((mixed / "index.json").read_text())
    facts["model_id"] = "0" * 12
    (mixed / "index.json").write_text(json.dumps(facts))
    assert_refused(likeness("search", mixed, query), "index must be made by model", "000000000000")


def test_queries_that_cannot_be_asked(archive, tmp_path):
    bad = tmp_path / "bad.png"
    corrupt(bad)
    ended = likeness("search", archive, bad)
    assert ended.code == 2
    assert "query must be at least one readable image" in ended.err
    assert_refused(likeness("search", archive, tmp_path / "no.png"), "query must be an existing")


# ---- score and compare --------------------------------------------------------------------------


def table(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("path,label\na,x\n", ("one row for every name in truth", "'b'")),
        ("path,label\na,x\na,x\nb,y\n", ("every name once", "'a'")),
        ("path,p_x,p_y\na,1.5,-0.5\nb,0,1\n", ("p_x of a", "in [0, 1]", "'1.5'")),
        ("path,p_x,p_y\na,nan,1\nb,0,1\n", ("p_x of a", "in [0, 1]", "'nan'")),
        ("path,p_x,p_y\na,0.5,0.1\nb,0,1\n", ("1 in sum", "0.6 for a")),
        ("path,area\na,1\nb,2\n", ("label", "area")),
        ("name,label\na,x\nb,y\n", ("a column path or image", "name")),
        ("path,label\n", ("at least one row",)),
        ("", ("readable table",)),
        ("path,label\na,x,3\nb,y,4\n", ("readable table",)),
        ("path,label\na,x\nb,\n", ("label", "b")),
    ],
)
def test_predictions_that_cannot_be_scored(tmp_path, said, parts):
    truth = table(tmp_path / "truth.csv", "path,label\na,x\nb,y\n")
    out = tmp_path / "out"
    given = table(tmp_path / "said.csv", said)
    assert_refused(likeness("score", truth, given, "--out", out), *parts, left=out)


@pytest.mark.parametrize(
    ("true", "parts"),
    [
        ("path\na\nb\n", ("truth must be", "label")),
        ("path,label\na,x\na,y\n", ("every name once", "'a'")),
        ("path,label\na,x\nb,\n", ("label of b",)),
        ("path,x,y\na,1,1\nb,0,1\n", ("exactly one class", "a")),
    ],
)
def test_truth_that_says_nothing(tmp_path, true, parts):
    said = table(tmp_path / "said.csv", "path,label\na,x\nb,y\n")
    out = tmp_path / "out"
    given = table(tmp_path / "truth.csv", true)
    assert_refused(likeness("score", given, said, "--out", out), *parts, left=out)


@pytest.mark.parametrize(
    ("features", "parts"),
    [
        (np.zeros((3, 2), np.float32), ("2 rows", "(3, 2)")),
        (np.zeros(2, np.float32), ("2 rows", "(2,)")),
        (np.array([[1, 2], [3, 4]]), ("float array", "int64")),
        (np.array([["a"], ["b"]]), ("float array",)),
        (np.array([[1, 1], [np.nan, 1]]), ("predictions must be finite", "row 2")),
        (np.array([[0.0, 0.0], [1, 1]]), ("zero",)),
    ],
)
def test_features_that_do_not_fit(tmp_path, features, parts):
    truth = table(tmp_path / "truth.csv", "path,label\na,x\nb,x\n")
    np.save(tmp_path / "features.npy", features)
    out = tmp_path / "out"
    ended = likeness("score", truth, tmp_path / "features.npy", "--out", out)
    assert_refused(ended, *parts, left=out)


def test_a_pickle_is_never_loaded(tmp_path):
    truth = table(tmp_path / "truth.csv", "path,label\na,x\nb,x\n")
    np.save(tmp_path / "features.npy", np.array([{"a": 1}, None]), allow_pickle=True)
    ended = likeness("score", truth, tmp_path / "features.npy", "--out", tmp_path / "out")
    assert_refused(ended, "predictions must be", "features.npy", left=tmp_path / "out")
    (tmp_path / "features.npy").write_text("no array")
    ended = likeness("score", truth, tmp_path / "features.npy", "--out", tmp_path / "out")
    assert_refused(ended, "predictions must be a .npy of numbers", left=tmp_path / "out")
    assert "unsafely" not in ended.err  # numpy's advice is to trust the file


def test_queries_without_a_gallery(tmp_path):
    np.save(tmp_path / "features.npy", np.eye(2, dtype=np.float32))
    for splits, part in (
        (("query", "query"), "query and gallery"),
        (("query", "test"), "query or gallery"),
        (("query", ""), "query or gallery"),
    ):
        lines = [f"{name},x,{split}" for name, split in zip("ab", splits, strict=True)]
        truth = table(tmp_path / "truth.csv", "\n".join(["path,label,split", *lines]) + "\n")
        ended = likeness("score", truth, tmp_path / "features.npy", "--out", tmp_path / "out")
        assert_refused(ended, part, left=tmp_path / "out")


def test_results_of_different_images(evaluated, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(evaluated, other)
    predictions = pd.read_csv(other / "predictions.csv")
    predictions["path"] = "elsewhere/" + predictions["path"]
    predictions.to_csv(other / "predictions.csv", index=False)
    ended = likeness("compare", evaluated, other, "--out", tmp_path / "out")
    assert_refused(ended, "the same images", left=tmp_path / "out")
    assert_refused(likeness("compare", evaluated, tmp_path), "RESULT_B must be", str(tmp_path))
