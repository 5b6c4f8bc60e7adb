"""Which gallery rows a query never meets: itself, its own id, its own group.

Legend: Q queries, G gallery rows, B queries of one block, M listed pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, Shaped

from likeness.errors import require

Keys = tuple[np.ndarray, np.ndarray]


def ragged_ranges(
    starts_B: Int[np.ndarray, " B"], lengths_B: Int[np.ndarray, " B"]
) -> tuple[Int[np.ndarray, " M"], Int[np.ndarray, " M"]]:
    """All positions of B ranges, laid end to end.

    Returns:
        (owner_M, position_M): which range, and the position `start <= p < start + length` in it.
    """
    owner_M = np.repeat(np.arange(len(starts_B)), lengths_B)
    before_B = np.cumsum(lengths_B) - lengths_B
    return owner_M, np.arange(len(owner_M)) - before_B[owner_M] + starts_B[owner_M]


class EqualKeys:
    """Query-gallery pairs with equal keys, listed block by block without a Q x G mask."""

    def __init__(
        self, query_keys_Q: Shaped[np.ndarray, " Q"], gallery_keys_G: Shaped[np.ndarray, " G"]
    ) -> None:
        """Number the keys and sort the gallery by them, once.

        Args:
            query_keys_Q: integers, strings or whatever numpy can sort.
            gallery_keys_G: keys of the same kind.
        """
        both = np.concatenate([query_keys_Q, gallery_keys_G])
        distinct, codes = np.unique(both, return_inverse=True)
        self.query_Q, self.gallery_G = codes[: len(query_keys_Q)], codes[len(query_keys_Q) :]
        self._order_G = np.argsort(self.gallery_G, kind="stable")
        self._count = np.bincount(self.gallery_G, minlength=len(distinct))
        self._start = np.cumsum(self._count) - self._count

    def pairs(self, rows: slice) -> tuple[Int[np.ndarray, " M"], Int[np.ndarray, " M"]]:
        """(row within the block, gallery column) of every equal pair, columns rising in a row."""
        codes_B = self.query_Q[rows]
        owner_M, position_M = ragged_ranges(self._start[codes_B], self._count[codes_B])
        return owner_M, self._order_G[position_M]

    @property
    def most(self) -> int:
        """The most gallery rows that share the key of one query."""
        return int(self._count[self.query_Q].max(initial=0))

    def contains(
        self, query_M: Int[np.ndarray, " M"], column_M: Int[np.ndarray, " M"]
    ) -> Bool[np.ndarray, " M"]:
        """Whether each listed pair (global query index, gallery column) has equal keys."""
        return np.asarray(self.query_Q[query_M] == self.gallery_G[column_M])


class Exclusion:
    """The union of several rules "equal keys never meet".

    Attributes:
        most: no query has more rows excluded than this.
    """

    def __init__(
        self, queries: int, gallery: int, keys: Sequence[Keys], *, leave_self_out: bool
    ) -> None:
        """Check and keep the rules.

        Args:
            queries: number of queries.
            gallery: number of gallery rows.
            keys: one (query keys, gallery keys) pair per rule.
            leave_self_out: query i and gallery row i are the same item.

        Raises:
            UserError: if a rule's keys do not count one per row.
        """
        self._rules = []
        for index, (query_keys, gallery_keys) in enumerate(keys):
            query_Q, gallery_G = np.asarray(query_keys), np.asarray(gallery_keys)
            lengths = (query_Q.shape, gallery_G.shape)
            rule = f"one key per query and per gallery row, {queries} and {gallery}"
            require(lengths == ((queries,), (gallery,)), f"exclude[{index}]", rule, lengths)
            self._rules.append(EqualKeys(query_Q, gallery_G))
        if leave_self_out:
            own = np.arange(queries)
            self._rules.append(EqualKeys(own, own))
        self.most = sum(rule.most for rule in self._rules)

    def pairs(self, rows: slice) -> tuple[Int[np.ndarray, " M"], Int[np.ndarray, " M"]]:
        """(row within the block, column) of the excluded pairs; a pair may be listed twice."""
        parts = [rule.pairs(rows) for rule in self._rules]
        if not parts:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        return np.concatenate([part[0] for part in parts]), np.concatenate(
            [part[1] for part in parts]
        )

    def contains(
        self, query_M: Int[np.ndarray, " M"], column_M: Int[np.ndarray, " M"]
    ) -> Bool[np.ndarray, " M"]:
        """Whether each listed pair (global query index, column) is excluded by any rule."""
        excluded_M = np.zeros(len(query_M), dtype=bool)
        for rule in self._rules:
            excluded_M |= rule.contains(query_M, column_M)
        return excluded_M
