"""`likeness person-reid tracklets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likeness_apps.shell.commands import command
from likeness_apps.shell.options import Quiet


@command
def tracklets(
    video: Annotated[Path, typer.Argument(help="A video file.")],
    detections: Annotated[
        Path,
        typer.Option(help="A tracker's boxes: a MOT table, or JSON lines."),
    ],
    camera: Annotated[int, typer.Option(min=1, max=99, help="Number of the camera.")],
    out: Annotated[Path, typer.Option("--out", help="A new or empty directory.")],
    pad: Annotated[
        float,
        typer.Option(min=0, max=1, help="Added on each side, as a share of the box."),
    ] = 0.0,
    min_confidence: Annotated[
        float | None, typer.Option(help="Boxes below have no crop; by default all have.")
    ] = None,
    first_frame: Annotated[
        int, typer.Option(min=0, max=1, help="What the table calls the first frame: 0 or 1.")
    ] = 1,
    first_id: Annotated[
        int, typer.Option(min=1, help="Provisional number of the first track.")
    ] = 1,
    quiet: Quiet = False,
) -> None:
    """Cut a tracker's boxes out of a video: a set of tracklets, in the layout of MARS.

    Tracks are no identities: each has a provisional number. A stopped call goes on when it is
    repeated. Every box without a crop has its reason in boxes.csv.

    A MOT table has frame,id,left,top,width,height[,confidence] in each line; JSON lines have
    {"frame": 1, "track": 7, "box": [left, top, width, height]}, or "boxes" with a list of these.

    Example: likeness APP tracklets hall.mp4 --detections hall.txt --camera 1 --out hall
    """
    from likeness_apps.person_reid.tracklets.run import tell
    from likeness_apps.person_reid.tracklets.run import tracklets as body
    from likeness_apps.shell.console import progress

    with progress("cropping", quiet=quiet) as advance:
        done = body(
            video,
            detections,
            out,
            camera=camera,
            pad=pad,
            min_confidence=min_confidence,
            first_frame=first_frame,
            first_id=first_id,
            on_progress=advance,
        )
    raise typer.Exit(tell(done, quiet=quiet))
