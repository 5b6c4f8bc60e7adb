"""The commands that every application has, with the same words in the same places.

The bodies import what they need when they run, so that `--help` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from likeness_apps.shell.asking import ASKING
from likeness_apps.shell.commands import command
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.options import (
    Against,
    Also,
    BootstrapSeed,
    Changes,
    Data,
    Device,
    Fold,
    Images,
    Layout,
    Limit,
    Model,
    Multilabel,
    NewFolder,
    Out,
    OutComparison,
    Protocol,
    Quiet,
    Resume,
    Seed,
    SplitName,
    Tensorboard,
    Tta,
    domain_of,
)
from likeness_apps.shell.transfer import TRANSFER


@command
def sample(
    context: typer.Context,
    out: NewFolder,
    layout: Layout = None,
    seed: Seed = 0,
) -> None:
    """Write a small generated data set in a real public layout.

    Layouts: LAYOUTS.

    Example: likeness APP sample /tmp/scenes
    """
    from likeness_apps.shell.inspect import write_sample

    write_sample(domain_of(context), out, layout=layout, seed=seed)


@command
def inspect(
    context: typer.Context,
    data: Data,
    against: Against = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write manifest.csv and findings.csv here.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Say what was recognised and what is wrong with it; exit 1 on errors.

    Example: likeness APP inspect DATA

    Example: likeness APP inspect DATA --against OTHER_DATA
    """
    from likeness_apps.shell.inspect import inspect as body

    asked = domain_of(context), data
    raise typer.Exit(body(*asked, against=against or [], out=out, quiet=quiet))


@command
def train(
    context: typer.Context,
    data: Data,
    out: Out,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            help="A shipped configuration (a wrong name lists all) or a YAML file; by default "
            "one that fits the labels: see above.",
        ),
    ] = None,
    changes: Changes = None,
    resume: Resume = False,
    tensorboard: Tensorboard = False,
    images: Images = False,
    quiet: Quiet = False,
) -> None:
    """Train a model on a data set and write a run with its report.

    Configuration: CONFIGS.

    Published splits, for --set data.protocol=NAME: PROTOCOLS.

    Example: likeness APP train DATA --out runs/first --set epochs=10
    """
    from likeness_apps.shell.train import train as body

    body(
        domain_of(context),
        data,
        out,
        config=config,
        changes=changes or [],
        resume=resume,
        tensorboard=tensorboard,
        include_images=images,
        quiet=quiet,
    )


@command
def evaluate(
    context: typer.Context,
    model: Model,
    data: Data,
    out: Out,
    split: SplitName = "test",
    protocol: Protocol = None,
    against: Against = None,
    also: Also = None,
    tta: Tta = "one",
    images: Images = False,
    batch_size: Limit = 64,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Measure a model: metrics.json, predictions.csv, report.html.

    On a set of which the model saw no picture, give its training set with --against: pictures that
    look like one of it are found, too.

    Example: likeness APP evaluate runs/first DATA --out results/first
    """
    from likeness_apps.shell.evaluate import evaluate as body

    body(
        domain_of(context),
        model,
        data,
        out,
        split=split,
        protocol=protocol,
        against=against or [],
        also=also or [],
        tta=tta,
        include_images=images,
        batch_size=batch_size,
        device=device,
        quiet=quiet,
    )


@command
def score(
    context: typer.Context,
    truth: Annotated[
        Path, typer.Argument(help="Table: path and label (csv or parquet); or pairs, see below.")
    ],
    predictions: Annotated[
        Path, typer.Argument(help="Table of labels or class columns, or a .npy of features.")
    ],
    out: Out,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="The published split that was scored (`train` names them), lfw or verification."
        ),
    ] = None,
    fold: Fold = None,
    multilabel: Multilabel = False,
    quiet: Quiet = False,
) -> None:
    """The same numbers without a model, from two tables or from features.

    Pairs, "are these of the same?": --protocol verification takes a table with first, second, same
    and maybe fold and group; --protocol lfw the pairs.txt of Labeled Faces in the Wild. Both take
    what `embed` wrote.

    Example: likeness APP score truth.csv predictions.csv --out results/other

    Example: likeness APP score pairs.txt features.parquet --protocol lfw --out results/lfw
    """
    from likeness_apps.shell.score import score as body

    given = domain_of(context), truth, predictions, out
    body(*given, protocol=protocol, fold=fold, multilabel=multilabel, quiet=quiet)


@command
def compare(
    context: typer.Context,
    first: Annotated[Path, typer.Argument(metavar="RESULT_A", help="A directory of `evaluate`.")],
    second: Annotated[Path, typer.Argument(metavar="RESULT_B", help="Another one.")],
    out: OutComparison = None,
    seed: BootstrapSeed = 0,
) -> None:
    """Paired differences A - B on the same images, with group-bootstrap intervals.

    Example: likeness APP compare results/a results/b
    """
    from likeness_apps.shell.compare import compare as body

    body(domain_of(context), first, second, out=out, seed=seed)


@command
def pool(
    context: typer.Context,
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULT...", help="Directories of `evaluate` or `score`."),
    ],
    out: Out,
    seed: BootstrapSeed = 0,
    quiet: Quiet = False,
) -> None:
    """Join the results of several folds or seeds: mean, deviation, intervals.

    Example: likeness APP pool results/fold1 results/fold2 --out results/folds
    """
    from likeness_apps.shell.pool import pool as body

    body(domain_of(context), results, out, seed=seed, quiet=quiet)


SHARED: tuple[Callable[..., None], ...] = (
    *(sample, inspect, train, evaluate, score),
    *ASKING,
    *(compare, pool),
    *TRANSFER,
)


def add_commands(
    app: typer.Typer,
    domain: Domain,
    own: Mapping[str, Callable[..., None]] | None = None,
    *,
    without: Sequence[str] = (),
) -> None:
    """Give an application's Typer app its commands; they find the domain in the context.

    Args:
        app: of the application.
        domain: the application.
        own: name -> command; one with a shared name takes its place, others come behind.
        without: shared commands that make no sense there.
    """

    @app.callback()
    def remember(context: typer.Context) -> None:
        context.obj = domain

    remember.__doc__ = app.info.help
    shared = {body.__name__: body for body in SHARED if body.__name__ not in without}
    for name, body in (shared | dict(own or {})).items():
        app.command(name=name, help=_help(body, domain))(body)


def _help(body: Callable[..., None], domain: Domain) -> str:
    """The text of a command, with what the application calls things."""
    several = domain.multilabel_config
    chosen = f"{domain.default_config} unless --config says another"
    words = {
        "APP": domain.name,
        "LAYOUTS": ", ".join(domain.samples),
        "CONFIGS": chosen + (f" (several labels per image: {several})" if several else ""),
        "PROTOCOLS": ", ".join(domain.protocols) or "none",
    }
    text = body.__doc__ or ""
    for word, meaning in words.items():
        text = text.replace(word, meaning)
    return text
