"""The way of a researcher: from a set to figures, to similar images, to a submission."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from fixtures.lesion_door import likeness, small
from likeness.files import finite
from likeness_apps.skin_lesion import sample as samples
from likeness_apps.skin_lesion.isic.scoring import score_files


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_from_a_generated_set_to_a_model(monkeypatch, tmp_path):
    _, write = samples.SAMPLES["ham10000"]
    monkeypatch.setitem(samples.SAMPLES, "ham10000", (4, write))
    ended = likeness("sample", tmp_path / "s", "--layout", "ham10000")
    assert ended.code == 0, ended.err
    data = tmp_path / "s" / "HAM10000_generated"
    ended = likeness("inspect", data, "--out", tmp_path / "found")
    assert ended.code == 0, ended.out
    assert "ham10000" in ended.out
    manifest = pd.read_csv(tmp_path / "found" / "manifest.csv")
    assert len(manifest) > manifest["group"].nunique() == 12  # several images per lesion
    ended = likeness("train", data, "--out", tmp_path / "run", *small("data.val=0.34"))
    assert ended.code == 0, ended.err
    splits = pd.read_csv(tmp_path / "run" / "splits.csv")
    assert (splits.groupby("group")["split"].nunique() == 1).all()
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "not a medical device" in card
    assert "Fitzpatrick skin types V and VI" in card


def test_evaluate_names_the_protocol_and_the_clinical_figures(isic, isic_run, tmp_path):
    out = tmp_path / "test"
    ended = likeness("evaluate", isic_run, isic, "--out", out, "--protocol", "isic2017")
    assert ended.code == 0, ended.err
    assert "Clinical figures" in ended.out
    assert "not a medical device" in ended.out
    metrics = metrics_of(out)
    assert metrics["protocol"] == "isic2017"
    assert metrics["split"] == "test"
    assert metrics["items"]["measured"] == 9  # a quarter of 36
    assert "not a medical device" in metrics["clinical"]["disclaimer"]
    assert set(metrics["clinical"]["tasks"]) == {"melanoma", "seborrheic_keratosis"}
    assert (out / "report.html").is_file()
    wrong = likeness("evaluate", isic_run, isic, "--out", tmp_path / "no", "--protocol", "isic2018")
    assert wrong.code == 2
    assert "protocol must be the one of the model's own split, 'isic2017'" in wrong.err


def test_a_picture_in_two_given_splits_is_told(isic, tmp_path):
    from PIL import Image

    data = tmp_path / "isic"
    shutil.copytree(isic, data)
    trained, tested = (
        sorted((data / f"ISIC-2017_{split}_Data").glob("*.jpg"))[0]
        for split in ("Training", "Test_v2")
    )
    Image.open(trained).save(tested, "PNG")  # other bytes, the same pixels
    ended = likeness("inspect", data)
    assert ended.code == 1
    assert "the same picture as" in ended.out
    ended = likeness("train", data, "--out", tmp_path / "run", *small())
    assert ended.code == 0, ended.err
    assert "in test and train (keep it in one split" in ended.out


def test_a_submission_has_the_figures_of_evaluate(isic, isic_run, tmp_path):
    out, table = tmp_path / "test", tmp_path / "submission.csv"
    assert likeness("evaluate", isic_run, isic, "--out", out).code == 0
    ended = likeness("submission", out / "predictions.csv", "--out", table)
    assert ended.code == 0, ended.err
    assert "9 images, melanoma, seborrheic_keratosis" in ended.out
    assert table.read_text().splitlines()[0] == "image,melanoma,seborrheic_keratosis"
    truth = isic / "ISIC-2017_Test_v2_Part3_GroundTruth.csv"
    scored = tmp_path / "scored"
    ended = likeness("score", truth, table, "--out", scored, "--protocol", "isic2017")
    assert ended.code == 0, ended.err
    assert "ISIC challenge, official rules" in ended.out
    own, other = metrics_of(out)["clinical"], metrics_of(scored)["clinical"]
    assert set(other["tasks"]) == {"melanoma", "seborrheic_keratosis"}
    for name, figures in own["isic"]["per_class"].items():
        assert other["isic"]["per_class"][name] == pytest.approx(figures, abs=1e-6)
    expected = {"columns": own["isic"]["columns"]} | score_files(truth, table).as_dict()
    assert other["isic"] == finite(expected)
    same = tmp_path / "same"
    assert likeness("score", truth, out / "predictions.csv", "--out", same).code == 0
    assert metrics_of(same)["clinical"]["isic"] == other["isic"]
    compared = likeness("compare", out, out)
    assert compared.code == 0, compared.err


def test_predict_index_search_and_score_other_tables(ham, ham_run, tmp_path):
    table = tmp_path / "labels.csv"
    folder = ham / "HAM10000_images_part_1"
    assert likeness("predict", ham_run, folder, "--out", table).code == 0
    everything = pd.read_csv(table)
    assert set(everything["status"]) <= {"ok", "out_of_scope"}  # so small a set hardly has a scope
    said = everything[everything["status"] == "ok"]
    assert len(said) > 0.8 * len(everything)
    assert {"p_mel", "p_nv", "p_bkl"} <= set(said.columns)
    ended = likeness("index", ham_run, ham, "--out", tmp_path / "archive")
    assert ended.code == 0, ended.err
    query = sorted(folder.iterdir())[0]
    found = tmp_path / "found.csv"
    ended = likeness("search", tmp_path / "archive", query, "-k", 3, "--out", found)
    assert ended.code == 0, ended.err
    assert len(pd.read_csv(found)) == 3
    # A table of labels goes to the score that all applications share.
    truth = tmp_path / "truth.csv"
    said.rename(columns={"label": "was"})[["path"]].assign(label=said["label"]).to_csv(truth)
    ended = likeness("score", truth, table, "--out", tmp_path / "scored")
    assert ended.code == 0, ended.err
    metrics = metrics_of(tmp_path / "scored")
    assert metrics["classification"]["overall_accuracy"]["value"] == 1.0
    assert "isic" not in metrics.get("clinical", {})


def test_a_submission_of_no_challenge_says_so(ham, ham_run, tmp_path):
    table, out = tmp_path / "labels.csv", tmp_path / "s.csv"
    assert likeness("predict", ham_run, ham / "HAM10000_images_part_2", "--out", table).code == 0
    ended = likeness("submission", table, "--out", out)
    assert ended.code == 0, ended.err
    assert "those of no ISIC challenge" in ended.out
    assert out.read_text().splitlines()[0] == "image,bkl,mel,nv"


def test_inspect_names_images_that_another_set_has_too(ham, tmp_path):
    from PIL import Image

    first, second = sorted((ham / "HAM10000_images_part_1").iterdir())[:2]
    for label, path in (("nevus", first), ("melanoma", second)):
        folder = tmp_path / "images" / label
        folder.mkdir(parents=True)
        for number in range(2):
            noise = np.random.default_rng(number + len(label)).integers(0, 255, (40, 40, 3))
            Image.fromarray(noise.astype(np.uint8)).save(folder / f"image_{number}.png")
        Image.open(path).save(folder / "image_9.png")  # the same pixels
    data = tmp_path / "images"
    assert "the same picture as" not in likeness("inspect", data).out
    out = tmp_path / "found"
    ended = likeness("inspect", data, "--against", ham, "--out", out)
    assert ended.code == 0, ended.err
    assert (
        f"nevus/image_9.png: the same picture as HAM10000_images_part_1/{first.name}" in ended.out
    )
    found = pd.read_csv(out / "findings.csv")
    found = found[found["code"] == "in-another-set"]
    assert sorted(found["path"]) == ["melanoma/image_9.png", "nevus/image_9.png"]
    assert (found["level"] == "warning").all()
