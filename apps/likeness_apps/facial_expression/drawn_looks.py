"""What drawn faces are made of: the expressions and their variants, and the heads of subjects."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Look:
    """What the muscles of a face do; 0 everywhere is a face at rest.

    Attributes:
        inner_brow: how far the brows' inner ends are raised.
        outer_brow: how far their outer ends are.
        eyes: how far the eyes are opened (+) or narrowed (-), as a share of their height.
        corners: how far the mouth's corners are raised.
        one_side: how far one corner is raised and the other is not.
        open: half of the mouth's opening.
        width: how much wider the mouth is, as a share.
        teeth: how much of the opening shows teeth, 0..1.
        upper_lip: how far the upper lip is raised towards the nose.
        nose: how much the nose is wrinkled, 0..1.
        folds: how deep the folds from the nose to the mouth are, 0..1.
    """

    inner_brow: float = 0.0
    outer_brow: float = 0.0
    eyes: float = 0.0
    corners: float = 0.0
    one_side: float = 0.0
    open: float = 0.0
    width: float = 0.0
    teeth: float = 0.0
    upper_lip: float = 0.0
    nose: float = 0.0
    folds: float = 0.0


# Expression -> variant -> look.
LOOKS = {
    "neutral": {"plain": Look()},
    "happiness": {
        "closed": Look(eyes=-0.25, corners=0.15, width=0.22, folds=0.6),
        "teeth": Look(eyes=-0.35, corners=0.16, width=0.35, open=0.1, teeth=0.95, folds=0.9),
        "laughing": Look(eyes=-0.75, corners=0.17, width=0.3, open=0.2, teeth=0.4, folds=1.0),
    },
    "surprise": {
        "open": Look(0.16, 0.15, 0.5, open=0.24, width=-0.3),
        "closed": Look(0.17, 0.16, 0.45, width=-0.12),
    },
    "sadness": {
        "looking": Look(0.13, -0.08, -0.1, corners=-0.13, width=-0.05),
        "eyes_shut": Look(0.14, -0.07, -0.92, corners=-0.12),
    },
    "anger": {
        "pressed": Look(-0.15, 0.03, -0.15, corners=-0.05, width=-0.05, nose=0.4),
        "shouting": Look(-0.15, 0.04, 0.1, open=0.2, teeth=0.6, width=0.05, nose=0.6, folds=0.8),
    },
    "disgust": {
        "plain": Look(-0.08, -0.04, -0.5, corners=-0.09, upper_lip=0.12, nose=1.0, folds=0.9)
    },
    "fear": {
        "plain": Look(0.15, 0.06, 0.55, corners=-0.06, open=0.08, teeth=0.5, width=0.3, nose=0.1)
    },
    "contempt": {"plain": Look(eyes=-0.2, one_side=0.16, folds=0.2, outer_brow=0.03)},
}


@dataclass(frozen=True)
class Subject:
    """A made-up head; lengths are in halves of the face's square, tones in 0..1.

    Attributes:
        skin: tone of the skin.
        hair: tone of the hair.
        width: half of the head's width.
        jaw: how narrow the chin is, 0..1.
        fringe: how far down the hair reaches, from the top.
        eye_gap: half of the distance of the eyes.
        eye_size: half of an eye's height.
        brow: half of a brow's thickness.
        mouth: half of the mouth's width.
        nose: length of the nose.
    """

    skin: float
    hair: float
    width: float
    jaw: float
    fringe: float
    eye_gap: float
    eye_size: float
    brow: float
    mouth: float
    nose: float


def variants(expression: str) -> tuple[str, ...]:
    """The variants of an expression; one of a single kind has one."""
    return tuple(LOOKS[expression])


def subject_of(number: int) -> Subject:
    """The subject of this number, the same on every machine."""
    digest = hashlib.sha256(f"subject/{number}".encode()).digest()
    draw = np.random.default_rng(int.from_bytes(digest[:8], "big")).uniform
    return Subject(
        skin=draw(0.58, 0.78),
        hair=draw(0.06, 0.32),
        width=draw(0.8, 0.92),
        jaw=draw(0.1, 0.4),
        fringe=draw(-0.95, -0.72),
        eye_gap=draw(0.36, 0.43),
        eye_size=draw(0.085, 0.115),
        brow=draw(0.035, 0.06),
        mouth=draw(0.3, 0.38),
        nose=draw(0.36, 0.46),
    )
