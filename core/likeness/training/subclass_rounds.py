"""Training in rounds: at the start of each the classes are divided anew by the shared embeddings.

Shapes: N = training images, R = rounds so far, D = embedding dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from likeness.models import EMBEDDING
from likeness.objective import Objective
from likeness.pairs import Space
from likeness.subclasses import SubclassSpec, discover


class SubclassRounds:
    """The epoch hook that finds sub-classes (Marrero Fernandez et al., arXiv 2001.06612).

    It tells each batch of them. Of the paper only the abstract was readable: the rounds are those
    of a script that its first author wrote for another one (`train_mitosis.py` of FERAtt), and that
    they are this paper's is UNCONFIRMED. How many sub-classes a class gets is ours, see
    `likeness.subclasses.discover`.

    In round 0 every class is one sub-class. What losses keep for each sub-class starts every round
    as the means of the new ones. Every process finds the same for itself: the embeddings are equal,
    and the discovery repeats exactly.

    Args:
        spec: the options.
        objective: whose terms on sub-classes are imprinted.
        num_classes: C.
        images: N.
        space: how the model's embeddings are compared.
        seed: of the run.
    """

    def __init__(
        self,
        spec: SubclassSpec,
        objective: Objective,
        *,
        num_classes: int,
        images: int,
        space: Space,
        seed: int,
    ) -> None:
        self._spec, self._objective, self._space, self._seed = spec, objective, space, seed
        self._num_classes = num_classes
        self._rounds_RN = torch.zeros((0, images), dtype=torch.int32)

    @property
    def rounds_RN(self) -> Int[Tensor, "R N"]:
        """The sub-class number of each training image in each round so far; the last is in use."""
        return self._rounds_RN

    def of(self, rows: Sequence[int]) -> Int[Tensor, " B"]:
        """The sub-class numbers of a batch of rows, int64, on the host."""
        return self._rounds_RN[-1, list(rows)].long()

    def wants_embeddings(self, epoch: int) -> bool:
        """At the start of a round."""
        return self._spec.begins(epoch)

    def on_epoch_start(
        self, epoch: int, embeddings: Mapping[str, Tensor] | None, labels: Tensor
    ) -> None:
        """Begin a round, where one begins."""
        if embeddings is None or not self._spec.begins(epoch):
            return
        slots, components = self._spec.most, self._spec.components(epoch)
        if components == 1:
            found_N = labels.cpu() * slots
        else:
            found = discover(
                embeddings[EMBEDDING].cpu().numpy(),
                labels.cpu().numpy(),
                num_classes=self._num_classes,
                space=self._space,
                components=components,
                slots=slots,
                kind=self._spec.kind,
                min_images=self._spec.min_images,
                before_N=self._rounds_RN[-1].long().numpy(),
                seed=self._seed,
            )
            found_N = torch.from_numpy(found.assigned_N)
        self._rounds_RN = torch.cat([self._rounds_RN, found_N[None].int()])
        self._objective.imprint(embeddings, found_N.to(labels.device), kind="subclass")
        self._objective.relabel(found_N, kind="subclass")

    def state_dict(self) -> Mapping[str, Tensor]:
        """All rounds so far."""
        return {"rounds": self._rounds_RN}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave."""
        self._rounds_RN = state["rounds"].clone()
