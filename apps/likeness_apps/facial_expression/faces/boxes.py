"""How much boxes overlap.

Legend: N, M boxes; the four columns are left, top, width and height, in pixels, width and
height > 0.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def overlap(
    a_N4: Float[np.ndarray, "N 4"], b_M4: Float[np.ndarray, "M 4"]
) -> Float[np.ndarray, "N M"]:
    """Intersection over union of all pairs, in [0, 1]."""
    shared_NM, union_NM, _ = _areas(a_N4, b_M4)
    share_NM: np.ndarray = shared_NM / union_NM
    return share_NM


def generalised_overlap(
    a_N4: Float[np.ndarray, "N 4"], b_M4: Float[np.ndarray, "M 4"]
) -> Float[np.ndarray, "N M"]:
    """Intersection over union, less the empty share of the smallest box around both; in (-1, 1].

    Boxes that do not touch differ, too: the further apart, the lower (Rezatofighi et al. 2019,
    "Generalized Intersection over Union").
    """
    shared_NM, union_NM, around_NM = _areas(a_N4, b_M4)
    share_NM: np.ndarray = shared_NM / union_NM - (around_NM - union_NM) / around_NM
    return share_NM


def _areas(a_N4: np.ndarray, b_M4: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the intersection, of the union, and of the box around both; (N, M) each."""
    a_N14, b_1M4 = a_N4[:, None], b_M4[None]
    a_end, b_end = a_N14[..., :2] + a_N14[..., 2:], b_1M4[..., :2] + b_1M4[..., 2:]
    inner = np.minimum(a_end, b_end) - np.maximum(a_N14[..., :2], b_1M4[..., :2])
    outer = np.maximum(a_end, b_end) - np.minimum(a_N14[..., :2], b_1M4[..., :2])
    shared_NM = np.clip(inner, 0, None).prod(axis=-1)
    union_NM = a_N14[..., 2:].prod(axis=-1) + b_1M4[..., 2:].prod(axis=-1) - shared_NM
    return shared_NM, union_NM, outer.prod(axis=-1)
