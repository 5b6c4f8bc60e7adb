"""A user's mistake ends in one sentence and exit code 2, before anything is written."""

import os
import shutil
import subprocess
import sys

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
        ("schedule.warmup_epochs=9", ("schedule.warmup_epochs must be <= epochs, 2, got 9.0",)),
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


def test_a_run_that_was_stopped(copied, scenes, tmp_path):
    """It is a run directory, so what is missing is its end."""
    shutil.rmtree(copied / "model")
    for _ in range(2):
        ended = likeness("predict", copied, scenes, "--out", tmp_path / "out.csv")
        assert_refused(ended, f"model must be a finished run, got {copied}", "with --resume")
        shutil.rmtree(copied / "checkpoints", ignore_errors=True)  # stopped before the first one


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
