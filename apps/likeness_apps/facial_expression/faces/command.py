"""`likeness facial-expression predict`: pictures of faces, or photographs in which faces are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from likeness_apps.shell.commands import command
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.options import (
    Also,
    Device,
    Input,
    Limit,
    Model,
    OutRows,
    Quiet,
    Tta,
    domain_of,
)

MinFace = Annotated[
    float | None,
    typer.Option(min=1, help="Side of the smallest face to be found, in pixels of the picture."),
]
Margin = Annotated[
    float,
    typer.Option(min=0, max=1, help="Added on each side of a face, as a share of its box."),
]
Grey = Annotated[
    bool | None,
    typer.Option(
        "--grey/--colour",
        help="Show the model grey faces, or as they are; by default as those of its training.",
        show_default=False,
    ),
]


@command
def predict(
    context: typer.Context,
    model: Model,
    source: Input,
    out: OutRows,
    faces: Annotated[
        str,
        typer.Option(
            "--faces", help="given: each picture is one face; find: find those in photographs."
        ),
    ] = "given",
    min_face: MinFace = None,
    margin: Margin = 0.0,
    grey: Grey = None,
    also: Also = None,
    tta: Tta = "one",
    batch_size: Limit = 64,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Write one row per face: path, status, label, probabilities, model_id.

    Labels are displayed expressions as judged by annotators, never what a person feels.

    With --faces find, every upright frontal face in a photograph has a row with its box, and a
    photograph without one has a row with status no_face; faces below 1/20 of the photograph's
    longer side are found with --min-face only. A stopped call goes on when it is called again.

    Example: likeness APP predict runs/first FACES --out labels.csv

    Example: likeness APP predict runs/first PHOTOGRAPHS --faces find --out labels.parquet
    """
    from likeness.errors import require
    from likeness_apps.facial_expression.faces.rows import MEANING
    from likeness_apps.shell.members import own_bundle, predictor_of
    from likeness_apps.shell.predict import predict as shared

    require(faces in ("given", "find"), "faces", "given or find", faces)
    domain, models = domain_of(context), [model, *(also or [])]
    if faces == "find":
        members = [own_bundle(domain, one) for one in models]
        predictor = predictor_of(members, batch_size=batch_size, device=device, tta=tta)
        chosen = _Chosen(min_face, margin, grey)
        raise typer.Exit(_find(domain, predictor, source, out, chosen, quiet=quiet))
    rule = "find where --min-face, --margin, --grey or --colour is given"
    require(min_face is None and not margin and grey is None, "faces", rule, faces)
    facts = {"meaning": MEANING}
    asked: dict[str, Any] = {
        "also": models[1:],
        "tta": tta,
        "device": device,
        "facts": facts,
        "quiet": quiet,
    }
    raise typer.Exit(shared(domain, model, source, out, batch_size, **asked))


class _Chosen(NamedTuple):
    """What is said of finding."""

    min_face: float | None
    margin: float
    grey: bool | None


def _find(
    domain: Domain, predictor: Any, source: Path, out: Path, chosen: _Chosen, *, quiet: bool
) -> int:
    from likeness_apps.facial_expression.faces.cascade import CascadeDetector
    from likeness_apps.facial_expression.faces.photos import predict_photos
    from likeness_apps.shell.console import progress, say
    from likeness_apps.shell.screening import screened

    shown = screened(domain, source, quiet=quiet)
    with progress("finding faces", quiet=quiet) as advance:
        coverage = predict_photos(
            predictor,
            shown,
            out,
            detector=CascadeDetector(min_face=chosen.min_face),
            margin=chosen.margin,
            grey=chosen.grey,
            on_progress=advance,
        )
    say(f"{out}: {coverage.told()}", quiet=quiet)
    return coverage.exit_code
