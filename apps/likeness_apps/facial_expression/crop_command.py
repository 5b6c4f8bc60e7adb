"""`likeness facial-expression crop`: the faces out of a labelled set of photographs."""

from __future__ import annotations

from typing import Annotated

import typer

from likeness_apps.facial_expression.faces.command import Margin, MinFace
from likeness_apps.shell.commands import command
from likeness_apps.shell.options import Data, Out, Quiet, domain_of


@command
def crop(
    context: typer.Context,
    data: Data,
    out: Out,
    min_face: MinFace = None,
    margin: Margin = 0.0,
    find: Annotated[
        bool,
        typer.Option("--find", help="Look for faces although the set says where they are."),
    ] = False,
    several: Annotated[
        str,
        typer.Option(
            "--several",
            help="Of several faces in a photograph, take the largest, or refuse them all.",
        ),
    ] = "largest",
    quiet: Quiet = False,
) -> None:
    """Cut the face out of each photograph of a labelled set: a new set that every command reads.

    Faces are where the set's own table says, as in AffectNet's; else the cascade looks for them.

    A photograph without a face stays in the table; `evaluate` reports figures on faces and on all.

    Example: likeness APP crop CK+ --out CK_FACES
    """
    from likeness_apps.facial_expression.crop import crop as body
    from likeness_apps.facial_expression.faces.cascade import CascadeDetector

    looked_for = find or min_face is not None
    detector = CascadeDetector(min_face=min_face) if looked_for else None
    given = domain_of(context), data, out
    found = body(*given, detector=detector, margin=margin, several=several, quiet=quiet)
    raise typer.Exit(found.exit_code)
