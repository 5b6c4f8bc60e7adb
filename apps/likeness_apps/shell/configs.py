"""Configuration files: found by name, merged with `--set`, handed to the core as plain data."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from likeness.config import closest
from likeness.errors import UserError


def shipped(folder: str) -> Path:
    """The shipped folder `configs` or `datasets`, in a checkout or in a wheel.

    Raises:
        UserError: if the installation is incomplete.
    """
    package = Path(str(files("likeness_apps")))
    checkout = package.parents[1]
    place = checkout / folder if (checkout / "pyproject.toml").exists() else package / f"_{folder}"
    if not place.is_dir():
        raise UserError(f"{folder} must be shipped with likeness, got none beside {package}")
    return place


def names(app: str) -> list[str]:
    """The shipped configurations of an app, e.g. `center_structured`."""
    return sorted(path.stem for path in (shipped("configs") / app).glob("*.yaml"))


def load(
    app: str, name: str, changes: Iterable[str] = (), *, called: str = "config"
) -> dict[str, Any]:
    """The configuration `name` of `app` (or the YAML file of that path) with changes applied.

    Args:
        app: folder under `configs`, e.g. `remote_sensing`.
        name: a shipped name or a path to a YAML file.
        changes: `a.b=c` items, one for each key; the value is read as YAML.
        called: what `name` is called in messages.

    Raises:
        UserError: for an unknown name, a file that is no mapping, a malformed change, or two of
            one key.
    """
    merged = copy.deepcopy(dict(read(_find(app, name, called))))
    changed: set[str] = set()
    for change in changes:
        key = key_of(change)
        if key in changed:
            raise UserError(f"--set must be given once for each key, got {change.strip()} as well")
        changed.add(key)
        _apply(merged, change)
    return merged


def key_of(change: str) -> str:
    """The key of an `a.b=c` item."""
    return change.partition("=")[0].strip()


def read(path: Path) -> Mapping[str, Any]:
    """A YAML file that must be a mapping."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"config must be a readable YAML file, got {path}: {reason}") from None
    if not isinstance(content, dict):
        raise UserError(f"config must be a mapping of keys, got {type(content).__name__} in {path}")
    return content


def _find(app: str, name: str, called: str) -> Path:
    given = Path(name)
    if given.suffix in (".yaml", ".yml") and given.is_file():
        return given
    found = shipped("configs") / app / f"{name}.yaml"
    if found.is_file():
        return found
    close = closest(name, names(app))
    if close is not None:
        rule = "a YAML file or one of the known names"
        raise UserError(f"{called} must be {rule}, got {name!r}; did you mean {close!r}?")
    raise UserError(f"{called} must be a YAML file or one of {', '.join(names(app))}, got {name!r}")


def _apply(config: dict[str, Any], change: str) -> None:
    key, (_, equals, text) = key_of(change), change.partition("=")
    if not equals or not key:
        raise UserError(f"--set must be KEY=VALUE, got {change!r}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set must have a YAML value after '=', got {change!r}") from None
    place: Any = config
    *parents, last = key.split(".")
    for part in parents:
        place = _step(place, part, key)
    place[_position(place, last, key)] = value


def _step(place: Any, part: str, key: str) -> Any:
    """The group or list at `part`; a group that is not there yet is made."""
    position = _position(place, part, key)
    if isinstance(place, dict) and place.get(part) is None:
        place[part] = {}
    found = place[position]
    if not isinstance(found, dict | list):
        raise UserError(f"--set must name a key inside a group, got {key!r}: {part!r} is a value")
    return found


def _position(place: Any, part: str, key: str) -> Any:
    """A key of a group as it is, or a number of a list."""
    if isinstance(place, dict):
        return part
    if not part.isdecimal() or int(part) >= len(place):
        places = f"from 0 to {len(place) - 1}" if place else "none, it is empty"
        raise UserError(f"--set {key} must name a place of the list ({places}), got {part!r}")
    return int(part)
