"""From data to a finished run by the front door, and back to a stopped one."""

import functools
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from fixtures.front_door import assert_refused, likeness, small
from fixtures.scenes import save, texture
from likeness.bundle import load_bundle
from likeness.files import sha256_file
from likeness.provenance import MODEL_FILES
from likeness_apps.remote_sensing import sample

CLASSES = ["agricultural", "airplane", "beach"]


def read(path):
    return json.loads(path.read_text())


def contents(folder):
    return {path: sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def saved(run):
    return pd.read_csv(run / "model" / "splits.csv")


# ---- sample, inspect ----------------------------------------------------------------------------


def test_sample_is_a_set_that_inspect_knows(tmp_path, monkeypatch):
    few = functools.partial(sample.write_sample, per_class=2, size=32)
    monkeypatch.setattr(sample, "write_sample", few)
    ended = likeness("sample", tmp_path / "data", "--seed", 3)
    assert ended.code == 0
    root = tmp_path / "data" / "UCMerced_LandUse"
    assert f"likeness remote-sensing train {root} --out run" in ended.out
    found = likeness("inspect", root)
    assert found.code == 0
    assert "uc-merced" in found.out


def test_inspect(scenes, tmp_path):
    ended = likeness("inspect", scenes, "--out", tmp_path)
    assert ended.code == 0
    for part in ("uc-merced", "36 of 32x32x3 uint8", "12 to 12", "errors: 0"):
        assert part in ended.out
    manifest = pd.read_csv(tmp_path / "manifest.csv")
    assert len(manifest) == 36
    assert set(manifest["status"]) == {"ok"}
    findings = pd.read_csv(tmp_path / "findings.csv")
    assert findings["path"].tolist() == ["readme.txt"]
    quiet = likeness("inspect", scenes, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


# ---- train --------------------------------------------------------------------------------------


def test_a_split_without_some_classes_is_told(scenes, tmp_path):
    """Whole groups go together, so a small set may leave validation with one class."""
    data = shutil.copytree(scenes, tmp_path / "data")
    found = sorted(data.rglob("*.tif"))
    rows = [(path.relative_to(data), path.parent.name) for path in found]
    table = pd.DataFrame(rows, columns=["path", "label"])
    table["split"] = ["test" if number % 4 == 0 else "train" for number in range(len(table))]
    first = (table["label"] == CLASSES[0]) & (table["split"] == "train")
    table.loc[table.index[first][:2], "split"] = "val"
    table.to_csv(data / "table.csv", index=False)
    options = small("epochs=1", "monitor=null")
    ended = likeness("train", data / "table.csv", "--out", tmp_path / "run", *options)
    assert ended.code == 0, ended.err
    assert f"val holds 1 of 3 classes, not {CLASSES[1]}, {CLASSES[2]}: its figures" in ended.out
    assert "test holds" not in ended.out


def test_a_run_that_is_refused_late_leaves_nothing_and_can_be_tried_again(scenes, tmp_path):
    """What a method asks of the objective is known when its networks are built."""
    asked = ("epochs=1", "method={name: hdml}", "objective.terms=[{loss: {name: contrastive}}]")
    out = tmp_path / "run"
    ended = likeness("train", scenes, "--out", out, *small(*asked))
    assert_refused(ended, "objective.terms must be one with", left=out)
    assert likeness("train", scenes, "--out", out, *small("epochs=1")).code == 0


def test_a_run_holds_everything(run):
    names = {path.name for path in (run / "model").iterdir()}
    assert names == {*MODEL_FILES, "provenance.json"}
    assert (run / "checkpoints" / "last" / "run.json").is_file()
    steps = pd.read_csv(run / "logs" / "train.csv")
    epochs = pd.read_csv(run / "logs" / "epochs.csv")
    assert len(epochs) == 2
    assert steps["step"].tolist() == list(range(1, len(steps) + 1))
    assert np.isfinite(steps["loss"]).all()
    report = (run / "report.html").read_text()
    assert "Training run" in report
    assert "beach" in report


def test_the_saved_metrics_are_those_of_the_best_epoch(run):
    metrics = read(run / "model" / "metrics.json")
    epochs = pd.read_csv(run / "logs" / "epochs.csv").set_index("epoch")
    best = epochs["val_accuracy"].idxmax()  # the first of equals, as training counts
    assert metrics["best_epoch"] == best
    assert metrics["split"] == "val"
    shown = metrics["classification"]["overall_accuracy"]["value"]
    assert shown == pytest.approx(epochs.loc[best, "val_accuracy"])
    assert metrics["retrieval"]["map@r"]["value"] == pytest.approx(epochs.loc[best, "val_map_at_r"])


def test_the_protocol_makes_the_split(run, saved, scenes):
    counts = saved["split"].value_counts()
    assert counts.sum() == 36
    assert counts["test"] == 7  # 20 % of 36
    assert counts["val"] == 7  # a quarter of the rest
    pd.testing.assert_frame_equal(saved, pd.read_csv(run / "splits.csv"))
    for row in saved.itertuples():
        assert sha256_file(scenes / "Images" / row.path) == row.sha256


def test_the_configuration_is_kept_resolved(run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config == yaml.safe_load((run / "model" / "config.yaml").read_text())
    assert config["data"]["protocol"] == "ucm-80"
    assert config["epochs"] == 2
    assert config["model"]["bands"] == 3
    assert config["objective"]["terms"][0]["loss"]["alpha"] == 1.0  # a default, written out


def test_the_card_and_the_licence(run):
    card = (run / "model" / "README.md").read_text()
    for part in ("uc-merced", "public domain", "22 for train", "Intended use", "Out of scope"):
        assert part.lower() in card.lower(), part
    assert load_bundle(run).data_licence.startswith("USGS imagery")


def test_the_bundle_answers_with_its_own_classes(run):
    bundle = load_bundle(run)
    assert bundle.classes == CLASSES
    assert bundle.gallery.embeddings_MD.shape == (22, bundle.embedder.embedding_dim)
    assert np.bincount(bundle.gallery.labels_M.numpy()).sum() == 22


# ---- resume -------------------------------------------------------------------------------------

CHANGED = "data.protocol=ucm-80"


def test_resuming_a_finished_run_changes_nothing(copied, scenes):
    before = contents(copied)
    ended = likeness("train", scenes, "--out", copied, "--resume", *small(CHANGED))
    assert ended.code == 0
    assert "is finished" in ended.out + ended.err
    assert contents(copied) == before


def test_resuming_mends_a_finished_run_without_its_model(copied, scenes):
    before = contents(copied / "model")
    shutil.rmtree(copied / "model")
    ended = likeness("train", scenes, "--out", copied, "--resume", "--quiet", *small(CHANGED))
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    weights = copied / "model" / "weights.safetensors"
    assert sha256_file(weights) == before[weights]


def test_a_changed_configuration_is_not_resumed(copied, scenes):
    before = contents(copied)
    for change, part in (
        ("epochs=3", "config.epochs must be 2"),
        ("optimiser.lr=0.5", "config.optimiser.lr must be"),
        ("data.protocol=null", "config.data.protocol"),
    ):
        ended = likeness("train", scenes, "--out", copied, "--resume", *small(CHANGED, change))
        assert_refused(ended, part, "--out")
        assert contents(copied) == before


def test_changed_data_are_not_resumed(copied, scenes, tmp_path):
    before = contents(copied)
    data = tmp_path / "UCMerced_LandUse"
    shutil.copytree(scenes, data)
    save(data / "Images" / "beach" / "beach00.tif", texture(2, 77))
    ended = likeness("train", data, "--out", copied, "--resume", *small(CHANGED))
    assert_refused(ended, "data must be", "hash")
    assert contents(copied) == before


def test_a_stopped_run_goes_on_to_the_same_model(run, scenes, tmp_path, monkeypatch):
    out = tmp_path / "stopped"

    def stop(started):
        if started.ledger.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("likeness.training.loop._start_epoch", stop)
        ended = likeness("train", scenes, "--out", out, *small(CHANGED, "objective.terms=[]"))
    assert ended.code == 130
    assert "Stopped" in ended.err
    assert not (out / "model").exists()
    # `--resume` from the start is the ordinary beginning.
    other = tmp_path / "straight"
    for folder in (out, other):
        words = ("train", scenes, "--out", folder, "--resume", "--quiet")
        ended = likeness(*words, *small(CHANGED, "objective.terms=[]"))
        assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert load_bundle(out).model_id == load_bundle(other).model_id != load_bundle(run).model_id
    assert load_bundle(out).config["objective"]["terms"] == []
