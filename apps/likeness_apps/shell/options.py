"""What commands are asked with: every argument and option that two of them share, defined once.

What a single command has stands beside that command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from likeness_apps.shell.domain import Domain

# --- what is read ---------------------------------------------------------------------------------

Data = Annotated[Path, typer.Argument(help="A data set in a known layout, or a CSV/Parquet table.")]
Model = Annotated[Path, typer.Argument(help="A bundle (model directory) or a run.")]
Input = Annotated[Path, typer.Argument(help="A folder, a table with `path`, or one image.")]
Index = Annotated[Path, typer.Argument(metavar="INDEX", help="What `index` wrote.")]
Examples = Annotated[
    Path, typer.Argument(help="A folder, a table with `path`, or one image, of the new class.")
]

# --- where results go -----------------------------------------------------------------------------

NewFolder = Annotated[Path, typer.Argument(help="A new directory.")]
Out = Annotated[Path, typer.Option("--out", help="Where to write; new, or an empty directory.")]
OutIndex = Annotated[
    Path, typer.Option("--out", help="Where to write; an older index there is replaced.")
]
OutModel = Annotated[Path, typer.Option("--out", help="A new directory for the model.")]
OutRows = Annotated[Path, typer.Option("--out", help="A new .csv or .parquet file.")]
OutEmbeddings = Annotated[Path, typer.Option("--out", help="A new .parquet or .npy file.")]
OutHits = Annotated[Path | None, typer.Option("--out", help="Table: csv or parquet.")]
OutComparison = Annotated[Path | None, typer.Option("--out", help="Write comparison.json here.")]
Sheet = Annotated[Path | None, typer.Option("--sheet", help="Contact sheet (PNG).")]
Images = Annotated[
    bool, typer.Option("--include-images", help="Put small pictures into report.html.")
]

# --- generated sets -------------------------------------------------------------------------------

Layout = Annotated[
    str | None, typer.Option(help="The public layout: see above; by default the first.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the generator.")]

# --- training -------------------------------------------------------------------------------------

Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one key: --set a.b=c; once for each key."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where a run stopped.")]
Tensorboard = Annotated[bool, typer.Option("--tensorboard", help="Also log there.")]

# --- a new class ----------------------------------------------------------------------------------

Label = Annotated[str, typer.Option("--label", help="What the new class is called.")]
Licence = Annotated[
    str | None,
    typer.Option("--licence", help="Terms of IMAGES; without them the licence becomes unset."),
]

# --- measuring ------------------------------------------------------------------------------------

SplitName = Annotated[
    str, typer.Option(help="The part of the model's own data: test, val, train or all.")
]
Protocol = Annotated[
    str | None, typer.Option(help="Refuse a model of any other split; `train` names them.")
]
Against = Annotated[
    list[Path] | None,
    typer.Option("--against", help="Another set, to be searched for pictures of DATA; repeatable."),
]
Fold = Annotated[int | None, typer.Option(min=1, help="The fold that was tested, for `pool`.")]
Multilabel = Annotated[bool, typer.Option("--multilabel", help="An image may have several labels.")]
BootstrapSeed = Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")]
Neighbours = Annotated[int, typer.Option("-k", min=1, help="Neighbours per query.")]

# --- how a model answers --------------------------------------------------------------------------

Also = Annotated[
    list[Path] | None,
    typer.Option("--also", help="One more model with the same classes; the mean of all answers."),
]
Tta = Annotated[
    str,
    typer.Option(
        "--tta",
        help="Views of each image whose answers are averaged: one, flips (2) or dihedral (8).",
    ),
]
Limit = Annotated[
    int,
    typer.Option(min=1, help="Images that are decoded and embedded at once.", show_default=True),
]
Device = Annotated[
    str, typer.Option(help="Where the network runs: cpu, cuda, cuda:1, mps; auto chooses.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar, no table.")]


def domain_of(context: typer.Context) -> Domain:
    """The application that a command was called for."""
    found: Any = context.obj
    assert isinstance(found, Domain)
    return found
