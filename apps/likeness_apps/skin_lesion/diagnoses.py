"""What the labels of the public sets stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Diagnosis:
    """A label's written-out name, and whether it means a malignant lesion (None = not said).

    `akiec` and `ak` count as malignant: the classes hold carcinoma in situ and its precursor, and
    the literature's binary tasks put them there.
    """

    name: str
    malignant: bool | None


DIAGNOSES = {
    "benign": Diagnosis("benign", malignant=False),
    "malignant": Diagnosis("malignant", malignant=True),
    "melanoma": Diagnosis("melanoma", malignant=True),
    "seborrheic_keratosis": Diagnosis("seborrheic keratosis", malignant=False),
    "nevus": Diagnosis("melanocytic nevus", malignant=False),
    "common_nevus": Diagnosis("common nevus", malignant=False),
    "atypical_nevus": Diagnosis("atypical nevus", malignant=False),
    "mel": Diagnosis("melanoma", malignant=True),
    "nv": Diagnosis("melanocytic nevus", malignant=False),
    "bcc": Diagnosis("basal cell carcinoma", malignant=True),
    "akiec": Diagnosis("actinic keratosis or intraepithelial carcinoma", malignant=True),
    "ak": Diagnosis("actinic keratosis", malignant=True),
    "bkl": Diagnosis("benign keratosis-like lesion", malignant=False),
    "df": Diagnosis("dermatofibroma", malignant=False),
    "vasc": Diagnosis("vascular lesion", malignant=False),
    "scc": Diagnosis("squamous cell carcinoma", malignant=True),
    "unk": Diagnosis("none of the others", malignant=None),
    "other": Diagnosis("another diagnosis", malignant=None),
}
# In the order of the columns of the official tables.
ISIC_2018 = ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc")
ISIC_2019 = ("mel", "nv", "bcc", "ak", "bkl", "df", "vasc", "scc", "unk")


def names_of(labels: Sequence[str]) -> list[str]:
    """The written-out diagnosis of each label; "" where there is none."""
    return [DIAGNOSES[label].name if label in DIAGNOSES else label for label in labels]
