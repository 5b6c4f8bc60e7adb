"""Somebody's own tables and features, scored: forms that are read, and figures by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss, cohen_kappa_score

from likeness.errors import UserError
from likeness_apps.shell.score import (
    read_features,
    read_table,
    read_truth,
    score_features,
    score_tables,
)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def values(measured, family):
    return {name: value["value"] for name, value in measured.metrics[family].items()}


@pytest.fixture
def truth():
    return pd.DataFrame(
        {
            "path": list("abcdef"),
            "label": ["x", "x", "y", "y", "z", "x"],
            "group": ["1", "1", "2", "2", "3", "3"],
        }
    )


@pytest.fixture
def said():
    return pd.DataFrame({"path": list("fedcbag"), "label": ["x", "z", "x", "y", "x", "w", "y"]})


# ---- tables -------------------------------------------------------------------------------------


def test_tables_are_joined_by_name(truth, said):
    answers, rows, measured = score_tables(truth, said)
    in_order = ["w", "x", "y", "x", "z", "x"]
    assert [answers.classes[place] for place in answers.readouts["given"]] == in_order
    assert rows["path"].tolist() == list("abcdef")
    assert answers.classes == ["w", "x", "y", "z"]
    shown = values(measured, "classification")
    assert shown["overall_accuracy"] == pytest.approx(accuracy_score(truth["label"], in_order))
    assert shown["kappa"] == pytest.approx(cohen_kappa_score(truth["label"], in_order))
    assert measured.metrics["interval"]["groups"] == 3


@pytest.mark.parametrize("prefix", ["p_", ""])
def test_one_column_per_class(truth, prefix):
    wide = np.random.default_rng(0).dirichlet([1, 1, 1], size=6)
    said = pd.DataFrame(wide, columns=[f"{prefix}{name}" for name in "zyx"])
    said.insert(1, "path", list("abcdef"))
    answers, _, measured = score_tables(truth, said)
    names = [list("zyx")[place] for place in wide.argmax(axis=1)]
    assert [answers.classes[place] for place in answers.readouts["given"]] == names
    np.testing.assert_allclose(answers.probabilities_NC, wide[:, ::-1])
    hot = np.array([[label == name for name in "zyx"] for label in truth["label"]])
    brier = ((wide - hot) ** 2).sum(axis=1).mean()
    assert values(measured, "calibration")["brier"] == pytest.approx(brier)


def test_a_class_that_truth_has_not_needs_the_prefix(truth):
    wide = pd.DataFrame({"path": list("abcdef"), "x": 0.5, "y": 0.25, "z": 0.125, "w": 0.125})
    with pytest.raises(UserError, match=r"1 in sum over all classes, got '0.875 for a'"):
        score_tables(truth, wide)
    answers, _, _ = score_tables(
        truth, wide.rename(columns=lambda c: c if c == "path" else f"p_{c}")
    )
    assert answers.classes == ["w", "x", "y", "z"]


def test_two_classes_agree_with_sklearn():
    rng = np.random.default_rng(1)
    labels = np.array(["no", "yes"])[rng.integers(2, size=40)]
    truth = pd.DataFrame({"path": range(40), "label": labels, "group": range(40)}).astype(str)
    yes = rng.random(40)
    said = pd.DataFrame({"path": map(str, range(40)), "p_yes": yes, "p_no": 1 - yes})
    _, _, measured = score_tables(truth, said)
    # Over both classes, that is twice the binary score.
    brier = 2 * brier_score_loss(labels == "yes", yes)
    assert values(measured, "calibration")["brier"] == pytest.approx(brier)


def test_the_label_wins_over_the_most_probable_class(truth, said):
    wide = pd.DataFrame({"p_x": 1.0, "p_y": 0.0, "p_z": 0.0}, index=range(7))
    answers, _, _ = score_tables(truth, pd.concat([said, wide], axis=1))
    assert answers.classes[answers.readouts["given"][0]] == "w"
    assert answers.probabilities_NC[:, 1].tolist() == [1.0] * 6


def test_rows_without_an_answer_are_not_measured(truth, said):
    failed = said.assign(status=["ok"] * 6 + ["error"])  # g, which truth has not
    assert len(score_tables(truth, failed)[0].truth_N) == 6
    failed = said.assign(status=["error", *["ok"] * 6], label=["", *said["label"][1:]])
    answers, rows, measured = score_tables(truth, failed)
    assert rows["path"].tolist() == list("abcde")
    assert values(measured, "classification")["overall_accuracy"] == pytest.approx(3 / 5)
    assert len(answers.groups_N) == 5
    with pytest.raises(UserError, match="rows of status ok"):
        score_tables(truth, said.assign(status="error"))


# ---- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("key", ["path", "image"])
def test_forms_of_csv(tmp_path, separator, key):
    text = separator.join([key, "label"]) + "\n" + separator.join(["a", "NA"]) + "\n"
    found = read_truth(write(tmp_path / "t.csv", "\ufeff" + text))
    assert found.to_dict("list") == {"path": ["a"], "label": ["NA"], "group": ["a"]}


def test_parquet_keeps_nothing_but_the_meaning(tmp_path):
    frame = pd.DataFrame({"image": [1, 2], "label": [0.0, 1.0], "group": ["g", None]})
    frame.to_parquet(tmp_path / "t.parquet")
    found = read_truth(tmp_path / "t.parquet")
    assert found.to_dict("list") == {"path": ["1", "2"], "label": ["0", "1"], "group": ["g", "2"]}


def test_truth_in_class_columns(tmp_path):
    text = "image,split,x,y\na,query,1,0\nb,gallery,0.0,1.0\n"
    found = read_truth(write(tmp_path / "t.csv", text))
    assert found["label"].tolist() == ["x", "y"]
    assert found["split"].tolist() == ["query", "gallery"]
    wide = read_truth(write(tmp_path / "p.csv", "image,p_x,p_y\na,1,0\n"))
    assert wide["label"].tolist() == ["x"]


@pytest.mark.parametrize("row", ["a,0,0", "a,1,1", "a,0.5,0.5", "a,,1", "a,one,0"])
def test_class_columns_that_say_nothing(tmp_path, row):
    with pytest.raises(UserError, match="truth must say exactly one class of a"):
        read_truth(write(tmp_path / "t.csv", f"image,x,y\n{row}\n"))


def test_truth_of_an_evaluation_is_its_truth_and_not_what_was_predicted(tmp_path):
    text = "path,status,truth,label\na,ok,x,y\nb,error,x,\nc,ok,y,y\n"
    found = read_truth(write(tmp_path / "predictions.csv", text))
    assert found["path"].tolist() == ["a", "c"]
    assert found["label"].tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("path,label\n", "truth must be a table with at least one row"),
        ("name,label\na,x\n", "truth must be a table with a column path or image"),
        ("path,label,label\na,x,y\n", "a table with one column per name"),
        ("path, path\na,b\n", "a table with one column per name"),
        ("path,status,label\na,error,x\n", "truth must be a table with rows of status ok"),
    ],
)
def test_tables_that_are_none(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence):
        read_truth(write(tmp_path / "t.csv", text))


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(UserError, match="truth must be an existing"):
        read_table(tmp_path / "no.csv", "truth")
    with pytest.raises(UserError, match=r"a \.csv or \.parquet file"):
        read_table(write(tmp_path / "t.xlsx", "path\na\n"), "truth")
    for name in ("t.parquet", "t.csv"):
        (tmp_path / name).write_bytes(b"PAR1\xff\xfe\x00")
        with pytest.raises(UserError, match="must be a readable table"):
            read_table(tmp_path / name, "truth")


def test_features_are_read_without_pickles(tmp_path):
    for dtype in (np.float16, np.float32, np.float64):
        np.save(tmp_path / "f.npy", np.ones((3, 2), dtype))
        assert read_features(tmp_path / "f.npy", 3).shape == (3, 2)
    np.savez(tmp_path / "f.npz", a=np.ones((3, 2)))
    (tmp_path / "f.npz").rename(tmp_path / "z.npy")
    with pytest.raises(UserError, match="got 'several arrays'"):
        read_features(tmp_path / "z.npy", 3)
    for name, content in (("e.npy", b""), ("t.npy", b"text"), ("c.npy", b"\x93NUMPY\x01\x00")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=r"predictions must be a \.npy of numbers"):
            read_features(tmp_path / name, 3)


# ---- features -----------------------------------------------------------------------------------


def test_every_row_asks_all_others(truth):
    features = np.array([[1, 0.01], [1, 0], [0, 1], [0.1, 1], [-1, 0], [-1, 0.02]])
    measured = score_features(truth, features)
    # a-b and c-d find each other; e finds f of another class, f finds e; e is alone in its class.
    assert measured.per_item["recall@1"].fillna(-1).tolist() == [1, 1, 1, 1, -1, 0]
    shown = measured.metrics["retrieval"]["recall@1"]
    assert shown["value"] == pytest.approx(4 / 5)
    assert shown["count"] == 5
    assert measured.metrics["clustering"]["nmi"]["value"] > 0
    assert measured.metrics["interval"]["groups"] == 3


def test_queries_ask_the_gallery(truth):
    features = np.array([[1, 0], [1, 0.1], [0, 1], [1, 0.2], [-1, 0], [1, 1]], np.float32)
    table = truth.assign(split=["query", "gallery", "query", "gallery", "gallery", "query"])
    measured = score_features(table, features)
    # a -> b right; c (a y) -> nearest of b, d, e is d, a y; f -> d (1.0, 0.2), a y and wrong.
    assert measured.per_item["recall@1"].fillna(-1).tolist() == [1, -1, 1, -1, -1, 0]
    assert measured.metrics["retrieval"]["recall@1"]["count"] == 3
    assert measured.metrics["retrieval_protocol"]["gallery"] == "separate"
    assert "clustering" not in measured.metrics
    assert "precision@10" not in measured.metrics["retrieval"]
    assert measured.metrics["interval"]["groups"] == 3


def test_the_space_matters(truth):
    features = np.array([[1.0, 0], [10, 0], [0, 1], [0, 9], [9, 8], [1, 0.5]])
    cosine = score_features(truth, features)
    euclidean = score_features(truth, features, space="euclidean")
    assert (cosine.metrics["space"], euclidean.metrics["space"]) == ("cosine", "euclidean")
    assert cosine.per_item["recall@1"].iloc[0] == 1  # b, in the same direction
    assert euclidean.per_item["recall@1"].iloc[0] == 1  # f, which is near and an x as well
    assert cosine.per_item["recall@1"].iloc[1] == 1
    assert euclidean.per_item["recall@1"].iloc[1] == 0  # e


def test_one_row_has_nobody_to_ask(truth):
    with pytest.raises(UserError, match="at least two rows"):
        score_features(truth[:1], np.ones((1, 2)))
