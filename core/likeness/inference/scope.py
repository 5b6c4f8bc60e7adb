"""Whether an image is of the kind that a model was trained on.

Two distances to the nearest training images are taken together: one between looks (light, tint,
layout, detail: `likeness.data.appearance`), which no bad training can spoil, and one between
embeddings. Each is divided by a unit, under which all but one in 200 validation images stay; the
larger of the two is the score, and its threshold is fixed on the validation images again. A
distance to the k-th neighbour follows Ramaswamy et al. 2000 ("Efficient algorithms for mining
outliers from large data sets") and, on embeddings, Sun et al. 2022 ("Out-of-distribution detection
with deep nearest neighbors"); looks are whitened with the shrunk covariance of Ledoit and Wolf
2004, so that correlated numbers do not count twice. Taking both together is our own.

What it cannot do: it knows nothing of meaning. An image that looks like the training images (the
same subject taken with another kind of camera, in the same light and at the same scale, say) is
answered; a new source of the right kind, with other colours or borders, may be refused.

Legend: N images, M training images, V validation images, F numbers of a look, D embedding.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from sklearn.covariance import LedoitWolf

from likeness.bundle import Bundle
from likeness.errors import require
from likeness.models.spec import Space
from likeness.scope_record import ScopeRecord
from likeness.search.exact import nearest
from likeness.search.space import prepared

NEIGHBOURS = 5
KEPT = 0.995  # of the validation images: less would refuse more of the right kind elsewhere
MOST = 20_000  # training looks that are kept: enough to know a kind of image by
_FAINT = 0.02  # a number that varies less than this is taken to vary by so much
_NARROW = 0.05  # likewise a direction, as a share of the mean variance
_TINY = 1e-5  # embeddings nearer to each other than that differ by rounding
_FAR = 1e6


class Seen(NamedTuple):
    """What is known of images: `appearance` of each, and its raw embedding."""

    looks_NF: Float[np.ndarray, "N F"]
    embeddings_ND: Float[np.ndarray, "N D"]


def fit_scope(
    training: Seen, validation: Seen, *, space: Space, kept: float = KEPT
) -> tuple[ScopeRecord, dict[str, Any]]:
    """What must be kept to tell images unlike the training images, and what to say of it.

    Args:
        training: of M >= 2 images; their embeddings are the model's gallery.
        validation: of V >= 1 other images of the same kind. With fewer than 1 / (1 - kept) of
            them the threshold is the greatest score among them.
        space: of the embeddings; `dot` is compared by Euclidean distances.
        kept: share of the validation images that stay in scope, in (0, 1).

    Returns:
        The record for the bundle, and plain data for its metrics.json.

    Raises:
        UserError: if there are too few images, or numbers are not finite.
    """
    require(0 < kept < 1, "kept", "in (0, 1)", kept)
    count, held = len(training.looks_NF), len(validation.looks_NF)
    require(count >= 2, "scope_check", "off with fewer than 2 training images", count)
    require(held >= 1, "scope_check", "off without validation images", held)
    origin_F, whitening_FF = _whitening(training.looks_NF)
    every = -(-count // MOST)
    known_MF = _whitened(training.looks_NF[::every], origin_F, whitening_FF)
    embeddings_MD = _comparable(training.embeddings_ND, space)
    record = ScopeRecord(
        origin_F=torch.from_numpy(origin_F),
        whitening_FF=torch.from_numpy(whitening_FF),
        known_MF=torch.from_numpy(known_MF),
        units_2=torch.ones(2, dtype=torch.float64),
        threshold=torch.ones(1, dtype=torch.float64),
    )
    distances_V2 = Scope(record, embeddings_MD, space).distances(validation)
    units_2 = np.maximum(_upper(distances_V2, kept), _TINY)
    scores_V = (distances_V2 / units_2).max(axis=1)
    threshold = max(float(_upper(scores_V, kept)), _TINY)
    fitted = replace(
        record,
        units_2=torch.from_numpy(units_2),
        threshold=torch.tensor([threshold], dtype=torch.float64),
    )
    said = {
        "threshold": threshold,
        "kept": kept,
        "training_images": count,
        "validation_images": held,
        "validation_refused": int((scores_V > threshold).sum()),
    }
    return fitted, said


class Scope:
    """A record in use."""

    def __init__(
        self, record: ScopeRecord, embeddings_MD: Float[np.ndarray, "M D"], space: Space
    ) -> None:
        """Make ready.

        Args:
            record: what `fit_scope` made.
            embeddings_MD: of the training images, raw or as the space compares them.
            space: theirs.
        """
        self.record = record
        self.space = space
        self.known_MF = record.known_MF.numpy()
        self.embeddings_MD = _comparable(embeddings_MD, space)
        self.threshold = float(record.threshold[0])

    def distances(self, seen: Seen) -> Float[np.ndarray, "N 2"]:
        """To the k-th nearest training image, in looks and in the embedding.

        Raises:
            UserError: if numbers are not finite, or an embedding is zero in the cosine space.
        """
        record = self.record
        looks_NF = _whitened(seen.looks_NF, record.origin_F.numpy(), record.whitening_FF.numpy())
        embeddings_ND = _comparable(seen.embeddings_ND, self.space)
        pairs = ((looks_NF, self.known_MF), (embeddings_ND, self.embeddings_MD))
        return np.stack([_kth(asked, known) for asked, known in pairs], axis=1)

    def scores(self, seen: Seen) -> Float[np.ndarray, " N"]:
        """How far each image is from the training images; beyond `threshold` it is out of scope.

        Raises:
            UserError: as `distances`.
        """
        scores_N: np.ndarray = (self.distances(seen) / self.record.units_2.numpy()).max(axis=1)
        return scores_N

    def reasons(self, seen: Seen) -> list[str]:
        """Why each image is out of scope; "" for those that are in it."""
        rule = f"> {self.threshold:.2f}"
        return [
            f"unlike the training images: score {score:.2f} {rule}"
            if score > self.threshold
            else ""
            for score in self.scores(seen).tolist()
        ]


def scope_of(bundle: Bundle) -> Scope | None:
    """The scope of a model; None where nothing was recorded and nothing is checked."""
    if bundle.scope is None or bundle.gallery is None:
        return None
    return Scope(bundle.scope, bundle.gallery.embeddings_MD.float().numpy(), bundle.space)


def _whitening(looks_MF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and whitening matrix, float32; the covariance is shrunk and its directions floored."""
    looks = np.asarray(looks_MF, dtype=np.float64)
    require(bool(np.isfinite(looks).all()), "looks", "finite", "numbers that are not")
    origin_F, spread_F = looks.mean(axis=0), np.maximum(looks.std(axis=0), _FAINT)
    covariance_FF = LedoitWolf().fit((looks - origin_F) / spread_F).covariance_
    variance_F, direction_FF = np.linalg.eigh(covariance_FF)
    floored_F = np.maximum(variance_F, _NARROW * max(float(variance_F.mean()), _NARROW))
    whitening_FF = direction_FF / np.sqrt(floored_F) / spread_F[:, None]
    return origin_F.astype(np.float32), whitening_FF.astype(np.float32)


def _whitened(looks_NF: np.ndarray, origin_F: np.ndarray, whitening_FF: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):  # absurd numbers (1e30 as a pixel) are far away, no error
        white_NF = np.nan_to_num((looks_NF - origin_F) @ whitening_FF, nan=_FAR)
    return np.ascontiguousarray(white_NF.clip(-_FAR, _FAR), dtype=np.float32)


def _comparable(embeddings_ND: np.ndarray, space: Space) -> np.ndarray:
    """Rows whose Euclidean distance is meant: unit rows in the cosine space, else as they are."""
    return prepared(embeddings_ND, "cosine" if space == "cosine" else "euclidean", "embeddings")


def _kth(asked_NF: np.ndarray, known_MF: np.ndarray) -> np.ndarray:
    """Distance to the k-th nearest row (to the last of fewer), float64."""
    k = min(NEIGHBOURS, len(known_MF))
    found = nearest(asked_NF, known_MF, k, space="euclidean")
    return found.distances_QK[:, -1].astype(np.float64)


def _upper(numbers: np.ndarray, share: float) -> np.ndarray:
    """The least of the numbers (in each column) that a share of them does not exceed."""
    return np.asarray(np.quantile(numbers, share, axis=0, method="inverted_cdf"))
