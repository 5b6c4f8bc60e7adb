"""What may be done to a ranking without a label: expanded queries, re-ranked distances.

Both look at the whole gallery, and re-ranking at all queries together. That is more than a lone
query has, so their figures stand beside those of the plain ranking and never in their place.

Legend: Q queries, G gallery rows, D embedding dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Shaped

from likeness.errors import require
from likeness.search.exact import ExactSearch
from likeness.search.exclusion import Keys
from likeness.search.expansion import expanded_queries
from likeness.search.reciprocal import Progress, Reciprocal, ReciprocalSearch
from likeness.search.space import Space

Search = ExactSearch | ReciprocalSearch


@dataclass(frozen=True)
class Reordering:
    """What is done to a ranking; nothing by default.

    Attributes:
        expanded_by: gallery rows that are averaged with each query first, see `expanded_queries`;
            0 = the query alone.
        reciprocal: settings of k-reciprocal re-ranking; None = plain distances.

    Raises:
        UserError: if `expanded_by` is negative.
    """

    expanded_by: int = 0
    reciprocal: Reciprocal | None = None

    def __post_init__(self) -> None:
        require(self.expanded_by >= 0, "expanded_by", ">= 0", self.expanded_by)

    def fitting(self, queries: int, gallery: int) -> Reordering:
        """The same, or what a handful of items allows of it."""
        items = queries + gallery
        reciprocal = None if self.reciprocal is None else self.reciprocal.fitting(items)
        return replace(self, expanded_by=min(self.expanded_by, gallery), reciprocal=reciprocal)

    def described(self) -> dict[str, Any]:
        """Plain data for a record."""
        return asdict(self)

    def search(
        self,
        query_QD: Shaped[np.ndarray, "Q D"],
        gallery_GD: Shaped[np.ndarray, "G D"],
        *,
        space: Space,
        exclude: Sequence[Keys] = (),
        block_rows: int | None = None,
        on_progress: Progress | None = None,
    ) -> Search:
        """The search that answers in this order; settings are fitted to what is there.

        Args:
            query_QD: embeddings, raw or normalised.
            gallery_GD: embeddings.
            space: how they are compared; "dot" cannot be re-ranked.
            exclude: pairs that never meet, see `exact.nearest`.
            block_rows: queries per block, which bounds the memory.
            on_progress: called while neighbours for re-ranking are found: (items done, in all).

        Raises:
            UserError: as `expanded_queries` and `ReciprocalSearch`.
        """
        fitted = self.fitting(len(query_QD), len(gallery_GD))
        if fitted.expanded_by:
            query_QD = expanded_queries(
                query_QD, gallery_GD, fitted.expanded_by, space=space, exclude=exclude
            )
        if fitted.reciprocal is None:
            return ExactSearch(
                query_QD, gallery_GD, space=space, exclude=exclude, block_rows=block_rows
            )
        return ReciprocalSearch(
            query_QD,
            gallery_GD,
            fitted.reciprocal,
            space=space,
            exclude=exclude,
            block_rows=block_rows,
            on_progress=on_progress,
        )


PLAIN = Reordering()
