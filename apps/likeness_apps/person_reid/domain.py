"""What the shared commands need to know of people: sets, terms, card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from likeness_apps.shell.domain import Aim, CardText, Domain

if TYPE_CHECKING:
    from likeness.data.manifest import Manifest
    from likeness_apps.demo import Journal

DUTIES = (
    "Embeddings of people are biometric data (GDPR Art. 4 and 9, and laws like it). Whoever "
    "embeds, indexes or matches people states the purpose, the legal basis and how long the data "
    "are kept, and can delete somebody."
)


def _recognise(path: Path) -> Manifest:
    from likeness_apps.person_reid.layouts import recognise

    return recognise(path)


def _write_sample(out: Path, seed: int, layout: str, people: int | None = None) -> Path:
    from likeness_apps.person_reid.sample import PEOPLE, write_sample

    count = PEOPLE if people is None else people
    return write_sample(out, seed=seed, layout=layout, people=count)


def _tour(journal: Journal, out: Path) -> None:
    from likeness_apps.person_reid.demonstration import find_people_again

    find_people_again(journal, out)


def _aim() -> Aim:
    from likeness_apps.person_reid.training import People

    return People()


DOMAIN = Domain(
    name="person-reid",
    folder="person_reid",
    default_config="osm_caa",
    recognise=_recognise,
    samples=("mars",),
    write_sample=_write_sample,
    notice=(
        "Research. A rank is a suggestion to look, never an identification; without a calibrated "
        "threshold every pair is unknown."
    ),
    card=CardText(
        intended_use=(
            "Research on finding the same person again across cameras: comparing methods on "
            "published sets, and searching recordings that one is allowed to search, with a person "
            "looking at every match before anything follows from it."
        ),
        out_of_scope=(
            "Identifying anybody by name; live surveillance (there is no live-stream mode); "
            "decisions about people without somebody who looks; real-time remote biometric "
            "identification in public places for law enforcement, which the EU AI Act (Art. 5) "
            f"forbids but for narrow exceptions. {DUTIES}"
        ),
        limits=(
            "Clothes, bags and gait are what is compared: somebody who changes them is lost, and "
            "people in the same clothes are confused. Thresholds hold for cameras like those of "
            "the validation identities; on others, calibrate again. Error rates may differ between "
            "groups of people, and the published sets do not say who is in them."
        ),
        consent=(
            "Published sets show passers-by who, as a rule, were not asked; some were withdrawn "
            "for that reason (DukeMTMC). Purpose, legal basis and retention of your own recordings "
            "are yours to state. The model holds weights and numbers of training identities, and "
            "no embedding of anybody."
        ),
    ),
    licences={
        "mars": "not confirmed; to be checked with the authors before any use",
        "market1501": "research only, no commercial use, no redistribution",
        "prid2011": "not confirmed; to be checked with the authors before any use",
        "ilids-vid": "not confirmed; to be checked with the authors before any use",
        "lpw": "not confirmed; to be checked with the authors before any use",
        "dukemtmc-videoreid": "withdrawn by its owner",
        "pku-reid": "CC BY-NC-SA 4.0",
    },
    tour=_tour,
    aim=_aim,
    sequences=True,
    biometric=True,
)
