"""`score --protocol lfw` and `verification`: lists, features by name, and the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fixtures.front_door import assert_refused, likeness
from likeness.errors import UserError
from likeness.evaluation.verification import fold_accuracy
from likeness_apps.shell.pair_lists import (
    places_of,
    read_lfw_pairs,
    read_named_features,
    read_pair_table,
)

FOLDS, EACH, PEOPLE = 4, 5, 12
SMALL_LIST = "2\t1\nAnn_Lee\t1\t4\nAnn_Lee\t2\tBo\t3\nCy\t1\t2\nCy\t1\tBo\t12\n"


def lfw_list(path: Path, folds: int = FOLDS, each: int = EACH) -> Path:
    """A pairs.txt as published, with fewer people: each has three images."""
    rng = np.random.default_rng(0)
    lines = [f"{folds}\t{each}"]
    for _ in range(folds):
        for _ in range(each):
            person, (one, other) = rng.integers(PEOPLE), rng.permutation(3)[:2] + 1
            lines.append(f"Some_Body{person}\t{one}\t{other}")
        for _ in range(each):
            first, second = rng.permutation(PEOPLE)[:2]
            lines.append(f"Some_Body{first}\t1\tSome_Body{second}\t3")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def embedded(path: Path, *, failed: str = "") -> Path:
    """What `embed` writes of the folder `lfw`: one folder for each person."""
    rng = np.random.default_rng(1)
    people = rng.normal(size=(PEOPLE, 8))
    rows = []
    for person in range(PEOPLE):
        for number in (1, 2, 3):
            name = f"Some_Body{person}_{number:04d}"
            embedding = (people[person] + 0.8 * rng.normal(size=8)).astype(np.float32)
            ok = name != failed
            path_of = f"Some_Body{person}/{name}.jpg"
            rows.append((path_of, "ok" if ok else "error", embedding if ok else None))
    table = pd.DataFrame(rows, columns=["path", "status", "embedding"])
    table.to_parquet(path)
    return path


# --- lists ----------------------------------------------------------------------------------


def test_the_published_form_is_read(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text(SMALL_LIST, encoding="utf-8")
    table = read_lfw_pairs(tmp_path / "pairs.txt")
    assert table.to_numpy().tolist() == [
        ["Ann_Lee_0001", "Ann_Lee_0004", True, 1, "Ann_Lee"],
        ["Ann_Lee_0002", "Bo_0003", False, 1, "Ann_Lee"],
        ["Cy_0001", "Cy_0002", True, 2, "Cy"],
        ["Cy_0001", "Bo_0012", False, 2, "Cy"],
    ]


def test_the_whole_list_has_6000_pairs(tmp_path: Path) -> None:
    table = read_lfw_pairs(lfw_list(tmp_path / "pairs.txt", 10, 300))
    assert len(table) == 6000
    assert (
        table.groupby("fold")["same"].agg(["size", "sum"]).to_numpy().tolist() == [[600, 300]] * 10
    )


def test_a_list_of_one_fold_has_one_number(tmp_path: Path) -> None:
    (tmp_path / "dev.txt").write_text("1\nCy\t1\t2\nCy\t1\tBo\t12\n", encoding="utf-8")
    assert read_lfw_pairs(tmp_path / "dev.txt")["fold"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "pairs must be a list that begins with the numbers"),
        ("ten 300\n", "got 'ten 300'"),
        ("0 1\n", "got '0 1'"),
        ("2 1\nCy 1 2\n", "pairs must be 4 pairs, as its first line says, got 1"),
        ("1 1\nCy 1 2\nCy 1 2\n", "line 3 of pairs must be 'name 2 other 3', two names, got"),
        ("1 1\nCy 1 Bo 2\nCy 1 Bo 2\n", "line 2 of pairs must be 'name 1 4', a genuine pair"),
        ("1 1\nCy x 2\nCy 1 Bo 2\n", "line 2 of pairs must be"),
        ("1 1\nCy\nCy 1 Bo 2\n", "line 2 of pairs must be"),
    ],
)
def test_another_form_is_refused_by_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "pairs.txt").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        read_lfw_pairs(tmp_path / "pairs.txt")


def test_a_table_of_pairs(tmp_path: Path) -> None:
    plain = tmp_path / "pairs.csv"
    plain.write_text("first,second,same\na.png,b.png,1\na.png,c.png,0\n", encoding="utf-8")
    table = read_pair_table(plain)
    assert table["same"].tolist() == [True, False]
    assert table["fold"].tolist() == ["1", "1"]
    assert table["group"].tolist() == ["a.png", "a.png"]
    for text, sentence in (
        ("first,second\na,b\n", "pairs must be a table with the columns first, second, same"),
        ("first,second,same\n", "pairs must be a table with at least one row, got '.*pairs.csv'"),
        ("first,second,same\na,b,maybe\n", "same of pair 1 must be 0 or 1, got 'maybe'"),
        ("first,second,same\na,,1\n", "second of pair 1 must be given"),
    ):
        plain.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=sentence):
            read_pair_table(plain)


# --- features -------------------------------------------------------------------------------


def test_features_of_either_form(tmp_path: Path) -> None:
    rows, features = read_named_features(embedded(tmp_path / "f.parquet", failed="Some_Body1_0002"))
    assert np.isnan(features).any(axis=1).tolist() == (rows["status"] != "ok").tolist()
    rows.to_parquet(tmp_path / "g.parquet")
    np.save(tmp_path / "g.npy", features)
    again, other = read_named_features(tmp_path / "g.npy")
    assert again.equals(rows)
    np.testing.assert_array_equal(features, other)
    with pytest.raises(UserError, match=r"features must be a \.parquet as `embed` writes it"):
        read_named_features(tmp_path / "alone.npy")


def test_images_are_found_by_name() -> None:
    paths = pd.Series(["x/a_1.jpg", "y/b_1.png", "y/c.png"])
    assert places_of(pd.Series(["c", "a_1", "c"]), paths, by_stem=True).tolist() == [2, 0, 2]
    assert places_of(pd.Series(["y/c.png"]), paths, by_stem=False).tolist() == [2]
    with pytest.raises(UserError, match=r"features must have a row for .* got none for 'd'$"):
        places_of(pd.Series(["d"]), paths, by_stem=True)
    twice = pd.Series(["x/a.jpg", "y/a.png"])
    with pytest.raises(UserError, match="features must be one row for each image of pairs"):
        places_of(pd.Series(["a"]), twice, by_stem=True)


# --- the commands ---------------------------------------------------------------------------


@pytest.mark.parametrize("application", ["facial-expression", "person-reid"])
def test_lfw_from_what_embed_wrote(tmp_path: Path, application: str) -> None:
    inputs = lfw_list(tmp_path / "pairs.txt"), embedded(tmp_path / "features.parquet")
    asked = ("score", *inputs, "--protocol", "lfw", "--out", tmp_path / "out")
    ended = likeness(*asked, application=application)
    assert (ended.code, ended.err) == (0, "")
    assert "accuracy of 4 folds" in ended.out
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["protocol"] == "lfw"
    assert metrics["pairs"]["unreadable"] == 0
    table = pd.read_csv(tmp_path / "out/pairs.csv")
    assert len(table) == 2 * FOLDS * EACH
    rows, features = read_named_features(inputs[1])
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    place = {Path(path).stem: row for row, path in enumerate(rows["path"])}
    by_hand = [
        -float(np.linalg.norm(unit[place[one]] - unit[place[other]]))
        for one, other in zip(table["first"], table["second"], strict=True)
    ]
    np.testing.assert_allclose(table["score"], by_hand, atol=1e-6)
    expected = fold_accuracy(*(table[name].to_numpy() for name in ("same", "score", "fold")))
    assert metrics["accuracy"]["mean"]["value"] == pytest.approx(expected.value.value)
    assert table["accepted"].tolist() == expected.accepted_N.tolist()
    assert expected.value.value > 0.7


def test_a_table_of_pairs_and_an_image_that_failed(tmp_path: Path) -> None:
    features = embedded(tmp_path / "features.parquet", failed="Some_Body0_0001")
    lines = ["first,second,same,fold,group"]
    for person in range(PEOPLE):
        mine, other = f"Some_Body{person}", f"Some_Body{(person + 1) % PEOPLE}"
        lines.append(f"{mine}/{mine}_0001.jpg,{mine}/{mine}_0002.jpg,1,{person % 2},{mine}")
        lines.append(f"{mine}/{mine}_0003.jpg,{other}/{other}_0003.jpg,0,{person % 2},{mine}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ("score", tmp_path / "pairs.csv", features, "--protocol", "verification")
    ended = likeness(*words, "--out", tmp_path / "out", application="remote-sensing")
    assert ended.code == 0
    assert "1 pairs with an image of status error are not measured" in ended.out
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["pairs"] == {
        **{"genuine": PEOPLE - 1, "impostor": PEOPLE, "folds": 2, "groups": PEOPLE},
        "unreadable": 1,
    }
    table = pd.read_csv(tmp_path / "out/pairs.csv")
    assert table["status"].tolist() == ["error"] + ["ok"] * (2 * PEOPLE - 1)
    assert table["score"].isna().tolist() == (table["status"] == "error").tolist()


@pytest.mark.parametrize("same", [0, 1])
def test_pairs_of_one_kind_measure_nothing(tmp_path: Path, same: int) -> None:
    features = embedded(tmp_path / "features.parquet")
    row = "Some_Body0/Some_Body0_0001.jpg,Some_Body0/Some_Body0_0002.jpg"
    (tmp_path / "pairs.csv").write_text(f"first,second,same\n{row},{same}\n", encoding="utf-8")
    words = ("score", tmp_path / "pairs.csv", features, "--protocol", "verification")
    ended = likeness(*words, "--out", tmp_path / "out")
    rule = "same must be 1 of some pairs (the same) and 0 of others"
    assert_refused(ended, rule, f"got 'only {same}'", left=tmp_path / "out")


@pytest.mark.parametrize("application", ["facial-expression", "person-reid", "remote-sensing"])
def test_an_unknown_protocol_is_told_those_of_pairs_too(tmp_path: Path, application: str) -> None:
    inputs = lfw_list(tmp_path / "pairs.txt"), embedded(tmp_path / "features.parquet")
    asked = ("score", *inputs, "--protocol", "bogus", "--out", tmp_path / "out")
    ended = likeness(*asked, application=application)
    assert_refused(ended, "protocol must be one of", "lfw, verification, got 'bogus'")


def test_options_of_other_protocols_are_refused(tmp_path: Path) -> None:
    inputs = lfw_list(tmp_path / "pairs.txt"), embedded(tmp_path / "features.parquet")
    asked = ("score", *inputs, "--protocol", "lfw", "--out", tmp_path / "out")
    ended = likeness(*asked, "--fold", 1)
    assert ended.code == 2
    assert "fold must be left out for protocol lfw, got 1" in ended.err
