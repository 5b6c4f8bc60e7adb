"""The figures that a researcher of expression asks for first, in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from likeness_apps.facial_expression.measures.recognition import HARMONIC
from likeness_apps.shell.console import figure, say, show_table

if TYPE_CHECKING:
    from likeness_apps.shell.report.tables import Figure

_SAID = {"said_by_one": "answer that a tagger gave", "said_by_three": "answer of three taggers"}


def show_figures(expression: Mapping[str, Any], *, quiet: bool = False) -> None:
    """What humans do beside what the model does, and what the answers are.

    Args:
        expression: the entry `expression` of metrics.json.
        quiet: show nothing.
    """
    rows = [*_human(expression), *_votes(expression), *_others(expression)]
    if rows:
        show_table("Displayed expressions", ("measure", "value [95 % interval]"), rows, quiet=quiet)
    say(str(expression["meaning"]), quiet=quiet)


def headline_figures(expression: Mapping[str, Any]) -> Sequence[Figure]:
    """How well one annotator agrees with the others, where they voted: how to read accuracy."""
    from likeness_apps.shell.report.tables import figure as read

    human = expression.get("human", {})
    if "human" not in human:
        return []
    return [read("human_agreement", human["human"]["overall_accuracy"], "human")]


def _human(expression: Mapping[str, Any]) -> list[tuple[str, str]]:
    human = expression.get("human", {})
    if "human" not in human:
        return []
    names = {"overall_accuracy": "accuracy", "macro_f1": "macro-F1"}
    who = {"human": "one annotator against the others", "model": "model on the same labels"}
    return [
        (f"{words}: {short}", figure(human[side][name]))
        for name, short in names.items()
        for side, words in who.items()
    ]


def _votes(expression: Mapping[str, Any]) -> list[tuple[str, str]]:
    votes = expression.get("votes", {})
    rows = [(words, figure(votes[name])) for name, words in _SAID.items() if name in votes]
    if "kl" in votes:
        rows.append(("KL to the votes, nats", figure(votes["kl"])))
    return rows


def _others(expression: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    by_subject, copies = expression.get("by_subject", {}), expression.get("copies", {})
    if "accuracy" in by_subject:
        told = f"accuracy, mean over {by_subject['subjects']} subjects"
        rows.append((told, figure(by_subject["accuracy"])))
    for side in ("with", "without"):
        found = copies.get(side, {})
        if "overall_accuracy" in found and copies["with"]["pictures"]:
            told = f"accuracy of {found['pictures']} pictures {side} a copy in training"
            rows.append((told, figure(found["overall_accuracy"])))
    if HARMONIC in expression:
        told = "harmonic mean of macro precision and recall (no macro-F1)"
        rows.append((told, figure(expression[HARMONIC])))
    return rows
