"""Two classes instead of many: benign or malignant, melanoma or other."""

from __future__ import annotations

from likeness_apps.skin_lesion.diagnoses import DIAGNOSES

BENIGN, MALIGNANT = "benign", "malignant"
MELANOMA, OTHER = "melanoma", "other"
_MELANOMAS = ("melanoma", "mel", MALIGNANT)


def malignancy(label: str) -> str | None:
    """`benign` or `malignant` by `DIAGNOSES`; "" where it is not said; None for unknown labels."""
    diagnosis = DIAGNOSES.get(tidy(label))
    if diagnosis is None:
        return None
    if diagnosis.malignant is None:
        return ""
    return MALIGNANT if diagnosis.malignant else BENIGN


def melanoma_or_other(label: str) -> str | None:
    """`melanoma`, or `other` for every other known label; None for unknown ones.

    `malignant` counts as melanoma: a model of benign and malignant has no closer answer, and the
    malignant lesions of ISIC 2016, the usual set with these two classes, are melanomas.
    """
    if tidy(label) in _MELANOMAS:
        return MELANOMA
    return OTHER if tidy(label) in DIAGNOSES else None


def tidy(label: str) -> str:
    """A label as `DIAGNOSES` writes it: folders may be called `Seborrheic Keratosis`, say."""
    return "_".join(label.lower().replace("-", " ").replace("_", " ").split())
