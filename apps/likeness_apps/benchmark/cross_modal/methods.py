"""What the methods of the cross-modal benchmark change of the shared configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from likeness.errors import require
from likeness.training.spec import RunSpec
from likeness_apps.benchmark.recipes import (
    MODALITY_LOSS,
    RECIPES,
    UNTRAINED,
    Recipe,
    chosen,
    known,
    with_recipe,
)


def _classified(*losses: Mapping[str, Any]) -> Recipe:
    """Cross-entropy, and these losses of pairs."""
    terms = [{"loss": dict(loss)} for loss in losses]
    return {"objective": {"classification": {"name": "cross_entropy"}, "terms": terms}}


_MODALITY = {"name": MODALITY_LOSS}
METHODS: dict[str, Recipe] = {
    UNTRAINED: {},
    "cross_entropy": _classified(),
    # Huang et al.'s strong baseline: classification and pairs, whatever modality these are of.
    "baseline": _classified({"name": "batch_hard_triplet"}),
    # The baseline of their code: pairs inside each modality alone.
    "within": _classified(_MODALITY | {"variant": "plain", "kinds": ["within"]}),
    "plain": _classified(_MODALITY | {"variant": "plain"}),
    "mathm": _classified(_MODALITY),
}


def checked(base: Mapping[str, Any], methods: Sequence[str], *, apart: bool) -> dict[str, RunSpec]:
    """Name -> configuration of every method, before anything is trained.

    Args:
        base: the shared configuration, as a file has it.
        methods: names of `METHODS`, losses, or YAML files.
        apart: no positive pair inside one group.

    Raises:
        UserError: for a mistake in any of them, or two of one name.
    """
    names = list(dict.fromkeys([*METHODS, MODALITY_LOSS, *known()]))
    found: dict[str, RunSpec] = {}
    for method in methods:
        name, recipe = chosen(method, RECIPES | METHODS, names)
        require(name not in found, "methods", "named once each", name)
        objective = dict(recipe.get("objective", base["objective"]))
        whole = {**recipe, "objective": {**objective, "exclude_groups": apart}}
        found[name] = with_recipe(base, name, whole)
    require(found, "methods", "at least one", "none")
    return found
