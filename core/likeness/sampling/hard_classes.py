"""A batch plan that mines hard negative classes: those of a batch are alike.

Shapes: N = images, C = classes, D = embedding dimension, P = classes of a batch, K = images of each
of them, L = batches of an epoch, M = candidate classes of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from likeness.errors import require
from likeness.proxies import class_means
from likeness.sampling.chosen_classes import classes_of_pairs, dealt_batches, first_classes
from likeness.sampling.plans import epoch_length


class HardClasses:
    """P classes that are hard to tell apart, with K images each (Sohn, NIPS 2016, N-pair loss).

    "Hard negative class mining" of that paper: of M random classes one begins the batch; then the
    class joins that violates the triplet constraint most against those already chosen, until there
    are P. With K = 2 the miner `n_pairs` makes the paper's batch of it. UNCONFIRMED, our reading
    and choices:

    - a class violates most whose mean has the greatest cosine with the mean of any class chosen;
    - means are those of the pass over the training images every `refresh_epochs` epochs, where the
      paper embeds one or two images of each of the M classes anew for each batch;
    - classes begin batches in turn, however large they are.

    An epoch has as many batches as that of `Shuffled`. The images of a class are dealt: none comes
    again before all of them came. It is a plan and an epoch hook in one, so its state is saved with
    the run; `batches` is a function of (seed, epoch, state).

    Args:
        labels_N: class of each image, any integers; two images of every class at least.
        classes_per_batch: P, in [1, C].
        per_class: K, >= 2.
        candidates: M, >= P; all classes where there are fewer. With M = P nothing is mined.
        refresh_epochs: >= 1.
        seed: of the run, >= 0.
        head: whose embeddings tell which classes are alike.

    Raises:
        UserError: if an argument is out of range or a class has a single image.
    """

    def __init__(
        self,
        labels_N: Int[np.ndarray, " N"],
        *,
        classes_per_batch: int,
        per_class: int = 2,
        candidates: int = 64,
        refresh_epochs: int = 1,
        seed: int,
        head: str = "embedding",
    ) -> None:
        purpose = "pairs are made of it"
        class_N, self._members = classes_of_pairs(labels_N, classes_per_batch, purpose=purpose)
        for name, value, least in (
            ("per_class", per_class, 2),
            ("candidates", candidates, classes_per_batch),
            ("refresh_epochs", refresh_epochs, 1),
            ("seed", seed, 0),
        ):
            require(value >= least, name, f">= {least}", value)
        self._class_N = torch.from_numpy(class_N)
        self._classes, self._per_class, self._seed = classes_per_batch, per_class, seed
        self._candidates = min(candidates, len(self._members))
        self._refresh_epochs, self._head = refresh_epochs, head
        self._means_CD = torch.zeros((len(self._members), 0))  # unit rows, from the first pass on

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, L lists of P * K row numbers in random order."""
        generator = np.random.default_rng((self._seed, epoch))
        length = epoch_length(len(self._class_N), self._classes * self._per_class)
        first_L = first_classes(len(self._members), length, generator)
        chosen_LP = [self._choose(first, generator) for first in first_L]
        return dealt_batches(chosen_LP, self._members, self._per_class, generator)

    def wants_embeddings(self, epoch: int) -> bool:
        """Every `refresh_epochs` epochs, the first before the first batch."""
        return epoch % self._refresh_epochs == 0

    def on_epoch_start(
        self, epoch: int, embeddings: Mapping[str, Tensor] | None, labels: Tensor
    ) -> None:
        """Take the class means, where it is time; see `EpochHook`."""
        if embeddings is None or not self.wants_embeddings(epoch):
            return
        rows_ND = F.normalize(embeddings[self._head].detach().float().cpu())
        means_CD, _ = class_means(rows_ND, self._class_N, len(self._members))
        self._means_CD = F.normalize(means_CD)

    def state_dict(self) -> Mapping[str, Tensor]:
        """The class means."""
        return {"means": self._means_CD}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave."""
        self._means_CD = state["means"].clone()

    def _choose(self, first: int, generator: np.random.Generator) -> Int[np.ndarray, " P"]:
        """P different classes, hard for each other, of M with `first` among them."""
        others = np.delete(np.arange(len(self._members)), first)
        drawn_M = np.append(first, generator.permutation(others)[: self._candidates - 1])
        means_MD = self._means_CD[torch.from_numpy(drawn_M)].numpy()
        chosen: np.ndarray = drawn_M[nearest_chain(means_MD @ means_MD.T, self._classes)]
        return chosen


def nearest_chain(similarity_MM: Float[np.ndarray, "M M"], count: int) -> list[int]:
    """The first row, and then again and again the one most similar to any taken so far.

    Of equals the first, so that of rows without any difference the first `count` are taken.

    Args:
        similarity_MM: symmetric, higher = more alike.
        count: how many, in [1, M].
    """
    taken, nearest_M = [0], similarity_MM[0].copy()
    while len(taken) < count:
        nearest_M[taken] = -np.inf
        taken.append(int(nearest_M.argmax()))
        nearest_M = np.maximum(nearest_M, similarity_MM[taken[-1]])
    return taken
