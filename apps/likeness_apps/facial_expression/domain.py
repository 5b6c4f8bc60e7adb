"""What the shared commands need to know of facial expressions: sets, protocols, terms, card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from likeness_apps.facial_expression.expressions import EXPRESSIONS
from likeness_apps.shell.domain import (
    CardText,
    Coarser,
    Domain,
    Elsewhere,
    GivenFolds,
    GivenSplits,
    Protocol,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import pandas as pd

    from likeness.data.manifest import Manifest
    from likeness_apps.demo import Journal
    from likeness_apps.facial_expression.votes import Mode
    from likeness_apps.shell.domain import FieldMeasures

FOLDS = 10  # of sets with few subjects, each subject in one of them


def _recognise(path: Path) -> Manifest:
    from likeness_apps.facial_expression.layouts import recognise

    return recognise(path)


def _write_sample(out: Path, seed: int, layout: str, **size: int) -> Path:
    from likeness_apps.facial_expression.sample import write_sample

    return write_sample(out, seed=seed, layout=layout, **size)


def _tour(journal: Journal, out: Path) -> None:
    from likeness_apps.facial_expression.demonstration import find_variants

    find_variants(journal, out)


def _distributions(rows: pd.DataFrame, classes: Sequence[str]) -> np.ndarray | None:
    from likeness_apps.facial_expression.votes import distributions

    return distributions(rows, classes)


def _absent(manifest: Manifest) -> pd.DataFrame | None:
    from likeness_apps.facial_expression.layouts.cropped import absent

    return absent(manifest)


def _measures() -> FieldMeasures:
    from likeness_apps.facial_expression.measures.expression import Expression

    return Expression()


def _official(mode: Mode) -> Callable[[pd.DataFrame], list[str] | None]:
    """Labels by a rule of FER+'s authors; None for rows without votes."""

    def labels(rows: pd.DataFrame) -> list[str] | None:
        from likeness_apps.facial_expression.votes import COLUMNS, official_labels, votes_of

        return official_labels(votes_of(rows), mode) if set(COLUMNS) <= set(rows.columns) else None

    return labels


def _without(left_out: str) -> Coarser:
    """All expressions but one, whose pictures are left out."""
    kept = tuple(sorted(name for name in EXPRESSIONS if name != left_out))

    def of(label: str) -> str | None:
        if label in kept:
            return label
        return "" if label == left_out else None

    return Coarser(kept, of)


DOMAIN = Domain(
    name="facial-expression",
    folder="facial_expression",
    default_config="gaussian",
    recognise=_recognise,
    samples=("ferplus", "fer2013"),
    write_sample=_write_sample,
    grey=True,
    distributions=_distributions,
    measures=_measures,
    absent=_absent,
    tour=_tour,
    notice=(
        "Displayed expression as judged by annotators, never what a person feels. Research; the "
        "EU forbids inferring emotions of people at work and in education (AI Act, Art. 5)."
    ),
    card=CardText(
        intended_use=(
            "Research on displayed expressions: comparing methods on published sets, sorting and "
            "searching pictures of faces by how they look, and tables of displayed expressions "
            "for studies whose participants agreed. An answer is the expression that annotators "
            "like those of the training set would name."
        ),
        out_of_scope=(
            "Telling what somebody feels, thinks, intends or is: faces do not reliably reveal "
            "emotion (Barrett, Adolphs, Marsella, Martinez and Pollak 2019, Psychological Science "
            "in the Public Interest 20(1)). Inferring emotions of people at work and in education "
            "is prohibited in the EU (AI Act, Regulation 2024/1689, Art. 5(1)(f)). Also hiring, "
            "policing, border control, insurance, medical diagnosis, and any decision about a "
            "person."
        ),
        limits=(
            "Labels are annotators' judgements of single pictures, often posed, without context; "
            "annotators disagree, and a figure beside which human agreement stands should be read "
            "with it. Rare classes (contempt, disgust, fear) rest on few pictures. Error rates "
            "differ between ages, genders, skin colours and cultures, and most sets do not say who "
            "is in them. Sub-classes are groups of similar pictures and nothing more."
        ),
        consent=(
            "Faces of FER2013 and AffectNet were collected from the web without the consent of the "
            "people shown; laboratory sets (CK+, JAFFE, BU-3DFE) had consent for research and may "
            "not be passed on. For recordings of your own, consent or a legal basis is yours to "
            "show. The model holds weights, and embeddings of its training pictures."
        ),
    ),
    protocols={
        "ferplus-majority": Protocol(
            ("ferplus",),
            GivenSplits(),
            "FER+ (Barsoum et al. 2016), 8 classes: the expression with more than half of the "
            "votes, without answers of a single tagger; other pictures are left out. What the "
            "authors validate and test on; without a protocol the most votes decide, ties left out",
            labels=_official("majority"),
        ),
        "ferplus-soft": Protocol(
            ("ferplus",),
            GivenSplits(),
            "FER+ (Barsoum et al. 2016), 8 classes: the pictures that the authors train on with "
            "'probability' and 'crossentropy', labelled with the most probable expression of their "
            "distribution (they test on the majority); for KL and soft cross-entropy",
            labels=_official("probability"),
        ),
        "fer2013": Protocol(
            ("fer2013",),
            GivenSplits(),
            "FER2013 (Goodfellow et al. 2013), 7 classes: Training, PublicTest as validation, "
            "PrivateTest as test",
        ),
        "affectnet8": Protocol(
            ("affectnet",),
            GivenSplits(),
            "AffectNet (Mollahosseini et al. 2019), 8 classes; the official validation is tested",
        ),
        "affectnet7": Protocol(
            ("affectnet",),
            GivenSplits(),
            "AffectNet (Mollahosseini et al. 2019), 7 classes, without contempt; the official "
            "validation is tested",
            coarser=_without("contempt"),
        ),
        "ck8": Protocol(
            ("ck-plus",),
            GivenFolds(FOLDS),
            "CK+ (Lucey et al. 2010): apex frames of the 7 labelled expressions, first frames as "
            f"neutral; {FOLDS} folds of whole subjects (ours)",
        ),
        "ck7": Protocol(
            ("ck-plus", "ck-plus-48"),
            GivenFolds(FOLDS),
            "CK+ (Lucey et al. 2010): apex frames of the 7 labelled expressions, no neutral; "
            f"{FOLDS} folds of whole subjects (ours)",
            coarser=_without("neutral"),
        ),
        "raf-db": Protocol(
            ("raf-db",),
            GivenSplits(),
            "RAF-DB basic (Li, Deng and Du 2017), 7 classes, training and test as published",
        ),
        "jaffe": Protocol(
            ("jaffe",),
            GivenFolds(FOLDS),
            f"JAFFE (Lyons et al. 1998), 7 classes; {FOLDS} folds, each a whole subject (ours)",
        ),
        "bu-3dfe": Protocol(
            ("bu-3dfe",),
            GivenFolds(FOLDS),
            f"BU-3DFE (Yin et al. 2006), 7 classes; {FOLDS} folds of whole subjects (ours)",
        ),
        "cross-dataset": Protocol(
            (),
            Elsewhere(),
            "a whole set, by a model of another one: expressions are matched by name, pictures of "
            "those that the model does not know are left out, and answers of a class that the set "
            "lacks are wrong (beside it: the figures without these classes)",
            shared_classes=True,
        ),
    },
    licences={
        "fer2013": "unclear (pictures from the web); research use only",
        "ferplus": "votes MIT; pictures as FER2013: unclear, research use only",
        "ck-plus": "research use on request; no redistribution",
        "ck-plus-48": "as CK+: research use on request; no redistribution",
        "jaffe": "non-commercial research; no redistribution",
        "affectnet": "research use on request; no redistribution",
        "raf-db": "non-commercial research on request; no redistribution",
        "bu-3dfe": "signed agreement; no redistribution",
    },
)
