"""`likeness`: the command that mounts the applications, and what stands beside them."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from likeness_apps.benchmark.cli import app as benchmark
from likeness_apps.facial_expression.cli import app as facial_expression
from likeness_apps.methods import methods
from likeness_apps.papers.command import reproduce
from likeness_apps.person_reid.cli import app as person_reid
from likeness_apps.remote_sensing.cli import app as remote_sensing
from likeness_apps.shell.commands import DEBUG, settle_process
from likeness_apps.skin_lesion.cli import app as skin_lesion

app = typer.Typer(
    name="likeness",
    help="How similar are two images? Train, evaluate, search and compare.\n\n"
    "Example: likeness remote-sensing train UCMerced_LandUse --out runs/ucm",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(remote_sensing, name="remote-sensing")
app.add_typer(skin_lesion, name="skin-lesion")
app.add_typer(person_reid, name="person-reid")
app.add_typer(facial_expression, name="facial-expression")
app.add_typer(benchmark, name="benchmark")
app.command(name="methods")(methods)
app.command(name="reproduce")(reproduce)


def _version(value: bool) -> None:
    if value:
        from likeness import __version__

        print(f"likeness {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""
    if debug:
        os.environ[DEBUG] = "1"


def main() -> None:
    """Entry point of the installed command."""
    settle_process()
    app()
