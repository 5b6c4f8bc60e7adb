"""The one vocabulary of displayed expressions, and how every public set writes it.

The words say what annotators saw on a face. They do not say what a person felt. Every set has an
order and a spelling of its own; they are mapped by name, never by position.
"""

from __future__ import annotations

from collections.abc import Mapping

from likeness.errors import UserError

# Names and order of FER+ (Barsoum et al. 2016).
EXPRESSIONS = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
)
_SPELLINGS = {
    "neutral": ("ne", "neu", "neutrality", "neutral face", "neutral expression"),
    "happiness": ("ha", "hap", "happy", "joy", "smile", "smiling"),
    "surprise": ("su", "sur", "surprised", "suprise", "surprize"),
    "sadness": ("sa", "sad"),
    "anger": ("an", "ang", "angry"),
    "disgust": ("di", "dis", "disgusted"),
    "fear": ("fe", "fea", "fearful", "afraid", "scared"),
    "contempt": ("co", "con", "contemptuous"),
}
_NAME_OF = {word: name for name, words in _SPELLINGS.items() for word in (name, *words)}

# The numbers that public sets use.
FER2013 = {
    0: "anger",
    1: "disgust",
    2: "fear",
    3: "happiness",
    4: "sadness",
    5: "surprise",
    6: "neutral",
}
CK_PLUS = {
    0: "neutral",
    1: "anger",
    2: "contempt",
    3: "disgust",
    4: "fear",
    5: "happiness",
    6: "sadness",
    7: "surprise",
}
AFFECTNET = {
    0: "neutral",
    1: "happiness",
    2: "sadness",
    3: "surprise",
    4: "fear",
    5: "disgust",
    6: "anger",
    7: "contempt",
}
RAF_DB = {
    1: "surprise",
    2: "fear",
    3: "disgust",
    4: "happiness",
    5: "sadness",
    6: "anger",
    7: "neutral",
}


def expression_of(word: str) -> str | None:
    """The expression that a word or a code of two letters means (`Angry`, `AN`), or None."""
    return _NAME_OF.get(" ".join(word.replace("_", " ").lower().split()))


def require_expression(word: str, where: str) -> str:
    """The expression that a word means.

    Args:
        word: as somebody wrote it.
        where: what it is the label of, for the message.

    Raises:
        UserError: if it means none.
    """
    name = expression_of(word)
    if name is None:
        raise UserError(f"{where} must be one of {', '.join(EXPRESSIONS)}, got {word!r}")
    return name


def require_number(cell: str, names: Mapping[int, str], where: str) -> str:
    """What a number of a public set means; `3`, `3.0` and `   3.0000000e+00` are the same.

    Args:
        cell: the number as text.
        names: of the set, number -> what it means.
        where: what it is the label of, for the message.

    Raises:
        UserError: if it is no number, or none of the set.
    """
    try:
        name = names.get(float(cell))  # type: ignore[call-overload]  # 3.0 is the key 3
    except ValueError:
        name = None
    if name is None:
        raise UserError(
            f"{where} must be a number from {min(names)} to {max(names)}, got {cell.strip()!r}"
        )
    return str(name)
