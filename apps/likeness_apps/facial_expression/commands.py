"""The commands that only facial expressions have, and shared ones that can do more here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from likeness_apps.facial_expression.crop_command import crop
from likeness_apps.facial_expression.faces.command import predict
from likeness_apps.facial_expression.variants.command import subclasses
from likeness_apps.facial_expression.video.command import video
from likeness_apps.shell.commands import command
from likeness_apps.shell.options import Layout, NewFolder, Seed, domain_of


@command
def sample(
    context: typer.Context,
    out: NewFolder,
    layout: Layout = None,
    per_class: Annotated[
        int | None, typer.Option(help="Faces of each expression. By default 60.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Draw faces with displayed expressions and made-up votes, in a real public layout.

    Layouts: LAYOUTS.

    Example: likeness APP sample /tmp/faces --per-class 100
    """
    from likeness_apps.shell.inspect import write_sample

    write_sample(domain_of(context), out, layout=layout, seed=seed, per_class=per_class)


OWN: Mapping[str, Callable[..., None]] = {
    "crop": crop,
    "sample": sample,
    "predict": predict,
    "subclasses": subclasses,
    "video": video,
}
