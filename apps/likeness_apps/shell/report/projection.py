"""Embeddings on a plane: where the classes lie, drawn with one colour and mark per class.

Shape legend: N items, D embedding size, P points drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray
from sklearn.manifold import TSNE, trustworthiness
from threadpoolctl import threadpool_limits

from likeness_apps.shell.report.data import Items, Space, balanced_sample
from likeness_apps.shell.report.figures import MARKS

MAX_POINTS = 1000
_FEW = 60  # below this, t-SNE's neighbourhoods are most of the data
_WIDTH, _HEIGHT, _EDGE = 860, 600, 22


@dataclass(frozen=True)
class Projection:
    """Points on a plane.

    Attributes:
        rows: P row numbers of the items drawn.
        points_P2: their places, each axis within [0, 1].
        method: how they were found, a sentence for the caption.
        trust: trustworthiness with 12 neighbours, 0 to 1 (Venna and Kaski 2001); nan for too few
            points.
    """

    rows: list[int]
    points_P2: NDArray[np.float64]
    method: str
    trust: float


def project(
    embeddings_ND: NDArray[np.floating], items: Items, space: Space, seed: int
) -> Projection | None:
    """Lay items out on a plane: t-SNE, or PCA where there are fewer than 60.

    Args:
        embeddings_ND: raw embeddings; cosine space compares their directions.
        items: their labels; more than 1,000 are thinned, evenly over the classes.
        space: how embeddings are compared.
        seed: of the choice and of t-SNE.

    Returns:
        The projection; None for fewer than 3 items.
    """
    rows = balanced_sample(items.class_of, MAX_POINTS, seed)
    if len(rows) < 3:
        return None
    chosen = np.asarray(embeddings_ND, dtype=np.float64)[rows]
    if space == "cosine":
        lengths = np.linalg.norm(chosen, axis=1, keepdims=True)
        chosen = chosen / np.maximum(lengths, 1e-12)
    with threadpool_limits(limits=1):  # sums in one order: the same picture every time
        plane, method = _plane(chosen, seed)
        near = min(12, len(rows) // 2 - 1)
        trust = float(trustworthiness(chosen, plane, n_neighbors=near)) if near >= 1 else math.nan
    low, high = plane.min(axis=0), plane.max(axis=0)
    scaled = (plane - low) / np.where(high > low, high - low, 1.0)
    shown = f"{len(rows):,} of {len(items):,} items" if len(rows) < len(items) else "all items"
    return Projection(rows, scaled, f"{method}; {shown}", trust)


def _plane(chosen_PD: NDArray[np.float64], seed: int) -> tuple[NDArray[np.float64], str]:
    count = len(chosen_PD)
    flat = _principal(chosen_PD, 2)
    if count < _FEW:
        return flat, "PCA, the two directions of greatest variance"
    # t-SNE starts from the PCA plane; a small jitter parts exact copies, which would never move.
    start = flat / (np.std(flat[:, 0]) or 1.0) * 1e-4
    start += np.random.default_rng(seed).normal(scale=1e-7, size=start.shape)
    perplexity = min(30.0, (count - 1) / 4)
    tsne = TSNE(perplexity=perplexity, init=start.astype(np.float32), random_state=seed)
    plane = tsne.fit_transform(_principal(chosen_PD, 50))
    return plane.astype(np.float64), f"t-SNE, perplexity {perplexity:.0f}, seed {seed}"


def _principal(points_PD: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The first `size` principal components, with zeros for those that do not exist."""
    centred = points_PD - points_PD.mean(axis=0)
    left, values, right = np.linalg.svd(centred, full_matrices=False)
    kept = min(size, len(values))
    heaviest = np.abs(right).argmax(axis=1)
    signs = np.sign(right[np.arange(len(right)), heaviest])[:kept]
    result = np.zeros((len(points_PD), size))
    result[:, :kept] = left[:, :kept] * values[:kept] * signs  # one sign, not the library's choice
    return result


def scatter(projection: Projection, items: Items) -> Markup:
    """The plane as SVG: a group per class with its points and, at their middle, its name."""
    xy = projection.points_P2 * [_WIDTH - 2 * _EDGE, _HEIGHT - 2 * _EDGE] + _EDGE
    xy[:, 1] = _HEIGHT - xy[:, 1]
    by_class: dict[int, list[int]] = {}
    for place, row in enumerate(projection.rows):
        by_class.setdefault(items.class_of[row], []).append(place)
    defs = "".join(f'<path id="m{i}" d="{path}"/>' for i, path in MARKS.items())
    groups = [_group(index, places, projection, items, xy) for index, places in by_class.items()]
    labels = _labels(by_class, items, xy)
    title = f"Embedding map by class ({projection.method})"
    return Markup(
        f'<svg class="scatter" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}"><defs>{defs}</defs>{"".join(groups)}{labels}</svg>'
    )


def _group(
    index: int, places: Sequence[int], projection: Projection, items: Items, xy: NDArray[np.float64]
) -> str:
    uses = []
    for place in places:
        row = projection.rows[place]
        wrong = ' class="bad"' if items.right[row] is False else ""
        called = f", called {items.labels[row]}" if wrong else ""
        known = items.truths[row] or f"called {items.labels[row]}"
        uses.append(
            f'<use href="#m{max(index, 0) % len(MARKS)}" x="{xy[place, 0]:.1f}" '
            f'y="{xy[place, 1]:.1f}"{wrong} data-row="{row}" '
            f'data-tip="{escape(known + called)} · {escape(items.paths[row])}"/>'
        )
    return f'<g class="k k{index}" data-class="{index}">{"".join(uses)}</g>'


def _labels(by_class: dict[int, list[int]], items: Items, xy: NDArray[np.float64]) -> str:
    """Class names at the medians of their points, moved a little where they would overlap."""
    taken: list[tuple[float, float, float, float]] = []
    parts = []
    for index, places in sorted(by_class.items()):
        if index < 0:
            continue
        name = items.classes[index]
        shown = name if len(name) <= 22 else name[:21] + "…"
        half = 3.9 * len(shown) + 4
        x, y = np.median(xy[list(places)], axis=0)
        x = float(np.clip(x, half + 2, _WIDTH - half - 2))
        options = [(abs(dy), y + dy) for dy in range(-60, 61, 6)]
        boxes = [(x - half, at - 9, x + half, at + 9) for _, at in sorted(options)]
        box = next((b for b in boxes if not any(_meet(b, other) for other in taken)), boxes[0])
        taken.append(box)
        middle = f'x="{x:.0f}" y="{(box[1] + box[3]) / 2:.0f}"'
        parts.append(
            f'<text class="kn" data-class="{index}" {middle} dy=".35em">{escape(shown)}</text>'
        )
    return "".join(parts)


def _meet(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
