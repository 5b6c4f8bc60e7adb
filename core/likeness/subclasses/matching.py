"""Components get the numbers of the earlier ones that they share most rows with.

Legend: N = rows of one class.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment

from likeness.errors import require


def match_slots(
    component_N: Int[np.ndarray, " N"], before_N: Int[np.ndarray, " N"], *, slots: int
) -> Int[np.ndarray, " N"]:
    """Renumber components so that as many rows as possible keep the slot that they had.

    The Hungarian method on shared rows, within one class. A component beyond those takes the
    lowest slot that is free. The result depends on the partition, never on its numbers: components
    come by size, then by their first row.

    Args:
        component_N: new component of each row, any integers, at most `slots` different ones.
        before_N: earlier slot of each row, in [0, slots).
        slots: >= 1.

    Returns:
        The slot of each row, in [0, slots), one for each component.

    Raises:
        UserError: if there are more components than slots, or an earlier slot is out of range.
    """
    require(len(component_N) == len(before_N), "before", f"{len(component_N)} slots", len(before_N))
    if not len(component_N):
        return np.zeros(0, np.int64)
    low, high = int(before_N.min()), int(before_N.max())
    require(low >= 0 and high < slots, "before", f"slots in [0, {slots})", f"{low} to {high}")
    _, first_K, place_N, size_K = np.unique(
        component_N, return_index=True, return_inverse=True, return_counts=True
    )
    require(len(size_K) <= slots, "components", f"at most {slots}", len(size_K))
    order_K = np.lexsort((first_K, -size_K))
    rank_K = np.argsort(order_K)
    shared_KS = np.zeros((len(size_K), slots))
    np.add.at(shared_KS, (rank_K[place_N], before_N), 1.0)
    # Less than one row in all: it only chooses between slots with equally many shared rows.
    preference_S = np.arange(slots) / (slots * slots)
    _, slot_K = linear_sum_assignment(shared_KS - preference_S, maximize=True)
    return np.asarray(slot_K[rank_K[place_N]], dtype=np.int64)
