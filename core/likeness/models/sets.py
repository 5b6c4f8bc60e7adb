"""Pooling the rows that belong to one set: frames of a sequence, views of an object.

Rows come in any order; a set without a row gives zeros. Half precision is summed in float32.
Everything is O(N D), differentiable in the rows, and reads nothing back to the host.

Shapes: N = rows, S = sets, D = features.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.errors import require

SetPooling = Literal["mean", "max"]


def pool_sets(
    rows_ND: Float[Tensor, "N D"],
    set_N: Int[Tensor, " N"],
    *,
    sets: int,
    how: SetPooling = "mean",
) -> Float[Tensor, "S D"]:
    """The mean or the maximum of the rows of each set, feature by feature.

    Rows are taken as they come: for the mean of the official OSM + CAA code (Wang et al. 2019)
    give raw embeddings and normalise the result, not the rows.

    Args:
        rows_ND: one row per frame or view.
        set_N: the set of each row, in [0, sets); not read on the host, so not checked here.
        sets: S, >= 1.
        how: `mean`, or `max`, whose gradient is shared by rows that are equally large.

    Raises:
        UserError: if an option is out of range or the lengths differ.
    """
    _check(rows_ND, set_N, sets)
    if how == "mean":
        return pool_weighted(rows_ND, set_N, rows_ND.new_ones(len(rows_ND)), sets=sets)
    require(how == "max", "how", "'mean' or 'max'", how)
    start_SD = rows_ND.new_zeros((sets, rows_ND.shape[1]))
    place_ND = set_N[:, None].expand_as(rows_ND)
    return start_SD.scatter_reduce(0, place_ND, rows_ND, "amax", include_self=False)


def pool_weighted(
    rows_ND: Float[Tensor, "N D"],
    set_N: Int[Tensor, " N"],
    weight_N: Float[Tensor, " N"],
    *,
    sets: int,
) -> Float[Tensor, "S D"]:
    """The weighted mean of the rows of each set: weights are made to sum to 1 in their set.

    Differentiable in the weights too; detach them where they are to be constants. A set whose
    weights are all 0 gives zeros.

    Args:
        rows_ND: one row per frame or view.
        set_N: the set of each row, in [0, sets); not read on the host, so not checked here.
        weight_N: what each row counts, >= 0.
        sets: S, >= 1.

    Raises:
        UserError: if `sets` < 1 or the lengths differ.
    """
    _check(rows_ND, set_N, sets)
    shape = tuple(set_N.shape)
    require(weight_N.shape == shape, "weight_N", f"of shape {shape}", tuple(weight_N.shape))
    wide = torch.promote_types(rows_ND.dtype, torch.float32)
    rows_ND, weight_N = rows_ND.to(wide), weight_N.to(wide)
    total_S = rows_ND.new_zeros(sets).index_add(0, set_N, weight_N)
    share_N = weight_N / total_S.clamp_min(torch.finfo(wide).tiny)[set_N]
    start_SD = rows_ND.new_zeros((sets, rows_ND.shape[1]))
    return start_SD.index_add(0, set_N, rows_ND * share_N[:, None])


def _check(rows_ND: Tensor, set_N: Tensor, sets: int) -> None:
    require(sets >= 1, "sets", ">= 1", sets)
    rows = len(rows_ND)
    require(set_N.shape == (rows,), "set_N", f"of shape ({rows},)", tuple(set_N.shape))
