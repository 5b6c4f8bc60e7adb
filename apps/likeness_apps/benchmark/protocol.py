"""Zero-shot retrieval: trained on some classes, measured by search among others.

Shapes: N = test images, D = embedding dimension, Q = queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from likeness.data.manifest import Manifest
from likeness.errors import require
from likeness.evaluation.clustering import clustering
from likeness.evaluation.retrieval import RetrievalResult, retrieval
from likeness.pairs import Space

DEPTHS = {"sop": (1, 10, 100, 1000), "inshop": (1, 10, 20, 30)}
USUAL_DEPTHS = (1, 2, 4, 8)
PRIMARY, CLUSTERS = "map@r", "nmi"
LEAST_CLASSES = 4  # two to train on and two to tell apart


@dataclass(frozen=True, eq=False)
class Found:
    """What one network found.

    Attributes:
        values: figure -> number: `recall@k`, `map@r`, `r_precision`, `nmi`.
        queries: one row per query: path, label, and each figure but `nmi`, nan where skipped.
        protocol: what the numbers mean, in words.
    """

    values: dict[str, float]
    queries: pd.DataFrame
    protocol: dict[str, Any]


def is_published(manifest: Manifest) -> bool:
    """Whether the set says itself which classes are trained on."""
    return bool((manifest.table["split"] == "test").any())


def divided(manifest: Manifest, repeat: int) -> Manifest:
    """The set with its classes divided: as published, or half of them at random to train on.

    Args:
        manifest: of `layouts.recognise`.
        repeat: which random half, >= 0; nothing to a published division. Of an odd number of
            classes one more is tested than trained on.

    Raises:
        UserError: for fewer than four classes.
    """
    if is_published(manifest):
        return manifest
    classes = np.array(manifest.classes)
    rule = f"images of at least {LEAST_CLASSES} classes"
    require(len(classes) >= LEAST_CLASSES, "data", rule, len(classes))
    drawn = np.random.default_rng((repeat, len(classes))).permutation(classes)
    training = set(drawn[: len(classes) // 2])
    split = ["train" if label in training else "test" for label in manifest.table["label"]]
    return manifest.with_table(manifest.table.assign(split=split))


def depths(layout: str, others: int) -> tuple[int, ...]:
    """The K of Recall@K that a layout's papers give, as far as there are so many to be found."""
    return tuple(k for k in DEPTHS.get(layout, USUAL_DEPTHS) if k <= others)


def figures(layout: str, others: int) -> list[str]:
    """The retrieval figures of a layout."""
    return [*(f"recall@{k}" for k in depths(layout, others)), PRIMARY, "r_precision"]


def measured(embeddings_ND: np.ndarray, tested: pd.DataFrame, layout: str, space: Space) -> Found:
    """Every figure of the test classes.

    Where the set has queries and a gallery, those ask that; else each image asks all others.
    Clusters are of all test images together.

    Args:
        embeddings_ND: of the test images.
        tested: their rows: path, label, role.
        layout: names the depths.
        space: how embeddings are compared.

    Raises:
        UserError: as the figures do.
    """
    label_N, role_N = tested["label"].to_numpy(dtype=str), tested["role"].to_numpy(dtype=str)
    asking_N = role_N != "gallery"
    if asking_N.all():
        names = figures(layout, len(tested) - 1)
        result = retrieval(embeddings_ND, label_N, metrics=names, space=space)
    else:
        held_N = role_N == "gallery"
        names = figures(layout, int(held_N.sum()))
        asked = embeddings_ND[asking_N], label_N[asking_N]
        held = embeddings_ND[held_N], label_N[held_N]
        result = retrieval(*asked, *held, metrics=names, space=space)
    clusters = clustering(embeddings_ND, label_N, space=space)
    return _found(result, tested[asking_N], clusters.values[CLUSTERS].value, clusters.protocol)


def _found(
    result: RetrievalResult, asked: pd.DataFrame, nmi: float, clusters: dict[str, str]
) -> Found:
    values = {name: value.value for name, value in result.values().items()}
    queries = asked[["path", "label"]].reset_index(drop=True).assign(**result.per_query)
    protocol = {"retrieval": result.protocol, "skipped": result.skipped, "clustering": clusters}
    return Found(values | {CLUSTERS: nmi}, queries, protocol)
