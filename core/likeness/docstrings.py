"""What docstrings say, read by rule: paragraphs, sentences, papers, the meaning of arguments."""

from __future__ import annotations

import re

_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):$", re.M)
_ENTRY = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.M)
_DATED = re.compile(r"\b(?:19|20)\d\d\b(?!\.\d)|\b\d{4}\.\d{4,5}\b")  # a year, or an arXiv number


def prose(document: str) -> str:
    """A docstring without its lists of arguments and the like."""
    return _SECTION.split(document)[0].strip()


def meanings(document: str) -> dict[str, str]:
    """What a docstring's lists say of each name in them."""
    return {name: " ".join(meaning.split()) for name, meaning in _ENTRY.findall(document)}


def paragraphs(text: str) -> list[str]:
    """Each on one line; at least one."""
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip())]


def sentences(text: str) -> list[str]:
    """Roughly: "et al." and "eq." end none."""
    whole = " ".join(text.split())
    return re.split(r"(?<=[.!?])(?<!al\.)(?<!eq\.)\s+(?=[A-Z`(])", whole)


def citations(text: str) -> tuple[str, ...]:
    """The papers that a text names, in order, each once: "Wang, Han, CVPR 2019"."""
    words, found = text.split(), []
    for place, word in enumerate(words):
        if not _DATED.search(word):
            continue
        first = place
        while first and not words[first].startswith("(") and _continues(words[first - 1]):
            first -= 1
        while first < place and words[first][0].islower():
            first += 1
        cited = " ".join(words[first : place + 1])
        named = re.sub(r"\W*$", "", cited).lstrip("(")
        if any(part.lstrip("(")[0].isupper() for part in words[first:place]):
            found.append(named)
    return tuple(dict.fromkeys(found))


def _continues(word: str) -> bool:
    """Whether a citation may go on to the left over this word: names, venues, and their joints."""
    if word.rstrip(",") in ("et", "al.", "and", "&", "arXiv"):
        return True
    ends = word[-1] in ".:;)" and not re.fullmatch(r"[A-Z]\.", word)
    return word.lstrip("(`\"'")[:1].isupper() and not ends and not _DATED.search(word)
