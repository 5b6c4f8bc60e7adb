"""`likeness facial-expression subclasses`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likeness_apps.shell.commands import command
from likeness_apps.shell.options import Device, Limit, Model, Out, Quiet, domain_of


@command
def subclasses(
    context: typer.Context,
    model: Model,
    out: Out,
    data: Annotated[
        Path | None,
        typer.Argument(help="Pictures to assign; the training set shows its faces."),
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option("--also", help="A model of the same pictures with another seed; repeatable."),
    ] = None,
    images: Annotated[
        bool, typer.Option("--include-images", help="Put small pictures of DATA into the page.")
    ] = False,
    draws: Annotated[int, typer.Option(min=1, help="Random divisions to compare with.")] = 199,
    seed: Annotated[int, typer.Option(min=0, help="Seed of these divisions.")] = 0,
    batch_size: Limit = 64,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Show what variants a model found inside the classes, and whether other models find them.

    Writes subclasses.html, subclasses.csv, subclasses.json and, with DATA, assigned.csv. A
    sub-class is a group of pictures that lie together; its number claims no meaning.

    Example: likeness APP subclasses runs/variants FERPLUS --also runs/variants-1 --out variants
    """
    from likeness_apps.facial_expression.variants.run import subclasses as body

    body(
        domain_of(context),
        model,
        data,
        out,
        also=also or [],
        draws=draws,
        seed=seed,
        include_images=images,
        batch_size=batch_size,
        device=device,
        quiet=quiet,
    )
