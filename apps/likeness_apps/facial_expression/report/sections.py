"""The sections of displayed expressions in report.html: from metrics to HTML, or why there is none.

What the entries are is listed at the top of `measures/expression.py`; the sub-class of a picture is
the column `subclass` of predictions.csv.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from markupsafe import Markup

from likeness.search.space import prepared
from likeness_apps.facial_expression.report.gallery import SIDE, shown_subclasses
from likeness_apps.facial_expression.report.gathered import NONE, Gathered
from likeness_apps.facial_expression.report.ovals import draw_classes, draw_inside
from likeness_apps.shell.report.data import texts
from likeness_apps.shell.report.page import section
from likeness_apps.shell.report.sections import Build
from likeness_apps.shell.report.tables import Figure, figure, number_of, title_of

Body = Markup | str  # a plain str is the reason why there is none
Record = Mapping[str, Any]

PACKAGE = "likeness_apps.facial_expression.report"
NAME = "expression"
SUBCLASS = "subclass"  # of predictions.csv
NOT_MEASURED = "metrics.json holds no figures of displayed expressions."
NO_SUBCLASSES = (
    "the model has no sub-classes, or this is the report of its training; `evaluate` shows those "
    "of a model that was trained with --config subclasses."
)
WITHOUT_IMAGES = "faces are only put in with --include-images."
_COMPARED = {
    "overall_accuracy": "Accuracy",
    "average_accuracy": "Balanced accuracy (mean recall)",
    "macro_f1": "Macro-F1",
}
_VOTES = {
    "kl": ("Kullback-Leibler divergence from the votes", "nats; 0 if probabilities are the votes"),
    "soft_cross_entropy": ("Cross-entropy with the votes", "nats"),
    "entropy": ("Entropy of the votes", "nats; no cross-entropy can be below it"),
    "said_by_one": ("Answer that at least one annotator gave", "share of the pictures"),
    "said_by_three": ("Answer that at least three annotators gave", "share of the pictures"),
}
_BY_RULE = ("overall_accuracy", "kl", "soft_cross_entropy")
_OTHERS = {
    "macro_precision": ("Macro precision", "mean over the classes"),
    "harmonic_macro_precision_recall": (
        "Harmonic mean of macro precision and macro recall",
        "what the first author's notebooks call F1; it is not macro-F1, and here for comparison",
    ),
}


@dataclass(frozen=True)
class Line:
    """A figure, what is to be known of it, and its texts."""

    name: str
    note: str
    figure: Figure


def _made(name: str, **values: Any) -> Markup:
    return section(name, package=PACKAGE, template="expression.html.j2", **values)


def _own(build: Build) -> Record:
    found: Record = build.data.metrics.get(NAME) or {}
    return found


def _share(entry: Any) -> Figure:
    """A figure in percent."""
    return figure("share", entry)


def _line(name: str, note: str, entry: Any, *, plain: bool = False) -> Line:
    # What is no share is not shown in percent, whatever it comes to.
    return Line(name, note, figure("loss", entry) if plain else _share(entry))


def _meaning(build: Build) -> Body:
    own = _own(build)
    if not own:
        return NOT_MEASURED
    absent = own.get("absent_classes") or {}
    left = absent.get("renormalised") or {}
    return _made(
        "meaning",
        meaning=own.get("meaning", ""),
        unit=(own.get("interval") or {}).get("unit", ""),
        absent=absent,
        left=[_line(title_of(name), "", entry) for name, entry in left.items()],
    )


def _human(build: Build) -> Body:
    own = _own(build)
    if not own.get("recall"):
        return NOT_MEASURED
    human = own.get("human") or {}
    sides = [
        (
            name,
            *(figure("share", human[side][key]) for side in ("model", "human")),
            _less(human, key),
        )
        for key, name in _COMPARED.items()
        if "human" in human
    ]
    recalls = (human.get("human") or {}).get("recall") or {}
    index = {name: place for place, name in enumerate(build.data.items.classes)}
    rows = [
        (
            name,
            index.get(name, NONE),
            _share(entry),
            _share(recalls[name]) if name in recalls else None,
        )
        for name, entry in own["recall"].items()
    ]
    others = [_line(*words, own[key]) for key, words in _OTHERS.items() if key in own]
    return _made("human", human=human, sides=sides, rows=rows, others=others)


def _less(human: Record, key: str) -> str:
    """Model less human in points, with its interval: `−3.1 [−4.0, −2.2]`."""
    entry = (human.get("difference") or {}).get(key) or {}
    value, low, high = (number_of(entry.get(part)) for part in ("value", "low", "high"))
    if value is None:
        return "undefined"
    if low is None or high is None:
        return _points(value)
    return f"{_points(value)} [{_points(low)}, {_points(high)}]"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")


def _votes(build: Build) -> Body:
    votes = _own(build).get("votes") or {}
    rows = [
        _line(*words, votes[key], plain=not key.startswith("said"))
        for key, words in _VOTES.items()
        if key in votes
    ]
    if not rows:
        return str(votes.get("reason") or NOT_MEASURED)
    official = votes.get("official") or {}
    rules = [
        (mode, entry, [_official(key, entry[key]) for key in _BY_RULE if key in entry])
        for mode, entry in official.items()
    ]
    return _made("votes", votes=votes, rows=rows, rules=rules)


def _official(key: str, entry: Any) -> Line:
    if key == "overall_accuracy":
        return _line("Accuracy", "", entry)
    return _line(*_VOTES[key], entry, plain=True)


def _subjects(build: Build) -> Body:
    found = _own(build).get("by_subject") or {}
    if "accuracy" not in found:
        return str(found.get("reason") or NOT_MEASURED)
    return _made("subjects", found=found, mean=_share(found["accuracy"]))


def _copies(build: Build) -> Body:
    found = _own(build).get("copies") or {}
    sides = [
        (words, found[side], _share(found[side]["overall_accuracy"]))
        for side, words in (("with", "with a copy among them"), ("without", "without one"))
        if "overall_accuracy" in (found.get(side) or {})
    ]
    if not sides:
        return str(found.get("reason") or "it is told by evaluate.")
    return _made("copies", found=found, sides=sides)


def _coverage(build: Build) -> Body:
    found = build.data.metrics.get("coverage") or {}
    if not found:
        return "every picture of the set is a face that was given: nothing had to be found."
    answered = build.data.metrics.get("classification") or {}
    rows = [
        (name, _share(answered[key]), _share(entry))
        for key, entry in found["on_all"].items()
        if key in answered and (name := _COMPARED.get(key))
    ]
    return _made("coverage", found=found, share=_share(found["answered"]), rows=rows)


def gathered(build: Build) -> Gathered | None:
    """The faces of a report with their true classes; None without embeddings."""
    data, items = build.data, build.data.items
    if data.embeddings_ND is None or not len(items):
        return None
    place = {name: number for number, name in enumerate(items.classes)}
    class_N = np.array([place.get(truth, NONE) for truth in items.truths], dtype=np.int64)
    table = data.predictions[data.predictions["status"] == "ok"]
    said = texts(table, SUBCLASS) if SUBCLASS in table.columns else [""] * len(items)
    names = sorted({*said} - {""})
    number = {name: one for one, name in enumerate(names)}
    # A picture that lies nearest to a sub-class of another class is in none of its own.
    subclass_N = np.array(
        [
            number[name] if name and name.rpartition("/")[0] == truth else NONE
            for name, truth in zip(said, items.truths, strict=True)
        ],
        dtype=np.int64,
    )
    return Gathered(
        rows_ND=prepared(data.embeddings_ND, data.space, "embeddings"),
        class_N=class_N,
        subclass_N=subclass_N,
        classes=items.classes,
        names=names,
        paths=items.paths,
        uri=lambda face: build.pictures.uri(items.paths[face], SIDE),
    )


def _planes(build: Build) -> Body:
    faces = gathered(build)
    whole = None if faces is None else draw_classes(faces, build.seed)
    if faces is None or whole is None:
        return "it needs embeddings of two classes with known labels."
    inside = [draw_inside(faces, number, build.seed) for number in faces.subclasses_of]
    return section(
        "planes",
        package=PACKAGE,
        template="facial_expression.html.j2",
        whole=whole,
        inside=inside,
        counted=_counted(whole.dots, len(build.data.items), bool(inside)),
        space_text=build.space_text,
        pictured="<image" in whole.svg,
    )


def _counted(dots: int, faces: int, divided: bool) -> str:
    text = f"Dots: {dots:,} of {faces:,} faces, in the colour of their true class."
    if divided:
        text += (
            " A face is of the sub-class of its class whose training mean is nearest; one that lies"
            " nearer to a sub-class of another class is in none."
        )
    return text


def _gallery(build: Build) -> Body:
    faces = gathered(build)
    rows = [] if faces is None else shown_subclasses(faces)
    if not rows:
        return NO_SUBCLASSES
    if not any(cell.uri for row in rows for cell in row.cells):
        return WITHOUT_IMAGES
    source = (
        "Faces of this report, each by the sub-class whose training mean is nearest, if that is of "
        "its own class."
    )
    named = [
        replace(row, cells=[replace(cell, name=row.name) for cell in row.cells]) for row in rows
    ]
    return section(
        "gallery",
        package=PACKAGE,
        template="facial_expression.html.j2",
        rows=named,
        source=source,
    )


SECTIONS: Sequence[tuple[str, str, Callable[[Build], Body]]] = (
    ("meaning", "What the answers are", _meaning),
    ("human", "Beside human agreement", _human),
    ("votes", "What the annotators said", _votes),
    ("planes", "Classes and sub-classes", _planes),
    ("subclasses", "Sub-classes, face by face", _gallery),
    ("subjects", "Over subjects", _subjects),
    ("coverage", "Faces found", _coverage),
    ("copies", "Copies of training pictures", _copies),
)
