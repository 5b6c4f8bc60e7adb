"""Which gallery rows are relevant to a query, and how much.

Legend: Q queries, G gallery rows, L labels of a multi-label table, K depth, M listed pairs.
"""

from __future__ import annotations

import numpy as np

from likeness.errors import require
from likeness.evaluation.ranking import ideal_dcg
from likeness.search.exact import ExactSearch
from likeness.search.exclusion import EqualKeys
from likeness.search.reordering import Search


class SameLabel:
    """Single labels: relevant = equal."""

    meaning = "same label"
    graded = False

    def __init__(self, search: Search, query_Q: np.ndarray, gallery_G: np.ndarray) -> None:
        self._keys = EqualKeys(query_Q, gallery_G)
        self._exclusion = search.exclusion

    def pairs(self, rows: slice) -> tuple[np.ndarray, np.ndarray, None]:
        """(row in the block, column, gain) of every relevant pair that is not excluded."""
        owner_M, column_M = self._keys.pairs(rows)
        kept_M = ~self._exclusion.contains(owner_M + rows.start, column_M)
        return owner_M[kept_M], column_M[kept_M], None

    def counts(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Relevant items of each query of the block, and those with the very same labels."""
        count_B = np.bincount(self.pairs(rows)[0], minlength=rows.stop - rows.start)
        return count_B, count_B

    def ideal(self, rows: slice, k: int) -> None:
        """Binary gains need no table: the ideal order has min(k, R) ones."""

    def gains(self, rows: slice, indices_BK: np.ndarray) -> np.ndarray:
        """Relevance of the listed neighbours; 0 for index -1."""
        equal_BK = self._keys.query_Q[rows, None] == self._keys.gallery_G[indices_BK]
        return np.asarray(equal_BK & (indices_BK >= 0))


class SharedLabels:
    """Label tables: relevant = at least one shared label, gain 2^shared - 1."""

    meaning = "at least one shared label, gain 2^shared - 1"
    graded = True

    def __init__(self, search: ExactSearch, query_QL: np.ndarray, gallery_GL: np.ndarray) -> None:
        self._query_QL = query_QL.astype(np.float32)
        self._gallery_LG = np.ascontiguousarray(gallery_GL.astype(np.float32).T)
        self.size_Q, self.size_G = query_QL.sum(axis=1), gallery_GL.sum(axis=1)
        self._exclusion = search.exclusion

    def pairs(self, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(row in the block, column, gain) of every relevant pair that is not excluded."""
        gain_BG = self._gain_table(rows)
        owner_M, column_M = np.nonzero(gain_BG)
        return owner_M, column_M, gain_BG[owner_M, column_M].astype(np.float64)

    def counts(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Relevant items of each query of the block, and those with the very same labels."""
        shared_BG = self._shared_table(rows)
        relevant_BG = shared_BG > 0
        same_BG = relevant_BG & (shared_BG == self.size_Q[rows, None]) & (shared_BG == self.size_G)
        return relevant_BG.sum(axis=1), same_BG.sum(axis=1)

    def ideal(self, rows: slice, k: int) -> np.ndarray:
        """The largest DCG@k of each query of the block."""
        owner_M, _, gain_M = self.pairs(rows)
        return ideal_dcg(owner_M, gain_M, rows.stop - rows.start, k)

    def gains(self, rows: slice, indices_BK: np.ndarray) -> np.ndarray:
        """Gains of the listed neighbours; 0 for index -1."""
        gain_BK = np.take_along_axis(self._gain_table(rows), np.maximum(indices_BK, 0), axis=1)
        return np.where(indices_BK >= 0, gain_BK, 0.0)

    def _gain_table(self, rows: slice) -> np.ndarray:
        return np.asarray(np.exp2(self._shared_table(rows)) - 1)

    def _shared_table(self, rows: slice) -> np.ndarray:
        shared_BG = self._query_QL[rows] @ self._gallery_LG  # counts: exact in float32
        shared_BG[self._exclusion.pairs(rows)] = 0
        return shared_BG


Relevance = SameLabel | SharedLabels


def relevance_of(
    search: ExactSearch, query_labels: np.ndarray, gallery_labels: np.ndarray | None
) -> Relevance:
    """Read the labels: 1-D labels, or a boolean table of several labels per item.

    Raises:
        UserError: if the labels do not fit the embeddings, or are of another type.
    """
    query = np.asarray(query_labels)
    gallery = query if gallery_labels is None else np.asarray(gallery_labels)
    for name, labels, count in (
        ("query_labels", query, search.queries),
        ("gallery_labels", gallery, search.gallery),
    ):
        require(labels.ndim in (1, 2), name, "1-D labels or a 2-D boolean table", labels.shape)
        require(len(labels) == count, name, f"{count} rows, one per embedding", len(labels))
        # Floats would merge large identities: 2^24 and 2^24 + 1 are one number in float32.
        exact = labels.dtype.kind == "b" if labels.ndim == 2 else labels.dtype.kind in "biuUSOT"
        rule = "integers or strings (1-D) or booleans (2-D)"
        require(exact, name, rule, str(labels.dtype))
    require(
        query.shape[1:] == gallery.shape[1:],
        "gallery_labels",
        f"like query_labels, {query.shape[1:]}",
        gallery.shape[1:],
    )
    if query.ndim == 1:
        return SameLabel(search, query, gallery)
    return SharedLabels(search, query, gallery)
