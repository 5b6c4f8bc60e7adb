"""What densely anchored sampling remembers of every class: loud channels, and differences.

Shapes: N = samples of the batch, C = classes, D = embedding dimension, Q = rows of the bank.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from likeness.errors import require


class ChannelCounts(nn.Module):
    """How often each channel was among the largest of a sample, by class.

    Args:
        num_classes: C.
        dim: D.
        channels: largest channels of each sample (by value, not by size), in [1, D].

    Raises:
        UserError: if an argument is out of range.
    """

    count_CD: Tensor

    def __init__(self, num_classes: int, dim: int, *, channels: int) -> None:
        super().__init__()
        require(1 <= channels <= dim, "channels", f"in [1, {dim}]", channels)
        self.channels = channels
        self.register_buffer("count_CD", torch.zeros(num_classes, dim, dtype=torch.int32))

    @torch.no_grad()
    def record(self, embeddings_ND: Float[Tensor, "N D"], labels_N: Int[Tensor, " N"]) -> None:
        """Count the largest channels of each sample for its class."""
        largest_NK = embeddings_ND.topk(self.channels, dim=1).indices
        place_NK = labels_N[:, None] * self.count_CD.shape[1] + largest_NK
        ones = torch.ones_like(place_NK, dtype=torch.int32).flatten()
        self.count_CD.view(-1).index_add_(0, place_NK.flatten(), ones)

    def loudest(self, labels_N: Int[Tensor, " N"]) -> Bool[Tensor, "N D"]:
        """The channels that count most for the class of each sample, `channels` of them."""
        count_ND = self.count_CD[labels_N]
        chosen_NK = count_ND.topk(self.channels, dim=1).indices
        return torch.zeros_like(count_ND, dtype=torch.bool).scatter_(1, chosen_NK, value=True)


class DifferenceBank(nn.Module):
    """The last differences between two samples of a class, for every class: a ring of Q rows each.

    All ordered pairs of a batch are pushed, in the order of the batch; of more than Q the last ones
    stay. A row counts as filled by a counter, not by being other than zero, and the place of the
    next row moves on after any push (in the released code it stays after one of more than Q).
    Memory is that of C Q D numbers.

    Args:
        num_classes: C.
        dim: D.
        size: Q, >= 1.

    Raises:
        UserError: if an argument is out of range.
    """

    row_CQD: Tensor
    filled_C: Tensor
    next_C: Tensor

    def __init__(self, num_classes: int, dim: int, *, size: int) -> None:
        super().__init__()
        require(size >= 1, "bank", ">= 1", size)
        self.register_buffer("row_CQD", torch.zeros(num_classes, size, dim))
        self.register_buffer("filled_C", torch.zeros(num_classes, dtype=torch.int64))
        self.register_buffer("next_C", torch.zeros(num_classes, dtype=torch.int64))

    @torch.no_grad()
    def push(
        self,
        embeddings_ND: Float[Tensor, "N D"],
        labels_N: Int[Tensor, " N"],
        ids_N: Int[Tensor, " N"],
    ) -> None:
        """Push all z_i - z_j of a class, i and j of different ids."""
        count, size = len(labels_N), self.row_CQD.shape[1]
        if not count:
            return
        same_NN = labels_N[:, None] == labels_N[None, :]
        pair_NN = same_NN & (ids_N[:, None] != ids_N[None, :])
        arrived_N = (same_NN * pair_NN.sum(1)).sum(1)  # of the whole class
        slot_NN, kept_NN = self._slots(labels_N, same_NN, pair_NN, arrived_N)
        # Which pair comes to rest in each slot of a class, kept at the class's first sample; the
        # last place takes what is not kept.
        first_N = same_NN.int().argmax(1)
        place_NN = torch.where(kept_NN, first_N[:, None] * size + slot_NN, count * size)
        pair_of = torch.full((count * size + 1,), -1, device=labels_N.device)
        every = torch.arange(count * count, device=labels_N.device)
        pair_of.scatter_(0, place_NN.flatten(), every)
        pair_NQ = pair_of[:-1].view(count, size)[first_N]
        one_NQ, other_NQ = pair_NQ.clamp_min(0) // count, pair_NQ.clamp_min(0) % count
        fresh_NQD = (embeddings_ND[one_NQ] - embeddings_ND[other_NQ]).to(self.row_CQD)
        # All samples of a class write the same.
        new_NQD = torch.where(pair_NQ[..., None] >= 0, fresh_NQD, self.row_CQD[labels_N])
        next_N, filled_N = self.next_C[labels_N], self.filled_C[labels_N]
        self.row_CQD[labels_N] = new_NQD
        self.next_C[labels_N] = (next_N + arrived_N) % size
        self.filled_C[labels_N] = (filled_N + arrived_N).clamp_max(size)

    def draw(
        self, labels_P: Int[Tensor, " P"], uniform_P: Float[Tensor, " P"]
    ) -> Float[Tensor, "P D"]:
        """A difference of each class, chosen by a number in [0, 1); zero while there is none."""
        filled_P = self.filled_C[labels_P]
        place_P = (uniform_P * filled_P).long().clamp_max((filled_P - 1).clamp_min(0))
        return self.row_CQD[labels_P, place_P]

    def _slots(
        self, labels_N: Tensor, same_NN: Tensor, pair_NN: Tensor, arrived_N: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The slot that each pair of a batch is written to, and whether it is among the last Q."""
        size, of_row_N = self.row_CQD.shape[1], pair_NN.sum(1)
        before_N = (same_NN.tril(-1) * of_row_N).sum(1)  # pairs of its class in earlier rows
        number_NN = before_N[:, None] + pair_NN.cumsum(1) - 1
        kept_NN = pair_NN & (number_NN >= arrived_N[:, None] - size)
        return (self.next_C[labels_N][:, None] + number_NN) % size, kept_NN
