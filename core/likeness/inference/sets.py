"""One embedding for a set of images: the frames of a sequence, the views of an object.

Images come as a stream and leave only sums, so memory is that of the sets, never of the frames.

Legend: F images in all, N images of a batch, S sets, D embedding dimension, L logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import softmax

from likeness.errors import require
from likeness.inference.blocks import Embeds, Failure
from likeness.models.spec import Space
from likeness.search.space import prepared as as_compared

SetPooling = Literal["mean", "max", "attention"]
POOLINGS: tuple[SetPooling, ...] = get_args(SetPooling)
_SIGMA = 0.68  # of the official OSM + CAA code, see `mining.soft.attention`


@runtime_checkable
class RawModel(Embeds, Protocol):
    """What gives embeddings before normalisation, to be pooled; `predictor.Predictor` is one."""

    @property
    def space(self) -> Space:
        """How embeddings are compared."""

    def raw(self, prepared: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings (N, D) before normalisation, and logits (N, L)."""


class SetEmbeddings(NamedTuple):
    """What is known of S sets.

    Attributes:
        embeddings_SD: as the model's space compares them; nan for a set without a usable image.
        used_S: images behind each.
        failures: place of an image in the stream -> why it could not be used.
    """

    embeddings_SD: Float[np.ndarray, "S D"]
    used_S: Int[np.ndarray, " S"]
    failures: dict[int, str]

    @property
    def ok_S(self) -> Bool[np.ndarray, " S"]:
        """Whether a set has an embedding."""
        return np.asarray(np.isfinite(self.embeddings_SD).all(axis=1))


def embed_sets(
    model: RawModel,
    prepared: Iterable[Any],
    set_F: Int[np.ndarray, " F"],
    *,
    sets: int,
    how: SetPooling = "mean",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> SetEmbeddings:
    """Embed images and pool those of a set; a bad image is left out of its set.

    Args:
        model: its `raw` answers are pooled, and only then normalised, as the official code of
            OSM + CAA does it (Wang et al. 2019, `process_tracklet_ave_global.m`).
        prepared: what its `prepare` gave for each image, or a `Failure`, in order.
        set_F: the set of each image, in [0, sets).
        sets: S.
        how: `mean`; `max`, feature by feature; `attention`, the mean weighted by how sure the
            class layer is, exp(-(p - 1)^2 / (2 * 0.68^2)) with p the largest probability. The
            paper has this weighting in training only, with p of the true class: here it is our
            reconstruction.
        on_progress: called with (images done, F) after each batch.

    Raises:
        UserError: for an unknown `how`, or `attention` with a model without a class layer.
    """
    require(how in POOLINGS, "how", f"one of {', '.join(POOLINGS)}", how)
    rule = "mean or max for a model without a class layer"
    require(how != "attention" or model.num_logits > 0, "how", rule, how)
    lowest = -np.inf if how == "max" else 0.0
    pooled_SD = np.full((sets, model.embedding_dim), lowest)
    weight_S = np.zeros(sets)
    used_S = np.zeros(sets, dtype=np.int64)
    failures: dict[int, str] = {}
    for places_N, raw_ND, logits_NL in _usable(model, prepared, len(set_F), failures):
        set_N = set_F[places_N]
        if how == "max":
            np.maximum.at(pooled_SD, set_N, raw_ND)
        else:
            weight_N = _attention(logits_NL) if how == "attention" else np.ones(len(raw_ND))
            np.add.at(pooled_SD, set_N, raw_ND * weight_N[:, None])
            np.add.at(weight_S, set_N, weight_N)
        np.add.at(used_S, set_N, 1)
        on_progress(int(places_N[-1]) + 1, len(set_F))
    on_progress(len(set_F), len(set_F))
    if how != "max":
        pooled_SD[used_S > 0] /= weight_S[used_S > 0, None]
    return SetEmbeddings(_compared(model, pooled_SD, used_S), used_S, failures)


def _usable(
    model: RawModel, prepared: Iterable[Any], images: int, failures: dict[int, str]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Places, raw embeddings and logits of the good images, batch by batch; the rest is noted."""
    stream = iter(prepared)
    for start in range(0, images, model.batch_size):
        batch = list(islice(stream, min(model.batch_size, images - start)))
        bad = {place: item.reason for place, item in enumerate(batch) if isinstance(item, Failure)}
        failures.update({start + place: reason for place, reason in bad.items()})
        good = [place for place in range(len(batch)) if place not in bad]
        if not good:
            continue
        raw_ND, logits_NL = model.raw([batch[place] for place in good])
        finite_N = np.isfinite(raw_ND).all(axis=1)
        places_N = np.array(good) + start
        for place in places_N[~finite_N].tolist():
            failures[place] = "the model's answer is not finite"
        if finite_N.any():
            yield places_N[finite_N], raw_ND[finite_N], logits_NL[finite_N]


def _attention(logits_NL: np.ndarray) -> np.ndarray:
    sure_N = softmax(logits_NL.astype(np.float64), axis=1).max(axis=1)
    return np.asarray(np.exp(-((sure_N - 1) ** 2) / (2 * _SIGMA**2)))


def _compared(model: RawModel, pooled_SD: np.ndarray, used_S: np.ndarray) -> np.ndarray:
    """Rows as the space compares them; nan where there is nothing to compare."""
    embeddings_SD = np.full(pooled_SD.shape, np.nan, dtype=np.float32)
    usable_S = used_S > 0
    if model.space == "cosine":
        usable_S &= (pooled_SD != 0).any(axis=1)
    if usable_S.any():
        found = pooled_SD[usable_S].astype(np.float32)
        embeddings_SD[usable_S] = as_compared(found, model.space, "embeddings")
    return embeddings_SD
