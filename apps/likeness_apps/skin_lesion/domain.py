"""What the shared commands need to know of skin lesions: sets, protocols, terms, card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from likeness_apps.shell.domain import (
    CardText,
    Coarser,
    Domain,
    Elsewhere,
    FieldMeasures,
    GivenSplits,
    Protocol,
    Share,
)
from likeness_apps.skin_lesion.binary import (
    BENIGN,
    MALIGNANT,
    MELANOMA,
    OTHER,
    malignancy,
    melanoma_or_other,
)

if TYPE_CHECKING:
    import numpy as np

    from likeness.data.decoded import Remark
    from likeness.data.manifest import Manifest
    from likeness_apps.demo import Journal


def _recognise(path: Path) -> Manifest:
    from likeness_apps.skin_lesion.layouts import recognise

    return recognise(path)


def _write_sample(out: Path, seed: int, layout: str, per_class: int | None = None) -> Path:
    from likeness_apps.skin_lesion.sample import write_sample

    return write_sample(out, seed=seed, layout=layout, per_class=per_class)


def _measures() -> FieldMeasures:
    from likeness_apps.skin_lesion.clinical.measures import Clinical

    return Clinical()


def _screen(path: Path) -> Path:
    from likeness_apps.skin_lesion.privacy.stand_ins import screen

    return screen(path)


def _screen_names(names: Sequence[str]) -> list[str]:
    from likeness_apps.skin_lesion.privacy.stand_ins import screen_names

    return screen_names(names)


def _remarks_on(image_HWC: np.ndarray) -> Sequence[Remark]:
    from likeness_apps.skin_lesion.privacy.burned_in import remarks_on

    return remarks_on(image_HWC)


def _demo(journal: Journal, run: Path, out: Path) -> None:
    from likeness_apps.skin_lesion.demonstration import predict_and_explain

    predict_and_explain(journal, run, out)


DOMAIN = Domain(
    name="skin-lesion",
    folder="skin_lesion",
    default_config="attention_triplet",
    recognise=_recognise,
    samples=("isic-2017", "ham10000"),
    write_sample=_write_sample,
    notice="Research only, not a medical device. Nothing on this page supports a diagnosis.",
    card=CardText(
        intended_use=(
            "Research only, not a medical device: comparing methods on dermoscopic images, and "
            "looking up similar known cases of a data set, by people who know dermoscopy."
        ),
        out_of_scope=(
            "Diagnosis, triage or treatment of anybody, by doctors or by themselves; photographs "
            "without a dermatoscope; other dermatoscopes, sites (nails, mucosa) or diagnoses than "
            "those of the training images without a new evaluation. No claim is made for "
            "Fitzpatrick skin types V and VI: the ISIC archives and HAM10000 hold almost no dark "
            "skin."
        ),
        limits=(
            "Lesions were photographed because somebody worried about them: prevalences are those "
            "of clinics, not of people. Labels of nevi rest partly on follow-up or consensus, not "
            "on histology. Rulers, ink, hairs, dark corners and the kind of camera go with "
            "diagnoses in these sets, and a network can learn them instead. Where a set does not "
            "say which images show one lesion, figures may flatter. A class that was not trained "
            "on is answered with one that was."
        ),
        consent=(
            "Images of patients' skin, published without names by the archives' contributors under "
            "their ethics approvals; whether each patient agreed to this use is not recorded in "
            "the files. For images of your own, consent or a legal basis is yours to show. Patient "
            "and lesion numbers of DICOM files, and names of files that could name a patient, are "
            "kept as salted hashes only."
        ),
    ),
    protocols={
        "isic2016": Protocol(
            ("isic-2016",),
            GivenSplits(),
            "ISIC 2016 part 3, training and test as published (Gutman et al. 2016)",
        ),
        "isic2017": Protocol(
            ("isic-2017",),
            GivenSplits(),
            "ISIC 2017 part 3, training, validation and test as published (Codella et al. 2018)",
        ),
        "isic2018": Protocol(
            ("isic-2018",),
            GivenSplits(),
            "ISIC 2018 task 3, training, validation and test as published (Codella et al. 2019)",
        ),
        "binary": Protocol(
            (),
            Share(0.8, groups="group"),
            "benign against malignant, 80 % of the lesions or patients for training (ours); a set "
            "that a model never saw counts as a whole",
            coarser=Coarser((BENIGN, MALIGNANT), malignancy),
        ),
        "ph2-transfer": Protocol(
            ("ph2",),
            Elsewhere(),
            "PH2 (Mendonca et al. 2013), melanoma against the rest, by a model of other data; "
            "nothing is tuned on PH2",
            coarser=Coarser((MELANOMA, OTHER), melanoma_or_other),
        ),
    },
    licences={
        "isic-2016": "CC0-1.0; to be checked again",
        "isic-2017": "CC0-1.0; to be checked again",
        "isic-2018": "CC BY-NC 4.0 (cite Codella et al. 2019 and Tschandl et al. 2018)",
        "ham10000": "CC BY-NC 4.0 (cite Tschandl, Rosendahl and Kittler 2018)",
        "isic-2019": "CC BY-NC 4.0; to be checked for each of its sources",
        "ph2": "research use on request; to be checked with the authors",
    },
    demo=_demo,
    measures=_measures,
    screen=_screen,
    screen_names=_screen_names,
    remarks_on=_remarks_on,
)
