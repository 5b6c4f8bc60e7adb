"""`--acknowledge-withdrawn`: every command that reads DATA has it, and none reads without it."""

from __future__ import annotations

import json

import pytest

from fixtures.front_door import assert_refused
from fixtures.front_door import likeness as any_application
from fixtures.people import write_duke
from fixtures.people_door import likeness, small

KEPT = ("--purpose", "a test", "--legal-basis", "none needed", "--retention", "2999-01-01")
SENTENCE = (
    "data must be a set that its owner has not withdrawn, or be taken with --acknowledge-withdrawn"
)


@pytest.fixture(scope="module")
def duke(tmp_path_factory):
    return write_duke(tmp_path_factory.mktemp("duke"))


def calls(duke, run, out):
    """Every command that reads DATA."""
    return {
        "inspect": ("inspect", duke),
        "train": ("train", duke, "--out", out, *small()),
        "evaluate": ("evaluate", run, duke, "--out", out, "--protocol", "market1501"),
        "embed": ("embed", run, duke, "--out", out.with_suffix(".parquet"), *KEPT),
        "index": ("index", run, duke, "--out", out, *KEPT),
        "match": (
            *("match", run, "--query", duke, "--gallery", duke, "--purpose", "a test"),
            *("--out", out.with_suffix(".csv")),
        ),
    }


@pytest.mark.parametrize("name", ["inspect", "train", "evaluate", "embed", "index", "match"])
def test_one_sentence_without_and_the_set_with_it(name, duke, walkers_run, tmp_path):
    words = calls(duke, walkers_run, tmp_path / "out")[name]
    assert_refused(likeness(*words), SENTENCE, "dukemtmc-videoreid", left=tmp_path / "out")
    ended = likeness(*words, "--acknowledge-withdrawn")
    assert "withdrawn" not in ended.err
    if name == "train":  # two people are too few to train and to validate
        assert_refused(ended, "at least two identities to train on", left=tmp_path / "out")
    else:
        assert ended.code == 0, ended.err


def test_search_with_a_withdrawn_query(duke, walkers_run, tmp_path):
    index = tmp_path / "index"
    assert likeness("index", walkers_run, duke, "--out", index, *KEPT, "--acknowledge-withdrawn")
    words = ("search", index, duke, "--out", tmp_path / "found.csv")
    assert_refused(likeness(*words), SENTENCE, left=tmp_path / "found.csv")
    ended = likeness(*words, "--acknowledge-withdrawn")
    assert ended.code == 0, ended.err


def test_figures_of_it_say_which_set_they_are_of(duke, walkers_run, tmp_path):
    words = calls(duke, walkers_run, tmp_path / "out")["evaluate"]
    assert likeness(*words, "--acknowledge-withdrawn").code == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert (metrics["layout"], metrics["protocol_note"]) == ("dukemtmc-videoreid", "")


def test_nobody_else_has_the_option_and_help_stays_whole():
    told = " ".join(likeness("inspect", "--help").out.split())
    assert "--acknowledge-withdrawn" in told
    assert "A data set in a known layout" in told
    assert "--no-quiet" not in told
    for other in ("remote-sensing", "skin-lesion"):
        assert "withdrawn" not in any_application("inspect", "--help", application=other).out
    for name in ("score", "compare", "explain-score", "forget", "sample", "tracklets"):
        assert "withdrawn" not in likeness(name, "--help").out
