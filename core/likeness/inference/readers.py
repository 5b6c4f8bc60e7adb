"""A readout with everything it needs from a bundle: which ones a model has, and their answers.

A model answers by the first of `READOUTS` that it has what it takes for, unless asked otherwise:
by its class layer where it has one; without one by the posterior of its Gaussians, if it was
trained for Gaussian structure, else by the nearest centre.

Legend: N = images, D = embedding dimension, L = outputs of the class layer (0 without one),
C = classes, R = rows of reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Integer

from likeness.bundle import Bundle
from likeness.errors import require
from likeness.evaluation.calibration import fit_temperature
from likeness.inference.readouts import (
    READOUTS,
    Readout,
    ReadoutName,
    gaussian_posterior,
    label_votes,
    nearest_centre,
    nearest_neighbours,
    nearest_subclass,
    sigmoid_readout,
    softmax,
)
from likeness.models.heads import EMBEDDING
from likeness.models.spec import Space
from likeness.subclasses import SubclassRecord


@dataclass(frozen=True, eq=False)
class Reader:
    """From the network's answers to one class each, and probabilities.

    Attributes:
        name: `softmax`, `gaussian`, `nearest_centre`, `nearest_subclass` or `knn`.
        space: the space of the embeddings.
        num_classes: C.
        temperature: what scores are divided by before they become probabilities, > 0; it changes
            no class. `knn` has shares of votes and no temperature.
        reference: the means of training images (R, D), or the gallery; nothing for `softmax`.
        reference_labels: class of each of these; empty for `softmax`.
        k: neighbours.
        sigma: of `gaussian`.
    """

    name: ReadoutName
    space: Space
    num_classes: int
    temperature: float
    reference: Float[np.ndarray, "R D"]
    reference_labels: np.ndarray
    k: int
    sigma: float = 1.0

    def __call__(
        self, embeddings_ND: Float[np.ndarray, "N D"], logits_NL: Float[np.ndarray, "N L"]
    ) -> Readout:
        """Labels, and probabilities as scores (rows sum to 1).

        Args:
            embeddings_ND: finite; raw, or as the space compares them.
            logits_NL: finite.
        """
        read = self.scored(embeddings_ND, logits_NL)
        if self.name == "knn":
            return read
        return Readout(read.labels_N, softmax(read.scores_NC, self.temperature))

    def scored(
        self, embeddings_ND: Float[np.ndarray, "N D"], logits_NL: Float[np.ndarray, "N L"]
    ) -> Readout:
        """Labels, and the scores that the temperature has not touched."""
        if self.name == "softmax":
            return Readout(np.argmax(logits_NL, axis=1), np.asarray(logits_NL, np.float64))
        known = embeddings_ND, self.reference
        if self.name == "nearest_centre":
            return nearest_centre(*known, space=self.space)
        count, labels = self.num_classes, self.reference_labels
        if self.name == "nearest_subclass":
            return nearest_subclass(*known, labels, num_classes=count, space=self.space)
        if self.name == "gaussian":
            return gaussian_posterior(*known, labels, num_classes=count, sigma=self.sigma)
        return nearest_neighbours(*known, labels, num_classes=count, space=self.space, k=self.k)

    def decide(self, probabilities_NC: Float[np.ndarray, "N C"]) -> Int[np.ndarray, " N"]:
        """The most probable class, for probabilities that were averaged; ties to the lower."""
        return np.asarray(np.argmax(probabilities_NC, axis=1))

    @property
    def settings(self) -> dict[str, Any]:
        """What changes the answers, beside the weights."""
        if self.name == "knn":
            return {"readout": self.name, "k": self.k}
        own = {"sigma": self.sigma} if self.name == "gaussian" else {}
        return {"readout": self.name, "temperature": self.temperature, **own}


@dataclass(frozen=True, eq=False)
class LabelReader:
    """From the network's answers to any number of labels each, and a probability for every label.

    Attributes:
        name: `sigmoid` or `knn`.
        space: the space of the embeddings.
        thresholds_C: probability from which a label is given; for `sigmoid`.
        reference: the gallery (G, D); for `knn`, where more than half of the neighbours decide.
        reference_labels_GC: 1 for the labels of each gallery row, else 0.
        k: neighbours.
    """

    name: ReadoutName
    space: Space
    thresholds_C: Float[np.ndarray, " C"]
    reference: Float[np.ndarray, "G D"]
    reference_labels_GC: Integer[np.ndarray, "G C"]
    k: int

    def __call__(
        self, embeddings_ND: Float[np.ndarray, "N D"], logits_NL: Float[np.ndarray, "N L"]
    ) -> Readout:
        """Labels as a table (N, C) of 0 and 1, and probabilities as scores.

        Args:
            embeddings_ND: finite; raw, or as the space compares them.
            logits_NL: finite.
        """
        if self.name == "sigmoid":
            return sigmoid_readout(logits_NL, self.thresholds_C)
        labels_GC = self.reference_labels_GC
        return label_votes(embeddings_ND, self.reference, labels_GC, space=self.space, k=self.k)

    def decide(self, probabilities_NC: Float[np.ndarray, "N C"]) -> Int[np.ndarray, "N C"]:
        """The labels, 0 or 1, for probabilities that were averaged."""
        if self.name == "sigmoid":
            return (probabilities_NC >= self.thresholds_C).astype(np.int64)
        return (probabilities_NC > 0.5).astype(np.int64)

    @property
    def settings(self) -> dict[str, Any]:
        """What changes the answers, beside the weights."""
        if self.name == "knn":
            return {"readout": self.name, "k": self.k}
        return {"readout": self.name, "thresholds": self.thresholds_C.tolist()}


AnyReader = Reader | LabelReader


class Gaussians(NamedTuple):
    """The Gaussian structure that a run was trained for.

    Attributes:
        sigma: standard deviation of each Gaussian in every direction.
        subclasses: whether each sub-class has one; else each class.
    """

    sigma: float
    subclasses: bool


def gaussians_of(config: Mapping[str, Any]) -> Gaussians | None:
    """What the configuration of a run says of Gaussian structure in the embedding; None: nothing.

    Of several such terms the first counts.
    """
    for term in (config.get("objective") or {}).get("terms") or ():
        loss = term["loss"]
        if loss["name"] == "gaussian_structured" and term.get("head", EMBEDDING) == EMBEDDING:
            return Gaussians(float(loss["sigma"]), term.get("labels") == "subclass")
    return None


def mean_readers(
    config: Mapping[str, Any],
    space: Space,
    centres_CD: Float[np.ndarray, "C D"],
    subclasses: SubclassRecord | None,
) -> dict[ReadoutName, Reader]:
    """The readouts that compare with means of training images, at temperature 1.

    Args:
        config: the resolved configuration of the run.
        space: the model's.
        centres_CD: of the classes.
        subclasses: of the training images, where they were looked for.

    Returns:
        `nearest_centre`; `nearest_subclass` of a model with sub-classes; `gaussian` of one that was
        trained for Gaussians of what is known.
    """
    count = len(centres_CD)
    classes = centres_CD, np.arange(count)
    found: dict[ReadoutName, tuple[np.ndarray, np.ndarray]] = {"nearest_centre": classes}
    if subclasses is not None:
        means = subclasses.means_KD.float().numpy(), subclasses.classes_K.numpy()
        found["nearest_subclass"] = means
    trained_for, sigma = gaussians_of(config), 1.0
    if trained_for is not None and space == "euclidean":
        sigma = trained_for.sigma
        wanted: ReadoutName = "nearest_subclass" if trained_for.subclasses else "nearest_centre"
        if wanted in found:
            found["gaussian"] = found[wanted]
    return {
        name: Reader(name, space, count, 1.0, means_RD, labels_R, 0, sigma)
        for name, (means_RD, labels_R) in found.items()
    }


def calibrated(
    reader: Reader,
    embeddings_ND: Float[np.ndarray, "N D"],
    logits_NL: Float[np.ndarray, "N L"],
    truth_N: Int[np.ndarray, " N"],
) -> Reader:
    """The reader with the temperature that makes the labels of validation images most likely.

    Args:
        reader: not `knn`.
        embeddings_ND: of N >= 1 validation images, as in a call.
        logits_NL: of the same.
        truth_N: their classes. Images of classes without a mean have no likelihood, and are left
            out; without any other the temperature stays.
    """
    scores_NC = reader.scored(embeddings_ND, logits_NL).scores_NC
    known_C = np.isfinite(scores_NC).all(axis=0)
    kept_N = known_C[truth_N]
    if not kept_N.any():
        return reader
    truth_N = (np.cumsum(known_C) - 1)[truth_N[kept_N]]
    fitted = fit_temperature(scores_NC[kept_N][:, known_C], truth_N)
    return replace(reader, temperature=fitted.value)


def available_readouts(bundle: Bundle) -> list[ReadoutName]:
    """The readouts that a bundle has what it takes for, in the order of preference."""
    gallery, layer = bundle.gallery, bundle.embedder.num_classes > 0
    there: set[ReadoutName] = set(_mean_readers(bundle))
    if layer:
        there.add("sigmoid" if bundle.multilabel else "softmax")
    if gallery is not None and len(gallery.labels_M) > 0:
        there.add("knn")
    return [name for name in READOUTS if name in there]


def reader_of(bundle: Bundle, name: ReadoutName | None = None, *, k: int = 5) -> AnyReader | None:
    """A readout of a bundle.

    Temperature and thresholds are those that `metrics.json` records under the readout's name,
    fitted on validation data: `{"temperature": {"softmax": 1.3}}`, without a record 1;
    `{"thresholds": {"sigmoid": {"trees": 0.4}}}`, without a record 0.5.

    Args:
        bundle: the model.
        name: which; None takes the first that the bundle has.
        k: neighbours of `knn`.

    Returns:
        The readout; None if none was asked for by name and the bundle has none.

    Raises:
        UserError: if the bundle lacks what it needs, its temperature is not > 0, a threshold is
            not in [0, 1], or k is larger than the gallery.
    """
    there = available_readouts(bundle)
    if name is None:
        if not there:
            return None
        name = there[0]
    known = ", ".join(there) or "none"
    require(name in there, "readout", f"one that the model has ({known})", name)
    if bundle.multilabel:
        return LabelReader(
            name, bundle.space, _thresholds(bundle, name), *_gallery(bundle, name, k)
        )
    temperature = float(_recorded(bundle, "temperature").get(name, 1.0))
    require(0 < temperature < np.inf, f"metrics.temperature.{name}", "> 0", temperature)
    of_means = _mean_readers(bundle).get(name)
    if of_means is not None:
        return replace(of_means, temperature=temperature)
    count = len(bundle.classes)
    return Reader(name, bundle.space, count, temperature, *_gallery(bundle, name, k))


def _mean_readers(bundle: Bundle) -> dict[ReadoutName, Reader]:
    if bundle.centres_CD is None or bundle.multilabel:
        return {}
    centres_CD = bundle.centres_CD.float().numpy()
    return mean_readers(bundle.config, bundle.space, centres_CD, bundle.subclasses)


def _gallery(bundle: Bundle, name: ReadoutName, k: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Reference, its labels and k of `knn`; nothing and k of another readout."""
    if name != "knn" or bundle.gallery is None:
        shape = (0, len(bundle.classes)) if bundle.multilabel else (0,)
        return np.empty((0, 0), np.float32), np.empty(shape, np.int64), k
    labels = bundle.gallery.labels_M.numpy()
    require(1 <= k <= len(labels), "k", f"from 1 to the gallery's size {len(labels)}", k)
    return bundle.gallery.embeddings_MD.float().numpy(), labels, k


def _thresholds(bundle: Bundle, name: str) -> np.ndarray:
    recorded = _recorded(bundle, "thresholds").get(name) or {}
    where = f"metrics.thresholds.{name}"
    require(isinstance(recorded, Mapping), where, "a mapping from label to number", recorded)
    values = [float(recorded.get(label, 0.5)) for label in bundle.classes]
    require(all(0 <= value <= 1 for value in values), where, "numbers in [0, 1]", values)
    return np.array(values, dtype=np.float64)


def _recorded(bundle: Bundle, key: str) -> Mapping[str, Any]:
    recorded = bundle.metrics.get(key) or {}
    require(isinstance(recorded, Mapping), f"metrics.{key}", "a mapping", recorded)
    found: Mapping[str, Any] = recorded
    return found
