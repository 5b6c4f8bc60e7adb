"""CK+ (Lucey et al. 2010): sequences from a neutral face to the apex of an expression.

`cohn-kanade-images/S005/001/S005_001_00000011.png` with
`Emotion/S005/001/S005_001_00000011_emotion.txt`, which most sequences lack; and CK+48, a set of cut
faces in the wild: `CK+48/happy/S010_006_00000015.png`, three apex frames of each labelled sequence.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path, PurePosixPath

from likeness.errors import UserError, require
from likeness_apps.facial_expression.expressions import (
    CK_PLUS,
    require_expression,
    require_number,
)
from likeness_apps.facial_expression.layouts.folds import with_subject_folds
from likeness_apps.facial_expression.layouts.tree import (
    Reading,
    Tree,
    counted,
    face_set,
    missing,
    name_of,
)

NAME, CUT = "ck-plus", "ck-plus-48"
APEX, NEUTRAL = "apex", "neutral"  # roles of frames
APEX_FRAMES = 3  # the last of a sequence, as most published protocols and CK+48 take them
_FRAME = re.compile(r"^(?P<sequence>(?P<subject>S\d{3})_\d{3})_\d{8}\.(?i:png|jpe?g|tiff?)$")
_LABEL = re.compile(r"^(?P<sequence>S\d{3}_\d{3})_\d{8}_emotion\.txt$")
_ABOVE = re.compile(r"^(?:S\d{3}|\d{3})$")  # folders of the original
_BESIDE = re.compile(r"^S\d{3}_\d{3}_\d{8}_(?:emotion|facs|landmarks)\.txt$")


def is_here(tree: Tree) -> bool:
    """Whether there are frames and labels of CK+."""
    frames = any(_FRAME.match(name_of(path)) for path in tree.images)
    return frames and any(_LABEL.match(name_of(path)) for path in tree.others)


def is_cut_here(tree: Tree) -> bool:
    """Whether there are frames of CK+ in folders of expressions, without labels beside."""
    frames = [path for path in tree.images if _FRAME.match(name_of(path))]
    plain = not any(_ABOVE.match(PurePosixPath(path).parent.name) for path in frames)
    return bool(frames) and plain and not is_here(tree)


def read(tree: Tree) -> Reading:
    """The original: of each labelled sequence the last three frames and the first.

    Columns: `subject`, `sequence`, `role` (`apex`, or `neutral` for a first frame, whatever the
    sequence's label) and `fold`. Sequences without a label are left out and counted.

    Raises:
        UserError: if a label is none of the set, or a sequence has two.
    """
    frames: defaultdict[str, list[str]] = defaultdict(list)
    rest = [path for path in tree.others if not _BESIDE.match(name_of(path))]
    for path in tree.images:
        if match := _FRAME.match(name_of(path)):
            frames[match["sequence"]].append(path)
        else:
            rest.append(path)
    labels = _labels(tree)
    images, columns = [], defaultdict(list)
    for sequence in sorted(labels.keys() & frames.keys()):
        for path, role in _chosen(sorted(frames[sequence], key=name_of)):
            images.append(path)
            columns["label"].append(NEUTRAL if role == NEUTRAL else labels[sequence])
            columns["subject"].append(sequence[:4])
            columns["sequence"].append(sequence)
            columns["role"].append(role)
    bare = len(frames.keys() - labels.keys())
    message = f"left out, as they have no label: {bare} of the sequences"
    findings = counted("no-label", "", bare, message, "nothing: so it was published")
    findings += missing("Emotion", sorted(labels.keys() - frames.keys()))
    return with_subject_folds(face_set(tree, NAME, images, columns, findings, folders=2)), rest


def read_cut(tree: Tree) -> Reading:
    """CK+48: three apex frames of each sequence, no neutral ones.

    Raises:
        UserError: if a folder is called like no expression.
    """
    images, columns, rest = [], defaultdict(list), list(tree.others)
    for path in tree.images:
        match = _FRAME.match(name_of(path))
        if match is None:
            rest.append(path)
            continue
        images.append(path)
        folder = PurePosixPath(path).parent.name
        columns["label"].append(require_expression(folder, f"folder of {path}"))
        columns["subject"].append(match["subject"])
        columns["sequence"].append(match["sequence"])
        columns["role"].append(APEX)
    return with_subject_folds(face_set(tree, CUT, images, columns, folders=1)), rest


def _chosen(frames: list[str]) -> list[tuple[str, str]]:
    """The frames of a sequence that are used, with their roles; a lone frame is the apex."""
    first, *others = frames
    if not others:
        return [(first, APEX)]
    return [(first, NEUTRAL), *((path, APEX) for path in others[-APEX_FRAMES:])]


def _labels(tree: Tree) -> dict[str, str]:
    """Expression by sequence."""
    labels: dict[str, str] = {}
    for path in tree.others:
        match = _LABEL.match(name_of(path))
        if match is None:
            continue
        sequence = match["sequence"]
        require(sequence not in labels, f"label of sequence {sequence}", "there once", path)
        text = _text(tree.source / path)
        labels[sequence] = require_number(text, CK_PLUS, f"label in {name_of(path)}")
    return labels


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace").strip()
    except OSError as error:
        raise UserError(f"{path} must be a readable file, got {error.strerror}") from error
