"""What the shared commands need to know of remote sensing: sets, protocols, terms, card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from likeness_apps.shell.domain import (
    CardText,
    Domain,
    GivenFolds,
    GivenSplits,
    Protocol,
    Share,
)

if TYPE_CHECKING:
    from likeness.data.manifest import Manifest
    from likeness_apps.demo import Journal


def _recognise(path: Path) -> Manifest:
    from likeness_apps.remote_sensing.layouts import recognise

    return recognise(path)


def _write_sample(out: Path, seed: int, layout: str) -> Path:
    from likeness_apps.remote_sensing.sample import write_sample

    return write_sample(out, seed=seed, layout=layout)


def _demo(journal: Journal, run: Path, out: Path) -> None:
    from likeness_apps.remote_sensing.demonstration import map_a_scene

    map_a_scene(journal, run, out)


DOMAIN = Domain(
    name="remote-sensing",
    folder="remote_sensing",
    default_config="center_structured",
    multilabel_config="multilabel_triplets",
    recognise=_recognise,
    samples=("uc-merced", "eurosat-13", "multi-label"),
    write_sample=_write_sample,
    card=CardText(
        intended_use=(
            "Sorting and searching aerial and satellite image tiles of the kind that the model "
            "was trained on: same sensor family, ground resolution, season and region."
        ),
        out_of_scope=(
            "Tiles of another ground resolution, sensor or continent without a new evaluation; "
            "measuring areas or change; targeting or surveillance of people; any decision about "
            "land, property or safety without a person who looks at the imagery."
        ),
        limits=(
            "Scene labels describe a whole tile, not its pixels. Neighbouring tiles of one mosaic "
            "look alike, so figures from random splits flatter the model; groups keep neighbours "
            "together where the layout tells them. Classes overlap (dense and medium residential)."
        ),
        consent=(
            "Does not apply at these resolutions: scenes are seen from above and nobody can be "
            "recognised. Imagery of private land may still be sensitive."
        ),
    ),
    protocols={
        "ucm-80": Protocol(
            ("uc-merced",), Share(0.8), "UC Merced, 80 % for training (the field's usage)"
        ),
        "aid-20": Protocol(("aid",), Share(0.2), "AID, 20 % for training (Xia et al. 2017)"),
        "aid-50": Protocol(("aid",), Share(0.5), "AID, 50 % for training (Xia et al. 2017)"),
        "siri-google-80": Protocol(
            ("siri-whu",),
            Share(0.8),
            "Google set of SIRI-WHU, 80 % for training (the field's usage; our reconstruction)",
        ),
        "resisc45-10": Protocol(
            ("resisc45",), Share(0.1), "NWPU-RESISC45, 10 % for training (Cheng et al. 2017)"
        ),
        "resisc45-20": Protocol(
            ("resisc45",), Share(0.2), "NWPU-RESISC45, 20 % for training (Cheng et al. 2017)"
        ),
        "eurosat": Protocol(
            ("eurosat-rgb", "eurosat-13"),
            GivenSplits(),
            "EuroSAT, train, val and test by the lists beside the images (torchgeo ships those of "
            "Neumann et al. 2020, 60/20/20)",
        ),
        "eurosat-80": Protocol(
            ("eurosat-rgb", "eurosat-13"),
            Share(0.8),
            "EuroSAT, 80 % for training (Helber et al. 2019; their draw is not published)",
        ),
        "coffee-5fold": Protocol(
            ("brazilian-coffee",),
            GivenFolds(5),
            "Brazilian Coffee Scenes, the five folds as given (Penatti et al. 2015)",
        ),
        "multilabel-retrieval": Protocol(
            (),
            Share(0.8, groups="group"),
            "train, validation and test disjoint, test images ask all other test images (our "
            "reconstruction; the split of Sumbul et al. 2021 was not readable)",
            multilabel=True,
        ),
    },
    licences={
        "aid": "academic use only (Google Earth imagery)",
        "rsscn7": "research use; to be checked with the authors",
        "uc-merced": "USGS imagery, public domain (cite Yang and Newsam 2010); to be checked",
        "uc-merced-multilabel": "pictures public domain, labels none stated; to be checked",
        "eurosat-rgb": "MIT; Copernicus Sentinel data terms",
        "eurosat-13": "MIT; Copernicus Sentinel data terms",
        "bigearthnet-s2": "CDLA-Permissive-1.0; to be checked",
        "brazilian-coffee": "research use; to be checked with the authors",
        "siri-whu": "research use; to be checked with the authors",
        "resisc45": "research use; to be checked with the authors",
        "patternnet": "research use; to be checked with the authors",
    },
    demo=_demo,
)
