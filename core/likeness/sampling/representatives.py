"""A batch plan of representatives: each class of a batch brings the one image that stands for it.

Shapes: N = images, C = classes, D = embedding dimension, P = classes of a batch, K = images of each
of them, L = batches of an epoch, B = rows of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from likeness.errors import require
from likeness.sampling.chosen_classes import classes_of_pairs, dealt_batches, first_classes
from likeness.sampling.plans import epoch_length

Choice = Literal["spread", "random"]
CHOICES: tuple[Choice, ...] = ("spread", "random")


class Representatives:
    """P classes that are hard to tell apart, each with its representative and K - 1 other images.

    The batches of "Deep Metric Learning with Alternating Projections onto Feasible Sets" (Can,
    Gurbuz, Alatan, ICIP 2021). One image of each class stands for it through a round, which is one
    feasible set; every batch that has the class has that image. Confirmed are the representatives,
    that they stay for a while, and that they make the search for hard classes cheap. UNCONFIRMED,
    our reading, with numbers of the same group's later code (ccp-dml):

    - round 0 draws each representative at random. Later rounds take any other image (`random`) or,
      of `pool` random ones, the farthest (by cosine) from the last representative (`spread`);
    - a batch has a seed class, the `hard_share` of P - 1 classes whose representatives are nearest
      to its own, and random classes. Classes are seeds in turn, however large they are;
    - distances are those of the pass over the training images at the round's start.

    An epoch has as many batches as that of `Shuffled`. The other images of a class are dealt: none
    comes again before all of them came. It is a plan and an epoch hook in one, so its state is
    saved with the run; `batches` is a function of (seed, epoch, state).

    Args:
        labels_N: class of each image, any integers; two images of every class at least.
        classes_per_batch: P, in [1, C].
        per_class: K, >= 2.
        epochs_per_round: >= 1; UNCONFIRMED.
        seed: of the run, >= 0.
        choice: `spread` or `random`.
        pool: images of a class that may become its representative, >= 1.
        hard_share: in [0, 1].
        head: whose embeddings tell distances.

    Raises:
        UserError: if an argument is out of range or a class has a single image.
    """

    def __init__(
        self,
        labels_N: Int[np.ndarray, " N"],
        *,
        classes_per_batch: int,
        per_class: int,
        epochs_per_round: int,
        seed: int,
        choice: Choice = "spread",
        pool: int = 12,
        hard_share: float = 0.5,
        head: str = "embedding",
    ) -> None:
        self._class_N, self._members = classes_of_pairs(
            labels_N, classes_per_batch, purpose="one represents it"
        )
        for name, value, least in (
            ("per_class", per_class, 2),
            ("epochs_per_round", epochs_per_round, 1),
            ("pool", pool, 1),
            ("seed", seed, 0),
        ):
            require(value >= least, name, f">= {least}", value)
        require(choice in CHOICES, "choice", f"one of {', '.join(CHOICES)}", choice)
        require(0 <= hard_share <= 1, "hard_share", "in [0, 1]", hard_share)
        self._classes, self._per_class, self._seed = classes_per_batch, per_class, seed
        self._epochs_per_round, self._choice, self._pool = epochs_per_round, choice, pool
        self._hard = round(hard_share * (classes_per_batch - 1))
        self._head = head
        draws = self._draws(0)
        self._chosen_C = np.array([draws.choice(rows) for rows in self._members])
        self._rows_CD = torch.zeros((len(self._members), 0))  # unit rows, from the first pass on

    @property
    def chosen_C(self) -> Int[np.ndarray, " C"]:
        """The row that stands for each class now, classes in ascending order."""
        return self._chosen_C

    def is_representative(self, row_B: Int[np.ndarray, " B"]) -> Bool[np.ndarray, " B"]:
        """Whether rows stand for their class now."""
        marked_B: np.ndarray = self._chosen_C[self._class_N[row_B]] == row_B
        return marked_B

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch of this round, L lists of P * K row numbers in random order."""
        generator = np.random.default_rng((self._seed, epoch))
        length = epoch_length(len(self._class_N), self._classes * self._per_class)
        seed_L = first_classes(len(self._members), length, generator)
        chosen_LP = [self._choose(seed, generator) for seed in seed_L]
        others = self._per_class - 1
        return dealt_batches(chosen_LP, self._members, others, generator, always_C=self._chosen_C)

    def wants_embeddings(self, epoch: int) -> bool:
        """At the start of a round."""
        return epoch % self._epochs_per_round == 0

    def on_epoch_start(
        self, epoch: int, embeddings: Mapping[str, Tensor] | None, labels: Tensor
    ) -> None:
        """Begin a round, where one begins; see `EpochHook`."""
        if embeddings is None or not self.wants_embeddings(epoch):
            return
        rows_ND = torch.nn.functional.normalize(embeddings[self._head].detach().float().cpu())
        if epoch > 0:
            draws = self._draws(epoch)
            self._chosen_C = np.array(
                [
                    self._next(rows, before, rows_ND, draws)
                    for rows, before in zip(self._members, self._chosen_C.tolist(), strict=True)
                ]
            )
        self._rows_CD = rows_ND[torch.from_numpy(self._chosen_C)]

    def state_dict(self) -> Mapping[str, Tensor]:
        """The representatives and where they were at the round's start."""
        return {"chosen": torch.from_numpy(self._chosen_C), "rows": self._rows_CD}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave."""
        self._chosen_C = state["chosen"].numpy().copy()
        self._rows_CD = state["rows"].clone()

    def _draws(self, epoch: int) -> np.random.Generator:
        """For the representatives; another stream than that of `batches`."""
        return np.random.default_rng((self._seed, epoch, 1))

    def _next(
        self, rows: np.ndarray, before: int, rows_ND: Tensor, draws: np.random.Generator
    ) -> int:
        """The next representative of a class: another image than the last."""
        others = rows[rows != before]
        if self._choice == "random":
            return int(draws.choice(others))
        pool = draws.permutation(others)[: self._pool]
        near = rows_ND[torch.from_numpy(pool)] @ rows_ND[before]
        return int(pool[int(near.argmin())])

    def _choose(self, seed: int, generator: np.random.Generator) -> np.ndarray:
        """A seed class, those nearest to it, and random ones; P different classes."""
        taken = [seed]
        if self._hard and self._rows_CD.shape[1]:
            near_C = self._rows_CD @ self._rows_CD[seed]
            near_C[seed] = -torch.inf
            taken += near_C.topk(self._hard).indices.tolist()
        free = np.setdiff1d(np.arange(len(self._members)), taken)
        return np.array([*taken, *generator.permutation(free)[: self._classes - len(taken)]])
