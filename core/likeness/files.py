"""Atomic writes: a file is either the old one or the whole new one, whatever kills the process."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from likeness.errors import UserError


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it takes the name `path`.

    Args:
        path: the final name; its folder is made if need be.

    Yields:
        A path to write to. If the body raises, that file is removed and `path` stays as it was.

    Raises:
        UserError: if the disk is full or the folder cannot be written.
    """
    final = Path(path)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{final.name}.", suffix=".part", dir=final.parent)
        os.close(handle)
    except OSError as error:
        raise _unwritable(final, error) from error
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(ordinary_mode())
        temporary.replace(final)
    except OSError as error:
        if not _is_about(error, temporary, final):
            raise
        raise _unwritable(final, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path | str) -> Iterator[Path]:
    """Yield an empty directory beside `path`; on success it takes the name `path`.

    A directory of that name is moved aside and then removed. A process killed between the two
    renames leaves it aside, where `whole_directory` finds it and the next call puts it back.
    One writer at a time.

    Args:
        path: the final name; its parent is made if need be.

    Yields:
        A directory to write into. If the body raises, it is removed and `path` stays as it was.

    Raises:
        UserError: if the disk is full or the parent cannot be written.
    """
    final = Path(os.path.realpath(path))
    temporary, aside = _new(final), _aside(final)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)  # of a killed process
        temporary.mkdir()
        _put_back(final)
    except OSError as error:
        raise _unwritable(final, error) from error
    try:
        yield temporary
        for written in temporary.rglob("*"):
            if written.is_file():
                _sync(written)
        if final.exists():
            final.rename(aside)
        temporary.rename(final)
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        if not _is_about(error, temporary, final):
            raise
        raise _unwritable(final, error) from error
    finally:
        _put_back(final)
        shutil.rmtree(temporary, ignore_errors=True)


def whole_directory(path: Path | str) -> Path:
    """Where the directory `path` is now: there, or aside if its replacement was cut off.

    Readers use this: it changes nothing, so it cannot disturb a writer.
    """
    final = Path(os.path.realpath(path))
    aside = _aside(final)
    return aside if aside.is_dir() and not final.exists() else Path(path)


def settle_directory(path: Path | str) -> None:
    """Put back or remove what a killed `atomic_directory` left beside `path`.

    For writers, one at a time, who must know that nothing of an older state is left.

    Raises:
        UserError: if it cannot be removed.
    """
    final = Path(os.path.realpath(path))
    try:
        _put_back(final)
        for left in (_aside(final), _new(final)):
            if left.exists():
                shutil.rmtree(left)
    except OSError as error:
        raise _unwritable(final, error) from error


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8, atomically; bytes of undecodable file names become escapes."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as JSON with sorted keys, atomically; nan and infinities become null."""
    text = json.dumps(finite(value), indent=2, sort_keys=True, ensure_ascii=False)
    write_text(path, text + "\n")


def sha256_file(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def finite(value: Any) -> Any:
    """The plain data that JSON can hold; nan and infinities, which it cannot, become None."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _aside(final: Path) -> Path:
    return final.with_name(f".{final.name}.old")


def _new(final: Path) -> Path:
    return final.with_name(f".{final.name}.new")


def _put_back(final: Path) -> None:
    """Undo half a replacement, or finish the removal of what was replaced."""
    aside = _aside(final)
    if not aside.is_dir():
        return
    if final.exists():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.rename(final)


def _sync(path: Path) -> None:
    with path.open("rb") as written:
        os.fsync(written.fileno())


def _is_about(error: OSError, *paths: Path) -> bool:
    """Whether the writing failed, rather than something else that the body did.

    A full disk names no file; a broken image (pillow's errors are OSErrors too) has no number.
    """
    if error.errno is None:
        return False
    if not isinstance(error.filename, str | bytes):
        return True
    named = Path(os.fsdecode(error.filename))
    return any(named == path or path in named.parents for path in paths)


def _unwritable(final: Path, error: OSError) -> UserError:
    return UserError(f"out must be a writable place with free space, got {final}: {error.strerror}")


def ordinary_mode() -> int:
    """The mode that a new file has by default; temporary files are private, results are not."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
