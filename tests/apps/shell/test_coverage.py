"""Figures over items with and without an answer, and which items without an image belong here."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import Mock

import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from likeness.bundle import Bundle
from likeness.data.manifest import build
from likeness.evaluation.resampling import Bootstrap
from likeness_apps.remote_sensing.domain import DOMAIN
from likeness_apps.shell.coverage import coverage, with_absent
from likeness_apps.shell.terms import Terms

QUICK = Bootstrap(replicates=50)
CLASSES = ["a", "b", "c"]


def answered(truth: str, said: str) -> pd.DataFrame:
    """A table of predictions; `-` is no answer."""
    return pd.DataFrame(
        {
            "path": [f"{place}.png" for place in range(len(truth))],
            "status": ["no_face" if letter == "-" else "ok" for letter in said],
            "reason": "",
            "truth": list(truth),
            "label": [letter.replace("-", "") for letter in said],
            "group": [f"g{place % 4}" for place in range(len(truth))],
        }
    )


def test_who_says_nothing_is_wrong_and_takes_nobody_elses_precision():
    truth, said = "aaaabbbbcc", "aab-bb--cb"
    found = coverage(answered(truth, said), CLASSES, QUICK)
    assert found["items"] == 10
    assert found["by_status"] == {"no_face": 3, "ok": 7}
    assert found["answered"]["value"] == 0.7
    wanted = {
        "overall_accuracy": sklearn_metrics.accuracy_score(list(truth), list(said)),
        "average_accuracy": sklearn_metrics.recall_score(
            list(truth), list(said), labels=CLASSES, average="macro"
        ),
        "macro_f1": sklearn_metrics.f1_score(
            list(truth), list(said), labels=CLASSES, average="macro"
        ),
    }
    for name, value in wanted.items():
        one = found["on_all"][name]
        assert one["value"] == pytest.approx(value), name
        assert one["low"] <= one["value"] <= one["high"]


def test_with_all_answered_they_are_the_shared_figures():
    truth, said = "aabbcc", "abbbca"
    found = coverage(answered(truth, said), CLASSES, QUICK)
    assert found["answered"]["value"] == 1
    f1 = sklearn_metrics.f1_score(list(truth), list(said), average="macro")
    assert found["on_all"]["macro_f1"]["value"] == pytest.approx(f1)


def test_nobody_answered():
    found = coverage(answered("ab", "--"), CLASSES, QUICK)
    assert found["on_all"]["overall_accuracy"]["value"] == 0
    assert found["on_all"]["macro_f1"]["value"] == 0


# Which of those without an image belong to the split


def asked(tmp_path, split, *, absent, splits=("", ""), fold=None, domain=None):
    columns = {"path": ["0.png", "1.png"], "label": ["a", "b"], "split": list(splits)}
    manifest = build(tmp_path, columns, "table")
    rows = build(tmp_path, {"path": [], "label": []}, "table").table
    rows = pd.concat([rows, pd.DataFrame(absent)], ignore_index=True)
    domain = replace(DOMAIN, absent=lambda _: rows) if domain is None else domain
    terms = Terms({"protocol": "x"} | ({} if fold is None else {"fold": fold}))
    table = answered("ab", "ab")
    model = Mock(spec=Bundle)
    model.classes = CLASSES
    return with_absent(domain, model, manifest, terms, split, table, CLASSES, QUICK)


def photographs(**more) -> dict:
    count = 3
    return {
        "path": [f"photo{place}.jpg" for place in range(count)],
        "label": ["a", "c", "b"],
        "split": ["test", "train", "test"],
        "group": ["g", "h", "i"],
        "status": "no_face",
        "reason": "none was found",
        **more,
    }


@pytest.mark.parametrize(
    ("split", "splits", "fold", "wanted"),
    [
        ("external", ("", ""), None, 3),
        ("all", ("train", "test"), None, 3),
        ("test", ("train", "test"), None, 2),
        ("train", ("train", "test"), None, 1),
        ("test", ("", ""), 2, 1),
    ],
)
def test_they_are_added_where_they_belong(tmp_path, split, splits, fold, wanted):
    absent = photographs(fold=["1", "2", "3"])
    table, found = asked(tmp_path, split, absent=absent, splits=splits, fold=fold)
    assert len(table) == 2 + wanted
    assert (table["status"] == "no_face").sum() == wanted
    assert found["coverage"]["items"] == 2 + wanted
    assert "unplaced" not in found["coverage"]
    right = found["coverage"]["on_all"]["overall_accuracy"]["value"]
    assert right == pytest.approx(2 / (2 + wanted))
    added = table[table["status"] != "ok"]
    assert (added["label"] == "").all()
    assert (added["reason"] == "none was found").all()


@pytest.mark.parametrize(
    ("split", "splits", "fold"),
    [("test", ("", ""), None), ("val", ("train", "test"), None), ("train", ("", ""), 2)],
)
def test_those_of_an_unknown_split_are_told_and_count_nowhere(tmp_path, split, splits, fold):
    absent = photographs(fold=["1", "2", "3"])
    table, found = asked(tmp_path, split, absent=absent, splits=splits, fold=fold)
    assert len(table) == 2
    assert found["coverage"]["unplaced"] == 3
    assert found["coverage"]["answered"]["value"] == 1


def test_sets_that_lack_no_image_say_nothing(tmp_path):
    for domain in (DOMAIN, replace(DOMAIN, absent=lambda _: None)):
        table, found = asked(tmp_path, "all", absent=photographs(), domain=domain)
        assert found == {}
        assert len(table) == 2
        assert (table["status"] == "ok").all()
