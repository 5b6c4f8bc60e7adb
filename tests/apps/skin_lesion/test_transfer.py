"""Coarser classes: benign or malignant, and PH2 asked of a model that never saw it."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fixtures.front_door import assert_refused
from fixtures.lesion_door import likeness, small
from fixtures.lesions import write_isic_2016, write_isic_2019, write_ph2
from likeness.data.manifest import build
from likeness.errors import UserError
from likeness.inference.hashed import answer_hashed
from likeness.inference.predictor import Predictor
from likeness_apps.shell.coarser import coarsened
from likeness_apps.shell.terms import terms_of
from likeness_apps.skin_lesion.binary import malignancy, melanoma_or_other
from likeness_apps.skin_lesion.diagnoses import DIAGNOSES
from likeness_apps.skin_lesion.domain import DOMAIN
from likeness_apps.skin_lesion.layouts import recognise


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture
def ph2(tmp_path):
    return write_ph2(tmp_path)


# --- the mapping ----------------------------------------------------------------------------------


def test_what_labels_become():
    assert [malignancy(label) for label in ("nv", "mel", "akiec", "SCC", "unk", "mole")] == [
        *("benign", "malignant", "malignant", "malignant", "", None)
    ]
    assert malignancy("Seborrheic  Keratosis") == "benign"
    assert [melanoma_or_other(name) for name in ("Melanoma", "mel", "malignant", "bcc", "unk")] == [
        *("melanoma", "melanoma", "melanoma", "other", "other")
    ]
    assert melanoma_or_other("mole") is None
    for protocol in ("binary", "ph2-transfer"):
        coarser = DOMAIN.protocols[protocol].coarser
        assert list(coarser.classes) == sorted(coarser.classes)
        assert {coarser.of(name) for name in DIAGNOSES} - {""} == set(coarser.classes)
        assert all(coarser.of(name) == name for name in coarser.classes)


def test_classes_of_unsaid_malignancy_are_left_out_and_counted(tmp_path):
    manifest = recognise(write_isic_2019(tmp_path))
    coarse = coarsened(manifest, DOMAIN.protocols["binary"].coarser)
    assert coarse.table["label"].value_counts().to_dict() == {"malignant": 2, "benign": 1, "": 1}
    told = [finding.message for finding in coarse.findings if finding.code == "class-left-out"]
    assert told == ["1 images of the class 'unk' are left out: it is none of benign, malignant"]
    assert coarse.table["diagnosis"].tolist() == manifest.table["diagnosis"].tolist()


def test_labels_that_nobody_knows_are_refused(tmp_path):
    manifest = build(tmp_path, {"path": ["a", "b"], "label": ["nv", "mole"]}, "table")
    with pytest.raises(UserError, match=r"known to be one of benign, malignant, got \['mole'\]"):
        coarsened(manifest, DOMAIN.protocols["binary"].coarser)


# --- binary ---------------------------------------------------------------------------------------


def test_binary_from_a_set_of_diagnoses(ham, tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    ended = likeness("train", ham, "--out", run, *small("data.protocol=binary"))
    assert ended.code == 0, ended.err
    splits = pd.read_csv(run / "splits.csv")
    assert set(splits["label"]) == {"benign", "malignant"}
    assert (splits.groupby("group")["split"].nunique() == 1).all()
    ended = likeness("evaluate", run, ham, "--out", out, "--protocol", "binary")
    assert ended.code == 0, ended.err
    metrics = metrics_of(out)
    assert (metrics["protocol"], metrics["split"]) == ("binary", "test")
    assert metrics["classes"] == ["benign", "malignant"]
    assert metrics["compared_as"]["labels"] == {"bkl": "benign", "mel": "malignant", "nv": "benign"}
    assert "malignant" in metrics["clinical"]["tasks"]
    assert metrics["clinical"]["tasks"]["malignant"]["operating"]  # thresholds of validation


def test_a_model_of_many_classes_is_asked_for_two(ham_run, tmp_path):
    data, out = write_isic_2016(tmp_path), tmp_path / "out"
    unknown = likeness("evaluate", ham_run, data, "--out", out)
    rule = (
        "labels must be among the model's 3 classes, or of coarser classes with --protocol binary"
    )
    assert_refused(unknown, rule, left=out)
    ended = likeness("evaluate", ham_run, data, "--out", out, "--protocol", "binary")
    assert ended.code == 0, ended.err
    metrics, table = metrics_of(out), pd.read_csv(out / "predictions.csv")
    assert (metrics["protocol"], metrics["split"]) == ("binary", "external")
    assert metrics["compared_as"]["model"] == {"bkl": "benign", "mel": "malignant", "nv": "benign"}
    blocks = answer_hashed(Predictor(ham_run), table["path"].tolist(), data).blocks
    fine = np.concatenate([block.probabilities_BC for block in blocks])
    bkl, mel, nv = fine.T
    assert len(table) == 6
    np.testing.assert_allclose(table["p_malignant"], mel, atol=1e-6)
    np.testing.assert_allclose(table["p_benign"], nv + bkl, atol=1e-6)
    assert table["label"].tolist() == np.where(mel > nv + bkl, "malignant", "benign").tolist()


def test_binary_of_a_models_own_pictures_is_no_transfer(ham, ham_run, tmp_path):
    out = tmp_path / "out"
    ended = likeness("evaluate", ham_run, ham, "--out", out, "--protocol", "binary")
    assert_refused(ended, "data must be pictures that the model never saw", "split", left=out)


# --- PH2 ------------------------------------------------------------------------------------------


def test_ph2_by_a_model_of_other_data(ham, ham_run, ph2, tmp_path):
    out = tmp_path / "out"
    ended = likeness("evaluate", ham_run, ph2, "--out", out, "--protocol", "ph2-transfer")
    assert ended.code == 0, ended.err
    metrics, table = metrics_of(out), pd.read_csv(out / "predictions.csv")
    assert (metrics["protocol"], metrics["split"]) == ("ph2-transfer", "external")
    assert "nothing is tuned on PH2" in metrics["protocol_source"]
    assert metrics["classes"] == ["melanoma", "other"]
    assert metrics["compared_as"]["model"] == {"bkl": "other", "mel": "melanoma", "nv": "other"}
    assert sorted(table["truth"]) == ["melanoma", "melanoma", "other", "other"]
    assert metrics["clinical"]["tasks"]["melanoma"]["positives"] == 2
    saved = pd.read_csv(ham_run / "splits.csv")
    assert metrics["overlap"]["saved_content_hashes"] == len(saved)
    assert metrics["overlap"]["near_duplicates"].startswith("not looked for")
    out = tmp_path / "more"
    words = ("--out", out, "--protocol", "ph2-transfer", "--against", ham)
    ended = likeness("evaluate", ham_run, ph2, *words)
    assert ended.code == 0, ended.err
    assert metrics_of(out)["overlap"]["sets"] == [ham.name]
    assert metrics_of(out)["overlap"]["near_duplicates"] == 0


def test_thresholds_of_the_own_validation_split_are_used_on_ph2(ham_run, ph2, tmp_path):
    out = tmp_path / "out"
    assert likeness("evaluate", ham_run, ph2, "--out", out, "--protocol", "ph2-transfer").code == 0
    recorded = json.loads((ham_run / "model" / "metrics.json").read_text())["clinical"]
    fixed = {point["threshold"] for point in recorded["thresholds"]["melanoma"]["points"]}
    used = metrics_of(out)["clinical"]["tasks"]["melanoma"]["operating"]
    assert used
    assert {point["threshold"] for point in used} <= fixed


def test_nobody_trains_with_the_protocol(ph2, tmp_path):
    out = tmp_path / "run"
    ended = likeness("train", ph2, "--out", out, *small("data.protocol=ph2-transfer"))
    assert_refused(ended, "data.protocol must be one whose data are trained on", left=out)


def test_another_set_is_not_ph2(ham_run, tmp_path):
    out = tmp_path / "out"
    data = write_isic_2016(tmp_path)
    ended = likeness("evaluate", ham_run, data, "--out", out, "--protocol", "ph2-transfer")
    assert_refused(ended, "data of protocol ph2-transfer must be in the layout ph2", left=out)


def test_a_set_of_which_the_model_knows_a_picture(ham, ph2, tmp_path):
    """One PH2 image among those that were trained on or validated with."""
    mixed, run, out = tmp_path / "mixed", tmp_path / "run", tmp_path / "out"
    shutil.copytree(ham, mixed)
    name = "ISIC_9000000"
    (melanoma,) = ph2.rglob("IMD058.bmp")
    shutil.copy(melanoma, mixed / "HAM10000_images_part_1" / f"{name}.jpg")
    with (mixed / "HAM10000_metadata.csv").open("a") as table:
        table.write(f"HAM_9000000,{name},mel,histo,50,female,back\n")
    ended = likeness("train", mixed, "--out", run, *small("data.test=0.0"))
    assert ended.code == 0, ended.err
    ended = likeness("evaluate", run, ph2, "--out", out, "--protocol", "ph2-transfer")
    assert_refused(ended, "pictures that the model never saw", "IMD058", left=out)


def test_a_picture_of_ph2_in_another_encoding_in_the_training_set(ham, ham_run, ph2, tmp_path):
    from PIL import Image

    mixed, out = tmp_path / "mixed", tmp_path / "out"
    shutil.copytree(ham, mixed)
    victim = sorted((mixed / "HAM10000_images_part_1").iterdir())[0]
    (melanoma,) = ph2.rglob("IMD061.bmp")
    Image.open(melanoma).save(victim, "PNG")
    words = ("--out", out, "--protocol", "ph2-transfer", "--against", mixed)
    ended = likeness("evaluate", ham_run, ph2, *words)
    assert_refused(ended, "in none of the sets of --against", "IMD061.bmp", left=out)


def test_a_model_of_ph2_itself_though_it_saw_none_of_these_pictures():
    config = {"data": {}}
    bundle = SimpleNamespace(config=config, provenance={"layout": "ph2"}, classes=["mel", "nv"])
    rule = "model must be trained on other data than those of protocol ph2-transfer, got .*ph2"
    with pytest.raises(UserError, match=rule):
        terms_of(DOMAIN, bundle, "ph2-transfer")
    bundle.provenance["layout"] = "ham10000"
    assert terms_of(DOMAIN, bundle, "ph2-transfer").rule


@pytest.mark.parametrize("split", ["train", "val", "all"])
def test_the_whole_set_is_the_test(ham_run, ph2, tmp_path, split):
    words = ("--out", tmp_path / "o", "--protocol", "ph2-transfer", "--split", split)
    assert_refused(likeness("evaluate", ham_run, ph2, *words), "split must be test for protocol")
