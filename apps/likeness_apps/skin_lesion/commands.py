"""The commands that only skin lesions have, and shared ones that can do more here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from likeness_apps.shell.commands import command
from likeness_apps.shell.options import (
    Data,
    Device,
    Fold,
    Layout,
    Model,
    Multilabel,
    NewFolder,
    Out,
    Quiet,
    Seed,
    domain_of,
)


@command
def sample(
    context: typer.Context,
    out: NewFolder,
    layout: Layout = None,
    per_class: Annotated[
        int | None, typer.Option(help="Lesions of each class. By default 120 (ham10000: 60).")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Draw lesions as seen through a dermatoscope, in a real public layout.

    Layouts: LAYOUTS.

    Example: likeness APP sample /tmp/lesions --per-class 300
    """
    from likeness_apps.shell.inspect import write_sample

    write_sample(domain_of(context), out, layout=layout, seed=seed, per_class=per_class)


@command
def score(
    context: typer.Context,
    truth: Annotated[
        Path, typer.Argument(help="An ISIC table of truth; or path and label (csv or parquet).")
    ],
    predictions: Annotated[
        Path,
        typer.Argument(help="An ISIC submission; or labels, class columns, a .npy of features."),
    ],
    out: Out,
    floor: Annotated[
        float, typer.Option(help="Sensitivity where the corrected partial areas begin.")
    ] = 0.8,
    protocol: Annotated[
        str | None, typer.Option(help="The published split that was scored; `train` names them.")
    ] = None,
    fold: Fold = None,
    multilabel: Multilabel = False,
    quiet: Quiet = False,
) -> None:
    """The official ISIC figures and corrected ones from two tables, without a model.

    Other tables are scored as in every application.

    Example: likeness APP score truth.csv predictions.csv --out results/other
    """
    from likeness_apps.skin_lesion.isic.score import score as body

    body(
        domain_of(context),
        truth,
        predictions,
        out,
        floor=floor,
        protocol=protocol,
        fold=fold,
        multilabel=multilabel,
        quiet=quiet,
    )


@command
def submission(
    predictions: Annotated[Path, typer.Argument(help="What `predict` or `evaluate` wrote.")],
    out: Annotated[Path, typer.Option("--out", help="A new .csv file.")],
    quiet: Quiet = False,
) -> None:
    """Write predictions as the ISIC challenge of these classes takes them.

    Example: likeness APP submission results/first/predictions.csv --out submission.csv
    """
    from likeness_apps.skin_lesion.isic.submission import submit

    submit(predictions, out, quiet=quiet)


@command
def explain(
    context: typer.Context,
    model: Model,
    image: Annotated[Path, typer.Argument(help="An image (DICOM too), or a folder of a few.")],
    out: Out,
    cases: Annotated[
        Path | None,
        typer.Option(help="The data set that the model was trained on, to show its pictures."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Similar cases for each image.")] = 5,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Show where the network looked and the most similar training lesions. Research only.

    Writes explanation.html, explanation.png and explanation.json. Pictures of training lesions are
    in them only with --cases.

    Example: likeness APP explain runs/first lesion.jpg --out why --cases DATA
    """
    from likeness_apps.skin_lesion.explain.run import explain as body

    given = domain_of(context), model, image, out
    body(*given, k=k, device=device, cases=cases, quiet=quiet)


@command
def names(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="A new .csv that only you may read.")],
    quiet: Quiet = False,
) -> None:
    """Write which hash stands for which path of DATA: the key, to be kept as private as DATA.

    Names that could name a patient are shown as hashes everywhere else.

    Example: likeness APP names DATA --out key.csv
    """
    from likeness_apps.shell.console import say
    from likeness_apps.skin_lesion.privacy.stand_ins import write_key

    count = write_key(data, out)
    say(f"{out}: {count} hidden names; whoever reads it can name them", quiet=quiet)


OWN: Mapping[str, Callable[..., None]] = {
    "sample": sample,
    "explain": explain,
    "names": names,
    "score": score,
    "submission": submission,
}
