"""`likeness benchmark`: sets and protocols of the field, beside the four applications."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likeness_apps.shell.commands import command
from likeness_apps.shell.options import Quiet

Out = Annotated[
    Path, typer.Option("--out", help="Where to write; a stopped benchmark goes on there.")
]
Config = Annotated[
    str, typer.Option("--config", help="The budget of all: a shipped name or a YAML file.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one key of it: --set a.b=c; once for each key."),
]
Repeats = Annotated[
    int, typer.Option(min=1, help="Random halves of the classes; of published sets, seeds.")
]

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
    out: Out,
    config: Config = "retrieval",
    changes: Changes = None,
    repeats: Repeats = 1,
    quiet: Quiet = False,
) -> None:
    """Find images of classes that nobody trained on: every method with the same budget.

    Intervals are over test classes, and over repeats; NMI, of all images together, has none.

    Example: likeness benchmark retrieval AID --methods untrained,triplet --out runs/bench
    """
    from likeness_apps.benchmark.retrieval import retrieval as body

    failed = body(
        *(data, out),
        methods=_named(methods),
        config=config,
        changes=changes or [],
        repeats=repeats,
        quiet=quiet,
    )
    raise typer.Exit(int(failed > 0))


@app.command(name="cross-modal")
@command
def cross_modal(
    data: Annotated[
        Path,
        typer.Argument(
            help="Sketchy or TU-Berlin with their zero-shot lists; or photographs, one folder per "
            "class, with --edges."
        ),
    ],
    out: Out,
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
            "These are pseudo-sketches, nobody drew them; they are kept in OUT/pseudo_sketches."
        ),
    ] = None,
    codes: Annotated[
        str,
        typer.Option(help="What 64-bit codes are fitted to: training, or gallery as in papers."),
    ] = "training",
    config: Config = "cross_modal",
    changes: Changes = None,
    repeats: Repeats = 1,
    quiet: Quiet = False,
) -> None:
    """Find photographs of classes that nobody trained on by sketches of them.

    Example: likeness benchmark cross-modal Sketchy --split zeroshot1 --out runs/sketchy

    Example: likeness benchmark cross-modal AID --edges canny --out runs/edges
    """
    from likeness_apps.benchmark.cross_modal.run import Request
    from likeness_apps.benchmark.cross_modal.run import cross_modal as body

    request = Request(
        *(data, out, _named(methods), split, edges, codes),
        config=config,
        changes=tuple(changes or ()),
        repeats=repeats,
        quiet=quiet,
    )
    raise typer.Exit(int(body(request) > 0))


@app.command(name="low-shot")
@command
def low_shot(
    data: Annotated[
        Path,
        typer.Argument(
            help="CUB-200-2011 as downloaded, another set of `retrieval`, or any folder with one "
            "folder per class."
        ),
    ],
    out: Out,
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            help="averaged (imprinted exemplars), anew (base classes imprinted, too), random, "
            "nearest (every example kept); each also _tuned; by commas.",
        ),
    ] = "averaged,nearest,averaged_tuned,random_tuned",
    shots: Annotated[
        str, typer.Option(help="Images shown of each novel class, by commas.")
    ] = "1,2,5,10,20",
    tuning_epochs: Annotated[
        int | None, typer.Option(min=1, help="Of fine-tuning; a third of the base's if left out.")
    ] = None,
    tuning_rate: Annotated[
        float, typer.Option(min=1e-9, help="What fine-tuning multiplies the learning rate by.")
    ] = 0.1,
    config: Config = "low_shot",
    changes: Changes = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="Other seeds and shown images; other classes, if not given.")
    ] = 1,
    quiet: Quiet = False,
) -> None:
    """Recognise novel classes, known from a few images, beside trained ones (weight imprinting).

    Example: likeness benchmark low-shot CUB_200_2011 --out runs/low_shot

    Example: likeness benchmark low-shot AID --methods averaged,nearest --shots 1,5 --out runs/few
    """
    from likeness_apps.benchmark.low_shot.run import Request, shots_of
    from likeness_apps.benchmark.low_shot.run import low_shot as body

    request = Request(
        *(data, out, _named(methods), shots_of(shots), tuning_epochs, tuning_rate),
        config=config,
        changes=tuple(changes or ()),
        repeats=repeats,
        quiet=quiet,
    )
    raise typer.Exit(int(body(request) > 0))


def _named(methods: str) -> tuple[str, ...]:
    """The methods of a list by commas."""
    return tuple(name.strip() for name in methods.split(",") if name.strip())
