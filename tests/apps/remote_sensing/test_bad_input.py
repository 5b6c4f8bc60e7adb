"""A user's mistake ends in one sentence and exit code 2, before anything is written."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from fixtures.front_door import assert_refused, likeness, small
from fixtures.scenes import (
    save,
    texture,
    write_folders,
    write_geotiff,
    write_table,
    write_ucmerced,
)


def train(data, out, *more):
    return likeness("train", data, "--out", out, *small(*more))


def corrupt(path):
    path.write_bytes(b"this is no image at all")


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# ---- data ---------------------------------------------------------------------------------------


def test_missing_folder(tmp_path):
    out = tmp_path / "run"
    assert_refused(train(tmp_path / "no", out), "data must be an existing", left=out)
    assert_refused(likeness("inspect", tmp_path / "no"), "data must be an existing")


def test_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    out = tmp_path / "run"
    assert_refused(train(tmp_path / "empty", out), "image files in it", left=out)


def test_one_class(tmp_path):
    data = write_folders(tmp_path, classes=("lake",))
    out = tmp_path / "run"
    assert_refused(train(data, out), "single folder 'lake'", left=out)
    table = write_table(tmp_path / "t", classes=("lake",))
    assert_refused(train(table, out), "at least two classes", "lake", left=out)


def test_one_image_in_a_class(tmp_path):
    data = write_folders(tmp_path, per_class=6)
    save(data / "alone" / "0.png", texture(3, 0))
    out = tmp_path / "run"
    assert_refused(train(data, out), "class 'alone'", "got 1", left=out)


def test_classes_too_small_for_a_split(tmp_path):
    """Three images give train, val and test one each, and a pair loss has no pair."""
    data = write_folders(tmp_path, per_class=3)
    out = tmp_path / "run"
    ended = train(data, out, "sampler.classes_per_batch=2", "data.test=0.34", "data.val=0.34")
    assert_refused(ended, "two training images", "data.val", left=out)


def test_unknown_layout(tmp_path):
    for number in range(3):
        save(tmp_path / "loose" / f"{number}.png", texture(0, number))
    out = tmp_path / "run"
    assert_refused(train(tmp_path / "loose", out), "data must be one of AID", left=out)


def test_a_few_bad_files_are_dropped_and_listed(tmp_path):
    data = write_ucmerced(tmp_path, per_class=14)
    broken = data / "Images" / "beach" / "beach00.tif"
    cut = data / "Images" / "airplane" / "airplane03.tif"
    corrupt(broken)
    truncate(cut)  # 2 of 42: just below five per cent
    out = tmp_path / "run"
    ended = train(data, out, "epochs=1")
    assert ended.code == 0, ended.err
    assert "left out: beach/beach00.tif: " in ended.out
    assert "left out: airplane/airplane03.tif: " in ended.out
    splits = pd.read_csv(out / "splits.csv")
    assert len(splits) == 40
    assert not set(splits["path"]) & {"beach/beach00.tif", "airplane/airplane03.tif"}
    findings = pd.read_csv(out / "findings.csv")
    listed = findings[findings["level"] == "error"]["path"].tolist()
    assert sorted(listed) == ["airplane/airplane03.tif", "beach/beach00.tif"]


def test_too_many_bad_files(tmp_path):
    data = write_ucmerced(tmp_path, per_class=6)
    corrupt(data / "Images" / "beach" / "beach00.tif")  # 1 of 18
    out = tmp_path / "run"
    assert_refused(train(data, out), "at most 5%", "got 1 of 18", "beach00.tif", left=out)
    found = likeness("inspect", data)
    assert found.code == 1
    assert "error: beach/beach00.tif: no image format" in found.out
    assert "errors: 1, warnings: " in found.out


def test_mixed_band_counts(tmp_path):
    for kind, name in enumerate(("lake", "town")):
        for number in range(6):
            bands = 13 if number == 0 else 4
            image = texture(kind, number, bands=bands, dtype="uint16")
            write_geotiff(tmp_path / "mixed" / name / f"{number}.tif", image)
    out = tmp_path / "run"
    ended = train(tmp_path / "mixed", out)
    assert_refused(ended, "got 2 of 12", "13 bands where 4 are expected", left=out)


@pytest.mark.parametrize(
    ("header", "rows", "parts"),
    [
        ("path", ["a.png", "b.png"], ("table.csv must have a column 'label'", "path")),
        ("file,label", ["a.png,x", "b.png,y"], ("table.csv must have a column 'path'",)),
        ("path,label", ["../out.png,x", "b.png,y"], ("inside the table's folder", "row 1")),
        ("path,label", ["/etc/passwd,x", "b.png,y"], ("inside the table's folder", "row 1")),
        ("path,label,split", ["a.png,x,train", "b.png,y,other"], ("split in row 2", "'other'")),
        ("path,label", ["a.png,x", "a.png,y"], ("listed once", "row 2")),
        ("path,label", ["a.png,x", "b.png,"], ("label in row 2",)),
        ("path,label", [], ("at least one image",)),
    ],
)
def test_tables(tmp_path, header, rows, parts):
    table = tmp_path / "table.csv"
    table.write_text("\n".join([header, *rows]) + "\n")
    out = tmp_path / "run"
    assert_refused(train(table, out), *parts, left=out)


def test_a_table_that_brings_no_training_rows(tmp_path):
    table = write_table(tmp_path, per_class=6, splits=("val", "test"))
    out = tmp_path / "run"
    assert_refused(train(table, out), "train", left=out)


# ---- configuration ------------------------------------------------------------------------------


def test_unknown_configuration_name(scenes, tmp_path):
    out = tmp_path / "run"
    ended = likeness("train", scenes, "--out", out, "--config", "smok")
    assert_refused(ended, "config must be", "smoke", "got 'smok'", left=out)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ("epoch=3", ("config.epoch must be a known key", "did you mean 'epochs'?")),
        ("model.image_sice=3", ("config.model.image_sice must be", "'image_size'")),
        (
            "objective.terms.0.loss.alpa=3",
            ("config.objective.terms.0.loss.alpa must be a known key", "'alpha'"),
        ),
        ("optimiser.name=sdg", ("config.optimiser.name must be one of", "did you mean 'sgd'?")),
        ("epochs=0", ("config.epochs must be", "greater than or equal to 1", "got 0")),
        ("optimiser.lr=-1", ("config.optimiser.lr must be greater than 0",)),
        ("epochs=many", ("config.epochs must be", "got 'many'")),
        ("epochs=1.5", ("config.epochs must be", "got 1.5")),
        ("model=5", ("config.model must be", "got 5")),
        ("model=null", ("config.model must be", "got None")),
        ("model.backbone.depth=5", ("'model.backbone.depth'", "'backbone' is a value")),
        ("objective.terms.7.weight=1", ("--set objective.terms.7.weight", "from 0 to 0", "'7'")),
        ("objective.terms.0.loss.name.x=1", ("'name' is a value",)),
        ("epochs", ("--set must be KEY=VALUE", "got 'epochs'")),
        ("=3", ("--set must be KEY=VALUE", "got '=3'")),
        ("epochs=[1", ("--set must have a YAML value", "got 'epochs=[1'")),
        ("model.weights=none.safetensors", ("model.weights must be", "none.safetensors")),
        ("sampler.classes_per_batch=9", ("classes_per_batch must be in [1, 3]", "got 9")),
        ("data.protocol=ucm-90", ("data.protocol must be one of ucm-80", "got 'ucm-90'")),
        ("data.protocol=aid-20", ("in the layout aid", "got 'uc-merced'")),
        ("schedule.warmup_epochs=9", ("schedule.warmup_epochs (9.0)",)),
        ("data.val=0", ("data.val",)),
    ],
)
def test_mistakes_in_the_configuration(scenes, tmp_path, change, parts):
    out = tmp_path / "run"
    assert_refused(train(scenes, out, change), *parts, left=out)


def test_configuration_files(scenes, tmp_path):
    out = tmp_path / "run"
    for name, content in [
        ("list.yaml", b"- 1\n"),
        ("broken.yaml", b"a: [\n"),
        ("bytes.yaml", b"\xff\xfe\x00"),
        ("empty.yaml", b""),
        ("tag.yaml", b"a: !!python/object/apply:os.system ['true']\n"),
        ("number.yaml", b"1: 2\n"),
    ]:
        (tmp_path / name).write_bytes(content)
        ended = likeness("train", scenes, "--out", out, "--config", tmp_path / name)
        assert_refused(ended, "config", left=out)


def test_imagenet_weights_are_never_fetched(scenes, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    out = tmp_path / "run"
    ended = train(scenes, out, "model.weights=imagenet")
    assert_refused(ended, "model.weights must be on this machine", "resnet18", left=out)


# ---- runs and models ----------------------------------------------------------------------------


def test_a_run_directory_that_exists(run, scenes):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert_refused(train(scenes, run), "out must be a new directory", "--resume")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_resume_into_something_else_than_a_run(scenes, tmp_path):
    home = tmp_path / "photos"
    save(home / "1.png", texture(0, 0))
    ended = likeness("train", scenes, "--out", home, "--resume", *small())
    assert_refused(ended, "out must be", str(home))
    assert [path.name for path in home.rglob("*")] == ["1.png"]
    file = tmp_path / "file"
    file.write_text("mine")
    assert_refused(likeness("train", scenes, "--out", file, "--resume", *small()), "out must be")
    assert file.read_text() == "mine"


def test_a_tampered_model(copied, scenes, tmp_path):
    weights = copied / "model" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    out = tmp_path / "out"
    for command in (("evaluate",), ("predict",), ("embed",), ("index",)):
        suffix = {"predict": ".csv", "embed": ".npy"}.get(command[0], "")
        target = out.with_suffix(suffix)
        ended = likeness(*command, copied, scenes, "--out", target)
        assert_refused(ended, "model must be as it was written", "weights", left=target)


def test_no_model(scenes, tmp_path):
    ended = likeness("evaluate", tmp_path, scenes, "--out", tmp_path / "out")
    assert_refused(ended, "model must be a model or run directory", left=tmp_path / "out")


def test_a_loss_that_is_not_finite_names_the_batch(scenes, tmp_path):
    out = tmp_path / "run"
    ended = train(scenes, out, "optimiser.lr=1e12", "sampler.per_class=2")
    assert_refused(ended, "must be finite, got", "step 2", "batch ", ".tif", "stopped_batch.csv")
    listed = pd.read_csv(out / "logs" / "stopped_batch.csv")
    assert len(listed) == 6
    assert set(listed["name"]) <= set(pd.read_csv(out / "splits.csv")["path"])
    assert not (out / "model").exists()


def test_a_network_that_is_lost_between_two_epochs(scenes, tmp_path):
    """One step per epoch: it is validation that meets the exploded weights first."""
    out = tmp_path / "run"
    ended = train(scenes, out, "optimiser.lr=1e12")
    assert_refused(ended, "validation images must be finite", ".tif", "lower optimiser.lr")
    assert not (out / "model").exists()


# ---- a full disk --------------------------------------------------------------------------------


def test_a_disk_that_is_full_from_the_start(scenes, run, tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("likeness.files._sync", full)
    for words in (
        ("train", scenes, "--out", tmp_path / "new", *small()),
        ("evaluate", run, scenes, "--out", tmp_path / "new"),
        ("index", run, scenes, "--out", tmp_path / "new"),
        ("inspect", scenes, "--out", tmp_path / "new"),
    ):
        assert_refused(likeness(*words), "out must be a writable place", "No space left")
        left = [path.name for path in (tmp_path / "new").rglob("*") if path.is_file()]
        assert left == []
        shutil.rmtree(tmp_path / "new", ignore_errors=True)


def test_a_log_that_cannot_grow(scenes, tmp_path, monkeypatch):
    """Logs are appended to, so no rename protects them: the plain error of the system comes up."""
    path = str(tmp_path / "run" / "logs" / "train.csv")

    def full(log, row):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr("likeness.training.logs.CsvLog.write", full)
    ended = train(scenes, tmp_path / "run")
    assert_refused(ended, "files must be in places", "with free space", path, "No space left")
    assert not (tmp_path / "run" / "model").exists()


LIMITED = """
import resource, sys
from likeness_apps.cli import app
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
app(["remote-sensing", *sys.argv[1:]])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs resource limits")
def test_files_that_may_not_grow(scenes, tmp_path):
    """The tables of a run are small enough, its first checkpoint is not."""
    out = tmp_path / "run"
    words = ["train", scenes, "--out", out, *small("epochs=1"), "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "out must be a writable place with free space" in done.stderr
    assert "File too large" in done.stderr
    assert (out / "splits.csv").is_file()
    assert not (out / "checkpoints" / "last").exists()
    assert not (out / "model").exists()
    assert not [path for path in out.rglob("*") if path.suffix == ".part"]


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
        (np.array([[np.nan, 1], [1, 1]]), ("finite",)),
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
