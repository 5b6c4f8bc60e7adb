"""One vocabulary for all sets, mapped by name."""

from __future__ import annotations

import pytest

from likeness.errors import UserError
from likeness_apps.facial_expression.expressions import (
    AFFECTNET,
    CK_PLUS,
    EXPRESSIONS,
    FER2013,
    RAF_DB,
    expression_of,
    require_expression,
    require_number,
)


def test_maps_are_those_of_the_sets() -> None:
    """In words, as each set's own documents have them."""
    shown = {
        "angry disgust fear happy sad surprise neutral": [FER2013[n] for n in range(7)],
        "neutral happy sad surprise fear disgust anger contempt": [AFFECTNET[n] for n in range(8)],
        "neutral anger contempt disgust fear happy sadness surprise": [
            CK_PLUS[n] for n in range(8)
        ],
        "surprise fear disgust happiness sadness anger neutral": [RAF_DB[n] for n in range(1, 8)],
        "NE HA SU SA AN DI FE": list(EXPRESSIONS[:7]),
    }
    for words, names in shown.items():
        assert [expression_of(word) for word in words.split()] == names


def test_spellings() -> None:
    for word, name in (
        ("  Happy ", "happiness"),
        ("SURPRISED", "surprise"),
        ("neutral_face", "neutral"),
        ("contempt", "contempt"),
        ("bored", None),
        ("", None),
    ):
        assert expression_of(word) == name


@pytest.mark.parametrize("cell", ["3", "3.0", "   3.0000000e+00\n"])
def test_numbers_as_text(cell: str) -> None:
    assert require_number(cell, RAF_DB, "x") == "disgust"


@pytest.mark.plain
@pytest.mark.parametrize("cell", ["0", "8", "3.5", "-1", "nan", "inf", "", "happy"])
def test_numbers_outside_the_map_are_one_sentence(cell: str) -> None:
    with pytest.raises(UserError, match="label of a must be a number from 1 to 7, got"):
        require_number(cell, RAF_DB, "label of a")


@pytest.mark.plain
def test_words_outside_the_map_are_one_sentence() -> None:
    with pytest.raises(UserError, match=r"label of a must be one of neutral, .*, got 'bored'"):
        require_expression("bored", "label of a")
