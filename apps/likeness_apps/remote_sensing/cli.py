"""`likeness remote-sensing`: aerial and satellite scenes."""

from __future__ import annotations

import typer

from likeness_apps.remote_sensing import commands
from likeness_apps.remote_sensing.domain import DOMAIN
from likeness_apps.shell.grammar import add_commands

app = typer.Typer(
    name=DOMAIN.name,
    help="Aerial and satellite scenes: classification, retrieval and maps.\n\n"
    "Example: likeness remote-sensing train UCMerced_LandUse --out runs/ucm",
    no_args_is_help=True,
)
add_commands(app, DOMAIN, commands.OWN)
