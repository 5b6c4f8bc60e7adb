"""`likeness skin-lesion`: dermoscopic images. Research only, not a medical device."""

from __future__ import annotations

import typer

from likeness_apps.shell.grammar import add_commands
from likeness_apps.skin_lesion import commands
from likeness_apps.skin_lesion.domain import DOMAIN

app = typer.Typer(
    name=DOMAIN.name,
    help="Dermoscopic images: classification, similar cases, and figures as a clinic wants them. "
    "Research only, not a medical device.\n\n"
    "Example: likeness skin-lesion train HAM10000 --out runs/ham",
    no_args_is_help=True,
)
add_commands(app, DOMAIN, commands.OWN)
