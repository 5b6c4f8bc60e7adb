"""What every loss returns, and the small module that gives a pair loss its two front doors.

Shapes: N = anchors, M = references, D = embedding dimension.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from likeness.batch import Batch
from likeness.errors import UserError, require
from likeness.pairs import Pairs, Space
from likeness.rows import as_float, marked, raised
from likeness.selection import AnySelection, Selection, Triplets, everything, restrict

Reduction = Literal["active", "all"]
REDUCTIONS: tuple[Reduction, ...] = ("active", "all")

# Under a sum of weights as small as this, a weighted mean counts as empty.
SMALLEST_TOTAL = 1e-12


class LossTerms(NamedTuple):
    """A loss and how it came about.

    Attributes:
        value: the scalar to minimise; an exact zero with a graph when nothing is valid.
        per_anchor: the share of each anchor, shape (N,); the shares add up to `value`.
        valid: anchors that could contribute, shape (N,).
        n_active: number of pairs, triplets or anchors with a non-zero contribution; int64 scalar.
    """

    value: Tensor
    per_anchor: Tensor
    valid: Tensor
    n_active: Tensor


@runtime_checkable
class Loss(Protocol):
    """Anything that turns a batch's geometry into a scalar."""

    spaces: ClassVar[tuple[Space, ...]]
    space: Space

    def on_pairs(
        self, pairs: Pairs, selection: AnySelection | None = None, batch: Batch | None = None
    ) -> LossTerms:
        """The loss on shared geometry; `selection=None` means every pair."""
        ...


class PairLoss(nn.Module):
    """The two front doors of a pair loss: alone in a loop, or on shared geometry.

    A subclass sets `spaces` (where it makes sense, its default first) and writes `on_dense`; one
    that also reads sampled triplets lists them in `reads` and writes `on_triplets`. A loss with
    state of its own overrides `needs_class_means`, `imprint` and `after_step`.

    Attributes:
        columns: of the batch, that a run with this loss must know.
        reads_references: whether anchors may meet samples outside the batch (of a memory).
        allow_views: whether two draws of one picture are a positive pair; otherwise they are the
            same sample, which no pair is made of.

    Args:
        space: one of the subclass's `spaces`; None takes the first.

    Raises:
        UserError: if the space makes no sense for this loss.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("euclidean", "cosine")
    reads: ClassVar[frozenset[str]] = frozenset({"dense"})
    reads_references: ClassVar[bool] = True
    columns: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, space: Space | None = None) -> None:
        super().__init__()
        chosen = self.spaces[0] if space is None else space
        name = f"space of {type(self).__name__}"
        require(chosen in self.spaces, name, f"one of {', '.join(self.spaces)}", chosen)
        self.space: Space = chosen
        self.allow_views = False

    def forward(
        self, embeddings_ND: Float[Tensor, "N D"], labels: Tensor, *, batch: Batch | None = None
    ) -> Float[Tensor, ""]:
        """The loss of raw embeddings (N, D) with labels (N,): a scalar to call `backward()` on."""
        ids = None if batch is None else batch.ids
        views = self.allow_views
        pairs = Pairs(embeddings_ND, labels, ids=ids, space=self.space, allow_views=views)
        return self.on_pairs(pairs, None, batch).value

    def on_pairs(
        self, pairs: Pairs, selection: AnySelection | None = None, batch: Batch | None = None
    ) -> LossTerms:
        """The loss on shared geometry, in full precision.

        Args:
            pairs: the geometry, in this loss's space.
            selection: dense weights are multiplied with the pairs' own masks; triplets are taken
                as they are, where the loss reads triplets; None means every pair.
            batch: what is known of each sample; a loss that reads it overrides this method.

        Raises:
            UserError: if the loss does not read such a selection, or its shape differs.
        """
        anchors_ND = pairs.embeddings
        if not len(anchors_ND) or not len(pairs.reference):
            return _nothing(anchors_ND)
        with torch.autocast(anchors_ND.device.type, enabled=False):
            if isinstance(selection, Triplets):
                return self.on_triplets(pairs, selection)
            chosen = everything(pairs) if selection is None else restrict(selection, pairs)
            return self.on_dense(pairs, chosen)

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """The loss under dense weights that are zero outside the pairs' own masks."""
        raise NotImplementedError

    def on_triplets(self, pairs: Pairs, triplets: Triplets) -> LossTerms:
        """The loss of sampled triplets.

        Raises:
            UserError: by default; most losses have no reading of triplets.
        """
        raise UserError(
            f"selection of {type(self).__name__} must be a weight for every pair, got triplets"
        )

    @property
    def needs_class_means(self) -> bool:
        """Whether `imprint` wants the class means of the training set before the first step."""
        return False

    @property
    def reads_absent_classes(self) -> bool:
        """Whether the value depends on classes that no sample of the batch is of."""
        return False

    def imprint(self, embeddings_ND: Float[Tensor, "N D"], labels_N: Tensor) -> None:
        """Set the loss's class representatives from raw embeddings; nothing to do by default."""

    def after_step(self, embeddings_ND: Float[Tensor, "N D"], labels_N: Tensor) -> None:
        """Move what the loss keeps, once after every update; nothing to do by default.

        The loop passes the whole global batch's raw embeddings, the same on all processes.
        """


class BatchLoss(nn.Module):
    """A loss of a batch's embeddings that is no matter of pairs: regularisers, distillation.

    A subclass writes `terms`; one with state of its own overrides `after_step`.
    """

    def forward(
        self, embeddings_ND: Float[Tensor, "N D"], labels: Tensor, *, batch: Batch | None = None
    ) -> Float[Tensor, ""]:
        """The loss of raw embeddings (N, D) with labels (N,): a scalar to call `backward()` on."""
        return self.on_embeddings(embeddings_ND, Batch(labels) if batch is None else batch).value

    def on_embeddings(self, embeddings_ND: Float[Tensor, "N D"], batch: Batch) -> LossTerms:
        """The loss in full precision, with what is known of each sample."""
        if not len(embeddings_ND):
            return _nothing(embeddings_ND)
        with torch.autocast(embeddings_ND.device.type, enabled=False):
            return self.terms(raised(embeddings_ND), batch)

    def terms(self, embeddings_ND: Float[Tensor, "N D"], batch: Batch) -> LossTerms:
        """The loss of at least one embedding, in float32 or float64."""
        raise NotImplementedError

    def after_step(self, embeddings_ND: Tensor, batch: Batch) -> None:
        """Told that the optimiser has stepped, with the step's embeddings, detached."""


def check_classes(
    embeddings_ND: Float[Tensor, "N D"], labels_N: Tensor, *, num_classes: int, dim: int
) -> None:
    """Refuse a batch that does not fit what a loss keeps for each of `num_classes` classes.

    Raises:
        UserError: unless embeddings have `dim` columns and labels are class indices in
            [0, num_classes) (the range is checked on the CPU only, where it stops no queue).
    """
    require(labels_N.ndim == 1, "labels", "class indices of shape (N,)", tuple(labels_N.shape))
    require(embeddings_ND.shape[1] == dim, "dim", str(dim), embeddings_ND.shape[1])
    if labels_N.device.type == "cpu" and labels_N.numel():
        low, high = labels_N.aminmax()
        rule = f"in [0, {num_classes})"
        require(int(low) >= 0, "labels", rule, int(low))
        require(int(high) < num_classes, "labels", rule, int(high))


def check_reduction(reduction: str) -> None:
    """Raise UserError unless `reduction` is one of `REDUCTIONS`."""
    require(reduction in REDUCTIONS, "reduction", f"one of {', '.join(REDUCTIONS)}", reduction)


def zero_like(matrix: Tensor) -> Float[Tensor, ""]:
    """An exact zero with a graph: its gradient is zero even where `matrix` holds inf or nan."""
    return matrix.reshape(-1)[:0].sum()


def mean_over(per_anchor_N: Float[Tensor, " N"], valid_N: Bool[Tensor, " N"]) -> Float[Tensor, ""]:
    """Mean of the valid anchors; an exact zero with a graph when there is none. No host read."""
    return shares(per_anchor_N, valid_N).sum()


def shares(per_anchor_N: Float[Tensor, " N"], valid_N: Bool[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Each anchor's share of the mean over the valid anchors; zero for the others."""
    kept_N = torch.where(valid_N, per_anchor_N, per_anchor_N.new_zeros(()))
    return kept_N / valid_N.sum().clamp_min(1)


def floored(total: Tensor) -> Tensor:
    """A total to divide by: counts at least 1, sums of weights at least `SMALLEST_TOTAL`."""
    return total.clamp_min(SMALLEST_TOTAL if total.is_floating_point() else 1)


def masked_logsumexp(
    values_NM: Float[Tensor, "N M"], mask_NM: Bool[Tensor, "N M"]
) -> Float[Tensor, " N"]:
    """Row-wise log-sum-exp over the mask; a very negative finite number for an empty row.

    Finite instead of -inf, so that neither `logaddexp` nor its gradient meets inf - inf. It is
    added and not filled in, for a sum costs its backward pass nothing: what is outside the mask has
    no part in the softmax. (An empty row has only such; whoever reads it gives it no weight.)
    """
    lowest = torch.finfo(values_NM.dtype).min / 4
    outside_NM = as_float(~mask_NM, values_NM.dtype)
    return torch.logsumexp(torch.add(values_NM, outside_NM, alpha=lowest), dim=1)


def weighted_logsumexp(values_NM: Float[Tensor, "N M"], weights_NM: Tensor) -> Float[Tensor, " N"]:
    """Row-wise log of the weighted sum of exponentials; bool weights are a mask."""
    mask_NM = marked(weights_NM)
    if weights_NM.dtype == torch.bool:
        return masked_logsumexp(values_NM, mask_NM)
    return masked_logsumexp(values_NM + torch.where(mask_NM, weights_NM, 1.0).log(), mask_NM)


def _nothing(anchors_ND: Tensor) -> LossTerms:
    per_anchor_N = anchors_ND[:, :0].sum(1)
    valid_N = torch.zeros(len(anchors_ND), dtype=torch.bool, device=anchors_ND.device)
    return LossTerms(zero_like(anchors_ND), per_anchor_N, valid_N, valid_N.sum())
