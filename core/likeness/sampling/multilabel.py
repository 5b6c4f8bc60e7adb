"""A batch plan for images with several labels.

Shapes: N = images, L = labels, P = labels drawn for a batch, K = images of each of them,
B = images of a batch, E = batches of an epoch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Shaped

from likeness.errors import require
from likeness.sampling.plans import choose_classes, epoch_length, share_out


@dataclass(frozen=True, eq=False)
class MultiLabel:
    """Batches in which P drawn labels have at least K images each; each image about once per epoch.

    Our own design, no paper's. An epoch has as many batches as `Shuffled` would have. Labels are
    drawn in proportion to the images of which they are the rarest label, at most once per batch:
    images with a rare label meet, and common labels come with them anyway. Drawn labels are served
    from the rarest to the commonest, so that a common label counts the images that rarer ones have
    brought; each takes its least shown images, so an image comes a second time only if all images
    of that label have come. Places that are left go to images not shown yet. A batch never holds
    an image twice: a label with fewer than K images gives what it has, and with fewer images than
    `batch_size` the one batch holds them all.

    Args:
        labels_NL: whether an image has a label, 0 or 1.
        batch_size: B, >= P * K.
        labels_per_batch: P, in [1, number of labels that occur].
        per_label: K, >= 1.
        seed: of the run, >= 0.

    Raises:
        UserError: if an argument is out of range.
    """

    labels_NL: Shaped[np.ndarray, "N L"]
    batch_size: int
    labels_per_batch: int
    per_label: int
    seed: int

    def __post_init__(self) -> None:
        require(self.labels_NL.ndim == 2, "labels", "of shape (N, L)", self.labels_NL.shape)
        require(len(self.labels_NL) >= 1, "labels", "at least one image's", 0)
        require(self.per_label >= 1, "per_label", ">= 1", self.per_label)
        require(self.seed >= 0, "seed", ">= 0", self.seed)
        occurring = int(self.labels_NL.any(axis=0).sum())
        rule = f"in [1, {occurring}], the number of labels that occur"
        drawn = self.labels_per_batch
        require(1 <= drawn <= occurring, "labels_per_batch", rule, drawn)
        needed = drawn * self.per_label
        rule = f">= {needed}, labels_per_batch times per_label"
        require(self.batch_size >= needed, "batch_size", rule, self.batch_size)

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, E lists of `batch_size` row numbers in random order."""
        generator = np.random.default_rng((self.seed, epoch))
        table_NL = self.labels_NL[:, self.labels_NL.any(axis=0)].astype(bool)
        count = epoch_length(len(table_NL), self.batch_size)
        size = min(self.batch_size, len(table_NL))
        hands_L = share_out(_own_images(table_NL), count, self.labels_per_batch, generator)
        drawn = choose_classes(hands_L, count, self.labels_per_batch, generator)
        batches: list[dict[int, None]] = [{} for _ in range(count)]  # ordered sets of rows
        shown_N = _serve(batches, drawn, table_NL, self.per_label, generator)
        deck = _least_shown(np.arange(len(table_NL)), shown_N, generator)
        for batch in batches:
            batch.update(dict.fromkeys(_take(deck, size - len(batch), batch)))
        return [generator.permutation(list(batch)).tolist() for batch in batches]


def _own_images(table_NL: Bool[np.ndarray, "N L"]) -> Int[np.ndarray, " L"]:
    """Images of which each label is the rarest; at least 1, so that every label can be drawn."""
    sizes_L = table_NL.sum(axis=0)
    rarity_NL = np.where(table_NL, sizes_L, len(table_NL) + 1)
    labelled_N = table_NL.any(axis=1)
    own_L = np.bincount(rarity_NL.argmin(axis=1)[labelled_N], minlength=len(sizes_L))
    return np.maximum(own_L, 1)


def _serve(
    batches: list[dict[int, None]],
    drawn: list[list[int]],
    table_NL: Bool[np.ndarray, "N L"],
    per_label: int,
    generator: np.random.Generator,
) -> Int[np.ndarray, " N"]:
    """Fill the batches with what their drawn labels need; how often each image is now shown."""
    sizes_L = table_NL.sum(axis=0)
    places: list[list[int]] = [[] for _ in sizes_L]
    for place, chosen in enumerate(drawn):
        for label in chosen:
            places[label].append(place)
    shown_N = np.zeros(len(table_NL), np.int64)
    held_EL = np.zeros((len(batches), len(sizes_L)), np.int64)
    for label in np.argsort(sizes_L, kind="stable").tolist():
        deck = _least_shown(np.flatnonzero(table_NL[:, label]), shown_N, generator)
        for place in places[label]:
            missing = per_label - int(held_EL[place, label])
            for row in _take(deck, missing, batches[place]):
                batches[place][row] = None
                shown_N[row] += 1
                held_EL[place] += table_NL[row]
    return shown_N


def _least_shown(
    rows: np.ndarray, shown_N: np.ndarray, generator: np.random.Generator
) -> deque[int]:
    """The rows in random order, those shown least first."""
    shuffled = generator.permutation(rows)
    return deque(shuffled[np.argsort(shown_N[shuffled], kind="stable")].tolist())


def _take(deck: deque[int], count: int, held: Collection[int]) -> list[int]:
    """Up to `count` rows from the front that are not held; they go to the back of the deck."""
    taken: list[int] = []
    passed: list[int] = []
    for _ in range(len(deck)):
        if len(taken) >= count:
            break
        row = deck.popleft()
        (passed if row in held else taken).append(row)
    deck.extendleft(reversed(passed))
    deck.extend(taken)
    return taken
