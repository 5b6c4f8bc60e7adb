"""`likeness remote-sensing`: aerial and satellite scenes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from likeness_apps.shell.domain import CardText, Domain, Protocol
from likeness_apps.shell.grammar import add_shared_commands

if TYPE_CHECKING:
    from likeness.data.manifest import Manifest


def _recognise(path: Path) -> Manifest:
    from likeness_apps.remote_sensing.layouts import recognise

    return recognise(path)


def _write_sample(out: Path, seed: int) -> Path:
    from likeness_apps.remote_sensing.sample import write_sample

    return write_sample(out, seed=seed)


DOMAIN = Domain(
    name="remote-sensing",
    folder="remote_sensing",
    default_config="center_structured",
    recognise=_recognise,
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
        "ucm-80": Protocol("uc-merced", 0.8, "UC Merced, 80 % for training (the field's usage)"),
        "aid-20": Protocol("aid", 0.2, "AID, 20 % for training (Xia et al. 2017)"),
        "aid-50": Protocol("aid", 0.5, "AID, 50 % for training (Xia et al. 2017)"),
    },
    licences={
        "aid": "academic use only (Google Earth imagery)",
        "rsscn7": "research use; to be checked with the authors",
        "uc-merced": "USGS imagery, public domain (cite Yang and Newsam 2010); to be checked",
    },
)

app = typer.Typer(
    name=DOMAIN.name,
    help="Aerial and satellite scenes: classification and retrieval.\n\n"
    "Example: likeness remote-sensing train UCMerced_LandUse --out runs/ucm",
    no_args_is_help=True,
)
add_shared_commands(app, DOMAIN)
