"""`likeness person-reid`: people in video, found again across cameras. Research."""

from __future__ import annotations

import typer

from likeness_apps.person_reid import commands
from likeness_apps.person_reid.domain import DOMAIN
from likeness_apps.shell.grammar import add_commands

app = typer.Typer(
    name=DOMAIN.name,
    help="People in video: train, rank by exact protocols, and say 'unknown' where nobody can "
    "tell. Research.\n\n"
    "Example: likeness person-reid train MARS --out runs/mars",
    no_args_is_help=True,
)
add_commands(app, DOMAIN, commands.OWN, without=commands.WITHOUT)
