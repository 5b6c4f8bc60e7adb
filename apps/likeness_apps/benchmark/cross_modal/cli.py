"""`likeness benchmark cross-modal`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likeness_apps.shell.commands import command


@command
def cross_modal(
    data: Annotated[
        Path,
        typer.Argument(
            help="Sketchy or TU-Berlin with their zero-shot lists; or photographs, one folder per "
            "class, with --edges."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Where to write; a stopped benchmark goes on there.")
    ],
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            help="untrained, cross_entropy, baseline, within, plain, mathm, a loss of `likeness "
            "methods` or a YAML file, by commas.",
        ),
    ] = "baseline,mathm",
    split: Annotated[
        str | None,
        typer.Option(help="Which published division of the classes: zeroshot1, zeroshot2, ..."),
    ] = None,
    edges: Annotated[
        str | None,
        typer.Option(
            help="Of photographs alone: their edge maps (canny or sobel) stand in for sketches. "
            "These are pseudo-sketches; nobody drew them."
        ),
    ] = None,
    codes: Annotated[
        str,
        typer.Option(help="What 64-bit codes are fitted to: training, or gallery as in papers."),
    ] = "training",
    config: Annotated[
        str, typer.Option("--config", help="The budget of all: a shipped name or a YAML file.")
    ] = "cross_modal",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one key of it: --set a.b=c; once for each key."),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="Random halves of the classes; of published sets, seeds.")
    ] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar, no table.")] = False,
) -> None:
    """Find photographs of classes that nobody trained on by sketches of them.

    Example: likeness benchmark cross-modal Sketchy --split zeroshot1 --out runs/sketchy

    Example: likeness benchmark cross-modal AID --edges canny --out runs/edges
    """
    from likeness_apps.benchmark.cross_modal.run import Request
    from likeness_apps.benchmark.cross_modal.run import cross_modal as body

    chosen = tuple(name.strip() for name in methods.split(",") if name.strip())
    request = Request(
        data=data,
        out=out,
        methods=chosen,
        split=split,
        edges=edges,
        codes=codes,
        config=config,
        changes=tuple(changes or ()),
        repeats=repeats,
        quiet=quiet,
    )
    raise typer.Exit(int(body(request) > 0))
