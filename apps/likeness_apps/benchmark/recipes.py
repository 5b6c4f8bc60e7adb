"""What the name of a method means in a benchmark: what it changes of the shared configuration.

A method is one of `RECIPES`, any loss of `likeness methods` by itself, or a YAML file of one's own
with some of the groups `OPEN`. The budget is none of them: images, epochs, network and schedule are
everybody's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from likeness.catalogue import parts
from likeness.config import closest, parse
from likeness.errors import UserError, require
from likeness.sampling import SamplerSpec
from likeness.training.spec import RunSpec
from likeness_apps.shell import configs

UNTRAINED = "untrained"  # the network as it starts
OPEN = (
    *("objective", "sampler", "method", "subclasses", "self_paced", "pseudo_labels"),
    "optimiser",
)
Recipe = Mapping[str, Any]
_COUNTS = ("_per_batch", "per_class", "_per_clip")  # of a sampler; their product

_CLASSES = {"name": "cross_entropy"}
_OSM = {"name": "online_soft_mining"}
_TWO_OF_EACH: dict[str, Any] = {
    "sampler": {"name": "class_balanced", "classes_per_batch": 32, "per_class": 2}
}
# Reads what a set of single photographs does not have.
MODALITY_LOSS = "modality_triplets"


def _pairs(name: str, *miners: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """One loss of pairs with its miners, and what else stands in the objective."""
    term: dict[str, Any] = {"loss": {"name": name}}
    if miners:
        term["miners"] = list(miners)
    return {"objective": {"classification": None, "terms": [term], **more}}


RECIPES: dict[str, Recipe] = {
    UNTRAINED: {},
    "cross_entropy": {"objective": {"classification": _CLASSES, "terms": []}},
    "margin": _pairs("margin", {"name": "distance_weighted"}),
    "n_pair": _pairs("n_pair", {"name": "n_pairs"}) | _TWO_OF_EACH,
    "pair_weighting": _pairs(
        "pair_weighting",
        {"name": "general_pair_weighting", "loss": {"name": "multi_similarity"}},
    ),
    "weighted_contrastive": _pairs("weighted_contrastive", _OSM),
    "osm_caa": _pairs(
        "weighted_contrastive", _OSM, {"name": "class_aware_attention"}, classification=_CLASSES
    ),
    "informative_triplets": _pairs("triplet", {"name": "informative_triplets"}),
    "easy_positive": _pairs("nt_xent", {"name": "easy_positive"}),
    **{
        name: _pairs(name, classification=_CLASSES)
        for name in ("centre", "centre_structured", "gaussian_structured")
    },
    # Raw embeddings are compared, so they are searched by the same distance.
    "lifted_structured": _pairs("lifted_structured") | {"model": {"space": "euclidean"}},
    "self_paced": _pairs("self_paced") | {"self_paced": {"warmup_epochs": 3}},
    "memory": {
        "objective": {
            "classification": None,
            "terms": [{"loss": {"name": "contrastive"}, "memory": {"size": 512, "start_step": 50}}],
        }
    },
    # `riemannian` would weaken the regulariser alone: the metric loss reads raw embeddings here.
    "hier": _pairs(
        "proxy_anchor",
        regularisers=[
            {"loss": {"name": "hier", "proxies": 64, "nearest": 10, "riemannian": False}}
        ],
    ),
    "ensemble": {
        "objective": {
            "classification": None,
            "ensemble": {},
            "terms": [
                {"loss": {"name": name}}
                for name in ("contrastive", "semi_hard_triplet", "multi_similarity")
            ],
        }
    },
    "symmetrical": _pairs("n_pair", synthesis={"name": "symmetrical"}) | _TWO_OF_EACH,
    "intra_class": _pairs("multi_similarity", synthesis={"name": "intra_class", "start_epoch": 3}),
    "densely_anchored": _pairs("multi_similarity", synthesis={"name": "densely_anchored"}),
    "hdml": _pairs("n_pair", {"name": "n_pairs"})
    | _TWO_OF_EACH
    | {"method": {"name": "hdml", "window": 16}},  # steps: about an epoch of 1,000 images
    "two_stage": _pairs("triplet")
    | {"method": {"name": "two_stage", "metric_epochs": 2, "generator_epochs": 2}},
    "alternating_projections": _pairs("contrastive", {"name": "with_representative"})
    | {
        "sampler": {"name": "representatives", "classes_per_batch": 16, "per_class": 4},
        "method": {"name": "alternating_projections"},
    },
}


def known() -> list[str]:
    """Every name that needs no file."""
    return list(dict.fromkeys([*RECIPES, *(name for name in _losses() if name != MODALITY_LOSS)]))


def _losses() -> list[str]:
    return [name for part in parts() if part.kind == "loss" for name in part.names]


def recipe_of(method: str) -> tuple[str, Recipe]:
    """The name in the table of runs, and the recipe, of what a person wrote.

    Raises:
        UserError: for an unknown name, or a file with a group that is everybody's.
    """
    return chosen(method, RECIPES, known())


def chosen(method: str, recipes: Mapping[str, Recipe], names: Sequence[str]) -> tuple[str, Recipe]:
    """As `recipe_of`, of other recipes.

    Args:
        method: what a person wrote.
        recipes: they go before losses of that name.
        names: of these recipes, and of the losses that may be named by themselves.
    """
    given = Path(method)
    if given.suffix in (".yaml", ".yml"):
        recipe = configs.read(given)
        closed = [name for name in recipe if name not in OPEN]
        require(not closed, given.name, f"of the groups {', '.join(OPEN)}", ", ".join(closed))
        return given.stem, recipe
    if method not in names:
        close = closest(method, names)
        if close is not None:  # a list of dozens would hide it
            rule = "YAML files or known names"
            raise UserError(f"methods must be {rule}, got {method!r}; did you mean {close!r}?")
        require(False, "methods", f"YAML files or among {', '.join(names)}", method)
    return method, recipes[method] if method in recipes else _pairs(method)


@contextmanager
def of_method(method: str) -> Iterator[None]:
    """Name the method in a mistake: `sampler of method n_pair must be ...`."""
    try:
        yield
    except UserError as error:
        name, must, rest = str(error).partition(" must ")
        raise UserError(f"{name} of method {method}{must}{rest}") from None


def with_recipe(base: Mapping[str, Any], method: str, recipe: Recipe) -> RunSpec:
    """The configuration of a method: the shared one with the groups of its recipe.

    Args:
        base: the shared configuration, as a file has it.
        method: for messages.
        recipe: groups that take the place of the shared ones; of `model` only what it names.

    Raises:
        UserError: if either is none, or the batches are of another size.
    """
    wanted = batch_images(parse(RunSpec, base).sampler)
    merged = {**base, **recipe}
    if "model" in recipe:
        merged["model"] = {**base["model"], **recipe["model"]}
    with of_method(method):
        spec = parse(RunSpec, merged)
        got = batch_images(spec.sampler)
        rule = f"batches of {wanted} images, as all methods have"
        require(wanted == got, "sampler", rule, got)
    return spec


def batch_images(sampler: SamplerSpec) -> int:
    """Images of a batch.

    Raises:
        UserError: for a sampler whose batches have no size that could be told.
    """
    options = sampler.model_dump()
    if "batch_size" in options:
        return int(options["batch_size"])
    counts = [value for key, value in options.items() if key.endswith(_COUNTS)]
    if not counts:
        raise UserError(f"sampler must be one with a number of images, got {sampler.name}")
    product = 1
    for count in counts:
        product *= count
    return product


def checked(base: Mapping[str, Any], methods: Sequence[str]) -> dict[str, RunSpec]:
    """Name -> configuration of every method, before anything is trained.

    Raises:
        UserError: for a mistake in any of them, or two of one name.
    """
    found: dict[str, RunSpec] = {}
    for method in methods:
        name, recipe = recipe_of(method)
        require(name not in found, "methods", "named once each", name)
        found[name] = with_recipe(base, name, recipe)
    require(found, "methods", "at least one", "none")
    return found
