"""Two results, paired by image."""

import json

import numpy as np
import pandas as pd
import pytest

from likeness.errors import UserError
from likeness_apps.remote_sensing.domain import DOMAIN
from likeness_apps.shell.compare import compare


def result(folder, correct, *, paths=None, groups=None, **columns):
    """A directory as `evaluate` leaves it."""
    count = len(correct)
    paths = list(paths) if paths is not None else [f"{number:03d}" for number in range(count)]
    table = pd.DataFrame(
        {
            "path": paths,
            "status": "ok",
            "truth": [f"{number % 2}" for number in range(count)],
            "correct": correct,
            "group": groups if groups is not None else paths,
            **columns,
        }
    )
    folder.mkdir()
    table.to_csv(folder / "predictions.csv", index=False)
    return folder


def test_differences_by_hand(tmp_path):
    rng = np.random.default_rng(0)
    a, b = rng.random(40) < 0.9, rng.random(40) < 0.4
    map_a, map_b = rng.random(40), rng.random(40)
    map_a[3] = np.nan
    groups = [f"g{number // 4}" for number in range(40)]
    first = result(tmp_path / "a", a, groups=groups, **{"map@r": map_a, "recall@1": 1.0})
    second = result(tmp_path / "b", b, groups=groups, **{"map@r": map_b})
    found = compare(DOMAIN, first, second, out=tmp_path / "out")
    rows = found["differences"]
    assert set(rows) == {"overall_accuracy", "map@r"}  # B has no recall@1
    assert rows["overall_accuracy"]["value"] == pytest.approx(a.mean() - b.mean())
    assert rows["overall_accuracy"]["groups"] == 10
    assert rows["overall_accuracy"]["p_value"] < 0.01
    defined = ~np.isnan(map_a)
    assert rows["map@r"]["value"] == pytest.approx((map_a - map_b)[defined].mean())
    assert rows["map@r"]["a"] == pytest.approx(map_a[defined].mean())
    assert rows["map@r"]["b"] == pytest.approx(map_b[defined].mean())
    smaller = min(rows, key=lambda name: rows[name]["p_value"])
    expected = min(1, 2 * rows[smaller]["p_value"])
    assert rows[smaller]["p_holm"] == pytest.approx(expected)
    for row in rows.values():
        assert row["low"] <= row["value"] <= row["high"]
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["items"] == 40


def test_the_other_way_round_is_the_negative(tmp_path):
    rng = np.random.default_rng(1)
    first = result(tmp_path / "a", rng.random(30) < 0.7)
    second = result(tmp_path / "b", rng.random(30) < 0.5)
    one = compare(DOMAIN, first, second)["differences"]["overall_accuracy"]
    two = compare(DOMAIN, second, first)["differences"]["overall_accuracy"]
    assert (one["value"], one["low"], one["high"]) == pytest.approx(
        (-two["value"], -two["high"], -two["low"])
    )


def test_order_and_numbers_as_names_do_not_matter(tmp_path):
    """`007` and `7` are two images; a table in another order is the same table."""
    correct = [True, False, True, True]
    first = result(tmp_path / "a", correct, paths=["007", "7", "x", "y"])
    second = result(tmp_path / "b", correct, paths=["007", "7", "x", "y"])
    table = pd.read_csv(second / "predictions.csv", dtype=str)
    table.iloc[[2, 0, 3, 1]].to_csv(second / "predictions.csv", index=False)
    found = compare(DOMAIN, first, second)
    assert found["items"] == 4
    assert found["differences"]["overall_accuracy"]["value"] == 0


def test_failed_and_unshared_images_are_left_out(tmp_path, capsys):
    first = result(tmp_path / "a", [True] * 6)
    second = result(tmp_path / "b", [True] * 5)
    table = pd.read_csv(second / "predictions.csv", dtype=str)
    table.loc[0, ["status", "correct"]] = ["error", ""]
    table.loc[1, "truth"] = "another"
    table.to_csv(second / "predictions.csv", index=False)
    found = compare(DOMAIN, first, second)
    assert found["items"] == 3
    assert found["only_in"] == {"a": 3, "b": 1}
    assert "3 images that only A has, 1 that only B has" in capsys.readouterr().out


def test_one_group_has_no_interval(tmp_path, capsys):
    first = result(tmp_path / "a", [True, True, False], groups=["g"] * 3)
    second = result(tmp_path / "b", [True, False, False], groups=["g"] * 3)
    row = compare(DOMAIN, first, second)["differences"]["overall_accuracy"]
    assert row["value"] == pytest.approx(1 / 3)
    assert np.isnan(row["low"])
    assert "p_holm" not in row
    printed = capsys.readouterr().out
    assert "+0.333 (" in printed
    assert "nan" not in printed


def test_measures_that_nobody_has(tmp_path, capsys):
    first = result(tmp_path / "a", [True, False], **{"map@r": np.nan})
    second = result(tmp_path / "b", [True, False], **{"map@r": 0.5})
    row = compare(DOMAIN, first, second)["differences"]["map@r"]
    assert row["a"] is None
    assert "undefined" in capsys.readouterr().out


def test_rankings_without_labels(tmp_path):
    """What `score` writes for features: no column `correct`."""
    for name in ("a", "b"):
        folder = result(tmp_path / name, [True, False, True], **{"map@r": [0.1, 0.2, np.nan]})
        table = pd.read_csv(folder / "predictions.csv", dtype=str).drop(columns="correct")
        table.to_csv(folder / "predictions.csv", index=False)
    found = compare(DOMAIN, tmp_path / "a", tmp_path / "b")
    assert set(found["differences"]) == {"map@r"}


def test_results_that_cannot_be_compared(tmp_path):
    good = result(tmp_path / "good", [True, False])
    with pytest.raises(UserError, match=r"RESULT_B must be a directory with predictions.csv"):
        compare(DOMAIN, good, tmp_path)
    other = result(tmp_path / "other", [True, False], paths=["x", "y"])
    with pytest.raises(UserError, match="of the same images with the same truth"):
        compare(DOMAIN, good, other)
    twice = result(tmp_path / "twice", [True, False], paths=["000", "000"])
    with pytest.raises(UserError, match=r"RESULT_B/predictions.csv must be a list of different"):
        compare(DOMAIN, good, twice)
    table = pd.read_csv(good / "predictions.csv", dtype=str)
    bare = tmp_path / "bare"
    bare.mkdir()
    table.drop(columns="group").to_csv(bare / "predictions.csv", index=False)
    with pytest.raises(UserError, match=r"none called \['group'\]"):
        compare(DOMAIN, good, bare)
    table.drop(columns="correct").to_csv(bare / "predictions.csv", index=False)
    with pytest.raises(UserError, match="results must be with one of correct"):
        compare(DOMAIN, good, bare)
    table.assign(correct="maybe").to_csv(bare / "predictions.csv", index=False)
    with pytest.raises(UserError, match=r"correct must be a number or empty, got \['maybe'\]"):
        compare(DOMAIN, good, bare)
