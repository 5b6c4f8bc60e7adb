"""Cross-batch memory: embeddings of past batches as further references of any pair loss.

Shapes: N = samples of the (global) batch, M = rows of the memory, D = embedding dimension,
L = labels of a multi-label target, I = images of the training set.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from likeness.batch import Batch, groups_of
from likeness.config import Spec
from likeness.errors import UserError, require
from likeness.losses.base import PairLoss
from likeness.pairs import Pairs, Space


class MemorySpec(Spec):
    """See `CrossBatchMemory`.

    Attributes:
        size: M, rows that are remembered; 8192 in the official code's defaults.
        start_step: steps of the run before anything is remembered; 0 is ours.
    """

    size: int = Field(default=8192, ge=1)
    start_step: int = Field(default=0, ge=0)


class CrossBatchMemory(nn.Module):
    """A ring of past embeddings that anchors are compared with (XBM, Wang et al., CVPR 2020).

    Embeddings drift slowly once the first steps are over, so those of the last steps stand for what
    the network would say of these images now; a small batch then meets as many positives and
    negatives as a large one. In any loop:

        value = memory(loss, embeddings, batch)          # then backward() and a step
        memory.remember(embeddings, batch)

    Anchors are the batch; references are the batch, with its gradient, and then the memory,
    detached. The official code adds two losses instead, batch against batch and batch against
    memory, the latter holding a detached copy of the batch. An earlier draw of a picture is the
    picture itself, by its id, and no pair, but for losses of `views`.

    Labels, ids and groups are kept beside the raw embeddings (float32). Everything is in the state,
    the place of the next row too: a resumed run goes on with the same memory. With several
    processes each remembers the whole global batch, in its order.

    Args:
        size: M, >= 1.
        dim: D, >= 1.
        start_step: calls of `remember` that are let pass first, >= 0, while the network still
            moves fast. The official code's default is 2,000 of 4,000 steps.
        labels: L for a multi-label target; None for classes.

    Raises:
        UserError: if an argument is out of range.
    """

    embeddings_MD: Tensor
    labels_M: Tensor
    ids_M: Tensor
    group_M: Tensor
    counts_3: Tensor

    def __init__(
        self, size: int, dim: int, *, start_step: int = 0, labels: int | None = None
    ) -> None:
        super().__init__()
        require(size >= 1, "size", ">= 1", size)
        require(dim >= 1, "dim", ">= 1", dim)
        require(start_step >= 0, "start_step", ">= 0", start_step)
        self.size, self.start_step = size, start_step
        shape, kind = ((size,), torch.int64) if labels is None else ((size, labels), torch.float32)
        self.register_buffer("embeddings_MD", torch.zeros(size, dim))
        self.register_buffer("labels_M", torch.zeros(shape, dtype=kind))
        self.register_buffer("ids_M", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("group_M", torch.zeros(size, dtype=torch.int64))
        # Steps so far, place of the next row, rows filled.
        self.register_buffer("counts_3", torch.zeros(3, dtype=torch.int64))
        self._known: tuple[int, int, int] | None = (0, 0, 0)
        self.register_load_state_dict_post_hook(_forget_counts)  # type: ignore[no-untyped-call]

    @property
    def filled(self) -> int:
        """Rows that hold something, in [0, M]."""
        return self._counts[2]

    def forward(
        self, loss: PairLoss, embeddings_ND: Float[Tensor, "N D"], batch: Batch
    ) -> Float[Tensor, ""]:
        """The loss of a batch against itself and the memory; a scalar to call `backward()` on.

        Raises:
            UserError: see `pairs`, or if the loss reads nothing but the batch.
        """
        require_references(loss)
        pairs = self.pairs(embeddings_ND, batch, space=loss.space, allow_views=loss.allow_views)
        return loss.on_pairs(pairs, None, batch).value

    def pairs(
        self,
        embeddings_ND: Float[Tensor, "N D"],
        batch: Batch,
        *,
        labels: Tensor | None = None,
        space: Space,
        allow_views: bool = False,
        exclude_groups: bool = False,
    ) -> Pairs:
        """The batch against itself and the memory; while that is empty, against itself.

        Args:
            embeddings_ND: raw embeddings.
            batch: its labels, ids and, with `exclude_groups`, groups.
            labels: what tells samples apart in place of the batch's labels.
            space: of the comparison.
            allow_views: see `Pairs`.
            exclude_groups: no positive of the anchor's group, in the memory either.

        Raises:
            UserError: if a column is missing or the dimension differs.
        """
        known, ids, _ = self._columns(embeddings_ND, batch, labels)
        seen = slice(0, self.filled)
        others = {}
        if self.filled:
            others = {
                "reference": self.embeddings_MD[seen],
                "reference_labels": self.labels_M[seen],
                "reference_ids": self.ids_M[seen],
            }
        pairs = Pairs(
            embeddings_ND,
            known,
            ids=ids,
            and_batch=bool(others),
            space=space,
            allow_views=allow_views,
            **others,
        )
        if not exclude_groups:
            return pairs
        group_N = groups_of(batch)
        return pairs.excluding_group(group_N, torch.cat([group_N, self.group_M[seen]]))

    @torch.no_grad()
    def remember(
        self, embeddings_ND: Float[Tensor, "N D"], batch: Batch, *, labels: Tensor | None = None
    ) -> None:
        """Write a batch over the oldest rows; of more than M samples the last ones.

        Raises:
            UserError: as `pairs`.
        """
        columns = self._columns(embeddings_ND, batch, labels)
        steps, place, filled = self._counts
        count = min(len(embeddings_ND), self.size) if steps >= self.start_step else 0
        if count:
            row_N = (torch.arange(count, device=self.ids_M.device) + place) % self.size
            buffers = (self.embeddings_MD, self.labels_M, self.ids_M, self.group_M)
            for buffer, column in zip(buffers, (embeddings_ND, *columns), strict=True):
                buffer.index_copy_(0, row_N, column[-count:].detach().to(buffer))
        self._known = (steps + 1, (place + count) % self.size, min(filled + count, self.size))
        self.counts_3.copy_(torch.tensor(self._known))

    @torch.no_grad()
    def relabel(self, labels_I: Int[Tensor, " I"]) -> None:
        """Give every remembered row the label that its image has now; ids are rows of the set."""
        if self.filled:
            found = labels_I.to(self.ids_M.device)[self.ids_M[: self.filled]]
            self.labels_M[: self.filled].copy_(found)

    @property
    def _counts(self) -> tuple[int, int, int]:
        """`counts_3` as numbers; the device is read after a resume only, never in a step."""
        if self._known is None:
            steps, place, filled = self.counts_3.tolist()
            self._known = (steps, place, filled)
        return self._known

    def _columns(
        self, embeddings_ND: Tensor, batch: Batch, labels: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Labels, ids and groups of a batch; groups that nobody knows are all 0."""
        dim = self.embeddings_MD.shape[1]
        require(embeddings_ND.shape[1] == dim, "dim", str(dim), embeddings_ND.shape[1])
        known = batch.labels if labels is None else labels
        form = tuple(self.labels_M.shape[1:])
        fits = tuple(known.shape[1:]) == form
        require(fits, "labels", f"of shape {('N', *form)} for the memory", tuple(known.shape))
        require(batch.ids is not None, "ids", "given with a memory", None)
        assert batch.ids is not None
        group = torch.zeros_like(batch.ids) if batch.group is None else batch.group
        return known, batch.ids, group


def _forget_counts(memory: nn.Module, _: object) -> None:
    assert isinstance(memory, CrossBatchMemory)
    memory._known = None


def require_references(loss: PairLoss) -> None:
    """Refuse a memory for a loss that reads nothing but the batch.

    Raises:
        UserError: naming the loss.
    """
    if not loss.reads_references:
        name = type(loss).__name__
        raise UserError(f"memory of {name} must be null (it reads the batch alone), got a memory")


def build_memory(spec: MemorySpec, *, dim: int, labels: int | None = None) -> CrossBatchMemory:
    """The memory that a configuration names; see `CrossBatchMemory`."""
    return CrossBatchMemory(spec.size, dim, start_step=spec.start_step, labels=labels)
