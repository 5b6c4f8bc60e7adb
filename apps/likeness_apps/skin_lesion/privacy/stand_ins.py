"""Stand-ins for data whose names could name patients: folders of links with names that say nothing.

Every command works on the stand-in, so that real names are in no report, log, table, index, model
or message, whatever the command does. A stand-in has the same names in every run of one user (they
are hashes under the user's salt), lies in a private temporary folder, and goes with the process
(unless that is killed by SIGKILL or loses its power: then it stays until somebody empties TMPDIR).
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import pandas as pd

from likeness.data.split_lists import as_list, names_in_list
from likeness.data.tables import TABLE_SUFFIXES, load_frame
from likeness.errors import UserError, require
from likeness_apps.skin_lesion.privacy.plain_names import hidden_path
from likeness_apps.skin_lesion.privacy.pseudonyms import own_salt, write_private
from likeness_apps.skin_lesion.privacy.stand_in_tables import PATHS, plain_table

_KEPT: list[TemporaryDirectory[str]] = []  # removed when the process ends
# How tables of public archives begin; they name nobody, and some are large.
_PUBLISHED = re.compile(r"(?:ISIC|ISBI)[-_]?20\d\d|HAM10000_metadata|hmnist_\d|PH2_dataset")


def screen(path: Path) -> Path:
    """What a command may work on in place of `path`.

    Args:
        path: a data set, a folder of images, a table, or one image; it exists.

    Returns:
        `path` itself if no name in it could name a person, as in public sets; else its stand-in.

    Raises:
        UserError: if a table cannot be read, there is no salt, or no links can be made.
    """
    if path.is_dir():
        return path if _is_plain_folder(path) else _folder_of_links(path)
    if path.suffix.lower() in TABLE_SUFFIXES:
        return _screened_table(path)
    (shown,) = screen_names([path.name])
    return path if shown == path.name else _link(path, _new_folder() / shown)


def screen_names(names: Sequence[str]) -> list[str]:
    """The stand-ins of paths or groups in a table, as `screen` calls the same names."""
    if all(hidden_path(name, "") == name for name in names):
        return list(names)  # and no salt is made for nothing
    salt = own_salt()
    return [hidden_path(name, salt) for name in names]


def write_key(data: Path, out: Path) -> int:
    """Write which stand-in is which path of `data`: a CSV that only its owner may read.

    Args:
        data: as for `screen`.
        out: a new file.

    Returns:
        How many names are hidden.

    Raises:
        UserError: if `data` is missing, or `out` is there or cannot be written.
    """
    require(data.exists(), "data", "an existing folder, table or image", str(data))
    real = _paths_in(data)
    pairs = zip(screen_names(real), real, strict=True)
    hidden = [(shown, path) for shown, path in pairs if shown != path]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("name", "path"), *hidden])
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_private(out, text.getvalue())
    except FileExistsError:
        raise UserError(f"out must be a new file, got {out}, which is there") from None
    except OSError as error:
        raise UserError(f"out must be a writable place, got {out}: {error.strerror}") from error
    return len(hidden)


def _paths_in(data: Path) -> list[str]:
    if data.is_dir():
        return sorted(_files(data))
    if data.suffix.lower() not in TABLE_SUFFIXES:
        return [data.name]
    frame = load_frame(data)
    columns = [frame[name] for name in frame.columns if name in PATHS]
    return sorted({str(cell) for column in columns for cell in column.dropna()})


def _is_plain_folder(root: Path) -> bool:
    """Whether nothing is to be hidden; one walk, which ends at the first name that is."""
    for name in _files(root):
        if hidden_path(name, "") != name or _rewritten(root / name, "") is not None:
            return False
    return True


def _folder_of_links(root: Path) -> Path:
    """The folder as it is, with other names, and with tables and lists that say these."""
    top, salt = _new_folder(), own_salt()
    for name in _files(root):
        target = top / _shown(name, salt)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = _rewritten(root / name, salt)
        if text is None:
            _link(root / name, target)
        elif isinstance(text, str):
            target.write_text(text, encoding="utf-8")
        else:
            _write(text, target)
    return top


def _shown(name: str, salt: str) -> str:
    """The stand-in of a file's path; a list of a split stays one by its name."""
    shown, listed = PurePosixPath(hidden_path(name, salt)), as_list(name)
    if listed is None or as_list(str(shown)) is not None:
        return str(shown)
    family, split = listed
    last = f"{hidden_path(PurePosixPath(family).name, salt)}_{split}{shown.suffix}"
    return str(shown.with_name(last))


def _rewritten(file: Path, salt: str) -> pd.DataFrame | str | None:
    """A table or a list of names as it may be shown; None for other files, and if it may as is.

    A table that cannot be read is linked: whoever needs it says what is wrong with it.
    """
    if _PUBLISHED.match(file.name):
        return None
    if file.suffix.lower() in TABLE_SUFFIXES:
        try:
            frame = load_frame(file)
        except UserError:
            return None
        if as_list(file.name) is None or set(frame.columns) & set(PATHS):
            shown = plain_table(frame, salt)
            return None if shown is frame else shown
    if as_list(file.name) is None:
        return None
    names = names_in_list(file)
    shown_names = [hidden_path(name, salt) for name in names]
    return None if shown_names == names else "".join(f"{name}\n" for name in shown_names)


def _screened_table(path: Path) -> Path:
    frame = load_frame(path)
    if plain_table(frame, "") is frame:
        return path
    shown = plain_table(frame, own_salt())
    top, root = _new_folder(), path.absolute().parent
    for column in [name for name in frame.columns if name in PATHS and name in shown]:
        for cell, name in zip(frame[column], shown[column], strict=True):
            if name and not pd.isna(cell) and not os.path.isabs(name):
                target = top / name
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(root / str(cell).strip().replace("\\", "/"), target)
    return _write(shown, top / f"table{path.suffix.lower()}")


def _files(root: Path) -> Iterator[str]:
    """The paths of the files below a folder, relative to it; hidden ones and loops left out."""
    visited = {os.path.realpath(root)}
    for here, folders, files in os.walk(root, followlinks=True):
        base = os.path.relpath(here, root)
        for name in list(folders):
            real = os.path.realpath(os.path.join(here, name))
            if name.startswith(".") or real in visited:
                folders.remove(name)  # os.walk goes where this list says
            visited.add(real)
        for name in files:
            if not name.startswith("."):
                yield name if base == "." else f"{base}/{name}".replace(os.sep, "/")


def _new_folder() -> Path:
    """A private folder, called as the commands' help calls what a person gives."""
    _KEPT.append(TemporaryDirectory(prefix="likeness-"))  # of mode 0700
    folder = Path(_KEPT[-1].name) / "DATA"
    folder.mkdir()
    return folder


def _link(source: Path, target: Path) -> Path:
    try:
        target.symlink_to(source.absolute())
    except FileExistsError:  # a table may list a file twice
        pass
    except OSError as error:
        rule = "named without what could name a person, where no links can be made to hide it"
        raise UserError(f"data must be {rule}, got {error.strerror}") from error
    return target


def _write(frame: pd.DataFrame, target: Path) -> Path:
    if target.suffix.lower() in (".csv", ".tsv"):
        frame.to_csv(target, index=False, lineterminator="\n")
    else:
        frame.to_parquet(target, index=False)
    return target
