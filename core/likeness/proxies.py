"""Class representatives as parameters: centres, proxies, imprinted weights.

Shapes: N = samples, C = classes, K = proxies per class, D = embedding dimension.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from likeness.errors import require


class ProxyBank(nn.Module):
    """`per_class` vectors for each of `num_classes` classes, in rows c*K ... c*K + K-1.

    The bank declares how it wants to be optimised (`lr_mult`, never any weight decay: decay would
    draw the representatives to the origin); `training.optimisers` reads it.

    Args:
        num_classes: C, >= 1.
        dim: D, >= 1.
        per_class: K, >= 1.
        lr_mult: factor on the run's learning rate, > 0.
        std: standard deviation of the initial normal values, >= 0.

    Raises:
        UserError: if an argument is out of range.
    """

    weight: nn.Parameter

    def __init__(
        self,
        num_classes: int,
        dim: int,
        per_class: int = 1,
        *,
        lr_mult: float = 1.0,
        std: float = 0.01,
    ) -> None:
        super().__init__()
        require(num_classes >= 1, "num_classes", ">= 1", num_classes)
        require(dim >= 1, "dim", ">= 1", dim)
        require(per_class >= 1, "per_class", ">= 1", per_class)
        require(lr_mult > 0, "lr_mult", "> 0", lr_mult)
        require(std >= 0, "std", ">= 0", std)
        self.num_classes, self.dim, self.per_class = num_classes, dim, per_class
        self.lr_mult = lr_mult
        self.weight = nn.Parameter(torch.randn(num_classes * per_class, dim) * std)

    @property
    def labels(self) -> Int[Tensor, " CK"]:
        """The class of each row, shape (C*K,)."""
        classes = torch.arange(self.num_classes, device=self.weight.device)
        return classes.repeat_interleave(self.per_class)

    @torch.no_grad()
    def imprint(self, embeddings_ND: Float[Tensor, "N D"], labels_N: Int[Tensor, " N"]) -> None:
        """Set the rows of each class that occurs: to the mean of its embeddings (Qi et al. 2018).

        Several rows of a class become the centres of as many clusters of it: equal rows would get
        equal gradients and never part. Classes without a sample keep what they had.

        Raises:
            UserError: if a label is outside [0, C) or the dimension differs.
        """
        require(embeddings_ND.shape[1] == self.dim, "dim", str(self.dim), embeddings_ND.shape[1])
        self.check(labels_N)
        if not len(labels_N):
            return
        if self.per_class == 1:
            rows, count_C = class_means(embeddings_ND, labels_N, self.num_classes)
        else:
            rows, count_C = class_clusters(
                embeddings_ND, labels_N, self.num_classes, self.per_class
            )
        present = (count_C > 0).repeat_interleave(self.per_class)
        self.weight.copy_(torch.where(present[:, None], rows.to(self.weight), self.weight))

    @torch.no_grad()
    def grow(self, classes: int, *, std: float = 0.01) -> None:
        """Append `classes` new classes with small random rows; existing rows stay bit for bit.

        The parameter is a new object: make the optimiser's groups again afterwards.
        """
        require(classes >= 1, "classes", ">= 1", classes)
        extra = torch.randn(classes * self.per_class, self.dim) * std
        rows = torch.cat([self.weight, extra.to(self.weight)])
        self.weight = nn.Parameter(rows, requires_grad=self.weight.requires_grad)
        self.num_classes += classes

    def check(self, labels_N: Int[Tensor, " N"]) -> None:
        """Refuse labels outside [0, C); reads the host once, so call it at the edge of a run."""
        if labels_N.numel():
            low, high = int(labels_N.min()), int(labels_N.max())
            require(low >= 0, "labels", f"in [0, {self.num_classes})", low)
            require(high < self.num_classes, "labels", f"in [0, {self.num_classes})", high)


def class_means(
    embeddings_ND: Float[Tensor, "N D"], labels_N: Int[Tensor, " N"], num_classes: int
) -> tuple[Float[Tensor, "C D"], Float[Tensor, " C"]]:
    """Mean embedding and sample count of each class; the mean of an absent class is zero.

    Differentiable in the embeddings.
    """
    shape = (num_classes, embeddings_ND.shape[1])
    sums = embeddings_ND.new_zeros(shape).index_add(0, labels_N, embeddings_ND)
    ones = embeddings_ND.new_ones(len(labels_N))
    count = embeddings_ND.new_zeros(num_classes).index_add(0, labels_N, ones)
    return sums / count.clamp_min(1.0)[:, None], count


@torch.no_grad()
def class_clusters(
    embeddings_ND: Float[Tensor, "N D"],
    labels_N: Int[Tensor, " N"],
    num_classes: int,
    per_class: int,
    *,
    rounds: int = 10,
) -> tuple[Float[Tensor, "CK D"], Float[Tensor, " C"]]:
    """K centres of each class by k-means, rows c*K ... c*K + K-1, and the count of each class.

    Without chance: the first centre starts at the sample farthest from its class mean, each further
    one at the sample farthest from those before it. A class of fewer than K different samples has
    equal rows. Memory is O(N D).
    """
    mean_CD, count_C = class_means(embeddings_ND, labels_N, num_classes)
    gap_N = (embeddings_ND - mean_CD[labels_N]).square().sum(1)
    centre_CKD = mean_CD[:, None].repeat(1, per_class, 1)
    for k in range(per_class):
        centre_CKD[:, k] = embeddings_ND[_farthest(gap_N, labels_N, num_classes)]
        nearer_N = (embeddings_ND - centre_CKD[labels_N, k]).square().sum(1)
        gap_N = nearer_N if k == 0 else torch.minimum(gap_N, nearer_N)
    rows = centre_CKD.flatten(0, 1)
    for _ in range(rounds):
        centre_CKD = rows.unflatten(0, (num_classes, per_class))
        gaps = [(embeddings_ND - centre_CKD[labels_N, k]).square().sum(1) for k in range(per_class)]
        slot_N = torch.stack(gaps, 1).argmin(1)
        found, size = class_means(embeddings_ND, labels_N * per_class + slot_N, len(rows))
        rows = torch.where(size[:, None] > 0, found, rows)
    return rows, count_C


def _farthest(gap_N: Tensor, labels_N: Tensor, num_classes: int) -> Int[Tensor, " C"]:
    """The sample of each class with the largest gap, the first of equals; any for an absent one."""
    place_N = torch.arange(len(gap_N), device=gap_N.device)
    largest_C = gap_N.new_full((num_classes,), -1.0).scatter_reduce(0, labels_N, gap_N, "amax")
    beaten_N = gap_N < largest_C[labels_N]
    place_N = place_N.masked_fill(beaten_N, len(gap_N) - 1)
    last_C = place_N.new_full((num_classes,), len(gap_N) - 1)
    return last_C.scatter_reduce(0, labels_N, place_N, "amin")
