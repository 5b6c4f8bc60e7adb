"""Strict configuration: an unknown key or a value out of range fails with its full path."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from likeness.errors import UserError


class Spec(BaseModel):
    """A frozen group of options; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


S = TypeVar("S", bound=BaseModel)


def parse(model: type[S], mapping: object, where: str = "config") -> S:
    """Build `model` from plain data.

    Args:
        model: the pydantic class.
        mapping: what a YAML file holds; an empty one holds None, which is refused.
        where: the name of the root in messages.

    Returns:
        The validated object.

    Raises:
        UserError: on the first problem, unknown keys before others:
            `config.loss.marign must be a known key, got 0.2; did you mean 'margin'? Known: ...`.
    """
    if not isinstance(mapping, Mapping):
        raise UserError(f"{where} must be a mapping of keys to values, got {mapping!r}")
    try:
        return model.model_validate(dict(mapping))
    except ValidationError as error:
        raise UserError(_sentence(model, error, where)) from None


def _sentence(model: type[BaseModel], error: ValidationError, where: str) -> str:
    errors = error.errors(include_url=False)
    # A misspelt required key is missing and unknown at once; the second says more.
    first = next((item for item in errors if item["type"] == "extra_forbidden"), errors[0])
    owner, path = _walk(model, list(first["loc"]))
    name = ".".join([where, *path])
    got = first.get("input")
    context = first.get("ctx", {})
    match first["type"]:
        case "extra_forbidden":
            known = sorted(owner.model_fields)
            hint = _hint(str(first["loc"][-1]), known)
            return f"{name} must be a known key, got {got!r};{hint} Known: {', '.join(known)}"
        case "missing":
            return f"{name} must be given, got nothing"
        case "union_tag_not_found":
            return f"{name}.name must be given, got {got!r}"
        case "union_tag_invalid":
            expected, tag = context["expected_tags"], context["tag"]
            hint = _hint(str(tag), [item.strip(" '") for item in expected.split(",")])
            return f"{name}.name must be one of {expected}, got {tag!r}" + (hint and f";{hint}")
    if isinstance(context.get("error"), UserError):  # of a validator: already a sentence
        return f"{name}.{context['error']}"
    # The alternatives of `int | str` fail one by one, at the same place.
    rules = [_rule(item) for item in errors if _walk(model, list(item["loc"]))[1] == path]
    return f"{name} must be {' or '.join(dict.fromkeys(rules))}, got {got!r}"


def _rule(item: Any) -> str:
    """What the value must be, from `String should have at least 1 character` and the like."""
    text: str = item["msg"]
    found = re.fullmatch(r"(\w+) should (be|have|match) (.*)", text, flags=re.DOTALL)
    if found is None:
        return text.removeprefix("Value error, ")
    kind, verb, rule = found.groups()
    joint = {"be": "", "have": f"a {kind.lower()} with ", "match": f"a {kind.lower()} matching "}
    return joint[verb] + rule


def _hint(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" did you mean {close[0]!r}?" if close else ""


def _walk(model: type[BaseModel], location: list[Any]) -> tuple[type[BaseModel], list[str]]:
    """Follow an error's location; return the last model met and the keys that the user wrote.

    pydantic also puts in the tags of discriminated unions and, for the alternatives of other
    unions, the names of their types: neither is a key.
    """
    owner = model
    candidates = [model]
    path: list[str] = []
    for part in location:
        tagged = [item for item in candidates if _tag(item) == part]
        if tagged and len(candidates) > 1:  # once narrowed, a field may be called like the tag
            owner, candidates = tagged[0], tagged[:1]
            continue
        path.append(str(part))
        if isinstance(part, int):
            continue
        owners = [item for item in candidates if part in item.model_fields]
        if not owners:
            owner = candidates[0] if candidates else owner
            continue
        owner = owners[0]
        annotations = [item.model_fields[part].annotation for item in owners]
        candidates = [found for annotation in annotations for found in models_in(annotation)]
        if not candidates and all(_is_scalar_union(item) for item in annotations):
            break
    return owner, path


def _is_scalar_union(annotation: Any) -> bool:
    """Whether the annotation is a union of types that hold nothing further."""
    unions = (Union, types.UnionType)
    return get_origin(annotation) in unions and not any(
        get_origin(item) in (list, tuple, dict) for item in get_args(annotation)
    )


def _tag(model: type[BaseModel]) -> object:
    field = model.model_fields.get("name")
    return field.default if field is not None else None


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Every pydantic model that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for item in get_args(annotation) for found in models_in(item)]
