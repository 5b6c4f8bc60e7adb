"""One kind of picture asks for another, of classes that nobody trained on: sketch to photograph.

Legend: Q queries, G gallery rows, D embedding dimension, N = rows that codes are fitted to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Shaped

from likeness.errors import require
from likeness.evaluation.retrieval import RetrievalResult, retrieval
from likeness.search.exclusion import Keys
from likeness.search.itq import ITQ, fit_itq
from likeness.search.space import Space, prepared

CodesFrom = Literal["training", "gallery"]
PRECISION_AT, BITS = 100, 64
_TIES = 0  # seed of the order of equal Hamming distances


def metrics_of(gallery: int) -> tuple[str, ...]:
    """mAP@all as the mean of precisions and as the authors' code draws it, and P@100.

    `precision@K` has a smaller K where the gallery is smaller.
    """
    return "map", "map_interpolated", f"precision@{min(PRECISION_AT, gallery)}", "r_precision"


def require_unseen(
    seen: Sequence[str] | Shaped[np.ndarray, " N"], tested: Shaped[np.ndarray, " Q"]
) -> None:
    """Refuse a test on classes that were trained on.

    Raises:
        UserError: naming such a class.
    """
    both = np.intersect1d(np.asarray(seen), tested)
    got = both[0] if len(both) else None
    require(not len(both), "queries", "of classes that nobody trained on", got)


def cross_modal(
    query_QD: Shaped[np.ndarray, "Q D"],
    query_labels_Q: Shaped[np.ndarray, " Q"],
    gallery_GD: Shaped[np.ndarray, "G D"],
    gallery_labels_G: Shaped[np.ndarray, " G"],
    *,
    space: Space = "cosine",
    exclude: Sequence[Keys] = (),
) -> RetrievalResult:
    """Rank all photographs for every sketch, by the embeddings.

    Args:
        query_QD: embeddings of one modality.
        query_labels_Q: their classes.
        gallery_GD: embeddings of the other.
        gallery_labels_G: theirs.
        space: how to compare.
        exclude: as in `retrieval`: what a sketch was made from, where that would give it away.

    Returns:
        The figures of `metrics_of`, query by query; `evaluation.intervals.retrieval_intervals`
        gives them their intervals over groups of queries. Of fewer than K relevant photographs
        precision@K cannot reach 1; `r_precision` can.

    Raises:
        UserError: as `retrieval`.
    """
    names, asked = metrics_of(len(gallery_GD)), (query_QD, query_labels_Q)
    held = (gallery_GD, gallery_labels_G)
    return retrieval(*asked, *held, metrics=names, space=space, exclude=exclude)


def cross_modal_codes(
    query_QD: Shaped[np.ndarray, "Q D"],
    query_labels_Q: Shaped[np.ndarray, " Q"],
    gallery_GD: Shaped[np.ndarray, "G D"],
    gallery_labels_G: Shaped[np.ndarray, " G"],
    *,
    fit_to: CodesFrom = "training",
    training_ND: Shaped[np.ndarray, "N D"] | None = None,
    bits: int = BITS,
    space: Space = "cosine",
    exclude: Sequence[Keys] = (),
) -> RetrievalResult:
    """As `cross_modal`, by the Hamming distance of ITQ codes.

    Few bits mean many equal distances. The gallery is shuffled once (fixed seed), so that they
    stand in random order: in that of a gallery sorted by class, the first class would gain.

    Args:
        query_QD: as in `cross_modal`, as are its labels, the gallery, `space` and `exclude`.
        query_labels_Q: see there.
        gallery_GD: see there.
        gallery_labels_G: see there.
        fit_to: `training`: codes are fitted to `training_ND`, both modalities together.
            `gallery`: to the gallery, and queries are centred by their own mean, as in MATHM's
            code (after SAKE's): what is tested is then known to the codes as a whole.
        training_ND: embeddings of training images, given exactly for `training`.
        bits: of a code, in [1, D].
        space: see there.
        exclude: see there.

    Raises:
        UserError: as `cross_modal` and `fit_itq`.
    """
    given = training_ND is not None
    require(given == (fit_to == "training"), "training_ND", "given for 'training' alone", given)
    rows_ND = gallery_GD if training_ND is None else training_ND
    itq = fit_itq(rows_ND, bits=bits, space=space)
    order_G = np.random.default_rng(_TIES).permutation(len(gallery_GD))
    found = cross_modal(
        _encoded(itq, query_QD, own_mean=fit_to == "gallery"),
        query_labels_Q,
        itq.encode(gallery_GD)[order_G],
        gallery_labels_G[order_G],
        space="euclidean",
        exclude=[(asked_Q, held_G[order_G]) for asked_Q, held_G in exclude],
    )
    words = {
        "distance": f"Hamming distance of {bits}-bit ITQ codes, fitted to the {fit_to} images",
        "ties": "equal distances are ranked in one random order of the gallery",
    }
    return replace(found, protocol=found.protocol | words)


def _encoded(itq: ITQ, rows_ND: np.ndarray, *, own_mean: bool) -> np.ndarray:
    mean_D = prepared(rows_ND, itq.space, "query").mean(axis=0) if own_mean else None
    return itq.encode(rows_ND, mean_D=mean_D)
