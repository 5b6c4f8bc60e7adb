"""`likeness reproduce`: a paper's settings on its data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likeness_apps.shell.commands import command
from likeness_apps.shell.options import Quiet


@command
def reproduce(
    paper: Annotated[str, typer.Argument(help="Its name; a wrong one lists all.")],
    data: Annotated[Path, typer.Argument(help="The set that it measured, as downloaded.")],
    out: Annotated[
        Path, typer.Option("--out", help="Where to write; a stopped run goes on there.")
    ],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one key of its run: --set a.b=c; once for each key."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Run a paper's settings on its data, and print our figures beside the published ones.

    Another set than the paper's is refused, and nothing is shown as ours that was not run.

    Example: likeness reproduce proxy_anchor CUB_200_2011 --out runs/proxy_anchor
    """
    from likeness_apps.papers.reproduce import reproduce as body

    body(paper, data, out, changes=changes or [], quiet=quiet)
