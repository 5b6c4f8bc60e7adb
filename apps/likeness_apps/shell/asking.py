"""The commands that ask a model about images: `predict`, `embed`, `index` and `search`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from likeness_apps.shell.commands import command
from likeness_apps.shell.options import (
    Also,
    Data,
    Device,
    Index,
    Input,
    Limit,
    Model,
    Neighbours,
    OutEmbeddings,
    OutHits,
    OutIndex,
    OutRows,
    Quiet,
    Sheet,
    Tta,
    domain_of,
)


@command
def predict(
    context: typer.Context,
    model: Model,
    source: Input,
    out: OutRows,
    also: Also = None,
    tta: Tta = "one",
    batch_size: Limit = 64,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Write one row per image: path, status, label, probabilities, model_id.

    A stopped call goes on where it was when it is called again.

    Example: likeness APP predict runs/first IMAGES --out labels.csv

    Example: likeness APP predict runs/fold1 IMAGES --also runs/fold2 --tta flips --out labels.csv
    """
    from likeness_apps.shell.predict import predict as body

    asked = domain_of(context), model, source, out, batch_size
    raise typer.Exit(body(*asked, also=also or [], tta=tta, device=device, quiet=quiet))


@command
def embed(
    context: typer.Context,
    model: Model,
    source: Input,
    out: OutEmbeddings,
    batch_size: Limit = 64,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Write one embedding per image: .parquet, or .npy with a .parquet of rows.

    Example: likeness APP embed runs/first IMAGES --out embeddings.parquet
    """
    from likeness_apps.shell.predict import embed as body

    raise typer.Exit(
        body(domain_of(context), model, source, out, batch_size, device=device, quiet=quiet)
    )


@command
def index(
    context: typer.Context,
    model: Model,
    data: Data,
    out: OutIndex,
    batch_size: Limit = 64,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Make a searchable index of a data set; it carries its model.

    Example: likeness APP index runs/first DATA --out archive
    """
    from likeness_apps.shell.search import index as body

    body(domain_of(context), model, data, out, batch_size, device=device, quiet=quiet)


@command
def search(
    context: typer.Context,
    archive: Index,
    query: Annotated[Path, typer.Argument(help="An image or a folder of images.")],
    k: Neighbours = 10,
    out: OutHits = None,
    sheet: Sheet = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Where the indexed pictures are now, for the sheet."),
    ] = None,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Find the most similar images.

    Example: likeness APP search archive scene.tif -k 10 --sheet sheet.png
    """
    from likeness_apps.shell.search import search as body

    asked = domain_of(context), archive, query
    body(*asked, k=k, out=out, sheet=sheet, data=data, device=device, quiet=quiet)


ASKING: tuple[Callable[..., None], ...] = (predict, embed, index, search)
