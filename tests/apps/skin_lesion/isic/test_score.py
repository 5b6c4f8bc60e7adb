"""`score` of ISIC tables: what is recognised, what stands beside the official figures."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from likeness.errors import UserError
from likeness_apps.skin_lesion.domain import DOMAIN
from likeness_apps.skin_lesion.isic.score import answers_of, score
from likeness_apps.skin_lesion.isic.submission import submission_of, submit
from likeness_apps.skin_lesion.isic.tables import is_official, read_submission, read_truth


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "official"),
    [
        ("image,MEL,NV\na,1.0,0.0\n", True),
        ("image_id,melanoma,seborrheic_keratosis\na,0.0,0.0\n", True),
        ("lesion_id,MEL\na,1.0\n", True),
        ("ISIC_0000000,benign\nISIC_0000001,malignant\n", True),
        ("ISIC_0000000,0.25\n", True),
        ("path,label\na,nv\n", False),
        ("image,label\na,nv\n", False),
        ("image_id,dx\na,nv\n", False),
        ("path,status,p_mel,p_nv\na,ok,0.5,0.5\n", False),
        ("", False),
    ],
)
def test_what_is_a_table_of_a_challenge(tmp_path, text, official):
    assert is_official(write(tmp_path / "t.csv", text)) is official
    assert not is_official(write(tmp_path / "t.txt", text))


def tables_2017(tmp_path, count=40, seed=0):
    """Two columns that do not sum to 1; a third of the images are nevi."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 3
    said = np.clip(rng.random((count, 2)) * 0.6 + 0.4 * np.eye(3)[label][:, :2], 0, 1)
    names = [f"ISIC_{number:07d}" for number in range(count)]
    columns = ["melanoma", "seborrheic_keratosis"]
    truth = pd.DataFrame({"image_id": names})
    truth[columns] = np.eye(3)[label][:, :2]
    submission = pd.DataFrame({"image_id": names})
    submission[columns] = said
    truth.to_csv(tmp_path / "truth.csv", index=False)
    submission.to_csv(tmp_path / "said.csv", index=False)
    return label, said


def test_the_two_tasks_of_2017(tmp_path):
    label, said = tables_2017(tmp_path)
    out = tmp_path / "out"
    found = score(DOMAIN, tmp_path / "truth.csv", tmp_path / "said.csv", out, quiet=True)
    assert json.loads((out / "metrics.json").read_text())["clinical"]["tasks"].keys() == {
        "melanoma",
        "seborrheic_keratosis",
    }
    for column, name in enumerate(("melanoma", "seborrheic_keratosis")):
        expected = sklearn_metrics.roc_auc_score(label == column, said[:, column])
        assert found["clinical"]["isic"]["per_class"][name]["auc"] == pytest.approx(expected)
        task = found["clinical"]["tasks"][name]
        assert task["discrimination"]["roc_auc"]["value"] == pytest.approx(expected)
        assert task["operating"] == []  # nobody fixed a threshold on other images
    assert "calibration" not in found  # rows that do not sum to 1 are no distribution
    table = pd.read_csv(out / "predictions.csv")
    assert set(table["truth"]) == {"melanoma", "seborrheic_keratosis", "nevus"}
    left = np.maximum(1 - said.sum(axis=1), 0)
    np.testing.assert_allclose(table["p_nevus"], left, atol=1e-6)
    expected = np.column_stack([said, left]).argmax(axis=1)
    assert (table["correct"] == (expected == label)).all()


def test_the_floor_moves_the_corrected_areas_only(tmp_path):
    tables_2017(tmp_path)
    paths = tmp_path / "truth.csv", tmp_path / "said.csv"
    usual = score(DOMAIN, *paths, tmp_path / "a", quiet=True)["clinical"]["isic"]
    other = score(DOMAIN, *paths, tmp_path / "b", floor=0.88, quiet=True)["clinical"]["isic"]
    assert usual["floor"] == 0.8
    assert other["floor"] == 0.88
    assert other["per_class"] == usual["per_class"]
    for name in ("melanoma", "seborrheic_keratosis"):
        areas = other["corrected_per_class"][name]
        assert "pauc_above_tpr_80" not in areas
        assert 0 <= areas["pauc_above_tpr_88"] <= 0.12
        assert areas["pauc_above_tpr_88"] < usual["corrected_per_class"][name]["pauc_above_tpr_80"]
        assert areas["auc_sens_88"] <= usual["per_class"][name]["auc_sens_80"]


def test_the_headerless_table_of_2016(tmp_path):
    truth = write(tmp_path / "t.csv", "A,benign\nB,malignant\nC,benign\nD,malignant\n")
    said = write(tmp_path / "s.csv", "A,0.1\nB,0.9\nC,0.6\nD,0.7\n")
    found = score(DOMAIN, truth, said, tmp_path / "out", quiet=True)
    assert found["clinical"]["isic"]["per_class"]["malignant"]["auc"] == 1.0
    assert found["clinical"]["tasks"]["malignant"]["positives"] == 2
    assert found["classification"]["overall_accuracy"]["value"] == 0.75
    assert found["calibration"]


def test_an_image_of_weight_0_is_not_measured(tmp_path):
    lines = ["image,MEL,NV", "ISIC_0035068,1.0,0.0", "A,0.0,1.0", "B,1.0,0.0"]
    truth = read_truth(write(tmp_path / "t.csv", "\n".join(lines)))
    answers = answers_of(truth, np.full((3, 2), 0.5), truth.score_weight_N > 0)
    assert answers.classes == ["mel", "nv"]
    assert answers.truth_N.tolist() == [1, 0]
    found = score(DOMAIN, tmp_path / "t.csv", tmp_path / "t.csv", tmp_path / "out", quiet=True)
    assert found["items"]["measured"] == 2


def test_images_with_several_classes_have_the_figures_of_each_class_only(tmp_path):
    truth = write(tmp_path / "t.csv", "image,x,y\nA,1.0,1.0\nB,0.0,1.0\nC,1.0,0.0\nD,0.0,0.0\n")
    said = write(tmp_path / "s.csv", "image,x,y\nA,0.9,0.8\nB,0.1,0.7\nC,0.8,0.1\nD,0.2,0.3\n")
    found = score(DOMAIN, truth, said, tmp_path / "out", quiet=True)
    assert found["clinical"]["isic"]["per_class"]["x"]["auc"] == 1.0
    assert "several classes" in found["clinical"]["reason"]
    assert len(pd.read_csv(tmp_path / "out" / "predictions.csv")) == 4


# --- submissions ----------------------------------------------------------------------------------

HAM = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
EIGHT = ("ak", "bcc", "bkl", "df", "mel", "nv", "scc", "vasc")


def predictions(classes, rows=3):
    chances = np.random.default_rng(len(classes)).dirichlet(np.ones(len(classes)), rows)
    table = pd.DataFrame({"path": [f"a/ISIC_{row:07d}.jpg" for row in range(rows)], "status": "ok"})
    table[[f"p_{name}" for name in classes]] = chances
    return table, chances


@pytest.mark.parametrize(
    ("classes", "columns"),
    [
        (HAM, "MEL NV BCC AKIEC BKL DF VASC"),
        (
            ("ak", "bcc", "bkl", "df", "mel", "nv", "scc", "vasc"),
            "MEL NV BCC AK BKL DF VASC SCC UNK",
        ),
        (("melanoma", "nevus", "seborrheic_keratosis"), "melanoma seborrheic_keratosis"),
        (("benign", "malignant"), "malignant"),
        (("mole", "wart"), "mole wart"),
    ],
)
def test_a_submission_is_read_back_as_the_same_numbers(tmp_path, classes, columns):
    table, chances = predictions(classes)
    table.to_csv(tmp_path / "p.csv", index=False)
    submit(tmp_path / "p.csv", tmp_path / "s.csv", quiet=True)
    names = [f"ISIC_{row:07d}" for row in range(3)]
    assert (tmp_path / "s.csv").read_text().splitlines()[0] == f"image,{columns.replace(' ', ',')}"
    back = read_submission(tmp_path / "s.csv", names, columns.split())
    for place, column in enumerate(columns.split()):
        known = column.lower() in classes
        expected = chances[:, classes.index(column.lower())] if known else np.zeros(3)
        np.testing.assert_allclose(back[:, place], expected, rtol=1e-15)


def test_sure_answers_are_no_integers(tmp_path):
    pd.DataFrame({"path": ["a", "b"], "p_mel": [1, 0], "p_nv": [0, 1]}).to_csv(tmp_path / "p.csv")
    submit(tmp_path / "p.csv", tmp_path / "s.csv", quiet=True)
    assert (tmp_path / "s.csv").read_text() == "image,mel,nv\na,1.0,0.0\nb,0.0,1.0\n"


def test_rows_without_an_answer_are_named():
    table, _ = predictions(HAM)
    table.loc[1, [f"p_{name}" for name in HAM]] = np.nan
    found = submission_of(table)
    assert (found.names, found.unanswered) == (["ISIC_0000000", "ISIC_0000002"], ["ISIC_0000001"])
    with pytest.raises(UserError, match="a table with a probability in some row"):
        submission_of(table.assign(**{f"p_{name}": np.nan for name in HAM}))
