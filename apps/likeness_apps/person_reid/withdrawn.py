"""`--acknowledge-withdrawn`: the commands that read DATA, for sets that their owner took back.

The shared commands know nothing of it: they get an application that recognises such sets, too.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likeness_apps.shell.options import domain_of

if TYPE_CHECKING:
    from likeness.data.manifest import Manifest

NAME = "acknowledge_withdrawn"
Acknowledged = Annotated[
    bool,
    typer.Option(
        "--acknowledge-withdrawn",
        help="Read a set that its owner has withdrawn (DukeMTMC-VideoReID), knowing that.",
    ),
]


def acknowledging(body: Callable[..., None]) -> Callable[..., None]:
    """The command with one option more.

    Args:
        body: a command whose first argument is the context.
    """

    @functools.wraps(body)
    def run(context: typer.Context, **given: Any) -> None:
        if given.pop(NAME):
            context.obj = replace(domain_of(context), recognise=_recognise_all)
        body(context, **given)

    # Typer reads the options of a command from its signature and its annotations.
    signature = inspect.signature(body, eval_str=True)
    option = inspect.Parameter(
        NAME, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Acknowledged
    )
    listed = [*signature.parameters.values(), option]
    run.__signature__ = signature.replace(parameters=listed)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in listed}
    return run


def _recognise_all(path: Path) -> Manifest:
    from likeness_apps.person_reid.layouts import recognise

    return recognise(path, acknowledge_withdrawn=True)
