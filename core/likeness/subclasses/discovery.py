"""The sub-classes of a training set: a mixture for every class, numbers that mean the same later.

Legend: N = training rows, C = classes, D = embedding dimension, K = sub-classes found,
M = largest number of components tried, S = slots of a class.

Sub-class number = class * S + slot with a fixed S, so numbers never cross a class, whatever is
stored for each of C * S numbers keeps its place when a class splits or merges, and a slot that is
free is simply never met.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from likeness.errors import require
from likeness.search.space import Space, prepared
from likeness.subclasses.matching import match_slots
from likeness.subclasses.mixtures import Kind, allowed_components, fit_mixture


@dataclass(frozen=True, eq=False)
class Subclasses:
    """What was found.

    Attributes:
        assigned_N: sub-class number of each training row.
        certainty_N: probability that the row is of its sub-class and not of another of its class,
            in (0, 1].
        numbers_K: the sub-classes that have rows, ascending.
        sizes_K: rows of each.
        means_KD: mean of each, of rows as the space compares them, float32.
        bic_CM: BIC of each class with 1 ... M components, see `Mixture`; nan where not tried.
        slots: S.
    """

    assigned_N: Int[np.ndarray, " N"]
    certainty_N: Float[np.ndarray, " N"]
    numbers_K: Int[np.ndarray, " K"]
    sizes_K: Int[np.ndarray, " K"]
    means_KD: Float[np.ndarray, "K D"]
    bic_CM: Float[np.ndarray, "C M"]
    slots: int

    @property
    def classes_K(self) -> Int[np.ndarray, " K"]:
        """The class of each sub-class."""
        return self.numbers_K // self.slots

    @property
    def slots_K(self) -> Int[np.ndarray, " K"]:
        """The slot of each sub-class inside its class, in [0, S)."""
        return self.numbers_K % self.slots


def discover(
    embeddings_ND: Shaped[np.ndarray, "N D"],
    labels_N: Int[np.ndarray, " N"],
    *,
    num_classes: int,
    space: Space,
    components: int,
    slots: int,
    kind: Kind = "diag",
    min_images: int = 100,
    before_N: Int[np.ndarray, " N"] | None = None,
    seed: int = 0,
) -> Subclasses:
    """Divide every class by where its embeddings lie.

    After the first author's script (`train_mitosis.py` of FERAtt): a class of n rows gets at most
    min(n // 10, `components`) sub-classes, one below `min_images`. Ours: the number with the lowest
    BIC instead of the largest, and numbers matched to those of an earlier discovery.

    Args:
        embeddings_ND: raw embeddings of training images, finite.
        labels_N: their classes, in [0, C).
        num_classes: C.
        space: rows of `cosine` are brought to unit length first.
        components: M, in [1, S].
        slots: S.
        kind: see `fit_mixture`.
        min_images: see `allowed_components`.
        before_N: the earlier sub-class numbers of the same rows; None: the classes themselves.
        seed: >= 0.

    Raises:
        UserError: if a shape, a label or an option is out of range, or embeddings are not finite.
    """
    rows_ND = prepared(embeddings_ND, space, "embeddings").astype(np.float64)
    _check(labels_N, before_N, rows=len(rows_ND), num_classes=num_classes, slots=slots)
    rule = f"in [1, {slots}], the slots of a class"
    require(1 <= components <= slots, "components", rule, components)
    assigned_N, certainty_N = np.empty(len(rows_ND), np.int64), np.empty(len(rows_ND))
    bic_CM = np.full((num_classes, components), np.nan)
    for label in np.unique(labels_N).tolist():
        own = np.flatnonzero(labels_N == label)
        allowed = allowed_components(len(own), components, min_images=min_images)
        mixture = fit_mixture(rows_ND[own], allowed, kind=kind, seed=seed)
        slot_N = np.zeros(len(own), np.int64) if before_N is None else before_N[own] % slots
        slot_N = match_slots(mixture.component_N, slot_N, slots=slots)
        assigned_N[own] = label * slots + slot_N
        certainty_N[own] = mixture.certainty_N
        bic_CM[label, :allowed] = mixture.bic_M
    numbers_K, place_N, sizes_K = np.unique(assigned_N, return_inverse=True, return_counts=True)
    sums_KD = np.zeros((len(numbers_K), rows_ND.shape[1]))
    np.add.at(sums_KD, place_N, rows_ND)
    means_KD = (sums_KD / sizes_K[:, None]).astype(np.float32)
    return Subclasses(assigned_N, certainty_N, numbers_K, sizes_K, means_KD, bic_CM, slots)


def subclass_name(class_name: str, slot: int) -> str:
    """Class and slot, counted from 1: `cat/2`. The number says nothing of what the variant is."""
    return f"{class_name}/{slot + 1}"


def _check(
    labels_N: np.ndarray, before_N: np.ndarray | None, *, rows: int, num_classes: int, slots: int
) -> None:
    require(labels_N.shape == (rows,), "labels", f"of shape ({rows},)", labels_N.shape)
    inside = ((labels_N >= 0) & (labels_N < num_classes)).all()
    require(inside, "labels", f"class numbers from 0 to {num_classes - 1}", "others")
    require(slots >= 1, "slots", ">= 1", slots)
    if before_N is not None:
        require(before_N.shape == (rows,), "before", f"of shape ({rows},)", before_N.shape)
        same = (before_N // slots == labels_N).all()
        require(same, "before", "sub-classes of the classes of the same rows", "others")
