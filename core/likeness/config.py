"""Strict configuration: an unknown key or a value out of range fails with its full path."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

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
    first = next((item for item in errors if item["type"] == "extra_forbidden"), None)
    first = first or _deepest(model, errors)
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
            if hint:  # a list of dozens would hide it
                return f"{name}.name must be one of the known names, got {tag!r};{hint}"
            return f"{name}.name must be one of {expected}, got {tag!r}"
    if isinstance(context.get("error"), UserError):  # of a validator: already a sentence
        return f"{name}.{context['error']}"
    # The alternatives of `int | str` fail one by one, at the same place.
    rules = [_rule(item) for item in errors if _walk(model, list(item["loc"]))[1] == path]
    return f"{name} must be {' or '.join(dict.fromkeys(rules))}, got {got!r}"


def _deepest(model: type[BaseModel], errors: list[Any]) -> Any:
    """The first error; or, of the alternatives of a union that begin there, one that fits so far.

    Of a group that may be a number, too, it is one inside the group, and not "must be a number".
    """
    paths = [_walk(model, list(item["loc"]))[1] for item in errors]
    below = [place for place, path in enumerate(paths) if path[: len(paths[0])] == paths[0]]
    return errors[max(below, key=lambda place: len(paths[place]))]


def _rule(item: Any) -> str:
    """What the value must be, from `String should have at least 1 character` and the like."""
    text: str = item["msg"]
    if item["type"] in ("model_type", "model_attributes_type"):  # texts that name a class
        return "a mapping of keys to values"
    found = re.fullmatch(r"(\w+) should (be|have|match) (.*)", text, flags=re.DOTALL)
    if found is None:
        return text.removeprefix("Value error, ")
    kind, verb, rule = found.groups()
    joint = {"be": "", "have": f"a {kind.lower()} with ", "match": f"a {kind.lower()} matching "}
    return joint[verb] + rule


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `word` (`Proxy Anchor`: `proxy_anchor`), if one is."""
    plain = {_plain(name): name for name in known}
    close = difflib.get_close_matches(_plain(word), plain, n=1)
    return plain[close[0]] if close else None


def _plain(name: str) -> str:
    """A name but for its case, and for how its words are joined."""
    return re.sub(r"[\s_-]+", "_", name.strip().lower())


def _hint(word: str, known: list[str]) -> str:
    close = closest(word, known)
    return f" did you mean {close!r}?" if close else ""


def _walk(model: type[BaseModel], location: list[Any]) -> tuple[type[BaseModel], list[str]]:
    """Follow an error's location; return the last model met and the keys that the user wrote.

    pydantic also puts in the tags of discriminated unions and, for the alternatives of other
    unions, the names of their types: neither is a key.
    """
    owner = model
    candidates = [model]
    labelled = False  # whether the next word is the name of an alternative
    path: list[str] = []
    for part in location:
        if labelled and isinstance(part, str):
            labelled = False
            candidates = [item for item in candidates if item.__name__ == part] or candidates
            continue
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
        fields = [item.model_fields[part] for item in owners]
        candidates = [found for field in fields for found in models_in(field.annotation)]
        labelled = any(
            field.discriminator is None and _is_labelled(field.annotation) for field in fields
        )
    return owner, path


def _is_labelled(annotation: Any) -> bool:
    """Whether an annotation holds a union in which pydantic names the alternatives by their types.

    In a discriminated one it names them by their tags, and `X | None` is none.
    """
    within = [item for item in get_args(annotation) if item is not types.NoneType]
    if get_origin(annotation) is Annotated:
        tagged = any(getattr(item, "discriminator", None) for item in within[1:])
        return not tagged and _is_labelled(within[0])
    if get_origin(annotation) in (Union, types.UnionType) and len(within) > 1:
        return True
    return any(map(_is_labelled, within))


def _tag(model: type[BaseModel]) -> object:
    field = model.model_fields.get("name")
    return field.default if field is not None else None


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Every pydantic model that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for item in get_args(annotation) for found in models_in(item)]
