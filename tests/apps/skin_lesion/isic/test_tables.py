"""ISIC truth and submission tables: every rule of the official reader, and its sentence."""

from __future__ import annotations

import numpy as np
import pytest

from likeness.errors import UserError
from likeness_apps.skin_lesion.isic.tables import (
    read_submission,
    read_truth,
    write_submission,
)

NAMES, CLASSES = ("ISIC_0000123", "ISIC_0000124"), ("MEL", "NV", "BCC")
GOOD = "image,MEL,NV,BCC\nISIC_0000123,0.7,0.2,0.1\nISIC_0000124,0.0,1.0,0.0\n"


def written(folder, text, name="table.csv"):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def submission(folder, text, names=NAMES, classes=CLASSES):
    return read_submission(written(folder, text), names, classes)


def test_truth_with_weights(tmp_path):
    text = (
        "image,MEL,NV,BCC,score_weight,validation_weight\n"
        "ISIC_0000123,1.0,0.0,0.0,1.0,0.0\n"
        "ISIC_0000124.JPG,0,1,0,0.5,1.0\n"
        "ISIC_0035068,0.0,0.0,1.0,1.0,1.0\n"
    )
    found = read_truth(written(tmp_path, text))
    assert found.names == (*NAMES, "ISIC_0035068")
    assert found.classes == CLASSES
    assert found.truth_NC.tolist() == np.eye(3, dtype=bool).tolist()
    assert found.score_weight_N.tolist() == [1.0, 0.5, 0.0]
    assert found.validation_weight_N.tolist() == [0.0, 1.0, 0.0]
    assert found.notes == ("ISIC_0035068 has weight 0, as in the official scoring",)


@pytest.mark.parametrize("key", ["image", "image_id", "isic_id", "lesion_id"])
def test_truth_by_any_key_without_weights(tmp_path, key):
    text = f"{key},melanoma,seborrheic_keratosis\nISIC_0000000,0.0,0.0\nISIC_0000001,1.0,0.0\n"
    found = read_truth(written(tmp_path, text))
    assert found.names == ("ISIC_0000000", "ISIC_0000001")
    assert found.truth_NC.tolist() == [[False, False], [True, False]]
    assert found.score_weight_N.tolist() == found.validation_weight_N.tolist() == [1.0, 1.0]
    assert found.notes == ()


@pytest.mark.parametrize(("no", "yes"), [("benign", "malignant"), ("0.0", "1.0"), ("0", "1")])
def test_isic_2016_has_no_header(tmp_path, no, yes):
    found = read_truth(written(tmp_path, f"ISIC_0000000,{no}\nISIC_0000001,{yes}\n"))
    assert found.names == ("ISIC_0000000", "ISIC_0000001")
    assert (found.classes, found.truth_NC.tolist()) == (("malignant",), [[False], [True]])
    assert found.notes == ("truth: no header: read as image and malignant (ISIC 2016)",)
    said = submission(
        tmp_path, "ISIC_0000001,0.75\nISIC_0000000.jpg,0.25\n", found.names, found.classes
    )
    assert said.tolist() == [[0.25], [0.75]]


def test_rows_and_columns_in_any_order(tmp_path):
    text = "NV,image,BCC,MEL\n1.0,ISIC_0000124.jpg,0.0,0.0\n0.2,ISIC_0000123.JPG,1e-1,0.7\n"
    assert submission(tmp_path, text).tolist() == [[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]]


def test_byte_order_mark_carriage_returns_trailing_commas_and_numeric_names(tmp_path):
    told = b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()
    assert submission(tmp_path, told).tolist() == submission(tmp_path, GOOD).tolist()
    header, *rows = GOOD.splitlines()
    trailing = "\n".join([header, *(row + "," for row in rows)]) + "\n"
    assert submission(tmp_path, trailing).tolist() == submission(tmp_path, GOOD).tolist()
    numeric = "image,MEL\n05,0.5\n"
    assert submission(tmp_path, numeric, ["05"], ["MEL"]).tolist() == [[0.5]]


def edited(*changes):
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            GOOD + "ISIC_0000123.jpg,0.1,0.1,0.1\n",
            "a table with one row per image, got several rows for ISIC_0000123",
        ),
        (
            edited(("ISIC_0000124,0.0,1.0,0.0\n", "")),
            "a table with every image of the truth, got no row for ISIC_0000124",
        ),
        (
            GOOD + "ISIC_0000125,0.1,0.1,0.1\n",
            "a table of the truth's images only, got also ISIC_0000125",
        ),
        (
            edited(("NV", "nv")),
            "a table with the truth's class columns, got none named NV",
        ),
        (
            edited(("BCC", "BCC,DF"), ("0.1\n", "0.1,0.0\n"), (",1.0,0.0\n", ",1.0,0.0,0.0\n")),
            "a table without other columns than the truth's, got also DF",
        ),
        (
            edited(("0.7,", ",")),
            "a table with a number in every cell, got an empty cell for ISIC_0000123",
        ),
        (
            edited(("0.7", "nan")),
            "a table with a number in every cell, got an empty cell for ISIC_0000123",
        ),
        (edited(("0.7", "1.01")), "in [0, 1], got other values for ISIC_0000123"),
        (edited(("0.7", "-0.01")), "in [0, 1], got other values for ISIC_0000123"),
        (edited(("0.7", "inf")), "in [0, 1], got other values for ISIC_0000123"),
        (
            edited(("0.7", "seven")),
            "a table with a number in every cell of 'MEL', got something else for ISIC_0000123",
        ),
        (
            edited(("0.7", "1"), (",0.0,1.0,", ",0,1.0,")),
            "probabilities with a decimal point in every column (0.0, 1.0), as officially "
            "required, got plain integers in MEL",
        ),
        (edited(("image", "picture")), "a csv file with a column image or image_id or isic_id"),
        (edited(("NV", "MEL")), "a csv file with one column per name, got"),
        ("", "a csv file with a column image"),
        ("image,MEL,NV,BCC\n", "a csv file with at least one row"),
        (edited(("ISIC_0000124,", ",")), "a csv file with a name in every row"),
        (
            edited(("0.1\n", "0.1,0.4\n"), ("1.0,0.0\n", "1.0,0.0,0.4\n")),
            "a csv file whose rows have as many cells as its header, got:",
        ),
        (
            GOOD + "ISIC_0000125,0.1,0.1,0.1,0.1,0.1\n",
            "a csv file whose rows have as many cells as its header, got:",
        ),
        (b"image,MEL\n\xff\xfe,0.1\n", "a csv file in UTF-8, got"),
    ],
)
def test_every_rule_has_its_sentence(tmp_path, text, sentence):
    with pytest.raises(UserError) as error:
        submission(tmp_path, text)
    said = str(error.value)
    assert said.startswith(f"predictions must be {sentence}")
    assert "\n" not in said


def test_many_culprits_are_counted(tmp_path):
    names = [f"ISIC_{number}" for number in range(10)]
    with pytest.raises(UserError, match=r"no row for ISIC_1, ISIC_2, ISIC_3 and 6 more$"):
        submission(tmp_path, "image,MEL\nISIC_0,0.5\n", names, ["MEL"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image,MEL\na,0.0\na.jpg,1.0\n", "a table with one row per image, got several rows for a"),
        ("image,MEL\na,0.5\n", "0 or 1 in the column 'MEL', got other values for a"),
        ("image,MEL\na,\n", "a table with a number in every cell of 'MEL', got something else"),
        ("image\na\n", "a table with a column per class, got"),
        ("image,MEL,score_weight\na,1.0,-1\n", "a table with score_weight >= 0, got other values"),
        ("image,MEL,sex\na,1.0,male\n", "a table with a number in every cell of 'sex', got"),
    ],
)
def test_rules_of_the_truth(tmp_path, text, sentence):
    with pytest.raises(UserError) as error:
        read_truth(written(tmp_path, text))
    assert str(error.value).startswith(f"truth must be {sentence}")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"^truth must be an existing \.csv file, got"):
        read_truth(tmp_path / "none.csv")


def test_what_is_written_is_read_back_exactly(tmp_path):
    rng = np.random.default_rng(0)
    chances = rng.random((2, 3))
    chances[0, 0], chances[1] = 1e-300, [0.0, 1.0, 0.0]
    path = tmp_path / "out.csv"
    write_submission(path, ["ISIC_0000123.jpg", "ISIC_0000124"], CLASSES, chances)
    assert np.array_equal(read_submission(path, NAMES, CLASSES), chances)
    lines = path.read_text().splitlines()
    assert lines[0] == "image,MEL,NV,BCC"
    assert lines[2] == "ISIC_0000124,0.0,1.0,0.0"
    certain = np.array([[1.0, 0.0, 0.0]] * 2)
    write_submission(path, NAMES, CLASSES, certain)  # never a column of plain integers
    assert np.array_equal(read_submission(path, NAMES, CLASSES), certain)


def test_nothing_wrong_is_written(tmp_path):
    path = tmp_path / "out.csv"
    with pytest.raises(UserError, match=r"^probabilities must be in \[0, 1\]"):
        write_submission(path, NAMES, CLASSES, np.full((2, 3), np.nan))
    with pytest.raises(UserError, match=r"^probabilities must be \(2, 3\), got \(3, 2\)"):
        write_submission(path, NAMES, CLASSES, np.zeros((3, 2)))
    with pytest.raises(UserError, match=r"^names must be one row per image, got several rows"):
        write_submission(path, ["a", "a.jpg"], CLASSES, np.zeros((2, 3)))
    assert not path.exists()
