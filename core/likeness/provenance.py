"""Where a model comes from, and whether its files are still what was written.

`provenance.json` holds the command, seed, versions, threads, hardware, data hash and commit, the
format version, the SHA-256 of every other file of the model, and a digest of itself.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torchvision

from likeness import __version__
from likeness.errors import UserError, require
from likeness.files import finite, sha256_file, whole_directory

FORMAT_VERSION = 1
PROVENANCE_FILE = "provenance.json"
WEIGHTS_FILE = "weights.safetensors"
# README.md is checked like the rest: a card that was edited no longer describes what was measured.
MODEL_FILES = (
    WEIGHTS_FILE,
    "config.yaml",
    "labels.json",
    "preprocessing.json",
    "splits.csv",
    "metrics.json",
    "README.md",
)
UNREADABLE = (OSError, ValueError, RecursionError)  # what a text file that is none may raise
_PACKAGES = ("numpy", "pandas", "pillow", "rasterio", "lightning")
SPLIT_COLUMNS = ("path", "label", "split", "group", "sha256")


_RECORDED_AS: dict[Path, str] = {}  # a word of the command line -> what is recorded of it


def record_as(word: Path | str, shown: str) -> None:
    """From now on, record `word` of this process's command line as `shown`.

    For a path that may name a person; the rest of the command is recorded as it was typed.
    """
    _RECORDED_AS[Path(word)] = shown


def collect_provenance(
    *,
    seed: int,
    data_hash: str,
    data_licence: str | None = None,
    device: str = "cpu",
    command: Sequence[str] | None = None,
) -> dict[str, Any]:
    """What must be known to repeat a run.

    Nothing that names a person or the machine is recorded, beyond what the command itself says,
    and of that not what `record_as` replaces.

    Args:
        seed: the run's seed.
        data_hash: `hash_table` of the rows that were used.
        data_licence: the licence of the data; None where it was not given.
        device: `cpu`, `cuda`, ...
        command: the command line; None takes this process's.

    Returns:
        Plain data for `save_bundle` and for checkpoints.
    """
    words = list(command if command is not None else sys.argv)
    versions = {
        "likeness": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,  # with its build, such as +cu130
        "torchvision": torchvision.__version__,
    }
    for name in _PACKAGES:
        versions[name] = metadata.version(name)
    return {
        "command": [Path(words[0]).name, *(_RECORDED_AS.get(Path(w), w) for w in words[1:])],
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "versions": versions,
        "threads": torch.get_num_threads(),
        "data_hash": data_hash,
        "data_licence": data_licence,
        "git_commit": git_commit(),
        "device": device,
        "hardware": _hardware(device),
    }


def git_commit(folder: Path | str | None = None) -> str | None:
    """The commit of the source tree that holds `folder`, or None.

    None without git, outside a repository, and where the repository does not track this folder
    (an installed package inside somebody's project). `-dirty` marks uncommitted changes.

    Args:
        folder: a folder of sources; None takes this package's.
    """
    place = str(folder if folder is not None else Path(__file__).parent)
    git = shutil.which("git")
    if git is None:
        return None

    def ask(*arguments: str) -> str | None:
        answer = subprocess.run(
            [git, "-C", place, *arguments], capture_output=True, text=True, check=False
        )
        return answer.stdout.strip() if answer.returncode == 0 else None

    if not ask("ls-files", "--", "."):
        return None
    commit = ask("rev-parse", "HEAD")
    if not commit:
        return None
    return f"{commit}-dirty" if ask("status", "--porcelain", "--", ".") else commit


def hash_table(table: pd.DataFrame) -> str:
    """SHA-256 over path, label, split, group and content hash of every row, in any row order.

    Args:
        table: a Manifest's table; columns it lacks count as empty.
    """
    columns = [name for name in SPLIT_COLUMNS if name in table.columns]
    rows = sorted(
        json.dumps(dict(zip(columns, map(str, row), strict=True)), sort_keys=True)
        for row in table[columns].itertuples(index=False, name=None)
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def seal(directory: Path, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Add format version, file checksums and the digest of the record itself.

    Args:
        directory: a model directory in which every other file is already written.
        provenance: as `collect_provenance` gives it.

    Returns:
        What `provenance.json` must hold.
    """
    sealed = {
        **finite(dict(provenance)),
        "format_version": FORMAT_VERSION,
        "files": {name: sha256_file(directory / name) for name in MODEL_FILES},
    }
    return {**sealed, "digest": _digest(sealed)}


def resolve_model(path: Path | str) -> Path:
    """The model directory that `path` is, or that the run directory `path` holds.

    A directory whose replacement was cut off is found where it was moved aside.

    Raises:
        UserError: if neither is there, or the run was stopped before it had a model.
    """
    given = Path(path).expanduser()
    for name in (given, given / "model"):
        directory = whole_directory(name)
        if (directory / PROVENANCE_FILE).is_file():
            return directory
    if _is_begun(given):
        raise UserError(
            f"model must be a finished run, got {given}, which has no model yet: its `train` or "
            "`distill` goes on with --resume"
        )
    raise UserError(
        f"model must be a model or run directory (one that holds {PROVENANCE_FILE}), got {given}"
    )


def _is_begun(run: Path) -> bool:
    """Whether this is what a run writes first; a model has these files, too, beside its labels."""
    there = [(run / name).is_file() for name in ("config.yaml", "splits.csv", "labels.json")]
    return there == [True, True, False]


def read_provenance(directory: Path) -> dict[str, Any]:
    """Read `provenance.json` and verify every file against it.

    Args:
        directory: a model directory, see `resolve_model`.

    Raises:
        UserError: on another format version, a missing file, or one that was changed.
    """
    where = directory / PROVENANCE_FILE
    try:
        record: Any = json.loads(where.read_text(encoding="utf-8"))
    except UNREADABLE as error:
        raise UserError(f"model must hold a readable {PROVENANCE_FILE}, got {where}") from error
    if not isinstance(record, dict):
        raise UserError(f"model must hold a readable {PROVENANCE_FILE}, got {where}")
    version = record.get("format_version")
    require(version == FORMAT_VERSION, "model", f"of format version {FORMAT_VERSION}", version)
    digest = record.pop("digest", None)
    files = record.get("files")
    if digest != _digest(record) or not isinstance(files, dict) or set(files) != set(MODEL_FILES):
        raise UserError(f"model must be as it was written, got a changed {where}")
    for name in MODEL_FILES:
        path = directory / name
        if not path.is_file():
            raise UserError(f"model must hold {name}, got {directory} without it")
        if sha256_file(path) != files[name]:
            raise UserError(f"model must be as it was written, got a changed {path}")
    return record


def _digest(record: Mapping[str, Any]) -> str:
    text = json.dumps(record, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _hardware(device: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "machine": platform.machine(),
        "processor": _processor(),
        "processors": os.cpu_count(),
    }
    if device.startswith("cuda") and torch.cuda.is_available():
        found["accelerator"] = torch.cuda.get_device_name(torch.device(device))
    return found


def _processor() -> str:
    """The processor's model, which Linux tells in a file only."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
