"""The sub-classes of the experiment on displayed expressions: asked of the models, and as a table.

`compared` gives, and results/expressions_subclasses.json holds:

    seeds   of each seed: pictures (sub-class -> training pictures in it), as_kept (whether the
            discovery gave those that the model keeps), verdicts (class -> what the other seeds say
            of its sub-classes), tightness and p_values (one for each other seed, in whose embedding
            the scatter is compared with random splits of equal sizes)
    pairs   of each two seeds: seeds, ari (adjusted Rand index inside classes), by_class
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from experiments import RESULTS
from expressions_measures import CLASSES
from summaries import NOT_RUN, section, table

if TYPE_CHECKING:
    from likeness_apps.facial_expression.variants.found import Divided
    from likeness_apps.facial_expression.variants.stability import Stability

SUBCLASSES = RESULTS / "expressions_subclasses.json"
STABLE, NOT_STABLE, WHOLE = "stable", "not stable", "not divided"  # as the application says it


def compared(models: Sequence[Divided]) -> dict[str, Any]:
    """What the sub-classes of each seed are, and what the other seeds say of them."""
    from likeness_apps.facial_expression.variants.stability import stability

    found = [stability([one, *(model for model in models if model is not one)]) for one in models]
    places = combinations(range(len(models)), 2)
    return {
        "seeds": [_told(one, judged) for one, judged in zip(models, found, strict=True)],
        "pairs": [
            {"seeds": list(seeds), "ari": pair.ari, "by_class": pair.by_class}
            for seeds, pair in zip(places, found[0].pairs, strict=True)
        ],
    }


def _told(model: Divided, judged: Stability) -> dict[str, Any]:
    found = model.found
    sizes = zip(found.numbers_K.tolist(), found.sizes_K.tolist(), strict=True)
    return {
        "pictures": {model.names[number]: size for number, size in sizes},
        "as_kept": model.as_kept,
        "verdicts": judged.verdicts,
        "tightness": [one.whole.observed / one.whole.expected for one in judged.judged],
        "p_values": [one.whole.p_value for one in judged.judged],
    }


def render_subclasses(found: Mapping[str, Any]) -> str:
    """How many there are in each seed, and whether they are the same."""
    heads = ["class", *(f"seed {seed}" for seed in range(len(found.get("seeds", ())))), "verdict"]
    rows = [[name, *_of_class(found, name)] for name in CLASSES] if found else [[NOT_RUN]]
    lines = [
        f"- seeds {pair['seeds'][0]} and {pair['seeds'][1]}: adjusted Rand index "
        f"{number(pair['ari'])}"
        for pair in found.get("pairs", [])
    ]
    lines += [
        f"- seed {seed}, seen by the others: scatter {' and '.join(map(number, one['tightness']))}"
        f" of that of random splits (p {' and '.join(map(number, one['p_values']))})"
        for seed, one in enumerate(found.get("seeds", []))
    ]
    return section(
        "Sub-classes of (d)",
        "Training pictures of each sub-class. Those of a class are `stable` if each two seeds\n"
        "divide the same pictures alike (adjusted Rand index 0.65 or more inside the class), and\n"
        "they are tighter than random splits of equal sizes in the embedding of every other seed\n"
        "(p 0.05 or less). Their numbers claim no meaning.",
        table(heads, rows),
        *(["\n".join(lines)] if lines else []),
    )


def _of_class(found: Mapping[str, Any], name: str) -> list[str]:
    """Sizes in each seed, and one verdict for all seeds."""
    cells = [
        ", ".join(
            str(size)
            for subclass, size in one["pictures"].items()
            if subclass.rpartition("/")[0] == name
        )
        for one in found["seeds"]
    ]
    verdicts = {one["verdicts"][name] for one in found["seeds"]}
    same = len(verdicts) == 1 and verdicts <= {STABLE, WHOLE}
    return [*cells, verdicts.pop() if same else "not stable"]


def number(value: float | None) -> str:
    """Three digits; a value that is not defined was written as null."""
    return "undefined" if value is None else f"{value:.3f}"
