"""One network of the cross-modal benchmark: built, trained, and asked by sketches.

Shapes: N = images, D = embedding dimension, Q = queries, G = photographs of the gallery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from likeness.data.manifest import Manifest
from likeness.evaluation.cross_modal import (
    CodesFrom,
    cross_modal,
    cross_modal_codes,
    require_unseen,
)
from likeness.evaluation.retrieval import RetrievalResult
from likeness.training.spec import RunSpec
from likeness_apps.benchmark.cross_modal.layouts import PHOTO, SKETCH
from likeness_apps.benchmark.protocol import Found
from likeness_apps.benchmark.training import answers, built, prepared
from likeness_apps.shell.setup import Setup

CODES = "codes_"  # before the figures of 64-bit codes
MOST_FOR_CODES = 10_000  # training images that codes are fitted to


def build(
    spec: RunSpec, manifest: Manifest, *, changes: Sequence[str] = (), quiet: bool = True
) -> Setup:
    """All that a network is made of before its first step; bands and type are the photographs'.

    Args:
        spec: the configuration; `monitor` and `patience` are put aside, for nothing is chosen.
        manifest: a divided set of both modalities without unreadable images.
        changes: what the person set, which is never fitted to the data.
        quiet: say nothing.

    Raises:
        UserError: if parts do not fit each other or the data.
    """
    ready = prepared(manifest)
    training = ready.manifest.rows("train")
    photos = training[training["modality"] == PHOTO]
    bands, dtype = photos.groupby(["bands", "dtype"]).size().idxmax()
    ready = replace(ready, bands=int(bands), dtype=str(dtype))
    return built(spec, ready, changes=changes, quiet=quiet)


class _Side(NamedTuple):
    """Embedded images and their rows."""

    embeddings_ND: np.ndarray
    rows: pd.DataFrame

    def of(self, modality: str) -> _Side:
        chosen_N = (self.rows["modality"] == modality).to_numpy()
        return _Side(self.embeddings_ND[chosen_N], self.rows[chosen_N])

    def column(self, name: str) -> np.ndarray:
        return np.asarray(self.rows[name].to_numpy(dtype=str))


def asked(setup: Setup, *, codes: CodesFrom, apart: bool) -> Found:
    """What sketches of unseen classes find among photographs of them.

    Precision@K of a gallery of no more than K photographs is left out: it is the class's share of
    the gallery, in whatever order.

    Args:
        setup: with the trained network.
        codes: what 64-bit codes are fitted to.
        apart: a sketch never meets photographs of its own group.

    Raises:
        UserError: if an answer is not finite, or a class was trained on.
    """
    spec, manifest = setup.spec, setup.prepared.manifest
    seen, unseen = (manifest.rows(name)["label"].to_numpy(dtype=str) for name in ("train", "test"))
    require_unseen(seen, unseen)
    tested = _embedded(setup, manifest.rows("test"))
    sketches, photos = tested.of(SKETCH), tested.of(PHOTO)
    exclude = [(sketches.column("group"), photos.column("group"))] if apart else []
    sides = (
        *(sketches.embeddings_ND, sketches.column("label")),
        *(photos.embeddings_ND, photos.column("label")),
    )
    space = spec.model.space
    plain = cross_modal(*sides, space=space, exclude=exclude)
    training_ND = _for_codes(setup) if codes == "training" else None
    coded = cross_modal_codes(
        *sides, fit_to=codes, training_ND=training_ND, space=space, exclude=exclude
    )
    return _found(plain, coded, sketches.rows, trivial=f"precision@{len(photos.rows)}")


def _embedded(setup: Setup, rows: pd.DataFrame) -> _Side:
    rows = rows.reset_index(drop=True)
    raw = answers(setup, rows)
    return _Side(raw.embeddings_ND, rows.iloc[raw.kept_N])


def _for_codes(setup: Setup) -> np.ndarray:
    """Embeddings of training images of both modalities, at most `MOST_FOR_CODES`."""
    rows = setup.prepared.manifest.rows("train")
    if len(rows) > MOST_FOR_CODES:
        rows = rows.sample(MOST_FOR_CODES, random_state=setup.spec.seed)
    return _embedded(setup, rows).embeddings_ND


def _found(
    plain: RetrievalResult, coded: RetrievalResult, queries: pd.DataFrame, *, trivial: str
) -> Found:
    """All figures but the one called `trivial`."""
    results = (("", plain), (CODES, coded))
    values: dict[str, float] = {}
    columns: dict[str, np.ndarray] = {}
    protocol: dict[str, Any] = {}
    for before, result in results:
        named = result.values()
        names = [name for name in named if name != trivial]
        values |= {f"{before}{name}": named[name].value for name in names}
        columns |= {f"{before}{name}": result.per_query[name] for name in names}
        protocol[f"{before}retrieval"] = {**result.protocol, "skipped": result.skipped}
    kept = queries[["path", "label", "group"]].reset_index(drop=True).assign(**columns)
    return Found(values, kept, protocol)
