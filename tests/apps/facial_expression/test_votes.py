"""Votes: both rules, distributions, and human agreement against every tagger in turn."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import UserError
from likeness_apps.facial_expression.expressions import EXPRESSIONS
from likeness_apps.facial_expression.votes import (
    ANSWERS,
    COLUMNS,
    distributions,
    human_agreement,
    judge,
    official_labels,
    official_shares,
    read_votes,
)

N, H, SU, SA, A, D, F, C, UNKNOWN, NF = range(10)


def votes(**counts: int) -> np.ndarray:
    """Ten numbers, by the names of the answers."""
    row = [counts.get(name, 0) for name in ANSWERS]
    assert sum(row) == sum(counts.values())
    return np.array([row])


def answers_strategy(least: int = 0):
    rows = st.lists(st.lists(st.integers(0, 9), min_size=least, max_size=10), min_size=1)
    return rows.map(lambda rows: [sorted(row) for row in rows])


def counted(answers: list[list[int]]) -> np.ndarray:
    return np.array([[row.count(answer) for answer in range(10)] for row in answers])


# Our rule


@pytest.mark.parametrize(
    ("counts", "label", "outcome"),
    [
        ({"neutral": 4, "anger": 3, "disgust": 2, "sadness": 1}, "neutral", "label"),
        ({"neutral": 5, "anger": 5}, "", "tie"),
        ({"fear": 4, "nf": 4, "unknown": 2}, "", "tie"),
        ({"unknown": 6, "fear": 4}, "", "unknown"),
        ({"nf": 6, "fear": 4}, "", "nf"),
        ({"contempt": 1}, "contempt", "label"),
        ({}, "", "no votes"),
    ],
)
def test_the_answer_with_the_most_votes_alone(counts, label, outcome) -> None:
    assert judge(votes(**counts)) == ([label], [outcome])


@settings(max_examples=50)
@given(answers_strategy())
def test_labels_are_those_of_a_count(answers: list[list[int]]) -> None:
    labels, outcomes = judge(counted(answers))
    for row, label, outcome in zip(answers, labels, outcomes, strict=True):
        ranked = Counter(row).most_common(2)
        clear = ranked and (len(ranked) == 1 or ranked[0][1] > ranked[1][1])
        assert (outcome in ("label", "unknown", "nf")) == bool(clear)
        if clear:
            assert outcome == ("label" if ranked[0][0] < 8 else ANSWERS[ranked[0][0]])
            assert label == (ANSWERS[ranked[0][0]] if ranked[0][0] < 8 else "")


# The authors' rules


@pytest.mark.parametrize(
    ("counts", "label"),
    [
        ({"neutral": 4, "anger": 3, "disgust": 2, "sadness": 1}, ""),  # 4 of 9
        ({"neutral": 4, "anger": 3, "sadness": 1, "fear": 1, "disgust": 1}, "neutral"),  # 4 of 7
        ({"neutral": 5, "anger": 5}, ""),
        ({"unknown": 6, "fear": 4}, ""),
        ({"fear": 6, "unknown": 4}, "fear"),
        ({"fear": 1, "anger": 1}, ""),
        ({}, ""),
    ],
)
def test_more_than_half_without_single_votes(counts, label) -> None:
    assert official_labels(votes(**counts)) == [label]


@pytest.mark.parametrize(
    ("mode", "counts", "shares"),
    [
        ("majority", {"happiness": 8, "neutral": 2}, {"happiness": 1.0}),
        # 6 are less than 75 % of 10, 9 are enough
        ("probability", {"anger": 6, "disgust": 3, "fear": 1}, {"anger": 2 / 3, "disgust": 1 / 3}),
        ("probability", {"anger": 8, "disgust": 2}, {"anger": 1.0}),
        ("probability", {"anger": 4, "fear": 4, "sadness": 2}, {"anger": 0.5, "fear": 0.5}),
        ("probability", {"neutral": 5, "unknown": 3, "fear": 2}, {}),  # only 5 of 10
        ("probability", {"neutral": 6, "unknown": 4}, {"neutral": 1.0}),
        ("probability", {"unknown": 5, "neutral": 3, "fear": 2}, {}),
        ("probability", {"neutral": 5, "unknown": 5}, {}),
        ("probability", {"neutral": 4, "fear": 2, "anger": 2, "disgust": 2}, {}),  # four of them
        ("multi_target", {"anger": 5, "disgust": 3, "fear": 2}, {"anger": 0.625, "disgust": 0.375}),
        ("multi_target", {"anger": 4, "disgust": 2, "fear": 2, "sadness": 2}, {}),
        ("multi_target", {"anger": 4, "unknown": 3, "fear": 3}, {"anger": 4 / 7, "fear": 3 / 7}),
        ("multi_target", {"unknown": 4, "anger": 3, "fear": 3}, {}),
        ("multi_target", {}, {}),
    ],
)
def test_what_counts_by_mode(mode, counts, shares) -> None:
    expected = [shares.get(name, 0.0) for name in EXPRESSIONS]
    np.testing.assert_allclose(official_shares(votes(**counts), mode), [expected])


@pytest.mark.plain
def test_an_unknown_mode() -> None:
    with pytest.raises(UserError, match="mode must be one of majority, probability, multi_target"):
        official_shares(votes(), "any")  # type: ignore[arg-type]


def test_no_pictures() -> None:
    none = np.zeros((0, 10), np.int64)
    assert judge(none) == ([], [])
    assert official_shares(none, "probability").shape == (0, 8)
    assert math.isnan(human_agreement(none).accuracy)


# Distributions


def table(*rows: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame(np.concatenate(rows), columns=list(COLUMNS))
    return frame.assign(path=[f"{number}.png" for number in range(len(frame))])


def test_shares_of_the_votes_for_the_classes() -> None:
    rows = table(votes(anger=3, fear=1, unknown=4, contempt=2), votes(fear=10))
    classes = ["anger", "contempt", "fear"]
    np.testing.assert_allclose(distributions(rows, classes), [[0.5, 1 / 3, 1 / 6], [0, 0, 1]])
    np.testing.assert_allclose(distributions(rows, ["fear", "anger"]), [[0.25, 0.75], [1, 0]])
    assert distributions(rows.drop(columns=COLUMNS[0]), classes) is None


@pytest.mark.plain
def test_pictures_without_a_vote_for_a_class() -> None:
    rows = table(votes(anger=3), votes(fear=10))
    with pytest.raises(
        UserError, match=r"votes of 1.png must be for one of anger, disgust at leas"
    ):
        distributions(rows, ["anger", "disgust"])
    with pytest.raises(UserError, match=r"class must be one of neutral, .*, got 'Angry'"):
        distributions(rows, ["Angry"])


# Human agreement


def agreement_by_taggers(answers: list[list[int]]) -> dict[str, float]:
    """Every tagger of every picture in turn; taggers of a picture weigh the same in all."""
    asked, agreed = Counter(), Counter()
    for row in answers:
        for place, answer in enumerate(row):
            others = Counter(row[:place] + row[place + 1 :]).most_common()
            if (len(others) > 1 and others[0][1] == others[1][1]) or others[0][0] >= 8:
                continue
            asked[others[0][0]] += 1 / len(row)
            agreed[others[0][0]] += (others[0][0] == answer) / len(row)
    recalls = [agreed[label] / asked[label] for label in asked]
    total = sum(asked.values())
    return {
        "accuracy": sum(agreed.values()) / total if total else math.nan,
        "balanced": float(np.mean(recalls)) if recalls else math.nan,
        "none": 1 - total / len(answers),
    }


@settings(max_examples=60)
@given(answers_strategy(least=2))
def test_agreement_is_the_mean_over_all_taggers(answers: list[list[int]]) -> None:
    found, expected = human_agreement(counted(answers)), agreement_by_taggers(answers)
    assert found.accuracy == pytest.approx(expected["accuracy"], nan_ok=True)
    assert found.balanced_accuracy == pytest.approx(expected["balanced"], nan_ok=True)
    assert found.no_majority == pytest.approx(expected["none"], abs=1e-12)
    np.testing.assert_allclose(found.confusion_CA.sum(axis=1), found.asked_NC.sum(axis=0))
    own = found.confusion_CA[:, :8].diagonal()
    np.testing.assert_allclose(own, found.agreed_NC.sum(axis=0))


def test_agreement_by_hand() -> None:
    """9 say happiness, 1 neutral: each of the 9 agrees, the tenth does not."""
    found = human_agreement(votes(happiness=9, neutral=1))
    assert found.accuracy == pytest.approx(0.9)
    assert found.recall_C[H] == pytest.approx(0.9)
    assert np.isnan(found.recall_C[N])
    assert found.no_majority == 0
    assert found.confusion_CA[H, [H, N]] == pytest.approx([0.9, 0.1])
    # 5 against 5: whoever is left out, the others disagree with him.
    assert human_agreement(votes(happiness=5, neutral=5)).accuracy == 0
    # 2 against 1: without one of the two it is a tie; without the third he is wrong.
    split = human_agreement(votes(anger=2, fear=1))
    assert (split.accuracy, split.no_majority) == pytest.approx((0, 2 / 3))
    assert human_agreement(votes(unknown=9, fear=1)).no_majority == pytest.approx(1)
    # nobody knows who is the tenth; an answer `unknown` is wrong where the others agree
    assert human_agreement(votes(fear=8, unknown=2)).accuracy == pytest.approx(0.8)


@pytest.mark.plain
def test_agreement_needs_two_taggers() -> None:
    with pytest.raises(UserError, match=r"votes must be of at least two taggers .*, got 1"):
        human_agreement(votes(fear=1))


@pytest.mark.plain
def test_cells_of_votes() -> None:
    cells = ["4", "4.0", *["0"] * 8]
    assert read_votes(cells, "row 1") == [4, 4, *[0] * 8]
    for bad in (cells[:-1], [*cells[:-1], "x"], [*cells[:-1], "nan"], [*cells[:-1], "0.5"]):
        with pytest.raises(
            UserError, match="votes in row 1 must be 10 whole numbers >= 0, got '4,4"
        ):
            read_votes(bad, "row 1")
