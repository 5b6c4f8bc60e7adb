"""`likeness person-reid embed`, `index`, `search`, `match` and `forget`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from likeness_apps.shell.commands import command
from likeness_apps.shell.options import (
    Device,
    Index,
    Limit,
    Model,
    OutEmbeddings,
    OutHits,
    OutIndex,
    Quiet,
    Sheet,
    domain_of,
)

Pictures = Annotated[
    bool, typer.Option("--include-images", help="With small pictures of the tracklets.")
]
Prior = Annotated[
    float | None,
    typer.Option(help="Share of right ones among the pairs; by default one gallery row is right."),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--false-accept-rate",
        help="How many of different people may be called the same, as a share of such pairs: one "
        "that the model has a threshold for (a wrong one names all).",
    ),
]
Purpose = Annotated[str, typer.Option(help="What for; names nobody; required.")]
LegalBasis = Annotated[str, typer.Option(help="Why it may be kept; required.")]
Retention = Annotated[str, typer.Option(help="Last day of use, YYYY-MM-DD; required.")]
Frames = Annotated[
    str, typer.Option(help="How the frames of a tracklet become one row: mean, max or attention.")
]
People = Annotated[Path, typer.Argument(metavar="DATA", help="A set, a table, or a folder.")]


@command
def embed(
    context: typer.Context,
    model: Model,
    data: People,
    out: OutEmbeddings,
    purpose: Purpose = "",
    legal_basis: LegalBasis = "",
    retention: Retention = "",
    split: Annotated[str, typer.Option(help="Of the set: train, val, test or all.")] = "all",
    frames: Frames = "mean",
    batch_size: Limit = 64,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Write one embedding per tracklet: biometric data, kept for a purpose and a time.

    F.parquet holds all; F.npy holds the embeddings of the rows of F.parquet with status ok: the two
    files that `score` takes. What is stated is in the metadata of F.parquet. A stopped call begins
    again.

    Example: likeness APP embed RUN SET --out f.npy --purpose study --legal-basis consent
    --retention 2031-08-31
    """
    from likeness_apps.person_reid.archive.embed import embed as body

    chosen: Any = frames
    body(
        domain_of(context),
        model,
        data,
        out,
        purpose=purpose,
        legal_basis=legal_basis,
        retention=retention,
        split=split,
        frames=chosen,
        batch_size=batch_size,
        device=device,
        quiet=quiet,
    )


@command
def index(
    context: typer.Context,
    model: Model,
    data: People,
    out: OutIndex,
    purpose: Purpose = "",
    legal_basis: LegalBasis = "",
    retention: Retention = "",
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
    archive: Index,
    query: Annotated[
        Path, typer.Argument(help="An image, a folder of frames (one tracklet) or of such, a set.")
    ],
    k: Annotated[int, typer.Option("-k", min=1, help="Ranks per query.")] = 10,
    out: OutHits = None,
    sheet: Sheet = None,
    include_images: Pictures = False,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Where the indexed set is now, for pictures on the sheet."),
    ] = None,
    prior: Prior = None,
    false_accept_rate: Rate = None,
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
        false_accept_rate=false_accept_rate,
        device=device,
        quiet=quiet,
    )


@command
def match(
    context: typer.Context,
    model: Model,
    query: Annotated[
        Path,
        typer.Option(help="Who is looked for: an image, a folder of frames or of such, a set."),
    ],
    gallery: Annotated[
        Path, typer.Option(help="Where: a folder, a set, or an index that this model made.")
    ],
    out: Annotated[Path, typer.Option("--out", help="A new .csv.")],
    purpose: Annotated[str, typer.Option(help="Why this is asked; required.")] = "",
    operator: Annotated[str, typer.Option(help="Who answers for it.")] = "",
    k: Annotated[int, typer.Option("-k", min=1, help="Ranks per query.")] = 5,
    re_rank: Annotated[
        list[str] | None,
        typer.Option(
            "--re-rank",
            "--rerank",
            help="Order after k-reciprocal or query-expansion; repeatable, both at once.",
        ),
    ] = None,
    prior: Prior = None,
    false_accept_rate: Rate = None,
    sheet: Sheet = None,
    include_images: Pictures = False,
    batch_size: Limit = 64,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Look for the people of one folder in another: a table with same, different or unknown.

    A folder of frames is one tracklet; images beside such folders, or in the gallery's own folder,
    are tracklets of one frame.

    Scores and decisions are those of the two tracklets, whatever --re-rank makes of the order.
    The record of the call is written beside the table. A stopped call begins again; an index
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
        ranking=Ranking(k, tuple(re_rank or ())),
        prior=prior,
        false_accept_rate=false_accept_rate,
        sheet=sheet,
        include_images=include_images,
        batch_size=batch_size,
        device=device,
        quiet=quiet,
    )


@command
def forget(
    archive: Index,
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
