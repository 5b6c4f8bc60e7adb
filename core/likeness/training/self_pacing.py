"""Self-paced training: before each epoch every training image is told how far it is trusted.

Shapes: N = training images, B = images of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.models.heads import EMBEDDING
from likeness.self_paced import SelfPacedSpec, next_weights
from likeness.training import seeds


class SelfPacing:
    """The epoch hook of balanced self-paced metric learning (Zhang, Luo, Gu, AAAI 2023, BSPML).

    It alternates with the network: the loss minimises the energy over the network with the weights
    fixed, this over the weights with the network fixed, after a warm-up in which all weigh 1. Every
    process finds the same for itself, from equal embeddings and equal draws. The alternation is the
    paper's; the energy and the pace are our reconstruction, see `likeness.self_paced`.

    Args:
        spec: the options.
        images: N.
        epochs: of the run.
        seed: of the run.
    """

    def __init__(self, spec: SelfPacedSpec, *, images: int, epochs: int, seed: int) -> None:
        self._spec, self._epochs, self._seed = spec, epochs, seed
        self._weights_N = torch.ones(images)

    @property
    def weights_N(self) -> Float[Tensor, " N"]:
        """The weight of each training image now, in [0, 1], on the host."""
        return self._weights_N

    def of(self, rows: Sequence[int]) -> Float[Tensor, " B"]:
        """The weights of a batch of rows, on the host."""
        return self._weights_N[list(rows)]

    def wants_embeddings(self, epoch: int) -> bool:
        """In every epoch after the warm-up."""
        return epoch >= self._spec.warmup_epochs

    def on_epoch_start(
        self, epoch: int, embeddings: Mapping[str, Tensor] | None, labels: Tensor
    ) -> None:
        """Weigh the images anew, where it is time."""
        if embeddings is None or not self.wants_embeddings(epoch):
            return
        rows_ND = embeddings[EMBEDDING]
        found_N = next_weights(
            rows_ND,
            labels,
            self._weights_N.to(rows_ND.device),
            self._spec,
            quantile=self._spec.quantile(epoch, self._epochs),
            generator=seeds.miner_generator(
                *(self._seed, seeds.WEIGH, epoch), device=torch.device("cpu")
            ),
        )
        self._weights_N = found_N.cpu()

    def state_dict(self) -> Mapping[str, Tensor]:
        """The weights."""
        return {"weights": self._weights_N}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave."""
        self._weights_N = state["weights"].clone()
