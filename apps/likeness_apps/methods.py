"""`likeness methods`: every part that a configuration can name, as the code describes it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likeness_apps.shell.commands import command

if TYPE_CHECKING:
    from likeness.catalogue import Option, Part

BEGIN, END = "<!-- parts:begin (made by make docs-methods) -->", "<!-- parts:end -->"
STATUS = {
    "confirmed": "by the paper or its authors' code",
    "in part": "the docstring says what is not",
    "reconstruction": "of a text that was not readable: never to be quoted as the paper's",
    "ours": "no paper's",
}


@command
def methods(
    name: Annotated[str | None, typer.Argument(help="One part, with all that is known.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    write: Annotated[
        Path | None,
        typer.Option("--write", help="Renew the generated part of this document instead."),
    ] = None,
) -> None:
    """List every loss, miner, synthesis, regulariser, sampler, ... that a configuration can name.

    Example: likeness methods margin
    """
    from likeness.catalogue import find, parts
    from likeness_apps.shell.console import say, show_table

    chosen = list(parts()) if name is None else find(name)
    if write is not None:
        renew(write, parts())
    elif as_json:
        print(json.dumps([as_data(part) for part in chosen], indent=2, ensure_ascii=False))
    elif name is None:
        rows = [
            (part.kind, each, paper(part), part.status) for part in chosen for each in part.names
        ]
        columns = ("kind", "name", "paper", "status")
        show_table(f"{len(chosen)} parts", columns, rows, whole=("kind", "name", "status"))
        say("One of them: likeness methods NAME;  how they hang together: docs/methods.md")
    else:
        for part in chosen:
            _show(part)


def as_data(part: Part) -> dict[str, object]:
    """A part as plain data."""
    return dataclasses.asdict(part)


def paper(part: Part) -> str:
    """Whose it is."""
    return "; ".join(part.papers) or "-"


def renew(document: Path, all_parts: Sequence[Part]) -> None:
    """Put the generated tables between their two lines.

    Raises:
        UserError: if the document has no such lines.
    """
    from likeness.errors import require
    from likeness.files import write_text

    text = document.read_text(encoding="utf-8") if document.is_file() else ""
    rule = f"a document with the lines {BEGIN!r} and {END!r}"
    require(BEGIN in text and END in text, "write", rule, str(document))
    write_text(document, renewed(text, all_parts))


def renewed(text: str, all_parts: Sequence[Part]) -> str:
    """A document's text with the tables of these parts between the two lines."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{markdown(all_parts)}\n{END}{after}"


def markdown(all_parts: Iterable[Part]) -> str:
    """One table for each kind."""
    by_kind: dict[str, list[Part]] = {}
    for part in all_parts:
        by_kind.setdefault(part.kind, []).append(part)
    blocks = []
    for kind, members in by_kind.items():
        places = ", ".join(dict.fromkeys(f"`{part.place}`" for part in members))
        lines = [
            f"### {kind.capitalize()} ({places})",
            "",
            "| name | what it is | paper | status |",
        ]
        lines += [lines.pop() + " options: default (range) |", "|---|---|---|---|---|"]
        blocks.append("\n".join([*lines, *map(_row, members)]))
    return "\n\n".join(blocks)


def _row(part: Part) -> str:
    names = " ".join(f"`{name}`" for name in part.names)
    told = "; ".join(_told(option) for option in part.options) or "-"
    cells = (names, part.summary, paper(part), part.status, told)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _told(option: Option) -> str:
    return f"`{option.name}`: {option.default} ({option.allowed})"


def _show(part: Part) -> None:
    """Everything about one part."""
    from likeness_apps.shell.console import say, show_table

    say(f"{part.title}: {part.kind}, at {part.place} of a configuration")
    say(f"paper: {paper(part)};  {part.status}: {STATUS[part.status]}")
    say(f"code: {', '.join(part.objects)}\n")
    say(f"{part.text}\n")
    rows = [(each.name, each.default, each.allowed, each.meaning) for each in part.options]
    if rows:
        show_table("Options", ("name", "default", "range", "meaning"), rows, whole=("name",))
    else:
        say("No options.")
