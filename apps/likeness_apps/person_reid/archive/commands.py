"""`likeness person-reid index`, `search`, `match` and `forget`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likeness_apps.shell.commands import command
from likeness_apps.shell.grammar import Device, Limit, Model, OutIndex, Quiet, domain_of

Pictures = Annotated[
    bool, typer.Option("--include-images", help="With small pictures of the tracklets.")
]
Prior = Annotated[
    float | None,
    typer.Option(help="Share of right ones among the pairs; by default one gallery row is right."),
]
Sheet = Annotated[Path | None, typer.Option("--sheet", help="Contact sheet (PNG).")]
People = Annotated[Path, typer.Argument(metavar="DATA", help="A set, a table, or a folder.")]


@command
def index(
    context: typer.Context,
    model: Model,
    data: People,
    out: OutIndex,
    purpose: Annotated[
        str, typer.Option(help="What the index is for; names nobody; required.")
    ] = "",
    legal_basis: Annotated[str, typer.Option(help="Why it may be kept; required.")] = "",
    retention: Annotated[
        str, typer.Option(help="Last day it may be asked, YYYY-MM-DD; required.")
    ] = "",
    include_images: Pictures = False,
    batch_size: Limit = 64,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Make a searchable index of tracklets: biometric data, kept for a purpose and a time.

    In a folder that is no known set, each folder of images is one tracklet, and images beside them
    are tracklets of one frame.

    Example: likeness APP index RUN MARS --out kept --purpose fair --legal-basis consent
    --retention 2031-08-31
    """
    from likeness_apps.person_reid.archive.index import index as body

    body(
        domain_of(context),
        model,
        data,
        out,
        purpose=purpose,
        legal_basis=legal_basis,
        retention=retention,
        include_images=include_images,
        batch_size=batch_size,
        device=device,
        quiet=quiet,
    )


@command
def search(
    context: typer.Context,
    archive: Annotated[Path, typer.Argument(metavar="INDEX", help="What `index` wrote.")],
    query: Annotated[
        Path, typer.Argument(help="An image, a folder of frames (one tracklet), or a set.")
    ],
    k: Annotated[int, typer.Option("-k", min=1, help="Ranks per query.")] = 10,
    out: Annotated[Path | None, typer.Option("--out", help="Table: csv or parquet.")] = None,
    sheet: Sheet = None,
    include_images: Pictures = False,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Where the indexed set is now, for pictures on the sheet."),
    ] = None,
    prior: Prior = None,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Find the most similar tracklets, each with same, different or unknown.

    Example: likeness APP search archive frames/ -k 10 --sheet sheet.png --include-images
    """
    from likeness_apps.person_reid.archive.search import search as body

    body(
        domain_of(context),
        archive,
        query,
        k=k,
        out=out,
        sheet=sheet,
        include_images=include_images,
        data=data,
        prior=prior,
        device=device,
        quiet=quiet,
    )


@command
def match(
    context: typer.Context,
    model: Model,
    query: Annotated[Path, typer.Option(help="Who is looked for: a set, table, folder or image.")],
    gallery: Annotated[
        Path, typer.Option(help="Where: the same, or an index that this model made.")
    ],
    out: Annotated[Path, typer.Option("--out", help="A new .csv.")],
    purpose: Annotated[str, typer.Option(help="Why this is asked; required.")] = "",
    operator: Annotated[str, typer.Option(help="Who answers for it.")] = "",
    k: Annotated[int, typer.Option("-k", min=1, help="Ranks per query.")] = 5,
    re_rank: Annotated[
        bool, typer.Option("--re-rank", help="Order by k-reciprocal neighbours.")
    ] = False,
    expand: Annotated[
        bool, typer.Option("--expand", help="Ask with the mean of a query and its nearest.")
    ] = False,
    prior: Prior = None,
    sheet: Sheet = None,
    include_images: Pictures = False,
    batch_size: Limit = 64,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Look for the people of one folder in another: a table with same, different or unknown.

    Scores and decisions are those of the two tracklets, whatever --re-rank and --expand make of the
    order. The record of the call is written beside the table. A stopped call begins again; an index
    of the gallery is embedded once.

    Example: likeness APP match RUN --query lost --gallery hall --out matches.csv --purpose case-12
    """
    from likeness_apps.person_reid.archive.match import match as body
    from likeness_apps.person_reid.archive.ranking import Ranking

    body(
        domain_of(context),
        model,
        query,
        gallery,
        out,
        purpose=purpose,
        operator=operator,
        ranking=Ranking(k, re_rank, expand),
        prior=prior,
        sheet=sheet,
        include_images=include_images,
        batch_size=batch_size,
        device=device,
        quiet=quiet,
    )


@command
def forget(
    archive: Annotated[Path, typer.Argument(metavar="INDEX", help="What `index` wrote.")],
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", help="An identity, or the name of a tracklet; repeatable."),
    ] = None,
    expired: Annotated[
        bool, typer.Option("--expired", help="Everybody, if the retention has ended.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Remove people from an index: rows, embeddings and small pictures.

    Example: likeness APP forget archive --id 0042 --id 0007C2T0003
    """
    from likeness_apps.person_reid.archive.forget import forget as body

    body(archive, ids or [], expired=expired, quiet=quiet)
