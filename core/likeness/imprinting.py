"""Weight imprinting: classes that are known from a few examples, without a step of training.

Shapes: N = examples or queries, M = exemplars, C = classes, D = embedding dimension.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from likeness.errors import require
from likeness.pairs import unit_rows
from likeness.proxies import ProxyBank

# The mean of unit rows that is shorter than this points nowhere: its examples cancel out.
LEAST_MEAN = 1e-6


class Exemplars:
    """The mean direction of each class (Qi, Brown, Lowe, CVPR 2018), from examples in any parts.

        w_c = unit(mean over the examples i of class c of unit(x_i))

    Several views of one picture are several examples ("Imprinting + Aug" of the paper). Sums are
    kept in float64, so parts in another order give the same rows.

    Attributes:
        sums_CD: of the unit rows, float64.
        count_C: examples of each class, int64.

    Args:
        num_classes: C, >= 1.
        dim: D, >= 1.

    Raises:
        UserError: if an argument is out of range.
    """

    def __init__(self, num_classes: int, dim: int) -> None:
        require(num_classes >= 1, "num_classes", ">= 1", num_classes)
        require(dim >= 1, "dim", ">= 1", dim)
        self.sums_CD = torch.zeros(num_classes, dim, dtype=torch.float64)
        self.count_C = torch.zeros(num_classes, dtype=torch.int64)

    @torch.no_grad()
    def add(self, embeddings_ND: Float[Tensor, "N D"], labels_N: Int[Tensor, " N"]) -> None:
        """Take examples in: raw embeddings, made by a network in evaluation mode.

        Raises:
            UserError: if a label is outside [0, C), the dimension differs, or an embedding is not
                finite.
        """
        classes, dim = self.sums_CD.shape
        found = embeddings_ND.shape[1]
        require(found == dim, "dim", str(dim), found)
        rows_ND = embeddings_ND.detach().cpu().double()
        require(bool(rows_ND.isfinite().all()), "embeddings", "finite", "numbers that are not")
        labels_N = labels_N.cpu()
        if len(labels_N):
            low, high = int(labels_N.min()), int(labels_N.max())
            require(low >= 0 and high < classes, "labels", f"in [0, {classes})", [low, high])
        self.sums_CD.index_add_(0, labels_N, unit_rows(rows_ND))
        self.count_C += labels_N.bincount(minlength=classes)

    def rows(self) -> Float[Tensor, "C D"]:
        """Unit rows, float32; zero for a class without examples, or whose examples cancel out."""
        mean_CD = self.sums_CD / self.count_C.clamp_min(1)[:, None]
        short_C1 = torch.linalg.vector_norm(mean_CD, dim=1, keepdim=True) < LEAST_MEAN
        return torch.where(short_C1, 0.0, unit_rows(mean_CD)).float()


def averaged_exemplars(
    embeddings_ND: Float[Tensor, "N D"], labels_N: Int[Tensor, " N"], num_classes: int
) -> Float[Tensor, "C D"]:
    """One unit row for each class, see `Exemplars`; errors as there."""
    found = Exemplars(num_classes, embeddings_ND.shape[1])
    found.add(embeddings_ND, labels_N)
    return found.rows().to(embeddings_ND.device)


def nearest_instance(
    embeddings_ND: Float[Tensor, "N D"],
    exemplars_MD: Float[Tensor, "M D"],
    labels_M: Int[Tensor, " M"],
    num_classes: int,
) -> Float[Tensor, "N C"]:
    """The cosine to the most similar example of each class: what averaging is compared with.

    -inf for a class without examples. Every example is kept, where `averaged_exemplars` keeps a
    row for each class.

    Raises:
        UserError: if there is no example.
    """
    require(len(exemplars_MD), "exemplars", "at least one", 0)
    cosine_NM = unit_rows(embeddings_ND) @ unit_rows(exemplars_MD).T
    lowest_NC = cosine_NM.new_full((len(cosine_NM), num_classes), -torch.inf)
    columns_NM = labels_M.to(cosine_NM.device).expand_as(cosine_NM)
    return lowest_NC.scatter_reduce(1, columns_NM, cosine_NM, "amax")


class CosineClassifier(nn.Module):
    """A class layer of cosines: `scale * cos(x, w_c)`, no bias (Qi, Brown, Lowe, CVPR 2018).

    Rows and embeddings are made unit rows whenever they are read, so any mean direction of examples
    is a class vector that is comparable with the trained ones: that is what makes imprinting work.
    The scale is learned (the paper's s); it begins at 10, as in a third-party port, since the
    paper's value was not readable. Computed in float32 under autocast.

    Attributes:
        bank: the class vectors; never decayed, as only their direction counts.

    Args:
        dim: D, >= 1.
        num_classes: C, >= 1.
        scale: > 0.

    Raises:
        UserError: if an argument is out of range.
    """

    def __init__(self, dim: int, num_classes: int, *, scale: float = 10.0) -> None:
        super().__init__()
        require(0 < scale < math.inf, "scale", "> 0 and finite", scale)
        require(dim >= 1, "dim", ">= 1", dim)
        self._start = scale
        self.bank = ProxyBank(num_classes, dim, std=1 / math.sqrt(dim))
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    def forward(self, embeddings_ND: Float[Tensor, "N D"]) -> Float[Tensor, "N C"]:
        """Logits of raw embeddings; a zero embedding has logits of 0."""
        with torch.autocast(embeddings_ND.device.type, enabled=False):
            whole_ND = embeddings_ND.to(torch.promote_types(embeddings_ND.dtype, torch.float32))
            rows_CD = self.prototypes().to(whole_ND.dtype)
            return self.scale.to(whole_ND.dtype) * (unit_rows(whole_ND) @ rows_CD.T)

    def prototypes(self) -> Float[Tensor, "C D"]:
        """The class vectors as unit rows."""
        return unit_rows(self.bank.weight)

    @torch.no_grad()
    def imprint(self, embeddings_ND: Float[Tensor, "N D"], labels_N: Int[Tensor, " N"]) -> None:
        """Set the vector of each class that has examples; the others stay bit for bit.

        New classes are made first, by `grow`: their numbers are C, C + 1, ... A class whose
        examples cancel out keeps what it had. Errors as in `Exemplars.add`.
        """
        weight = self.bank.weight
        rows_CD = averaged_exemplars(embeddings_ND, labels_N, self.bank.num_classes).to(weight)
        weight.copy_(torch.where(rows_CD.any(1, keepdim=True), rows_CD, weight))

    def grow(self, classes: int) -> None:
        """Append `classes` classes with random vectors; existing ones stay bit for bit.

        The parameter is a new object: make the optimiser's groups again afterwards.
        """
        self.bank.grow(classes, std=1 / math.sqrt(self.bank.dim))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Random vectors and the first scale again."""
        self.bank.weight.normal_(std=1 / math.sqrt(self.bank.dim))
        self.scale.fill_(self._start)
