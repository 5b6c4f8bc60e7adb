"""From logits or embeddings to a class: class layer, nearest mean, Gaussian posterior, neighbours.

And to several labels of one image, in two ways: class layer and neighbours. Pure functions on
arrays. Labels are class numbers, 0 <= label < C, or a table (N, C) of 0 and 1. Centres, means,
gallery and thresholds come from training or validation data only; that is the caller's duty: means
of the evaluated items would know their labels.

Legend: N = queries, D = embedding dimension, C = classes, G = gallery rows, K = neighbours,
M = means, one or several of each class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Int, Integer, Shaped
from scipy.special import expit, logsumexp

from likeness.data.manifest import join_labels
from likeness.errors import require
from likeness.search.exact import nearest
from likeness.search.space import SPACES, Space, prepared

Weighting = Literal["majority", "distance"]
# In the order of preference: a model answers by the first that it has what it takes for.
ReadoutName = Literal["softmax", "sigmoid", "gaussian", "nearest_centre", "nearest_subclass", "knn"]
READOUTS: tuple[ReadoutName, ...] = get_args(ReadoutName)


class Readout(NamedTuple):
    """A decision for each query.

    Attributes:
        labels_N: class numbers, (N,); where a query may have several labels (N, C), 1 for those
            that it has, else 0.
        scores_NC: float64, larger is likelier; what they are depends on the readout.
    """

    labels_N: Int[np.ndarray, "N ..."]
    scores_NC: Float[np.ndarray, "N C"]


def softmax(
    scores_NC: Float[np.ndarray, "N C"], temperature: float = 1.0
) -> Float[np.ndarray, "N C"]:
    """Each row of scores / temperature as probabilities, in float64; -inf has probability 0.

    Raises:
        UserError: unless 0 < temperature < infinity.
    """
    require(0 < temperature < np.inf, "temperature", "> 0 and finite", temperature)
    scaled_NC = np.asarray(scores_NC, dtype=np.float64) / temperature
    powers_NC = np.exp(scaled_NC - scaled_NC.max(axis=1, keepdims=True))
    return np.asarray(powers_NC / powers_NC.sum(axis=1, keepdims=True))


def softmax_readout(logits_NC: Float[np.ndarray, "N C"], *, temperature: float = 1.0) -> Readout:
    """The class of the largest logit; scores are probabilities, rows sum to 1.

    Ties go to the lower class number. The temperature (Guo et al. 2017, "On calibration of modern
    neural networks") changes the probabilities and never the class.

    Args:
        logits_NC: raw logits.
        temperature: fitted on validation data; 1 leaves the logits as they are.

    Raises:
        UserError: unless 0 < temperature < infinity.
    """
    return Readout(np.argmax(logits_NC, axis=1), softmax(logits_NC, temperature))


def sigmoid_readout(
    logits_NC: Float[np.ndarray, "N C"], thresholds_C: Float[np.ndarray, " C"]
) -> Readout:
    """Every label whose probability reaches its threshold; there may be none.

    Scores are independent probabilities 1 / (1 + exp(-logit)).

    Args:
        logits_NC: raw logits.
        thresholds_C: probabilities, fitted on validation data or 0.5.

    Raises:
        UserError: unless there is one threshold for each label, in [0, 1].
    """
    thresholds = np.asarray(thresholds_C, dtype=np.float64)
    count = logits_NC.shape[1]
    require(thresholds.shape == (count,), "thresholds", f"of shape ({count},)", thresholds.shape)
    inside = ((thresholds >= 0) & (thresholds <= 1)).all()
    require(inside, "thresholds", "in [0, 1]", thresholds.tolist())
    probabilities_NC = expit(np.asarray(logits_NC, dtype=np.float64))
    return Readout((probabilities_NC >= thresholds).astype(np.int64), probabilities_NC)


def class_centres(
    embeddings_ND: Float[np.ndarray, "N D"],
    labels_N: Shaped[np.ndarray, " N"],
    *,
    num_classes: int,
    space: Space,
) -> Float[np.ndarray, "C D"]:
    """The mean embedding of each class, of unit rows in the cosine space; summed in float64.

    Args:
        embeddings_ND: raw embeddings of training images.
        labels_N: their classes.
        num_classes: C; a class without an image has a centre of nan.
        space: the space of the embeddings.

    Returns:
        float32 centres, not normalised themselves.

    Raises:
        UserError: if the shapes do not agree or a label is out of range.
    """
    rows_ND = prepared(embeddings_ND, space, "embeddings").astype(np.float64)
    labels = _labels(labels_N, len(rows_ND), num_classes, "labels")
    sums_CD = np.zeros((num_classes, rows_ND.shape[1]))
    np.add.at(sums_CD, labels, rows_ND)
    counts_C1 = np.bincount(labels, minlength=num_classes)[:, None].astype(np.float64)
    counts_C1[counts_C1 == 0] = np.nan
    return np.asarray(sums_CD / counts_C1, dtype=np.float32)


def nearest_centre(
    embeddings_ND: Float[np.ndarray, "N D"],
    centres_CD: Float[np.ndarray, "C D"],
    *,
    space: Space,
) -> Readout:
    """The class of the most similar centre (nearest class mean; Rocchio).

    Scores are similarities: the cosine of the angle (`cosine`), minus the squared distance
    (`euclidean`), the inner product (`dot`); -inf for a centre of nan (a class without training
    images), which is never chosen. Ties go to the lower class number. `softmax(scores_NC)` gives
    them the form of probabilities; it does not calibrate them.

    Args:
        embeddings_ND: raw or unit embeddings.
        centres_CD: as `class_centres` gives them; a centre of zero length in the cosine space is
            similar to nothing (cosine 0).
        space: the space of both.

    Raises:
        UserError: if the shapes do not agree, an embedding is not finite, or no centre is known.
    """
    rows_ND = prepared(embeddings_ND, space, "embeddings").astype(np.float64)
    centres = np.asarray(centres_CD, dtype=np.float64)
    shape = (len(centres), rows_ND.shape[1])
    require(centres.shape == shape, "centres_CD", f"of shape (C, {shape[1]})", centres.shape)
    known_C = np.isfinite(centres).all(axis=1)
    require(known_C.any(), "centres_CD", "finite for at least one class", "none")
    known_KD = centres[known_C]
    if space == "cosine":
        lengths_K1 = np.linalg.norm(known_KD, axis=1, keepdims=True)
        known_KD = known_KD / np.where(lengths_K1 > 0, lengths_K1, 1.0)
    products_NK = rows_ND @ known_KD.T
    if space == "euclidean":
        squares_N1 = np.square(rows_ND).sum(axis=1, keepdims=True)
        squares_K = np.square(known_KD).sum(axis=1)
        products_NK = -np.maximum(squares_N1 - 2 * products_NK + squares_K, 0.0)
    scores_NC = np.full((len(rows_ND), len(centres)), -np.inf)
    scores_NC[:, known_C] = products_NK
    return Readout(np.argmax(scores_NC, axis=1), scores_NC)


def nearest_subclass(
    embeddings_ND: Float[np.ndarray, "N D"],
    means_MD: Float[np.ndarray, "M D"],
    classes_M: Int[np.ndarray, " M"],
    *,
    num_classes: int,
    space: Space,
) -> Readout:
    """The class whose nearest sub-class mean is the most similar.

    Scores are the similarities of `nearest_centre` to the nearest mean of each class; -inf for a
    class without one. Ties go to the lower class number.

    Args:
        embeddings_ND: raw or unit embeddings.
        means_MD: finite means of sub-classes of training images.
        classes_M: the class of each, at least one in all.
        num_classes: C.
        space: the space of both.

    Raises:
        UserError: if the shapes do not agree, an embedding or a mean is not finite, or a class
            number is out of range.
    """
    _require_means(means_MD, classes_M, num_classes)
    scores_NM = nearest_centre(embeddings_ND, means_MD, space=space).scores_NC
    best = [
        scores_NM[:, classes_M == label].max(1, initial=-np.inf) for label in range(num_classes)
    ]
    scores_NC = np.stack(best, axis=1)
    return Readout(np.argmax(scores_NC, axis=1), scores_NC)


def gaussian_posterior(
    embeddings_ND: Float[np.ndarray, "N D"],
    means_MD: Float[np.ndarray, "M D"],
    classes_M: Int[np.ndarray, " M"],
    *,
    num_classes: int,
    sigma: float,
) -> Readout:
    """The class with the largest posterior under Gaussians about the means, in Euclidean space.

    Every mean has the same prior and the covariance sigma^2 I, as in `GaussianStructuredLoss`; the
    posterior of a class is the sum of those of its Gaussians. So a class of several sub-classes has
    several shares of the prior, as it had in training. Scores are log posteriors, `softmax` of them
    the posteriors; -inf for a class without a mean. Ties go to the lower class number.

    Args:
        embeddings_ND: raw embeddings.
        means_MD: finite means of classes, or of their sub-classes, of training images.
        classes_M: the class of each, at least one in all.
        num_classes: C.
        sigma: > 0.

    Raises:
        UserError: as `nearest_subclass`, or if sigma is out of range.
    """
    require(0 < sigma < np.inf, "sigma", "> 0 and finite", sigma)
    _require_means(means_MD, classes_M, num_classes)
    similar_NM = nearest_centre(embeddings_ND, means_MD, space="euclidean").scores_NC
    log_NM = similar_NM / (2 * sigma**2)
    log_NM = log_NM - logsumexp(log_NM, axis=1, keepdims=True)
    scores_NC = np.full((len(log_NM), num_classes), -np.inf)
    for label in np.unique(classes_M).tolist():
        scores_NC[:, label] = logsumexp(log_NM[:, classes_M == label], axis=1)
    return Readout(np.argmax(scores_NC, axis=1), scores_NC)


def nearest_neighbours(
    embeddings_ND: Float[np.ndarray, "N D"],
    gallery_GD: Float[np.ndarray, "G D"],
    gallery_labels_G: Shaped[np.ndarray, " G"],
    *,
    num_classes: int,
    space: Space,
    k: int = 5,
    weighting: Weighting = "majority",
    own_ids: tuple[np.ndarray, np.ndarray] | None = None,
) -> Readout:
    """The class that the k nearest gallery images vote for (exact search).

    A neighbour's vote is 1 (`majority`) or 1 / distance (`distance`; neighbours at distance 0, if
    there are any, vote alone with 1 each). Scores are shares of the votes, rows sum to 1. Of
    neighbours equally far at the k-th place the lower gallery row counts. Classes with equal votes:
    the one with the nearest neighbour wins, then the lower class number.

    Args:
        embeddings_ND: raw or unit embeddings.
        gallery_GD: embeddings of training images.
        gallery_labels_G: their classes.
        num_classes: C.
        space: the space of both; distances are chords (`cosine`) or straight (`euclidean`).
        k: 1 <= k <= G.
        weighting: `majority` or `distance`; the dot product has no distance to divide by.
        own_ids: ids of queries and of gallery rows: a query never meets its own id. Needed when
            gallery images ask.

    Raises:
        UserError: if the shapes do not agree, a label or `k` is out of range, a query has fewer
            than k neighbours, or the weighting makes no sense in the space.
    """
    require(weighting in ("majority", "distance"), "weighting", "majority or distance", weighting)
    if space == "dot":
        require(weighting == "majority", "weighting", "'majority' in the dot space", weighting)
    labels_G = _labels(gallery_labels_G, len(gallery_GD), num_classes, "gallery_labels_G")
    exclude = [] if own_ids is None else [own_ids]
    indices_NK, distances_NK = _neighbours(embeddings_ND, gallery_GD, k, space, exclude)
    votes_NK = np.ones_like(distances_NK)
    if weighting == "distance":
        same_NK = distances_NK == 0
        with np.errstate(divide="ignore"):
            votes_NK = np.where(same_NK.any(axis=1, keepdims=True), same_NK, 1 / distances_NK)
    labels_NK = labels_G[indices_NK]
    rows_NK = np.broadcast_to(np.arange(len(labels_NK))[:, None], labels_NK.shape)
    sums_NC = np.zeros((len(labels_NK), num_classes))
    np.add.at(sums_NC, (rows_NK, labels_NK), votes_NK)
    closest_NC = np.full_like(sums_NC, np.inf)
    np.minimum.at(closest_NC, (rows_NK, labels_NK), distances_NK)
    leading_NC = sums_NC == sums_NC.max(axis=1, keepdims=True)
    labels_N = np.argmin(np.where(leading_NC, closest_NC, np.inf), axis=1)
    return Readout(labels_N, sums_NC / sums_NC.sum(axis=1, keepdims=True))


def label_votes(
    embeddings_ND: Float[np.ndarray, "N D"],
    gallery_GD: Float[np.ndarray, "G D"],
    gallery_labels_GC: Shaped[np.ndarray, "G C"],
    *,
    space: Space,
    k: int = 5,
) -> Readout:
    """Every label that more than half of the k nearest gallery images have; there may be none.

    Scores are the shares of the k neighbours that have the label. Of neighbours equally far at the
    k-th place the lower gallery row counts.

    Args:
        embeddings_ND: raw or unit embeddings.
        gallery_GD: embeddings of training images.
        gallery_labels_GC: 1 for the labels that a gallery image has, else 0.
        space: the space of both.
        k: 1 <= k <= G.

    Raises:
        UserError: if the shapes do not agree or `k` is out of range.
    """
    labels_GC = np.asarray(gallery_labels_GC)
    fits = labels_GC.ndim == 2 and len(labels_GC) == len(gallery_GD)
    require(fits, "gallery_labels_GC", f"a table of {len(gallery_GD)} rows", labels_GC.shape)
    indices_NK, _ = _neighbours(embeddings_ND, gallery_GD, k, space, [])
    shares_NC = labels_GC[indices_NK].mean(axis=1, dtype=np.float64)
    return Readout((shares_NC > 0.5).astype(np.int64), shares_NC)


def label_cells(labels_N: Integer[np.ndarray, "N ..."], classes: Sequence[str]) -> list[str]:
    """What a table says of each row: the name of its class, or all its labels with `|` between.

    Args:
        labels_N: class numbers (N,), -1 for a row without one; or (N, C), 1 for a label.
        classes: C names.
    """
    if labels_N.ndim == 1:
        return [classes[label] if label >= 0 else "" for label in labels_N.tolist()]
    numbers = [np.flatnonzero(row == 1).tolist() for row in labels_N]
    return [join_labels(classes[number] for number in row) for row in numbers]


def _require_means(means_MD: np.ndarray, classes_M: np.ndarray, num_classes: int) -> None:
    _labels(classes_M, len(means_MD), num_classes, "classes_M")
    require(bool(np.isfinite(means_MD).all()), "means_MD", "finite", "numbers that are not")


def _neighbours(
    embeddings_ND: np.ndarray,
    gallery_GD: np.ndarray,
    k: int,
    space: Space,
    exclude: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Gallery rows (N, K) and float64 distances (N, K), by exact search."""
    require(space in SPACES, "space", f"one of {', '.join(SPACES)}", space)
    require(1 <= k <= len(gallery_GD), "k", f"from 1 to the gallery's size {len(gallery_GD)}", k)
    found = nearest(embeddings_ND, gallery_GD, k, space=space, exclude=exclude)
    require((found.indices_QK >= 0).all(), "k", "at most the neighbours that a query has", k)
    return found.indices_QK, np.asarray(found.distances_QK, dtype=np.float64)


def _labels(
    labels: Shaped[np.ndarray, " N"], count: int, num_classes: int, name: str
) -> Int[np.ndarray, " N"]:
    array = np.asarray(labels)
    require(array.shape == (count,), name, f"of shape ({count},)", array.shape)
    whole = np.issubdtype(array.dtype, np.integer)
    in_range = whole and count > 0 and array.min() >= 0 and array.max() < num_classes
    require(in_range, name, f"class numbers from 0 to {num_classes - 1}", array)
    return array.astype(np.int64)
