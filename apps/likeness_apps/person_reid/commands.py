"""The commands that only people in video have, or have in another form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from likeness_apps.person_reid.archive.commands import (
    Frames,
    LegalBasis,
    Purpose,
    Retention,
    embed,
    forget,
    index,
    match,
    search,
)
from likeness_apps.person_reid.tracklets.command import tracklets
from likeness_apps.person_reid.withdrawn import acknowledging
from likeness_apps.shell.commands import command
from likeness_apps.shell.grammar import inspect, train
from likeness_apps.shell.options import (
    BootstrapSeed,
    Data,
    Device,
    Examples,
    Images,
    Label,
    Layout,
    Licence,
    Limit,
    Model,
    NewFolder,
    Out,
    OutComparison,
    OutModel,
    Quiet,
    Seed,
    Tta,
    domain_of,
)
from likeness_apps.shell.transfer import distill

Protocol = Annotated[
    str,
    typer.Option(
        help="mars-official, mars-torchreid, market1501, prid2011, ilids-vid, lpw or cross-camera."
    ),
]
ReRank = Annotated[
    list[str] | None,
    typer.Option(
        "--re-rank",
        "--rerank",
        help="Also report figures after k-reciprocal or query-expansion; repeatable.",
    ),
]


@command
def sample(
    context: typer.Context,
    out: NewFolder,
    layout: Layout = None,
    people: Annotated[
        int | None, typer.Option(help="How many; half of them are tested. By default 40.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Draw people who walk past four cameras, in a real public layout.

    Layouts: LAYOUTS.

    Thresholds at 1 % need 300 pairs of validation people: 160 people and the configuration demo.

    Example: likeness APP sample /tmp/walkers --people 160
    """
    from likeness_apps.shell.inspect import write_sample

    write_sample(domain_of(context), out, layout=layout, seed=seed, people=people)


@command
def evaluate(
    context: typer.Context,
    model: Model,
    data: Data,
    out: Out,
    protocol: Protocol = "cross-camera",
    frames: Frames = "mean",
    re_rank: ReRank = None,
    images: Images = False,
    batch_size: Limit = 64,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Rank the test tracklets of a set: report.html, metrics.json, queries.csv, features.npy.

    Features of people are biometric data.

    Example: likeness APP evaluate runs/mars MARS --protocol mars-official --out results/mars
    """
    from likeness_apps.person_reid.evaluate import evaluate as body

    chosen: Any = frames
    body(
        domain_of(context),
        model,
        data,
        out,
        protocol=protocol,
        frames=chosen,
        re_rank=re_rank or [],
        include_images=images,
        batch_size=batch_size,
        device=device,
        quiet=quiet,
    )


@command
def score(
    context: typer.Context,
    truth: Annotated[
        Path, typer.Argument(help="Table: label, camera, tracklet, role (csv or parquet).")
    ],
    features: Annotated[Path, typer.Argument(help="A .npy with one row per row of the table.")],
    out: Out,
    protocol: Protocol = "cross-camera",
    space: Annotated[
        str, typer.Option(help="How features are compared: cosine, euclidean or dot.")
    ] = "cosine",
    re_rank: ReRank = None,
    quiet: Quiet = False,
) -> None:
    """The same numbers and page without a model, from a table and its features.

    With --protocol lfw or verification: pairs of images of the same person, and what `embed` wrote.

    Example: likeness APP score tracklets.csv features.npy --protocol mars-official --out results/a

    Example: likeness APP score pairs.csv features.parquet --protocol verification --out results/p
    """
    from likeness_apps.person_reid.score import score as body

    compared: Any = space
    given = domain_of(context), truth, features, out
    body(*given, protocol=protocol, space=compared, re_rank=re_rank or [], quiet=quiet)


@command
def explain_score(
    first: Annotated[Path, typer.Argument(metavar="A", help="A result of evaluate or score.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write explanation.json into this directory.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Name the rule that makes two figures differ, by scoring again with one rule switched.

    Example: likeness APP explain-score results/official results/torchreid
    """
    from likeness_apps.person_reid.explain_command import explain_results

    explain_results(first, second, out=out, quiet=quiet)


@command
def compare(
    first: Annotated[
        Path, typer.Argument(metavar="RESULT_A", help="A result of evaluate or score.")
    ],
    second: Annotated[Path, typer.Argument(metavar="RESULT_B", help="Another one.")],
    out: OutComparison = None,
    seed: BootstrapSeed = 0,
) -> None:
    """Paired differences A - B over the same queries, with intervals by drawing identities.

    Example: likeness APP compare results/a results/b
    """
    from likeness_apps.person_reid.compare import compare_results

    compare_results(first, second, out=out, seed=seed)


@command
def imprint(
    context: typer.Context,
    model: Model,
    images: Examples,
    label: Label,
    out: OutModel,
    purpose: Purpose = "",
    legal_basis: LegalBasis = "",
    retention: Retention = "",
    licence: Licence = None,
    tta: Tta = "one",
    batch_size: Limit = 64,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Add a person to the class layer of a model, as a start for training on them.

    The new row is the mean embedding of a person: biometric data, kept for a purpose and a time,
    which card and provenance state. The model must have model.class_layer=cosine. To find people
    again no model need be changed: `index` and `search` do that.

    Example: likeness APP imprint runs/first FRAMES --label p17 --out models/second --purpose study
    --legal-basis consent --retention 2031-08-31
    """
    from likeness_apps.person_reid.archive.statements import stated
    from likeness_apps.shell.imprint import imprint as body

    views: Any = tta
    given = domain_of(context), model, images, out
    facts = stated(purpose, legal_basis, retention).facts()
    options: dict[str, Any] = {"batch_size": batch_size, "device": device, "quiet": quiet}
    body(*given, label=label, licence=licence, tta=views, facts=facts, **options)


_READING: Mapping[str, Callable[..., None]] = {
    "inspect": inspect,
    "train": train,
    "distill": distill,
    "evaluate": evaluate,
    "embed": embed,
    "index": index,
    "search": search,
    "match": match,
}
OWN: Mapping[str, Callable[..., None]] = {
    **{name: acknowledging(body) for name, body in _READING.items()},
    "sample": sample,
    "score": score,
    "explain-score": explain_score,
    "compare": compare,
    "imprint": imprint,
    "tracklets": tracklets,
    "forget": forget,
}
# There is no class to predict: everybody is somebody else than those trained on.
WITHOUT = ("predict", "pool")
