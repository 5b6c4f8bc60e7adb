"""`likeness facial-expression video`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likeness_apps.facial_expression.faces.command import Grey, Margin, MinFace
from likeness_apps.shell.commands import command
from likeness_apps.shell.options import (
    Also,
    Device,
    Limit,
    Model,
    OutRows,
    Quiet,
    Tta,
    domain_of,
)


@command
def video(
    context: typer.Context,
    model: Model,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A video file.")],
    out: OutRows,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Also draw the faces over time (PNG).")
    ] = None,
    every: Annotated[int, typer.Option("--every", min=1, help="Look at one frame of so many.")] = 1,
    min_face: MinFace = None,
    margin: Margin = 0.0,
    grey: Grey = None,
    also: Also = None,
    tta: Tta = "one",
    batch_size: Limit = 64,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Write one row per face and frame: frame, time_s, face, box, status, label, probabilities.

    Labels are displayed expressions as judged by annotators, never what a person feels. Face
    numbers are links from frame to frame, no identities. A frame without a face has status no_face,
    a damaged one unreadable_frame. Faces below 1/10 of the picture's longer side are found with
    --min-face only. A stopped call goes on when it is called again.

    Example: likeness APP video runs/first talk.mp4 --out talk.parquet --plot talk.png
    """
    from likeness_apps.facial_expression.faces.cascade import CascadeDetector
    from likeness_apps.facial_expression.video.run import SHARE, predict_video
    from likeness_apps.shell.console import progress, say
    from likeness_apps.shell.members import own_bundle, predictor_of

    domain = domain_of(context)
    models = [own_bundle(domain, one) for one in (model, *(also or []))]
    predictor = predictor_of(models, batch_size=batch_size, device=device, tta=tta)
    with progress("looking", quiet=quiet) as advance:
        watched = predict_video(
            predictor,
            file,
            out,
            detector=CascadeDetector(min_face=min_face, share=SHARE),
            every=every,
            margin=margin,
            grey=grey,
            plot=plot,
            on_progress=advance,
        )
    say(f"{out}: {watched.told()}", quiet=quiet)
    if plot is not None:
        say(f"{plot}: faces over time", quiet=quiet)
    raise typer.Exit(watched.exit_code)
