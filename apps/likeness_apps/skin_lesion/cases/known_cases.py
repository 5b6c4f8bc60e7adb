"""The training lesions of a model as a set to be searched, lesion by lesion.

A lesion is a `group` of the splits: a lesion, or a patient where the data name patients.

Legend: N queries, K cases of a query, M training images (rows of the bundle's gallery), L training
lesions, D embedding dimension, B queries of one block, T candidates of a query, U lesions found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from likeness.bundle import Bundle
from likeness.errors import UserError, require
from likeness.search.exact import nearest
from likeness.search.exclusion import Keys
from likeness.search.space import Space, pair_distances, prepared

SAME = 1e-4  # gap of two embeddings, in lengths of the query's, up to which they are one picture
_SLACK = 8
_CANDIDATES = 1 << 21  # of all queries of a block together


@dataclass(frozen=True, eq=False)
class KnownCases:
    """The training lesions of a model, ready to be asked.

    Attributes:
        embeddings_MD: as the space compares them.
        labels_M: class numbers.
        groups_M: number of the lesion (or patient) of each image; rows without a group have one
            each.
        rows: path, label, split, group, sha256 of each image.
        classes: class names.
        space: how embeddings are compared.
        nearest_L: rising; the distance from one image of each lesion to its nearest case by the
            rules for queries. Lesions without another one are left out.
        group_of: content hash -> group, for all images of the model's data, test images too.
    """

    embeddings_MD: Float[np.ndarray, "M D"]
    labels_M: Int[np.ndarray, " M"]
    groups_M: Int[np.ndarray, " M"]
    rows: pd.DataFrame
    classes: list[str]
    space: Space
    nearest_L: Float[np.ndarray, " L"]
    group_of: Mapping[str, str]

    @property
    def lesions(self) -> int:
        """How many lesions (or patients) there are."""
        return int(self.groups_M.max(initial=-1)) + 1


def known_cases(bundle: Bundle) -> KnownCases:
    """The training lesions of a model and how far apart they lie; for several calls.

    Raises:
        UserError: as `similar_cases`.
    """
    gallery, rows = bundle.gallery, bundle.gallery_rows()
    require(not bundle.multilabel, "model", "one with one class per image", "several labels")
    if gallery is None or not len(gallery.labels_M):
        raise UserError("model must keep its training embeddings to show similar cases, got none")
    if rows is None:
        raise UserError(
            "model must say whose its training embeddings are, got an older one whose training "
            "images were not all readable; train it again"
        )
    hashes, groups = bundle.splits["sha256"], bundle.splits["group"]
    known = KnownCases(
        embeddings_MD=prepared(gallery.embeddings_MD.float().numpy(), bundle.space, "gallery"),
        labels_M=gallery.labels_M.numpy(),
        groups_M=_group_numbers(rows["group"]),
        rows=rows.reset_index(drop=True),
        classes=list(bundle.classes),
        space=bundle.space,
        nearest_L=np.empty(0, np.float32),
        group_of={h: g for h, g in zip(hashes, groups, strict=True) if h and g},
    )
    return _with_distances(known)


def nearest_lesions(
    query_ND: Float[np.ndarray, "N D"],
    known: KnownCases,
    k: int,
    *,
    own: Sequence[Keys],
    content: Keys,
) -> Int[np.ndarray, "N K"]:
    """The nearest image of each of the k nearest lesions, copies of the query and theirs left out.

    Candidates are asked for deeper until k lesions are among them: a lesion may have many images.

    Args:
        query_ND: as the space compares them.
        known: what is asked.
        k: lesions of each query.
        own: (query keys, keys of the M images); equal keys are the query's own lesion.
        content: likewise; equal keys are the same file.

    Returns:
        Rows of the gallery, the nearest first; -1 where there are fewer.
    """
    count = len(known.labels_M)
    images_NK = np.full((len(query_ND), k), -1, dtype=np.int64)
    left, depth = np.arange(len(query_ND)), min(2 * k + _SLACK, count)
    while len(left):
        still_open = []
        step = max(1, _CANDIDATES // depth)
        for start in range(0, len(left), step):
            rows_B = left[start : start + step]
            query_BD = query_ND[rows_B]
            exclude = [(query_keys[rows_B], keys) for query_keys, keys in own]
            found_BT = nearest(
                query_BD, known.embeddings_MD, depth, space=known.space, exclude=exclude
            ).indices_QK
            same_BT = content[0][rows_B, None] == content[1][found_BT]
            copy_BT = same_BT | _in_one_place(query_BD, known, found_BT)
            kept_BT = _first_of_each_lesion(found_BT, copy_BT, known.groups_M)
            images_NK[rows_B] = _leading(found_BT, kept_BT, k)
            still_open.append(rows_B[kept_BT.sum(axis=1) < k])
        left = np.concatenate(still_open) if depth < count else left[:0]
        depth = min(4 * depth, count)
    return images_NK


def _with_distances(known: KnownCases) -> KnownCases:
    """With the distance of every lesion's first image to its nearest case, under the same rules."""
    first_L = np.unique(known.groups_M, return_index=True)[1]
    rows = known.rows
    # Numbers instead of names: an image without a group must not meet itself either.
    own = [(known.groups_M[first_L], known.groups_M)]
    content = equal_keys(rows["sha256"].iloc[first_L], rows["sha256"])
    query_LD = known.embeddings_MD[first_L]
    image_L = nearest_lesions(query_LD, known, 1, own=own, content=content)[:, 0]
    pairs = np.flatnonzero(image_L >= 0), image_L[image_L >= 0]
    nearest_L = np.sort(pair_distances(query_LD, known.embeddings_MD, *pairs, known.space))
    return replace(known, nearest_L=nearest_L)


def _in_one_place(
    query_BD: np.ndarray, known: KnownCases, found_BT: np.ndarray
) -> Bool[np.ndarray, "B T"]:
    """Which of the found images lie where the query lies, in whatever space."""
    owner_M, place_M = np.nonzero(found_BT >= 0)
    gaps_M = pair_distances(
        query_BD, known.embeddings_MD, owner_M, found_BT[owner_M, place_M], "euclidean"
    )
    length_B = np.sqrt(np.einsum("bd,bd->b", query_BD, query_BD, dtype=np.float64))
    copy_BT = np.zeros(found_BT.shape, dtype=bool)
    copy_BT[owner_M, place_M] = gaps_M <= SAME * length_B[owner_M]
    return copy_BT


def _first_of_each_lesion(
    found_BT: np.ndarray, copy_BT: np.ndarray, groups_M: np.ndarray
) -> Bool[np.ndarray, "B T"]:
    """The nearest image of each lesion, of those of which no image is a copy of the query."""
    owner_P, place_P = np.nonzero(found_BT >= 0)  # in the order of rank within a query
    group_P = groups_M[found_BT[owner_P, place_P]]
    lesion_P = owner_P * (int(groups_M.max()) + 1) + group_P
    _, first_U, code_P = np.unique(lesion_P, return_index=True, return_inverse=True)
    copies_U = np.bincount(code_P, weights=copy_BT[owner_P, place_P], minlength=len(first_U))
    chosen = first_U[copies_U == 0]
    kept_BT = np.zeros(found_BT.shape, dtype=bool)
    kept_BT[owner_P[chosen], place_P[chosen]] = True
    return kept_BT


def _leading(found_BT: np.ndarray, kept_BT: np.ndarray, k: int) -> Int[np.ndarray, "B K"]:
    """The first k kept entries of every row, then -1."""
    place_BT = kept_BT.cumsum(axis=1) - 1
    row, column = np.nonzero(kept_BT & (place_BT < k))
    leading_BK = np.full((len(found_BT), k), -1, dtype=np.int64)
    leading_BK[row, place_BT[row, column]] = found_BT[row, column]
    return leading_BK


def _group_numbers(groups: pd.Series) -> Int[np.ndarray, " M"]:
    """Numbers of the groups from 0; a row without a group is one of its own."""
    names = [name or f" {row}" for row, name in enumerate(groups)]  # no group starts with a space
    return np.asarray(pd.factorize(np.array(names, dtype=object))[0])


def equal_keys(query: Sequence[str] | np.ndarray | pd.Series, known: pd.Series) -> Keys:
    """Equal numbers for equal texts; "" equals nothing."""
    both = [*query, *known]
    codes = pd.factorize(np.array(both, dtype=object))[0]
    unknown = np.array([not text for text in both], dtype=bool)
    codes = np.where(unknown, -1 - np.arange(len(both)), codes)
    return codes[: len(query)], codes[len(query) :]
