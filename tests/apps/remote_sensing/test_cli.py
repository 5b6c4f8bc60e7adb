"""A finished run in use, by the front door: what is written is what was meant."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, cohen_kappa_score, recall_score

from fixtures.front_door import assert_refused, likeness
from fixtures.scenes import save, texture, write_ucmerced
from likeness.bundle import load_bundle
from likeness.files import sha256_file

CLASSES = ["agricultural", "airplane", "beach"]


def read(path):
    return json.loads(path.read_text())


def values(metrics, family):
    return {name: value["value"] for name, value in metrics[family].items()}


@pytest.fixture(scope="module")
def predictions(evaluated):
    return pd.read_csv(evaluated / "predictions.csv", keep_default_na=False)


@pytest.fixture(scope="module")
def saved(run):
    return pd.read_csv(run / "model" / "splits.csv")


@pytest.fixture
def moved(scenes, tmp_path):
    """All scenes in other folders under other names: the class is all that is left of them."""
    for number, path in enumerate(sorted(scenes.rglob("*.tif"), reverse=True)):
        target = tmp_path / "moved" / path.parent.name / f"tile {number}.dat.tif"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path / "moved"


# ---- evaluate -----------------------------------------------------------------------------------


def test_evaluate_measures_exactly_the_saved_test_rows(evaluated, predictions, saved):
    test = saved[saved["split"] == "test"].set_index("path")
    assert sorted(predictions["path"]) == sorted(test.index)
    assert set(predictions["status"]) == {"ok"}
    assert predictions["truth"].tolist() == test.loc[predictions["path"], "label"].tolist()
    metrics = read(evaluated / "metrics.json")
    assert (metrics["split"], metrics["protocol"]) == ("test", "ucm-80")
    assert metrics["items"] == {"measured": 7, "unreadable": 0}
    assert metrics["data_licence"].startswith("USGS")


def test_the_figures_are_those_of_the_predictions(evaluated, predictions):
    metrics = read(evaluated / "metrics.json")
    truth, said = predictions["truth"], predictions["label"]
    shown = values(metrics, "classification")
    assert shown["overall_accuracy"] == pytest.approx(accuracy_score(truth, said))
    assert shown["average_accuracy"] == pytest.approx(recall_score(truth, said, average="macro"))
    assert shown["kappa"] == pytest.approx(cohen_kappa_score(truth, said))
    assert np.sum(metrics["confusion"]["counts"]) == 7
    wide = predictions[[f"p_{name}" for name in CLASSES]].to_numpy(float)
    np.testing.assert_allclose(wide.sum(axis=1), 1, atol=1e-5)
    assert [CLASSES[place] for place in wide.argmax(axis=1)] == said.tolist()
    embeddings = np.load(evaluated / "embeddings.npy", allow_pickle=False)
    assert embeddings.dtype == np.float32
    distances = np.linalg.norm(embeddings[:, None] - embeddings[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    hits = truth.to_numpy()[distances.argmin(axis=1)] == truth.to_numpy()
    assert metrics["retrieval"]["recall@1"]["value"] == pytest.approx(hits.mean())
    assert predictions["recall@1"].astype(float).tolist() == hits.astype(float).tolist()


def test_three_readouts_stand_side_by_side(evaluated, predictions, run):
    metrics = read(evaluated / "metrics.json")
    assert list(metrics["readouts"]) == sorted(["softmax", "nearest_centre", "knn"])
    assert metrics["classification"] == metrics["readouts"]["softmax"]
    bundle = load_bundle(run)
    embeddings = np.load(evaluated / "embeddings.npy")
    truth = [CLASSES.index(name) for name in predictions["truth"]]
    centres = bundle.centres_CD.numpy()
    centres = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    right = (embeddings @ centres.T).argmax(axis=1) == truth
    shown = metrics["readouts"]["nearest_centre"]["overall_accuracy"]["value"]
    assert shown == pytest.approx(right.mean())


def test_the_report_holds_pictures_only_when_asked(run, scenes, evaluated, tmp_path):
    ended = likeness("evaluate", run, scenes, "--out", tmp_path, "--include-images")
    assert ended.code == 0
    assert "data:image/" not in (evaluated / "report.html").read_text()
    assert (tmp_path / "report.html").read_text().count("data:image/") >= 7


def test_renamed_and_moved_files_are_found_by_content(run, evaluated, moved, tmp_path):
    out = tmp_path / "out"
    assert likeness("evaluate", run, moved, "--out", out).code == 0
    metrics, before = read(out / "metrics.json"), read(evaluated / "metrics.json")
    assert metrics["split"] == "test"
    for family in ("classification", "calibration", "retrieval"):
        assert values(metrics, family) == pytest.approx(values(before, family)), family
    hashes = {sha256_file(moved / path) for path in pd.read_csv(out / "predictions.csv")["path"]}
    saved = pd.read_csv(run / "splits.csv")
    assert hashes == set(saved[saved["split"] == "test"]["sha256"])


def test_every_picture_is_read_once(run, moved, tmp_path, monkeypatch):
    """Hashed and decoded from the same bytes, though only some are decoded."""
    times = Counter()
    read = Path.read_bytes

    def counting(path):
        times[path] += 1
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", counting)
    assert likeness("evaluate", run, moved, "--out", tmp_path / "out").code == 0
    pictures = {path: count for path, count in times.items() if path.suffix == ".tif"}
    assert set(pictures) == set(moved.rglob("*.tif"))
    assert set(pictures.values()) == {1}


def test_training_pictures_are_refused_unless_asked_for(run, moved, saved, tmp_path):
    seen = set(saved[saved["split"] != "test"]["sha256"])
    for path in moved.rglob("*.tif"):
        if sha256_file(path) not in seen:
            path.unlink()
    ended = likeness("evaluate", run, moved, "--out", tmp_path / "no")
    assert_refused(ended, "the model's test split", "22 of train", "7 of val", left=tmp_path / "no")
    for split, count in (("train", 22), ("val", 7), ("all", 29)):
        out = tmp_path / split
        assert likeness("evaluate", run, moved, "--out", out, "--split", split).code == 0
        metrics = read(out / "metrics.json")
        assert (metrics["split"], metrics["items"]["measured"]) == (split, count)


def test_copies_neither_multiply_nor_hide(run, moved, saved, tmp_path):
    """A copy of a training picture is no test picture, a copy of a test picture no second one."""
    for split in ("train", "test"):
        row = saved[saved["split"] == split].iloc[0]
        path = next(p for p in moved.rglob("*.tif") if sha256_file(p) == row["sha256"])
        shutil.copy(path, path.with_name(f"0 copy of {split}.tif"))
    out = tmp_path / "out"
    assert likeness("evaluate", run, moved, "--out", out).code == 0
    assert read(out / "metrics.json")["items"]["measured"] == 7


def test_missing_test_pictures_are_told(run, moved, saved, tmp_path):
    first = saved[saved["split"] == "test"].iloc[0]["sha256"]
    next(path for path in moved.rglob("*.tif") if sha256_file(path) == first).unlink()
    ended = likeness("evaluate", run, moved, "--out", tmp_path / "out")
    assert ended.code == 0
    assert "1 images of the model's test split are not in the data" in ended.out


def test_an_external_set_is_measured_whole(run, tmp_path):
    data = write_ucmerced(tmp_path, per_class=15)
    for number in range(12):  # what the model may have seen
        for name in CLASSES:
            (data / "Images" / name / f"{name}{number:02d}.tif").unlink()
    (data / "Images" / "beach" / "beach14.tif").write_bytes(b"broken")
    out = tmp_path / "out"
    assert likeness("evaluate", run, data, "--out", out).code == 0
    metrics = read(out / "metrics.json")
    assert (metrics["split"], metrics["protocol"]) == ("external", "external")
    assert metrics["items"] == {"measured": 8, "unreadable": 1}
    table = pd.read_csv(out / "predictions.csv", keep_default_na=False).set_index("path")
    assert len(table) == 9
    assert table.loc["beach/beach14.tif", "status"] == "error"
    assert table.loc["beach/beach14.tif", "reason"]
    assert len(np.load(out / "embeddings.npy")) == 8
    ended = likeness("evaluate", run, data, "--out", tmp_path / "no", "--protocol", "ucm-80")
    assert_refused(ended, "protocol ucm-80", left=tmp_path / "no")


def test_a_named_protocol_that_is_the_models(run, scenes, tmp_path):
    words = ("evaluate", run / "model", scenes, "--out", tmp_path, "--protocol", "ucm-80")
    ended = likeness(*words, "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert read(tmp_path / "metrics.json")["protocol"] == "ucm-80"


# ---- score --------------------------------------------------------------------------------------


def test_score_of_tables_equals_evaluate(evaluated, saved, tmp_path):
    truth = tmp_path / "truth.csv"
    test = saved[saved["split"] == "test"]
    test[["path", "label", "group"]].sample(frac=1, random_state=0).to_csv(truth, index=False)
    said = pd.read_csv(evaluated / "predictions.csv")
    wide = said[["path", *(f"p_{name}" for name in CLASSES)]]
    wide.rename(columns={"path": "image"}).to_parquet(tmp_path / "wide.parquet")
    said[["path", "label"]].to_csv(tmp_path / "labels.csv", index=False)
    before = read(evaluated / "metrics.json")
    for name in ("wide.parquet", "labels.csv"):
        out = tmp_path / name.partition(".")[0]
        assert likeness("score", truth, tmp_path / name, "--out", out).code == 0
        metrics = read(out / "metrics.json")
        assert metrics["classification"] == before["classification"]
        assert metrics["confusion"] == before["confusion"]
        assert ("calibration" in metrics) == (name == "wide.parquet")
    shown = values(read(tmp_path / "wide" / "metrics.json"), "calibration")
    assert shown == pytest.approx(values(before, "calibration"), abs=1e-6)


def test_score_of_evaluates_own_files_equals_evaluate(evaluated, tmp_path):
    own = evaluated / "predictions.csv"
    before = read(evaluated / "metrics.json")
    assert likeness("score", own, own, "--out", tmp_path / "a", "--protocol", "ucm-80").code == 0
    metrics = read(tmp_path / "a" / "metrics.json")
    assert metrics["protocol"] == "ucm-80"
    for family in ("classification", "per_class", "confusion", "interval"):
        assert metrics[family] == before[family], family
    ended = likeness("score", own, evaluated / "embeddings.npy", "--out", tmp_path / "b", "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    metrics = read(tmp_path / "b" / "metrics.json")
    for family in ("retrieval", "clustering", "interval"):
        assert metrics[family] == before[family], family
    assert metrics["protocol"] == "none stated"


# ---- predict and embed --------------------------------------------------------------------------


def test_predict_says_what_evaluate_said(run, scenes, predictions, tmp_path):
    out = tmp_path / "labels.csv"
    ended = likeness("predict", run, scenes, "--out", out)
    assert ended.code == 0
    assert "36 ok, 0 failed; 1 files left out" in ended.out  # readme.txt
    table = pd.read_csv(out, keep_default_na=False)
    assert table["path"].tolist() == sorted(table["path"])
    assert len(table) == 36
    mine = table.set_index("path").loc["Images/" + predictions["path"]]
    assert mine["label"].tolist() == predictions["label"].tolist()
    columns = [f"p_{name}" for name in CLASSES]
    np.testing.assert_allclose(mine[columns].to_numpy(), predictions[columns].to_numpy(), atol=1e-6)
    assert set(table["model_id"]) == {load_bundle(run).model_id}
    facts = read(tmp_path / "labels.csv.meta.json")
    assert facts["data_licence"].startswith("USGS")


def test_predict_takes_a_table_and_one_image(run, scenes, tmp_path):
    table = scenes.parent / "list.csv"
    pd.DataFrame({"path": ["UCMerced_LandUse/Images/beach/beach03.tif", "no.tif"]}).to_csv(table)
    out = tmp_path / "labels.parquet"
    ended = likeness("predict", run, table, "--out", out, "--batch-size", 1)
    assert ended.code == 0
    assert pd.read_parquet(out)["status"].tolist() == ["ok", "error"]
    one = tmp_path / "one.csv"
    image = scenes / "Images" / "beach" / "beach03.tif"
    assert likeness("predict", run, image, "--out", one, "--quiet").out == ""
    assert pd.read_csv(one)["label"].tolist() == pd.read_parquet(out)["label"].tolist()[:1]


def test_embed_writes_what_evaluate_compared(run, scenes, evaluated, predictions, tmp_path):
    ended = likeness("embed", run, scenes, "--out", tmp_path / "vectors.npy")
    assert ended.code == 0
    vectors = np.load(tmp_path / "vectors.npy", allow_pickle=False)
    rows = pd.read_parquet(tmp_path / "vectors.parquet")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    place = {path: row for row, path in enumerate(rows["path"])}
    mine = vectors[[place[f"Images/{path}"] for path in predictions["path"]]]
    np.testing.assert_allclose(mine, np.load(evaluated / "embeddings.npy"), atol=1e-5)


# ---- index and search ---------------------------------------------------------------------------


def test_search_answers_with_the_nearest_others(run, archive, scenes, tmp_path):
    query = scenes / "Images" / "beach" / "beach00.tif"
    out, sheet = tmp_path / "found.csv", tmp_path / "sheet.png"
    ended = likeness("search", archive, query, "-k", 5, "--out", out, "--sheet", sheet)
    assert ended.code == 0
    found = pd.read_csv(out)
    assert found["rank"].tolist() == [1, 2, 3, 4, 5]
    assert found["distance"].is_monotonic_increasing
    assert "beach/beach00.tif" not in set(found["path"])
    likeness("embed", run, scenes / "Images", "--out", tmp_path / "all.npy")
    vectors = np.load(tmp_path / "all.npy")
    paths = pd.read_parquet(tmp_path / "all.parquet")["path"].tolist()
    own = paths.index("beach/beach00.tif")
    distances = np.linalg.norm(vectors - vectors[own], axis=1)
    distances[own] = np.inf
    order = np.argsort(distances, kind="stable")[:5]
    assert found["path"].tolist() == [paths[row] for row in order]
    np.testing.assert_allclose(found["distance"], distances[order], atol=1e-4)
    with Image.open(sheet) as image:
        assert image.format == "PNG"


def test_a_query_under_another_name_is_still_itself(archive, scenes, tmp_path):
    shutil.copy(scenes / "Images" / "beach" / "beach00.tif", tmp_path / "copy.bin")
    found = tmp_path / "found.parquet"
    ended = likeness("search", archive, tmp_path / "copy.bin", "-k", 35, "--out", found, "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert "beach/beach00.tif" not in set(pd.read_parquet(found)["path"])


def test_queries_of_several_folders_are_told_apart(archive, scenes):
    ended = likeness("search", archive, scenes / "Images", "-k", 1)
    for name in ("beach/beach00.tif ", "airplane/airplane"):  # long names are folded
        assert f"│ {name}" in ended.out
    ended = likeness("search", archive, scenes / "Images" / "beach", "-k", 1)
    assert "│ beach00.tif " in ended.out


def test_one_bad_query_is_a_row(archive, tmp_path):
    folder = tmp_path / "asked"
    save(folder / "a.png", texture(1, 50))
    (folder / "b.png").write_bytes(b"no image")
    ended = likeness("search", archive, folder, "-k", 3, "--out", tmp_path / "found.csv")
    assert ended.code == 0
    assert "b.png" in ended.out
    found = pd.read_csv(tmp_path / "found.csv")
    assert found["status"].tolist() == ["ok"] * 3 + ["error"]
    assert found["query"].iloc[3].endswith("b.png")
    assert found["reason"].iloc[3]
    assert found["rank"].tolist()[:3] == [1, 2, 3]
    assert np.isnan(found["rank"].iloc[3])
    assert "1.0" not in (tmp_path / "found.csv").read_text().splitlines()[1].split(",")


def test_the_archive_needs_neither_run_nor_labels(run, tmp_path):
    folder = tmp_path / "plain"
    for number in range(4):
        save(folder / f"{number}.png", texture(number % 2, number))
    copied = tmp_path / "model"
    shutil.copytree(run / "model", copied)
    assert likeness("index", copied, folder, "--out", tmp_path / "archive", "--quiet").out == ""
    shutil.rmtree(copied)
    out = tmp_path / "found.csv"
    assert likeness("search", tmp_path / "archive", folder, "-k", 3, "--out", out).code == 0
    assert len(pd.read_csv(out)) == 12


def test_columns_of_a_table_do_not_hide_the_answer(run, scenes, tmp_path):
    rows = [f"UCMerced_LandUse/Images/beach/beach{number:02d}.tif" for number in range(4)]
    table = pd.DataFrame({"path": rows, "rank": "first", "distance": "far", "query": "who"})
    data = scenes.parent / "columns.csv"
    table.assign(mine=[1, 2, 3, 4]).to_csv(data, index=False)
    assert likeness("index", run, data, "--out", tmp_path / "archive").code == 0
    out = tmp_path / "found.csv"
    query = scenes / "Images" / "beach" / "beach00.tif"
    assert likeness("search", tmp_path / "archive", query, "-k", 3, "--out", out).code == 0
    found = pd.read_csv(out)
    assert found["rank"].tolist() == [1, 2, 3]
    assert sorted(found["mine"]) == [2, 3, 4]


def test_an_older_index_is_replaced(archive, run, scenes, tmp_path):
    shutil.copytree(archive, tmp_path / "archive")
    data = tmp_path / "one"
    save(data / "a.png", texture(1, 50))
    ended = likeness("index", run, data, "--out", tmp_path / "archive")
    assert ended.code == 0
    assert "1 images" in ended.out
    query = scenes / "Images" / "beach" / "beach00.tif"
    assert likeness("search", tmp_path / "archive", query, "-k", 1).code == 0


# ---- compare ------------------------------------------------------------------------------------


def test_compare_with_itself_is_nothing(evaluated, tmp_path):
    ended = likeness("compare", evaluated, evaluated, "--out", tmp_path)
    assert ended.code == 0
    result = read(tmp_path / "comparison.json")
    assert result["items"] == 7
    assert result["only_in"] == {"a": 0, "b": 0}
    assert set(result["differences"]) == {"overall_accuracy", "recall@1", "map@r"}
    for row in result["differences"].values():
        assert row["value"] == row["low"] == row["high"] == 0
        assert row["p_holm"] == 1


def test_compare_pairs_by_image(evaluated, predictions, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(evaluated, other)
    changed = predictions.copy()
    changed["correct"] = ["True"] * 5 + ["False"] * 2
    changed.iloc[::-1].iloc[:6].to_csv(other / "predictions.csv", index=False)
    ended = likeness("compare", evaluated, other, "--out", tmp_path / "out", "--seed", 1)
    assert ended.code == 0
    assert "1 images that only A has, 0 that only B has" in ended.out
    row = read(tmp_path / "out" / "comparison.json")["differences"]["overall_accuracy"]
    mine = predictions["correct"].to_numpy()[1:].astype(str) == "True"
    assert row["a"] == pytest.approx(mine.mean())
    assert row["b"] == pytest.approx(4 / 6)
    assert row["value"] == pytest.approx(mine.mean() - 4 / 6)
    assert row["low"] <= row["value"] <= row["high"]
