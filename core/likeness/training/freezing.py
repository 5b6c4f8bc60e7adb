"""A backbone that keeps the weights it started with, for the first epochs of a run."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from likeness.errors import require


class FrozenBackbone:
    """The epoch hook that lets heads and class layers learn alone first, and then everything.

    So that new layers, still random, do not spoil pretrained weights (MATHM, arXiv 2112.07966,
    official code: two epochs). Frozen weights get no gradient and are not decayed; running
    statistics of batch norms move all the same, as in that code.

    Args:
        embedder: whose `backbone` is frozen.
        epochs: how many, >= 1.

    Raises:
        UserError: if there is no backbone, or nothing else to train.
    """

    def __init__(self, embedder: nn.Module, epochs: int) -> None:
        backbone = getattr(embedder, "backbone", None)
        rule = "0 for a network without a backbone"
        require(isinstance(backbone, nn.Module), "frozen_epochs", rule, epochs)
        assert isinstance(backbone, nn.Module)
        held = {id(item) for item in backbone.parameters()}
        others = [item for item in embedder.parameters() if id(item) not in held]
        rule = "0 for a network with nothing to train behind its backbone"
        require(others, "frozen_epochs", rule, epochs)
        self._frozen = [item for item in backbone.parameters() if item.requires_grad]
        self._epochs, self._epoch = epochs, 0

    def wants_embeddings(self, epoch: int) -> bool:
        """Never."""
        return False

    def on_epoch_start(
        self, epoch: int, embeddings: Mapping[str, Tensor] | None, labels: Tensor
    ) -> None:
        """Freeze the backbone, or let it go."""
        self._begin(epoch)

    def state_dict(self) -> Mapping[str, Tensor]:
        """The running epoch."""
        return {"epoch": torch.tensor(self._epoch)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave."""
        self._begin(int(state["epoch"]))

    def _begin(self, epoch: int) -> None:
        self._epoch = epoch
        for parameter in self._frozen:
            parameter.requires_grad_(epoch >= self._epochs)
