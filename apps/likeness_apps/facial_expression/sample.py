"""`sample`: drawn faces in public layouts, seen by simulated taggers.

Several expressions have variants (a smile with or without teeth), which `truth.csv` names and the
layout does not: what looks for sub-classes can be tried on them. Nobody in it is real.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from likeness.errors import require
from likeness.files import atomic_path, write_text
from likeness_apps.facial_expression.drawn_faces import draw_face
from likeness_apps.facial_expression.drawn_looks import variants
from likeness_apps.facial_expression.expressions import EXPRESSIONS, FER2013
from likeness_apps.facial_expression.votes import ANSWERS
from likeness_apps.shell.console import progress

SIZE = 48  # side of a picture in pixels, as in FER2013
PER_CLASS = 60
TAGGERS = 10
_SPLITS = {"Training": 0.6, "PublicTest": 0.2, "PrivateTest": 0.2}  # of the subjects
_FOLDERS = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}
_PER_SUBJECT = 12  # pictures
_CLEAR = (0.55, 1.0)  # how likely a tagger sees what was drawn, differs from picture to picture
_UNKNOWN, _NOT_A_FACE = 0.03, 0.002  # of all answers
# What taggers take an expression for if they err.
_MISTAKEN = {
    "neutral": ("sadness", "anger", "contempt"),
    "happiness": ("neutral", "contempt"),
    "surprise": ("fear", "happiness"),
    "sadness": ("neutral", "fear"),
    "anger": ("disgust", "neutral", "sadness"),
    "disgust": ("anger", "contempt"),
    "fear": ("surprise", "sadness"),
    "contempt": ("neutral", "happiness", "disgust"),
}

README = """Generated data: these faces were drawn by `likeness facial-expression sample`.

Nobody in it is real, no photograph is involved, and the votes are made up as well. Nothing may be
concluded from it about real faces, least of all about tones of skin. Folders, names and tables
follow {name}, whose pictures are not in here. truth.csv says what was drawn: expression, variant
and subject of each picture.
"""


@dataclass(frozen=True)
class Drawn:
    """A picture that is to be drawn.

    Attributes:
        number: of the picture, from 0; its name.
        expression: what is drawn.
        variant: of the expression.
        subject: who.
        usage: FER2013's word for the split.
    """

    number: int
    expression: str
    variant: str
    subject: int
    usage: str

    @property
    def name(self) -> str:
        """As FER+ calls it."""
        return f"fer{self.number:07d}.png"


def generator(*key: object) -> np.random.Generator:
    """Random numbers that belong to these words and numbers, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def write_sample(
    out: Path, *, seed: int = 0, layout: str = "ferplus", per_class: int = PER_CLASS
) -> Path:
    """Write a generated set in a public layout, with truth.csv and a readme.

    Args:
        out: the directory to write into.
        seed: of the set.
        layout: `ferplus`: `data/FER2013{Train,Valid,Test}` with pictures and votes of ten taggers.
            `fer2013`: `fer2013.csv`, labelled with what was drawn, without contempt.
        per_class: faces of each expression; no subject is in two splits.

    Returns:
        The root of the set, as other commands take it.

    Raises:
        UserError: for an unknown layout or another number of faces.
    """
    require(layout in SAMPLES, "layout", f"one of {', '.join(SAMPLES)}", layout)
    require(10 <= per_class <= 10_000, "per_class", "from 10 to 10000", per_class)
    name, expressions, write = SAMPLES[layout]
    root = out / f"{name.replace('+', 'plus')}_generated"
    drawn = _planned(seed, per_class, expressions)
    write(root, seed, drawn)
    truth = [
        {"picture": one.name, "expression": one.expression, "variant": one.variant}
        | {"subject": one.subject, "usage": one.usage}
        for one in drawn
    ]
    _write_rows(root / "truth.csv", list(truth[0]), [list(row.values()) for row in truth])
    write_text(root / "readme.txt", README.format(name=name))
    return root


def face_of(drawn: Drawn, seed: int, size: int = SIZE) -> np.ndarray:
    """The picture, (size, size) of uint8, the same for the same arguments on every call."""
    rng = generator(seed, "face", drawn.number)
    return draw_face(drawn.expression, drawn.variant, drawn.subject, size, rng)


def votes_of(expression: str, rng: np.random.Generator) -> list[int]:
    """What ten taggers answer to a face with this expression, in the order of `ANSWERS`."""
    chances = dict.fromkeys(ANSWERS, 0.0) | {"unknown": _UNKNOWN, "nf": _NOT_A_FACE}
    seen = rng.uniform(*_CLEAR) * (1 - _UNKNOWN - _NOT_A_FACE)
    chances[expression] = seen
    missed = 1 - sum(chances.values())
    # One mistake is likelier than the others: taggers who err agree on it.
    shares = rng.dirichlet(np.full(len(_MISTAKEN[expression]), 0.7))
    for other, share in zip(_MISTAKEN[expression], shares, strict=True):
        chances[other] += missed * share
    return [int(count) for count in rng.multinomial(TAGGERS, list(chances.values()))]


def _planned(seed: int, per_class: int, expressions: Sequence[str]) -> list[Drawn]:
    """What is drawn; every split has every expression, and variants are about equally frequent."""
    planned: list[Drawn] = []
    for usage, share in _SPLITS.items():
        count = round(share * per_class)
        faces = [
            (expression, variants(expression)[number % len(variants(expression))])
            for expression in expressions
            for number in range(count)
        ]
        order = generator(seed, "order", usage).permutation(len(faces))
        first = 1 + (planned[-1].subject if planned else 10_000 * seed)
        subjects = max(2, len(faces) // _PER_SUBJECT)
        for place, chosen in enumerate(order):
            expression, variant = faces[chosen]
            number, subject = len(planned), first + place * subjects // len(faces)
            planned.append(Drawn(number, expression, variant, subject, usage))
    return planned


def _write_ferplus(root: Path, seed: int, drawn: Sequence[Drawn]) -> None:
    votes: dict[str, list[list[object]]] = {folder: [] for folder in _FOLDERS.values()}
    with progress("drawing faces") as advance:
        for done, one in enumerate(drawn, start=1):
            folder = _FOLDERS[one.usage]
            with atomic_path(root / "data" / folder / one.name) as temporary:
                Image.fromarray(face_of(one, seed)).save(temporary, "PNG")
            said = votes_of(one.expression, generator(seed, "votes", one.number))
            votes[folder].append([one.name, f"(0, 0, {SIZE}, {SIZE})", *said])
            advance(done, len(drawn))
    for folder, rows in votes.items():
        _write_rows(root / "data" / folder / "label.csv", None, rows)


def _write_fer2013(root: Path, seed: int, drawn: Sequence[Drawn]) -> None:
    number_of = {name: number for number, name in FER2013.items()}
    rows: list[list[object]] = []
    with progress("drawing faces") as advance:
        for done, one in enumerate(drawn, start=1):
            pixels = " ".join(map(str, face_of(one, seed).ravel().tolist()))
            rows.append([number_of[one.expression], pixels, one.usage])
            advance(done, len(drawn))
    _write_rows(root / "fer2013.csv", ["emotion", "pixels", "Usage"], rows)


Writer = Callable[[Path, int, Sequence[Drawn]], None]
# Layout -> the set's name, its expressions, and the writer.
SAMPLES: Mapping[str, tuple[str, Sequence[str], Writer]] = {
    "ferplus": ("FER+", EXPRESSIONS, _write_ferplus),
    "fer2013": ("FER2013", tuple(FER2013.values()), _write_fer2013),
}


def _write_rows(path: Path, header: list[str] | None, rows: Sequence[Sequence[object]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerows([header] if header else [])
        writer.writerows(rows)
