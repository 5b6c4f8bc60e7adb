"""Mistakes with lesions: one sentence and exit 2, or a row that says why; nothing is lost."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from fixtures.front_door import assert_refused, changes
from fixtures.lesion_door import likeness, small
from fixtures.lesions import picture
from fixtures.scenes import save


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lesion_table(root, rows):
    """`lesions.csv` of (label, split, group) with pictures beside it."""
    listed = []
    for number, (label, split, group) in enumerate(rows):
        path = f"images/{number:02d}.png"
        picture(root / path, ("nevus", "melanoma").index(label), number)
        listed.append({"path": path, "label": label, "split": split, "group": group})
    pd.DataFrame(listed).to_csv(root / "lesions.csv", index=False)
    return root / "lesions.csv"


def patient(number):
    """A name that is shown as it is: those of people are hashed first."""
    return f"IP_{number:07d}"


def both_classes(split, first, count=4):
    """`count` patients of each class, the nevi first."""
    return [
        (label, split, patient(first + place))
        for place, label in enumerate(["nevus"] * count + ["melanoma"] * count)
    ]


# --- images ---------------------------------------------------------------------------------------


def test_one_unreadable_image_is_a_row_and_stops_nothing(ham, ham_run, tmp_path):
    data = tmp_path / "ham"
    shutil.copytree(ham, data)
    first, *others = sorted((data / "HAM10000_images_part_1").iterdir())
    truncate(first)
    out = tmp_path / "said.csv"
    assert likeness("predict", ham_run, data / "HAM10000_images_part_1", "--out", out).code == 0
    said = pd.read_csv(out, keep_default_na=False)
    assert len(said) == 1 + len(others)
    bad = said[said["status"] == "error"]
    assert [path.split("/")[-1] for path in bad["path"]] == [first.name]
    assert bad["reason"].iloc[0]
    assert bad["label"].iloc[0] == ""
    ended = likeness("train", data, "--out", tmp_path / "run", *small())
    assert ended.code == 0, ended.err
    assert f"left out: HAM10000_images_part_1/{first.name}" in ended.out
    found = pd.read_csv(tmp_path / "run" / "findings.csv")
    assert f"HAM10000_images_part_1/{first.name}" in set(found["path"])
    assert likeness("inspect", data).code == 1


def test_a_mask_of_another_size_is_a_row(ham, tmp_path):
    run, folder = tmp_path / "run", tmp_path / "set" / "images"
    step = "data.steps=[{name: crop_to_mask}]"
    assert likeness("train", ham, "--out", run, *small(step)).code == 0
    folder.mkdir(parents=True)
    images = sorted((ham / "HAM10000_images_part_1").iterdir())[:2]
    for image in images:
        shutil.copy(image, folder)
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 10:40] = 255
    save(tmp_path / "set" / "masks" / f"{images[0].stem}_segmentation.png", mask)
    save(tmp_path / "set" / "masks" / f"{images[1].stem}_segmentation.png", mask[:40])
    out = tmp_path / "said.csv"
    assert likeness("predict", run, folder, "--out", out).code in (0, 1)  # 1: none is in scope
    said = pd.read_csv(out, keep_default_na=False).set_index("path")
    rows = {path.split("/")[-1]: row for path, row in said.iterrows()}
    assert rows.keys() == {image.name for image in images}
    assert rows[images[0].name]["status"] in ("ok", "out_of_scope")
    assert rows[images[1].name]["status"] == "error"
    assert "mask has 64 x 40 pixels, the image 64 x 48" in rows[images[1].name]["reason"]


# --- tables of a set ------------------------------------------------------------------------------


def test_an_image_without_a_row_of_truth_is_told_and_left_out(ham, tmp_path):
    data = tmp_path / "ham"
    shutil.copytree(ham, data)
    table = data / "HAM10000_metadata.csv"
    *kept, last = table.read_text().splitlines()
    table.write_text("\n".join(kept) + "\n")
    ended = likeness("train", data, "--out", tmp_path / "run", *small())
    assert ended.code == 0, ended.err
    assert "left out: 1 images without a label" in ended.out
    assert last.split(",")[1] in ended.out


def test_a_row_twice_in_the_truth(ham, tmp_path):
    data, out = tmp_path / "ham", tmp_path / "run"
    shutil.copytree(ham, data)
    table = data / "HAM10000_metadata.csv"
    table.write_text(table.read_text() + table.read_text().splitlines()[-1] + "\n")
    twice = table.read_text().splitlines()[-1].split(",")[1]
    assert_refused(likeness("train", data, "--out", out, *small()), twice, left=out)
    assert_refused(likeness("inspect", data), twice)


def test_a_patient_in_two_splits(tmp_path):
    rows = both_classes("train", 0) + both_classes("val", 10, 2) + both_classes("test", 20, 2)
    rows[-1] = ("melanoma", "test", patient(5))  # who also trains
    data, out = lesion_table(tmp_path, rows), tmp_path / "run"
    assert_refused(likeness("train", data, "--out", out, *small()), patient(5), "train", left=out)
    ended = likeness("inspect", data)
    assert ended.code == 1
    assert f"group '{patient(5)}' is in train and test" in ended.out


def test_a_validation_split_of_one_class_fixes_no_threshold_and_stops_nothing(tmp_path):
    nevi = [("nevus", "val", patient(number)) for number in range(30, 34)]
    rows = both_classes("train", 0) + nevi + both_classes("test", 20, 2)
    data, run, out = lesion_table(tmp_path, rows), tmp_path / "run", tmp_path / "out"
    ended = likeness("train", data, "--out", run, *small())
    assert ended.code == 0, ended.err
    ended = likeness("evaluate", run, data, "--out", out)
    assert ended.code == 0, ended.err
    task = json.loads((out / "metrics.json").read_text())["clinical"]["tasks"]["melanoma"]
    assert task["operating"] == []
    assert task["operating_reason"]
    assert task["discrimination"]["roc_auc"]["value"] is not None
    ended = likeness("evaluate", run, data, "--out", tmp_path / "val", "--split", "val")
    assert ended.code == 0, ended.err
    metrics = json.loads((tmp_path / "val" / "metrics.json").read_text())
    area = metrics["clinical"]["tasks"]["melanoma"]["discrimination"]["roc_auc"]
    assert area["value"] is None  # undefined, and no crash
    assert metrics["classification"]["overall_accuracy"]["value"] is not None


# --- tables of scores -----------------------------------------------------------------------------

TRUTH = "image,MEL,NV\nISIC_0000001,1.0,0.0\nISIC_0000002,0.0,1.0\nISIC_0000003,0.0,1.0\n"
SAID = "image,MEL,NV\nISIC_0000001,0.7,0.3\nISIC_0000002,0.2,0.8\nISIC_0000003,0.6,0.4\n"


@pytest.fixture
def score(tmp_path):
    """`score` of two texts."""

    def call(truth, said, *words):
        (tmp_path / "truth.csv").write_text(truth)
        (tmp_path / "said.csv").write_text(said)
        paths = tmp_path / "truth.csv", tmp_path / "said.csv"
        return likeness("score", *paths, "--out", tmp_path / "out", *words)

    return call


def without(text, line):
    lines = text.splitlines()
    del lines[line]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("truth", "said", "parts"),
    [
        (without(TRUTH, 2), SAID, ["the truth's images only, got also ISIC_0000002"]),
        (TRUTH, without(SAID, 3), ["every image of the truth, got no row for ISIC_0000003"]),
        (TRUTH, SAID + SAID.splitlines()[1], ["one row per image", "ISIC_0000001"]),
        (TRUTH + TRUTH.splitlines()[2], SAID, ["truth", "one row per image", "ISIC_0000002"]),
        (TRUTH, SAID.replace("0.8", "1.8"), ["predictions must be in [0, 1]", "ISIC_0000002"]),
        (TRUTH, SAID.replace("0.8", "-0.8"), ["predictions must be in [0, 1]", "ISIC_0000002"]),
        (TRUTH, SAID.replace("0.8", ""), ["number in every cell", "ISIC_0000002"]),
        (TRUTH, SAID.replace("NV", "NEV"), ["the truth's class columns", "NV"]),
        (TRUTH.replace("1.0,0.0", "2.0,0.0"), SAID, ["0 or 1 in the column 'MEL'"]),
    ],
)
def test_tables_that_do_not_fit(score, tmp_path, truth, said, parts):
    assert_refused(score(truth, said), *parts, left=tmp_path / "out")


def test_a_floor_out_of_range_or_of_other_tables(score, tmp_path):
    out = tmp_path / "out"
    assert_refused(score(TRUTH, SAID, "--floor", "1"), "floor must be in (0, 1)", left=out)
    other = "path,label\na,x\nb,y\n"
    ended = score(other, other, "--floor", "0.5")
    assert_refused(ended, "floor must be left out, unless truth is an ISIC table", left=out)


def test_one_true_class_is_undefined_and_not_an_end(score, tmp_path):
    """The official code would stop here."""
    truth = TRUTH.replace("1.0,0.0", "0.0,1.0")
    ended = score(truth, SAID)
    assert ended.code == 0, ended.err
    assert "MEL: no true images" in ended.out
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["clinical"]["isic"]["per_class"]["MEL"]["auc"] is None


def test_a_submission_is_not_written_over_another_file(tmp_path):
    table = tmp_path / "said.csv"
    table.write_text("path,status,p_mel,p_nv\na/ISIC_1.jpg,ok,0.5,0.5\nb/ISIC_2.jpg,error,,\n")
    ended = likeness("submission", table, "--out", tmp_path / "s.csv")
    assert ended.code == 0, ended.err
    assert "1 images without an answer are not in it, the first ISIC_2" in ended.out
    assert_refused(likeness("submission", table, "--out", tmp_path / "s.csv"), "a new file")
    assert_refused(likeness("submission", table, "--out", tmp_path / "s.txt"), "a .csv file")
    table.write_text("path,label\na,x\n")
    missing = likeness("submission", table, "--out", tmp_path / "t.csv")
    assert_refused(missing, "a column p_<class>", left=tmp_path / "t.csv")


def test_a_configuration_that_is_not_there_names_all(ham, tmp_path):
    ended = likeness("train", ham, "--out", tmp_path / "run", "--config", "atention_triplet")
    assert_refused(ended, "did you mean 'attention_triplet'", left=tmp_path / "run")
    words = changes("data.protocol=isic2017")
    ended = likeness("train", ham, "--out", tmp_path / "run", *words)
    assert_refused(ended, "in the layout isic-2017", "ham10000", left=tmp_path / "run")
