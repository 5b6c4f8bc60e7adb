"""Where an application works on stand-ins of its data, so that no name of a person surfaces.

Every body that reads data begins with `screened`; what it says of the data afterwards is about the
stand-in. An application without `Domain.screen` notices nothing of this.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from likeness.data.manifest import Manifest
from likeness.provenance import record_as
from likeness_apps.shell.console import say
from likeness_apps.shell.domain import Domain


def screened(domain: Domain, path: Path, *, quiet: bool = False) -> Path:
    """What to read in place of `path`: itself, or a stand-in; a stand-in is told of.

    Args:
        domain: the application.
        path: what the person gave; if it is not there, the reader of it says so.
        quiet: say nothing.
    """
    if domain.screen is None or not path.exists():
        return path
    record_as(path, "DATA")  # even if all in it may be shown, the folders above it may not
    shown = domain.screen(path)
    if shown != path:
        _tell(domain, quiet=quiet)
    return shown


def place_to_record(domain: Domain, manifest: Manifest) -> str:
    """Where a set lies, for an index; "" if the folders' names could name a person.

    Public sets are known by their layouts, whose terms the application knows.
    """
    public = domain.screen is None or manifest.layout in domain.licences
    return str(manifest.root.absolute()) if public else ""


def screened_rows(domain: Domain, table: pd.DataFrame, *, quiet: bool = False) -> pd.DataFrame:
    """A table without images, with stand-ins in its columns `path` and `group`."""
    if domain.screen_names is None:
        return table
    shown = {
        name: domain.screen_names(table[name].tolist())
        for name in ("path", "group")
        if name in table.columns
    }
    if all(table[name].tolist() == cells for name, cells in shown.items()):
        return table
    _tell(domain, quiet=quiet)
    return table.assign(**shown)


def _tell(domain: Domain, *, quiet: bool) -> None:
    say(
        "Names of files and folders that could name a person are shown as hashes; "
        f"likeness {domain.name} names DATA --out key.csv writes which is which.",
        quiet=quiet,
    )
