"""Copies of samples, moved: who they came from, and whom they are compared with.

Shapes: N = samples of the batch, P = copies, D = embedding dimension.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.batch import COLUMNS, Batch, groups_of
from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss
from likeness.pairs import Pairs, Space
from likeness.selection import Miner

_Key = tuple[str, bool, bool, bool]  # space, views, whether by the batch's labels, groups


@dataclass(frozen=True)
class CopiedBatch:
    """A batch and moved copies of its samples, as all losses of a step see it (a `Synthetic`).

    Attributes:
        embeddings_ND: the originals, raw.
        points_PD: the copies, raw likewise; P may be 0.
        source_P: the sample that each copy came from, by its place in the batch.
        as_samples: copies are samples like any other, and positives of what they came from
            (densely anchored sampling). Otherwise they are references of the originals alone, and
            never a positive of the sample they came from (intra-class augmentation).
        space: where they were made, if they make sense nowhere else.
    """

    embeddings_ND: Float[Tensor, "N D"]
    points_PD: Float[Tensor, "P D"]
    source_P: Int[Tensor, " P"]
    as_samples: bool
    space: Space | None = None
    _shared: dict[_Key, Pairs] = field(default_factory=dict)

    def terms(
        self,
        loss: PairLoss,
        batch: Batch,
        *,
        labels: Tensor | None = None,
        miner: Miner | None = None,
        exclude_groups: bool = False,
    ) -> LossTerms:
        """See `Synthetic.terms`.

        Raises:
            UserError: for a loss in another space than that of the copies, or, with
                `exclude_groups`, for a batch without groups.
        """
        there = self.space is None or self.space == loss.space
        require(there, "space", f"{self.space}, where the copies were made", loss.space)
        key = (loss.space, loss.allow_views, labels is None, exclude_groups)
        if key not in self._shared:
            known = batch if labels is None else replace(batch, labels=labels)
            pairs = self._union(loss, known) if self.as_samples else self._beside(loss, known)
            self._shared[key] = self._without_groups(pairs, batch) if exclude_groups else pairs
        seen = with_copies(batch, self.source_P) if self.as_samples else batch
        selection = None if miner is None else miner(self._shared[key], seen)
        return loss.on_pairs(self._shared[key], selection, seen)

    def _union(self, loss: PairLoss, batch: Batch) -> Pairs:
        """Originals and copies against each other."""
        every = with_copies(batch, self.source_P)
        rows = torch.cat([self.embeddings_ND.to(self.points_PD), self.points_PD])
        return Pairs(
            rows, every.labels, ids=every.ids, space=loss.space, allow_views=loss.allow_views
        )

    def _beside(self, loss: PairLoss, batch: Batch) -> Pairs:
        """Originals against originals and copies, without each one's own copies as positives."""
        ids_N, own_P = ids_of(batch), batch.labels[self.source_P]
        pairs = Pairs(
            self.embeddings_ND,
            batch.labels,
            ids=ids_N,
            reference=self.points_PD,
            reference_labels=own_P,
            reference_ids=copy_ids(self.source_P),
            and_batch=True,
            space=loss.space,
            allow_views=loss.allow_views,
        )
        # Two draws of one picture are one sample, and so are their copies, but for losses of views.
        who_N = torch.arange(len(ids_N), device=ids_N.device) if loss.allow_views else ids_N
        return pairs.excluding_group(who_N, torch.cat([who_N, who_N[self.source_P]]))

    def _without_groups(self, pairs: Pairs, batch: Batch) -> Pairs:
        group_N = groups_of(batch)
        every = torch.cat([group_N, group_N[self.source_P]])
        return pairs.excluding_group(every if self.as_samples else group_N, every)


def ids_of(batch: Batch) -> Int[Tensor, " N"]:
    """The ids of a batch; places in it where nobody gave any."""
    if batch.ids is not None:
        return batch.ids
    return torch.arange(len(batch.labels), device=batch.labels.device)


def copy_ids(source_P: Int[Tensor, " P"]) -> Int[Tensor, " P"]:
    """The ids of copies: -1, -2, ..., which no picture has."""
    return -1 - torch.arange(len(source_P), device=source_P.device)


def with_copies(batch: Batch, source_P: Int[Tensor, " P"]) -> Batch:
    """What is known of a batch and, behind it, of copies of its samples.

    A copy has all that its sample has, logits too, but for its id; `parent` names the sample, and
    is an original's own id.

    Args:
        batch: of N samples.
        source_P: the place of each copy's sample.

    Returns:
        A batch of N + P samples.
    """
    ids_N = ids_of(batch)
    columns = {
        name: _followed(getattr(batch, name), source_P)
        for name in ("labels", "target", "teacher", *COLUMNS)
    }
    columns["ids"] = torch.cat([ids_N, copy_ids(source_P)])
    columns["parent"] = _followed(ids_N, source_P)
    logits = {head: torch.cat([own_NC, own_NC[source_P]]) for head, own_NC in batch.logits.items()}
    return replace(batch, logits=logits, **columns)  # type: ignore[arg-type]


def _followed(column: Tensor | None, source_P: Tensor) -> Tensor | None:
    """A column of samples, and behind it that of their copies."""
    if column is None:
        return None
    return torch.cat([column, column[source_P.to(column.device)]])
