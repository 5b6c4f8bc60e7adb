"""The model card has all required sections, whatever is known."""

import pytest

from likeness.card import SECTIONS, Card, check_card, render_card
from likeness.errors import UserError

METRICS = {
    "protocol": "aid-50",
    "split": "val",
    "model_id": "abc",
    "classification": {
        "accuracy": {"value": 0.91234, "count": 300, "skipped": {}, "low": 0.9, "high": 0.95},
        "kappa": {"value": float("nan"), "count": 0, "skipped": {}, "low": None, "high": None},
    },
    "per_class": [
        {"class": "a|b", "support": 3, "recall": 0.5},
        {"class": "river\nbank", "support": 2, "recall": None},
    ],
    "interval": {"method": "group bootstrap", "level": 0.95, "label": "evaluation noise only"},
}


def card(**changes) -> Card:
    words = {
        "title": "Scenes",
        "intended_use": "Sorting.",
        "out_of_scope": "Targeting.",
        "data": "300 images.",
        "data_licence": "CC0-1.0",
        "data_terms": "",
        "consent": "No people.",
        "limits": "One sensor.",
        "operating_point": "Largest probability.",
    }
    return Card(**{**words, **changes})


def section(text: str, heading: str) -> str:
    return text.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_every_section_is_there_in_order_and_says_what_was_given():
    text = render_card(card(), METRICS)
    check_card(text)
    assert text.startswith("# Scenes\n")
    places = [text.index(f"\n## {heading}\n") for heading in SECTIONS]
    assert places == sorted(places)
    assert "Sorting." in section(text, "Intended use")
    assert "Targeting." in section(text, "Out of scope")
    assert "300 images." in section(text, "Data")
    assert "Licence: CC0-1.0" in section(text, "Data")
    assert "Consent: No people." in section(text, "Data")
    assert "One sensor." in section(text, "Limits")
    assert "Largest probability." in section(text, "Operating point")


def test_results_carry_intervals_counts_and_subgroups():
    results = section(render_card(card(), METRICS), "Results")
    assert "| accuracy | 0.9123 | 0.9000 to 0.9500 | 300 |" in results
    assert "| kappa | - | none | 0 |" in results
    assert "evaluation noise only" in results
    assert "protocol: aid-50; split: val" in results
    assert "| a\\|b | 3 | 0.5000 |" in results
    assert "| river bank | 2 | - |" in results


def test_what_is_unknown_says_so():
    text = render_card(card(data_licence=None, consent="", limits=""), {})
    check_card(text)
    assert "Licence: not stated; `export` needs one" in text
    assert "Consent: not stated" in text
    assert "not stated" in section(text, "Limits")
    assert "Not evaluated yet." in section(text, "Results")


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_missing_or_empty_section_is_named(heading):
    text = render_card(card(), METRICS)
    for broken in (
        text.replace(f"## {heading}\n", "## Other\n"),
        text.replace(section(text, heading), "\n"),
    ):
        with pytest.raises(UserError, match=f"card must say something under '## {heading}'"):
            check_card(broken)
