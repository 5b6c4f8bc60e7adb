"""What a model keeps beside its network: centres, the gallery, the scope, the sub-classes.

`likeness.inference.readouts` answers by it; the bundle only keeps it. Each part has names of its
own among the model's weights.

Shapes: C = classes, D = embedding, M = gallery items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from likeness.data.manifest import SEPARATOR
from likeness.errors import UserError, require
from likeness.scope_record import SCOPE, ScopeRecord
from likeness.scope_record import read_record as read_scope
from likeness.subclasses.record import SUBCLASSES, SubclassRecord
from likeness.subclasses.record import read_record as read_subclasses

_READOUT = "readout."
_CENTRES = f"{_READOUT}centres"
_GALLERY = f"{_READOUT}gallery"
_GALLERY_LABELS = f"{_READOUT}gallery_labels"
_GALLERY_ROWS = f"{_READOUT}gallery_rows"
BESIDE = (_READOUT, SCOPE, SUBCLASSES)  # how the names of these tensors begin


@dataclass(frozen=True)
class Gallery:
    """The items that the k-NN read-out asks.

    Attributes:
        embeddings_MD: raw embeddings of the default head.
        labels_M: class numbers, int64 in [0, C), shape (M,); of a multi-label model (M, C) uint8
            of 0 and 1.
        rows_M: the row of splits.csv of each, int64, shape (M,); None where nobody wrote it down.
    """

    embeddings_MD: Float[Tensor, "M D"]
    labels_M: Integer[Tensor, "M ..."]
    rows_M: Integer[Tensor, " M"] | None = None

    def check(self, classes: int, dim: int, rows: int, *, multilabel: bool) -> None:
        """Refuse a gallery that does not fit the model.

        Args:
            classes: C.
            dim: D.
            rows: of splits.csv.
            multilabel: whether an item may have several classes.

        Raises:
            UserError: naming the part that is wrong.
        """
        shape, labels_M = tuple(self.embeddings_MD.shape), self.labels_M
        wanted = (len(labels_M), dim)
        require(shape == wanted, "gallery.embeddings_MD", f"of shape {wanted}", shape)
        form = (len(labels_M), classes) if multilabel else (len(labels_M),)
        shape = tuple(labels_M.shape)
        require(shape == form, "gallery.labels_M", f"of shape {form}", shape)
        limit = 2 if multilabel else classes
        inside = not len(labels_M) or bool(((labels_M >= 0) & (labels_M < limit)).all())
        require(inside, "gallery.labels_M", f"class numbers under {limit}", labels_M.tolist()[:5])
        if self.rows_M is not None:
            _check_rows(self.rows_M, len(labels_M), rows)


@dataclass(frozen=True)
class Readouts:
    """All of it; what a model has none of is None.

    Attributes:
        centres_CD: class centres in the embedding.
        gallery: the training embeddings for the k-NN read-out.
        scope: what the training images look like; goes with a gallery.
        subclasses: variants found in the classes.
    """

    centres_CD: Float[Tensor, "C D"] | None
    gallery: Gallery | None
    scope: ScopeRecord | None
    subclasses: SubclassRecord | None

    def check(self, classes: list[str], dim: int, rows: int, *, multilabel: bool) -> None:
        """Refuse what does not fit the model, or each other.

        Args:
            classes: class names.
            dim: D.
            rows: of splits.csv.
            multilabel: whether an image may have several classes.

        Raises:
            UserError: naming the part that is wrong.
        """
        if multilabel:
            joined = [name for name in classes if SEPARATOR in name]
            rule = f"names without {SEPARATOR!r} if there may be several"
            require(not joined, "classes", rule, joined)
        if self.centres_CD is not None:
            require(not multilabel, "centres_CD", "absent from a multi-label model", "centres")
            _check_centres(self.centres_CD, (len(classes), dim))
        if self.gallery is not None:
            self.gallery.check(len(classes), dim, rows, multilabel=multilabel)
        if self.scope is not None:
            self.scope.check()
            there = self.gallery is not None and len(self.gallery.labels_M) > 0
            require(there, "scope", "beside a gallery of training embeddings", "none")
        if self.subclasses is not None:
            self.subclasses.check(len(classes), dim)

    def tensors(self) -> dict[str, Tensor]:
        """All of it under the names that it has in a model's weights."""
        tensors: dict[str, Tensor] = {}
        for record in (self.scope, self.subclasses):
            if record is not None:
                tensors |= record.tensors()
        if self.centres_CD is not None:
            tensors[_CENTRES] = self.centres_CD
        if self.gallery is not None:
            tensors[_GALLERY] = self.gallery.embeddings_MD
            tensors[_GALLERY_LABELS] = self.gallery.labels_M
            if self.gallery.rows_M is not None:
                tensors[_GALLERY_ROWS] = self.gallery.rows_M
        return tensors


def read_readouts(tensors: Mapping[str, Tensor]) -> Readouts:
    """What there is among a model's tensors; of older models less.

    Raises:
        UserError: if a record is there in part.
    """
    gallery = None
    if _GALLERY in tensors and _GALLERY_LABELS in tensors:
        gallery = Gallery(tensors[_GALLERY], tensors[_GALLERY_LABELS], tensors.get(_GALLERY_ROWS))
    scope, subclasses = read_scope(tensors), read_subclasses(tensors)
    return Readouts(tensors.get(_CENTRES), gallery, scope, subclasses)


def _check_centres(centres_CD: Tensor, wanted: tuple[int, int]) -> None:
    shape = tuple(centres_CD.shape)
    require(shape == wanted, "centres_CD", f"of shape {wanted}", shape)
    bad = int((~torch.isfinite(centres_CD)).sum())
    if bad:
        raise UserError(f"centres_CD must be finite, got {bad} values that are not")


def _check_rows(rows_M: Tensor, items: int, rows: int) -> None:
    shape = tuple(rows_M.shape)
    require(shape == (items,), "gallery.rows_M", f"of shape {(items,)}", shape)
    inside = bool(((rows_M >= 0) & (rows_M < rows)).all())
    require(inside, "gallery.rows_M", f"rows of splits.csv, under {rows}", rows_M.tolist()[:5])
