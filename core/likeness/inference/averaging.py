"""Several answers to one image become one: views of it, or several models.

Probabilities are averaged, not logits: each reading is calibrated for itself, and a member that is
sure of nothing pulls towards nothing.

Legend: N images, C bands of an image or classes, H height, W width, L logits, D embedding
dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from likeness.inference.blocks import Answers
from likeness.models.spec import Space

Views = Literal["one", "flips", "dihedral"]
VIEWS: tuple[Views, ...] = get_args(Views)
Decide = Callable[[np.ndarray], np.ndarray]  # probabilities (N, C) -> labels (N,) or (N, C)


def symmetric_views(
    images_NCHW: Float[Tensor, "N C H W"], views: Views
) -> Iterator[Float[Tensor, "N C H W"]]:
    """The images as they are, and as symmetry shows them (test-time augmentation).

    Args:
        images_NCHW: squares for `dihedral`.
        views: `one` is the image alone, `flips` adds its mirror image (left and right exchanged),
            `dihedral` all eight symmetries of the square, for images without an upright.
    """
    yield images_NCHW
    if views == "one":
        return
    yield images_NCHW.flip(3)
    if views == "dihedral":
        for turns in (1, 2, 3):
            turned_NCHW = torch.rot90(images_NCHW, turns, dims=(2, 3))
            yield turned_NCHW
            yield turned_NCHW.flip(3)


def mean_of_views(answers: Sequence[Answers], space: Space, decide: Decide | None) -> Answers:
    """One answer from a model's answers to several views.

    Args:
        answers: to the same images; one is handed through as it is.
        space: of the embeddings: their mean is of unit length in the cosine space.
        decide: gives the labels of mean probabilities; None for a model without classes.

    Returns:
        Means of embeddings, logits and probabilities, and the labels that follow from the
        probabilities. Rows in which any view has no answer are nan, with label -1.
    """
    if len(answers) == 1:
        return answers[0]
    embeddings_ND = _mean([one.embeddings_ND for one in answers])
    if space == "cosine":
        with np.errstate(invalid="ignore", divide="ignore"):  # opposite views may cancel: nan
            embeddings_ND /= np.linalg.norm(embeddings_ND, axis=1, keepdims=True)
    labels_N, probabilities_NC = mean_reading(answers, decide)
    return Answers(
        embeddings_ND=embeddings_ND.astype(np.float32),
        logits_NL=_mean([one.logits_NL for one in answers]).astype(np.float32),
        labels_N=labels_N,
        probabilities_NC=probabilities_NC,
    )


def mean_reading(
    answers: Sequence[Answers], decide: Decide | None
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and mean probabilities (float32); -1 and nan where any answer is missing."""
    probabilities_NC = _mean([one.probabilities_NC for one in answers])
    labels_N = np.full_like(answers[0].labels_N, -1)
    known_N = np.isfinite(probabilities_NC).all(axis=1)
    if decide is not None and known_N.any():
        labels_N[known_N] = decide(probabilities_NC[known_N])
    return labels_N, probabilities_NC.astype(np.float32)


def _mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """In float64, one array after the other."""
    total: np.ndarray = arrays[0].astype(np.float64)
    for array in arrays[1:]:
        total += array
    return total / len(arrays)
