"""A readout with everything it needs from a bundle: which ones a model has, and their answers.

Legend: N = images, D = embedding dimension, L = outputs of the class layer (0 without one),
C = classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Integer

from likeness.bundle import Bundle
from likeness.errors import require
from likeness.inference.readouts import (
    READOUTS,
    Readout,
    ReadoutName,
    label_votes,
    nearest_centre,
    nearest_neighbours,
    sigmoid_readout,
    softmax,
    softmax_readout,
)
from likeness.models.spec import Space


@dataclass(frozen=True, eq=False)
class Reader:
    """From the network's answers to one class each, and probabilities.

    Attributes:
        name: `softmax`, `nearest_centre` or `knn`.
        space: the space of the embeddings.
        num_classes: C.
        temperature: what scores are divided by before they become probabilities, > 0; `knn` has
            shares of votes and no temperature.
        reference: the centres (C, D), or the gallery (G, D); nothing for `softmax`.
        reference_labels: classes of the gallery rows; empty for the others.
        k: neighbours.
    """

    name: ReadoutName
    space: Space
    num_classes: int
    temperature: float
    reference: Float[np.ndarray, "R D"]
    reference_labels: np.ndarray
    k: int

    def __call__(
        self, embeddings_ND: Float[np.ndarray, "N D"], logits_NL: Float[np.ndarray, "N L"]
    ) -> Readout:
        """Labels, and probabilities as scores (rows sum to 1).

        Args:
            embeddings_ND: finite; raw, or as the space compares them.
            logits_NL: finite.
        """
        if self.name == "softmax":
            return softmax_readout(logits_NL, temperature=self.temperature)
        if self.name == "nearest_centre":
            read = nearest_centre(embeddings_ND, self.reference, space=self.space)
            return Readout(read.labels_N, softmax(read.scores_NC, self.temperature))
        return nearest_neighbours(
            embeddings_ND,
            self.reference,
            self.reference_labels,
            num_classes=self.num_classes,
            space=self.space,
            k=self.k,
        )

    def decide(self, probabilities_NC: Float[np.ndarray, "N C"]) -> Int[np.ndarray, " N"]:
        """The most probable class, for probabilities that were averaged; ties to the lower."""
        return np.asarray(np.argmax(probabilities_NC, axis=1))

    @property
    def settings(self) -> dict[str, Any]:
        """What changes the answers, beside the weights."""
        if self.name == "knn":
            return {"readout": self.name, "k": self.k}
        return {"readout": self.name, "temperature": self.temperature}


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


def available_readouts(bundle: Bundle) -> list[ReadoutName]:
    """The readouts that a bundle has what it takes for, in the order of preference."""
    gallery = bundle.gallery
    has = {
        "softmax": bundle.embedder.num_classes > 0 and not bundle.multilabel,
        "sigmoid": bundle.embedder.num_classes > 0 and bundle.multilabel,
        "nearest_centre": bundle.centres_CD is not None,
        "knn": gallery is not None and len(gallery.labels_M) > 0,
    }
    return [name for name in READOUTS if has[name]]


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
    count = len(bundle.classes)
    shape = (0, count) if bundle.multilabel else (0,)
    reference, labels = np.empty((0, 0), np.float32), np.empty(shape, np.int64)
    if name == "nearest_centre" and bundle.centres_CD is not None:
        reference = bundle.centres_CD.float().numpy()
    if name == "knn" and bundle.gallery is not None:
        reference = bundle.gallery.embeddings_MD.float().numpy()
        labels = bundle.gallery.labels_M.numpy()
        require(1 <= k <= len(labels), "k", f"from 1 to the gallery's size {len(labels)}", k)
    if bundle.multilabel:
        thresholds_C = _thresholds(bundle, name)
        return LabelReader(name, bundle.space, thresholds_C, reference, labels, k)
    temperature = float(_recorded(bundle, "temperature").get(name, 1.0))
    require(0 < temperature < np.inf, f"metrics.temperature.{name}", "> 0", temperature)
    return Reader(name, bundle.space, count, temperature, reference, labels, k)


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
