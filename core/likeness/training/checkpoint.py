"""Checkpoints: safetensors + JSON in a directory that is either the old or the whole new one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from likeness.errors import UserError, require
from likeness.files import atomic_directory, atomic_path, whole_directory, write_json

FORMAT_VERSION = 1
LAST = "last"
# They change how fast the numbers come, not the numbers.
FREE_KEYS = ("workers", "checkpoint_minutes")


@dataclass(frozen=True)
class Identity:
    """What makes a run this run; a resumed one must have the same.

    Attributes:
        config: the resolved configuration, plain data.
        data: hash of images, labels and splits.
        devices: number of processes.
    """

    config: Mapping[str, Any]
    data: str
    devices: int


@dataclass(frozen=True)
class Checkpoint:
    """A run between two steps.

    Attributes:
        tensors: networks, optimisers, hooks.
        best: the method's weights after the best epoch so far; empty if there is none yet.
        state: plain data (position, history, optimiser scalars).
    """

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]
    best: Mapping[str, Tensor] = field(default_factory=dict)


def save_checkpoint(folder: Path, checkpoint: Checkpoint, identity: Identity) -> None:
    """Write `folder/last`; whatever kills the process, the old or the new one can be loaded.

    Raises:
        UserError: if the disk is full or cannot be written.
    """
    record = {
        "format_version": FORMAT_VERSION,
        "config": dict(identity.config),
        "data": identity.data,
        "devices": identity.devices,
        "state": dict(checkpoint.state),
    }
    with atomic_directory(folder / LAST) as part:
        _write_tensors(part / "run.safetensors", checkpoint.tensors)
        _write_tensors(part / "best.safetensors", checkpoint.best)
        write_json(part / "run.json", record)


def has_checkpoint(folder: Path) -> bool:
    """Whether there is something to resume from."""
    return whole_directory(folder / LAST).is_dir()


def load_checkpoint(folder: Path, identity: Identity) -> Checkpoint:
    """Read `folder/last`.

    Raises:
        UserError: if it belongs to another configuration, other data or another number of devices
            (naming the first difference), or cannot be read.
    """
    place = whole_directory(folder / LAST)
    try:
        record = json.loads((place / "run.json").read_text(encoding="utf-8"))
        tensors = load_file(place / "run.safetensors")
        best = load_file(place / "best.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"checkpoint must be readable, got {place}: {error}") from None
    version = record.get("format_version")
    require(version == FORMAT_VERSION, "checkpoint format", str(FORMAT_VERSION), version)
    _check_identity(record, identity)
    return Checkpoint(tensors, record["state"], best)


def _check_identity(record: Mapping[str, Any], identity: Identity) -> None:
    given = {key: value for key, value in identity.config.items() if key not in FREE_KEYS}
    saved = {key: value for key, value in record["config"].items() if key not in FREE_KEYS}
    # Through JSON and back: tuples become lists, as they did when the checkpoint was written.
    difference = first_difference(saved, json.loads(json.dumps(given)), "config")
    if difference is not None:
        name, before, now = difference
        raise UserError(
            f"{name} must be {before!r}, as in the run to resume (a changed run needs another "
            f"--out), got {now!r}"
        )
    if record["data"] != identity.data:
        raise UserError(
            "data must be the images, labels and splits of the run to resume (hash "
            f"{record['data']!r}), got others (hash {identity.data!r})"
        )
    require(
        record["devices"] == identity.devices,
        "devices",
        f"{record['devices']}, as in the run to resume",
        identity.devices,
    )


def first_difference(before: Any, now: Any, name: str) -> tuple[str, Any, Any] | None:
    """The first place where two pieces of plain data differ: its name and both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*now, *(key for key in before if key not in now)]:
            found = first_difference(before.get(key), now.get(key), f"{name}.{key}")
            if found is not None:
                return found
        return None
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for place, (old, new) in enumerate(zip(before, now, strict=True)):
            found = first_difference(old, new, f"{name}.{place}")
            if found is not None:
                return found
        return None
    return None if before == now else (name, before, now)


def optimiser_tensors(optimiser: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's memory as tensors by `parameter.key`, and the rest as plain data.

    Rates and the like are not in it: they follow from the configuration.
    """
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for number, entries in optimiser.state_dict()["state"].items():
        for key, value in entries.items():
            place = tensors if isinstance(value, Tensor) else scalars
            place[f"{number}.{key}"] = value
    return tensors, scalars


def restore_optimiser(
    optimiser: Optimizer, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]
) -> None:
    """Take back what `optimiser_tensors` gave; tensors get their parameter's memory layout."""
    parameters = [item for group in optimiser.param_groups for item in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **scalars}.items():
        number, _, key = name.partition(".")
        parameter = parameters[int(number)]
        if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim > 0:
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(int(number), {})[key] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Contiguous copies on the host: safetensors refuses shared and strided memory."""
    copies = {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()
    }
    with atomic_path(path) as part:  # for its permissions: safetensors lets only the owner read
        try:
            save_file(copies, part)
        except SafetensorError as error:
            raise UserError(
                f"out must be a writable place with free space, got {path.parent}: {error}"
            ) from error
