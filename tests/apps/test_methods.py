"""`likeness methods`, and the tables of docs/methods.md that it makes."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from fixtures.front_door import assert_refused, likeness
from likeness.catalogue import parts
from likeness.config import parse
from likeness.training.spec import RunSpec
from likeness_apps.methods import BEGIN, END, renewed
from likeness_apps.shell import console

DOCUMENT = Path(__file__).parents[2] / "docs" / "methods.md"


def methods(*words):
    return likeness(*words, application="methods")


def test_the_table_has_every_part():
    table = json.loads(methods("--json").out)
    assert [tuple(row["names"]) for row in table] == [part.names for part in parts()]
    assert {"kind", "place", "papers", "status", "options", "summary"} <= set(table[0])
    assert methods().code == 0


def test_one_part_with_all_that_is_known():
    shown = methods("contrastive_bayesian").out
    for words in ("Kan et al., TPAMI 2022", "in part", "variance_weight", "UNCONFIRMED"):
        assert words in shown
    assert len(json.loads(methods("multi_similarity", "--json").out)) == 2


def test_an_unknown_name_is_answered_by_the_nearest():
    for word, name in (
        ("margim", "margin"),
        ("Proxy Anchor", "proxy_anchor"),
        ("N-pairs", "n_pairs"),
    ):
        for more in ((), ("--json",)):
            ended = methods(word, *more)
            assert_refused(
                ended, f"name must be that of a part, got {word!r}; did you mean {name!r}?"
            )
            assert len(ended.err) < 120
    assert_refused(methods("zzz"), "name must be one of", "multi_proxies_anchor", "got 'zzz'")


def test_a_pipe_gets_whole_lines():
    """`likeness methods | grep NAME` finds the name, its kind and its paper."""
    lines = methods().out.splitlines()
    for name, words in (
        ("multi_proxies_anchor", ("loss", "Saeki et al. 2021", "reconstruction")),
        ("online_soft_mining", ("miner", "Wang, Hua, Kodirov, Hu, Robertson, AAAI 2019")),
        ("focal", ("classification", "Lin et al., ICCV 2017; Barsoum et al. 2016")),
    ):
        (line,) = (line for line in lines if f" {name} " in line)
        assert all(word in line for word in words), line


def test_names_are_whole_in_a_narrow_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(console, "_is_terminal", lambda: True)
    out = methods().out
    assert max(map(len, out.splitlines()[:-1])) <= 80
    shown = {word for line in out.splitlines() for word in line.split()}
    assert {name for part in parts() for name in part.names} <= shown


def test_a_part_without_options_says_so():
    shown = methods("self_paced").out
    assert (shown.count("No options."), shown.count("Options")) == (1, 2)  # the miner has none


def test_the_document_is_up_to_date():
    """`make docs-methods` renews it."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == renewed(text, parts())


def test_the_whole_configuration_of_the_document_is_one():
    first = DOCUMENT.read_text(encoding="utf-8").split("```yaml\n")[1].partition("```")[0]
    assert parse(RunSpec, yaml.safe_load(first)).objective.terms[0].loss.name == "proxy_anchor"


def test_a_document_is_renewed_between_its_lines(tmp_path):
    document = tmp_path / "own.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert methods("--write", document).code == 0
    text = document.read_text()
    assert text.startswith(f"before\n{BEGIN}\n### Loss")
    assert text.endswith(f"\n{END}\nafter\n")
    assert "old" not in text.split()
    document.write_text("nothing of ours\n")
    assert_refused(methods("--write", document), "write must be a document with the lines")
