"""Every part that a configuration can name, described by the code itself.

Parts are found by walking the options of a run (`RunSpec`): each spec at one of `PLACES` is one,
and its options are the spec's fields. What it is, and whose, is read off the docstrings of the
objects that the spec's docstring names ("See `MarginLoss`."), so those follow two habits:

- the paper stands in the first paragraph, or else in a later one or in the module's docstring, as
  names with a year or an arXiv number: "Wu et al., ICCV 2017";
- "reconstruction" in the first paragraph marks the whole as one; that word, or UNCONFIRMED, further
  down (or in the spec's docstring) marks what it says, and UNCONFIRMED marks an option by what is
  said of it. Without a paper a part counts as our own.
"""

from __future__ import annotations

import inspect
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import chain
from pkgutil import iter_modules
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from likeness.config import Spec, closest, models_in
from likeness.docstrings import citations, meanings, paragraphs, prose, sentences
from likeness.errors import UserError
from likeness.training.spec import RunSpec

Status = Literal["confirmed", "in part", "reconstruction", "ours"]
# Where in a configuration parts stand, and what kind they are there; in the order of the table.
PLACES = {
    "objective.terms.loss": "loss",
    "objective.classification": "classification",
    "objective.terms.miners": "miner",
    "objective.terms.memory": "memory",
    "objective.synthesis": "synthesis",
    "objective.regularisers.loss": "regulariser",
    "objective.distillation.loss": "distillation",
    "objective.ensemble": "ensemble",
    "method": "training method",
    "subclasses": "rounds",
    "self_paced": "rounds",
    "pseudo_labels": "rounds",
    "sampler": "sampler",
    "model.attention_options": "network part",
    "model.two_heads": "network part",
}
_DOUBT = re.compile(r"reconstruct|unconfirmed", re.I)


@dataclass(frozen=True)
class Option:
    """One option of a part.

    Attributes:
        name: its key.
        allowed: the values that it takes, in words.
        default: as YAML writes it; "required" without one.
        meaning: what the docstring says of it; "" if nothing.
    """

    name: str
    allowed: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Part:
    """One part that a configuration can name.

    Attributes:
        names: what `name` may be; of a part without that key, its place.
        kind: a value of `PLACES`.
        place: where it stands in a configuration.
        objects: what implements it, with full names.
        summary: the first paragraph of its docstring.
        papers: whose it is, as the docstring has it; () if nobody's.
        status: `confirmed` by the paper or its authors' code, `in part`, a `reconstruction`, or
            `ours`.
        doubts: the sentences that say what is not confirmed, and such options with their meaning.
        options: all but the name.
        text: the whole docstrings, without their lists of arguments.
    """

    names: tuple[str, ...]
    kind: str
    place: str
    objects: tuple[str, ...]
    summary: str
    papers: tuple[str, ...]
    status: Status
    doubts: tuple[str, ...]
    options: tuple[Option, ...]
    text: str

    @property
    def title(self) -> str:
        """Its name, or its names."""
        return " / ".join(self.names)


@cache
def parts() -> tuple[Part, ...]:
    """Every part, kind by kind.

    Raises:
        UserError: if a spec names no object that is there, or one without a docstring.
    """
    found = [_describe(place, spec) for place, spec in specs() if place in PLACES]
    kinds = list(dict.fromkeys(PLACES.values()))
    return tuple(sorted(found, key=lambda part: kinds.index(part.kind)))


def find(name: str) -> list[Part]:
    """The parts of that name: one may be a loss and a miner.

    Raises:
        UserError: if there is none.
    """
    found = [part for part in parts() if name in part.names]
    if not found:
        known = sorted({name for part in parts() for name in part.names})
        close = closest(name, known)
        if close is not None:  # the list of all would hide it
            raise UserError(f"name must be that of a part, got {name!r}; did you mean {close!r}?")
        raise UserError(f"name must be one of {', '.join(known)}, got {name!r}")
    return found


def specs() -> Iterator[tuple[str, type[Spec]]]:
    """Place and class of every group of options below `RunSpec`, each class where it is first."""
    waiting: deque[tuple[str, type[Spec]]] = deque([("", RunSpec)])
    seen: set[type] = set()
    while waiting:
        place, model = waiting.popleft()
        if model in seen:
            continue
        seen.add(model)
        if place:
            yield place, model
        for name, field in model.model_fields.items():
            below = f"{place}.{name}" if place else name
            found = models_in(field.annotation)
            waiting.extend((below, one) for one in found if issubclass(one, Spec))


# --- from a spec to a part ------------------------------------------------------------------------


def _describe(place: str, spec: type[Spec]) -> Part:
    sources = [(owner, name) for owner in spec.__mro__ for name in _seen_names(owner)]
    objects = [_object(owner, name) for owner, name in sources if owner is sources[0][0]]
    if not objects:
        raise UserError(f"{spec.__name__} must say what it is for (See `X`.), got no such name")
    documents = [inspect.getdoc(item) or "" for item in objects]
    if not all(documents):
        raise UserError(f"what {spec.__name__} names must have a docstring, got one without")
    texts = [prose(document) for document in documents]
    text, first = "\n\n".join(texts), paragraphs(texts[0])[0]
    cited = [citations(paragraphs(one)[0]) or citations(one)[:1] for one in texts]
    papers = tuple(dict.fromkeys(chain(*cited))) or _in_modules(objects)
    own = [*map(_own_text, spec.__mro__)]
    told = [one for part in (*map(prose, own), *texts) for one in sentences(part)]
    options = tuple(_options(spec, [*own, *documents]))
    doubts = [one for one in told if _DOUBT.search(one)]
    doubts += [f"{one.name}: {one.meaning}" for one in options if "UNCONFIRMED" in one.meaning]
    return Part(
        names=_names(place, spec),
        kind=PLACES[place],
        place=place,
        objects=tuple(_full_name(item) for item in objects),
        summary=first,
        papers=papers,
        status=_status(first, papers, doubts),
        doubts=tuple(doubts),
        options=options,
        text=text,
    )


def _in_modules(objects: Iterable[Any]) -> tuple[str, ...]:
    """The first paper that the modules of the objects name."""
    for item in objects:
        module = item if inspect.ismodule(item) else import_module(item.__module__)
        if found := citations(inspect.getdoc(module) or ""):
            return found[:1]
    return ()


def _names(place: str, spec: type[Spec]) -> tuple[str, ...]:
    field = spec.model_fields.get("name")
    return get_args(field.annotation) if field is not None else (place.rpartition(".")[2],)


def _seen_names(spec: type) -> list[str]:
    """The names behind "see" in the first paragraph of its docstring, as far as it goes on."""
    found = re.search(r"\b[Ss]ee ([^;]*)", paragraphs(_own_text(spec))[0])
    return re.findall(r"`([\w.]+)`", found[1]) if found else []


def _object(spec: type, name: str) -> Any:
    """What a spec calls `name`: a path below `likeness`, or something of the spec's package.

    Raises:
        UserError: if there is no such thing.
    """
    if "." in name:
        return _below("likeness", name.removeprefix("likeness."))
    package = import_module(spec.__module__.rpartition(".")[0])
    inside = (import_module(f"{package.__name__}.{m.name}") for m in iter_modules(package.__path__))
    for module in (package, *inside):
        if hasattr(module, name):
            return getattr(module, name)
    raise UserError(f"{spec.__name__} must name something of {package.__name__}, got {name!r}")


def _below(package: str, path: str) -> Any:
    """A module, or something in one, by its path."""
    found: Any = import_module(package)
    for place, part in enumerate(path.split("."), start=1):
        if not hasattr(found, part):
            import_module(".".join([package, *path.split(".")[:place]]))
        found = getattr(found, part)
    return found


def _full_name(item: Any) -> str:
    return item.__name__ if inspect.ismodule(item) else f"{item.__module__}.{item.__name__}"


def _own_text(spec: type) -> str:
    return inspect.cleandoc(spec.__doc__ or "") if spec not in (Spec, object) else ""


def _status(first: str, papers: Iterable[str], doubts: Iterable[str]) -> Status:
    if re.search("reconstruct", first, re.I):
        return "reconstruction"
    if not papers:
        return "ours"
    return "in part" if doubts else "confirmed"


# --- options --------------------------------------------------------------------------------------


def _options(spec: type[Spec], documents: Iterable[str]) -> Iterator[Option]:
    told: dict[str, str] = {}
    for document in documents:
        told = meanings(document) | told
    for name, field in spec.model_fields.items():
        if name != "name":
            yield Option(name, _allowed(field), _default(field), told.get(name, ""))


def _allowed(field: FieldInfo) -> str:
    bounds = {
        sign: getattr(item, key)
        for item in field.metadata
        for key, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
        if getattr(item, key, None) is not None
    }
    limits = ", ".join(f"{sign} {bound:.4g}" for sign, bound in bounds.items())
    kinds = _kinds(field.annotation)
    return f"{' or '.join(dict.fromkeys(kinds))}{' ' if limits else ''}{limits}"


def _kinds(annotation: Any) -> list[str]:
    words = {bool: "true or false", int: "integer", float: "number", str: "text", NoneType: "null"}
    if annotation in words:
        return [words[annotation]]
    if get_origin(annotation) is Literal:
        return [", ".join(map(str, get_args(annotation)))]
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return ["options"]
    inner = [kind for item in get_args(annotation) for kind in _kinds(item)]
    if get_origin(annotation) in (tuple, list):
        return ["list of " + " or ".join(dict.fromkeys(inner))]
    return inner


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    plain = {None: "null", True: "true", False: "false"} if isinstance(value, bool | None) else {}
    if isinstance(value, Spec):
        return "its defaults"
    return plain.get(value) or (f"{value:g}" if isinstance(value, float) else str(value))
