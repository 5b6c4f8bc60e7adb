"""The commands that make a model from a model: `distill` and `imprint`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from likeness_apps.shell.commands import command
from likeness_apps.shell.options import (
    Changes,
    Data,
    Device,
    Examples,
    Images,
    Label,
    Licence,
    Limit,
    Model,
    Out,
    OutModel,
    Quiet,
    Resume,
    Tensorboard,
    Tta,
    domain_of,
)


@command
def distill(
    context: typer.Context,
    teacher: Annotated[Path, typer.Argument(help="The model to learn from: a bundle or a run.")],
    data: Data,
    out: Out,
    config: Annotated[
        str | None,
        typer.Option(
            "--config", help="Of the student: a shipped configuration or a YAML file, as in train."
        ),
    ] = None,
    changes: Changes = None,
    resume: Resume = False,
    tensorboard: Tensorboard = False,
    images: Images = False,
    quiet: Quiet = False,
) -> None:
    """Train a student that also learns how a teacher's embeddings lie to each other.

    The student is any configuration of `train`, with a backbone and a dimension of its own; unless
    objective.distillation says otherwise, distances and angles between the teacher's embeddings are
    added. Those are computed once, by the teacher's own preprocessing, and kept in the run.

    Configuration: CONFIGS.

    Example: likeness APP distill runs/large DATA --out runs/small --set model.backbone=resnet18
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
        teacher=teacher,
        quiet=quiet,
    )


@command
def imprint(
    context: typer.Context,
    model: Model,
    images: Examples,
    label: Label,
    out: OutModel,
    licence: Licence = None,
    tta: Tta = "one",
    batch_size: Limit = 64,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Make a model that also knows one more class, from a few images and without training.

    Probabilities do not cover the new class until the model is evaluated with it; the card says so.
    To fine-tune: train --set start=MODEL2 (and model.class_layer=cosine where it has a class layer)
    on data of all classes.

    Example: likeness APP imprint runs/first IMAGES --label NAME --out models/second
    """
    from likeness_apps.shell.imprint import imprint as body

    views: Any = tta
    given = domain_of(context), model, images, out
    options: dict[str, Any] = {"batch_size": batch_size, "device": device, "quiet": quiet}
    body(*given, label=label, licence=licence, tta=views, **options)


TRANSFER: tuple[Callable[..., None], ...] = (distill, imprint)
