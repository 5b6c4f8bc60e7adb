"""`likeness benchmark`: sets and protocols of the field, beside the four applications."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likeness_apps.benchmark.cross_modal.cli import cross_modal
from likeness_apps.shell.commands import command

app = typer.Typer(
    help="Compare methods on the field's own sets and protocols.\n\n"
    "Example: likeness benchmark retrieval CUB_200_2011 --methods triplet,proxy_anchor --out cub",
    no_args_is_help=True,
)


@app.command()
@command
def retrieval(
    data: Annotated[
        Path,
        typer.Argument(
            help="CUB-200-2011, CARS196, Stanford Online Products or In-Shop as downloaded, or any "
            "folder with one folder per class."
        ),
    ],
    methods: Annotated[
        str,
        typer.Option(
            "--methods", help="Losses (see `likeness methods`), recipes or YAML files, by commas."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Where to write; a stopped benchmark goes on there.")
    ],
    config: Annotated[
        str, typer.Option("--config", help="The budget of all: a shipped name or a YAML file.")
    ] = "retrieval",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one key of it: --set a.b=c; once for each key."),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="Random halves of the classes; of published sets, seeds.")
    ] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar, no table.")] = False,
) -> None:
    """Find images of classes that nobody trained on: every method with the same budget.

    Example: likeness benchmark retrieval AID --methods untrained,triplet --out runs/bench
    """
    from likeness_apps.benchmark.retrieval import retrieval as body

    chosen = [name.strip() for name in methods.split(",") if name.strip()]
    failed = body(
        *(data, out),
        methods=chosen,
        config=config,
        changes=changes or [],
        repeats=repeats,
        quiet=quiet,
    )
    raise typer.Exit(int(failed > 0))


app.command(name="cross-modal")(cross_modal)
