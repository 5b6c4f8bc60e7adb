"""`likeness methods`, and the tables of docs/methods.md that it makes."""

from __future__ import annotations

import json
from pathlib import Path

from fixtures.front_door import assert_refused, likeness
from likeness.catalogue import parts
from likeness_apps.methods import BEGIN, END, renewed

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
    assert_refused(methods("margim"), "did you mean 'margin'")


def test_the_document_is_up_to_date():
    """`make docs-methods` renews it."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == renewed(text, parts())


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
