"""`likeness facial-expression`: displayed expressions, as annotators judge them. Research."""

from __future__ import annotations

import typer

from likeness_apps.facial_expression import commands
from likeness_apps.facial_expression.domain import DOMAIN
from likeness_apps.shell.grammar import add_commands

app = typer.Typer(
    name=DOMAIN.name,
    help="Displayed expressions in pictures, photographs and videos: recognition, retrieval, and "
    "the variants inside a class. They are what annotators judge, never what a person feels.\n\n"
    "Example: likeness facial-expression train FER2013 --out runs/fer",
    no_args_is_help=True,
)
add_commands(app, DOMAIN, commands.OWN)
