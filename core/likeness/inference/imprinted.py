"""A model that knows one more class, from a few images and without training (weight imprinting).

What a model answers by decides how the class gets in:

- a class layer of cosines gains the mean direction of the images, and nothing else changes;
- a linear class layer has no such comparable vectors: a layer of cosines takes its place, whose
  vectors of the known classes are imprinted from the training embeddings that the model keeps. So
  does one in place of trained cosines which are so much smaller than those to a mean direction that
  known classes would be taken for the new one (after a short training they are);
- a model that answers by class centres gains a centre. So does one whose class layer does not read
  the embedding (networks with several heads); that layer is dropped.

Centres, gallery and sub-classes gain the class in any case. Source of the first: Qi, Brown and
Lowe, CVPR 2018; the rest is ours.

Legend: N = images of the class, C = classes before, D = embedding dimension.
"""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from likeness.bundle import Bundle, Gallery
from likeness.data.manifest import SEPARATOR
from likeness.errors import UserError, require
from likeness.imprinting import CosineClassifier, averaged_exemplars
from likeness.inference.readers import reader_of
from likeness.inference.readouts import class_centres
from likeness.models.embedder import Embedder
from likeness.models.heads import CLASS, EMBEDDING, build_classifiers, wiring
from likeness.subclasses import SubclassRecord

# In metrics.json: what was measured without the class; and of each class that was added its label,
# its number of images, what the class vectors of the others are (`vectors`: trained, imprinted,
# none), and the share of the known training images that are now taken for it (`taken`).
BEFORE, ADDED = "before_imprinting", "imprinted"
MOST_TAKEN = 0.05  # of these by trained vectors; beyond it all are imprinted anew; our choice


def require_room(bundle: Bundle, label: str) -> None:
    """Refuse a model that cannot gain a class, or a label that it cannot be called.

    Raises:
        UserError: naming what does not fit and what would.
    """
    _require_name(label)
    known = ", ".join(bundle.classes)
    require(label not in bundle.classes, "label", f"none of the model's classes ({known})", label)
    rule = "of one class per image: where there may be several, nobody says which have the new one"
    require(not bundle.multilabel, "model", rule, str(bundle.path))
    layered = bundle.embedder.num_classes > 0
    read = wiring(bundle.embedder.spec).classifiers[CLASS] == EMBEDDING
    if layered and read:
        ready = bundle.embedder.spec.class_layer == "cosine" or bundle.gallery is not None
    else:
        ready = bundle.centres_CD is not None or bundle.gallery is not None
    if not ready:
        raise UserError(
            "model must have a class layer of cosines (train with --set model.class_layer=cosine) "
            f"or keep its training embeddings to gain a class, got {bundle.path}"
        )


def _require_name(label: str) -> None:
    require(label.strip(), "label", "a name, not empty", label)
    require(label == label.strip(), "label", "a name without spaces around it", label)
    rule = f"a name without control characters and {SEPARATOR!r}, which stands between labels"
    control = any(unicodedata.category(one) == "Cc" for one in label)
    require(not control and SEPARATOR not in label, "label", rule, label)


def with_class(
    bundle: Bundle, label: str, embeddings_ND: Float[np.ndarray, "N D"], rows: pd.DataFrame
) -> Bundle:
    """The model with the class `label` behind its others; nothing is written.

    Its scope check is left off, since it was fixed without such images. Figures that were measured
    go to `metrics["before_imprinting"]`; temperatures stay. A model that keeps neither centres nor
    embeddings (of people) keeps its figures: they are of embeddings, which stay the same.

    Args:
        bundle: see `require_room`.
        label: of the class.
        embeddings_ND: of N >= 1 images of the class, by the model; raw or as its space compares.
        rows: their rows of splits.csv.

    Returns:
        A model without an id or a card of its own: `save_bundle` gives them.

    Raises:
        UserError: as `require_room`; or if the images' embeddings cancel out.
    """
    require_room(bundle, label)
    examples_ND = torch.from_numpy(np.asarray(embeddings_ND, dtype=np.float32))
    same_N = torch.zeros(len(examples_ND), dtype=torch.int64)
    shared = bool(averaged_exemplars(examples_ND, same_N, 1).any())
    require(shared, "images", "of one direction in the embedding", f"{len(rows)} that cancel out")
    centre_1D = torch.from_numpy(
        class_centres(examples_ND.numpy(), same_N.numpy(), num_classes=1, space=bundle.space)
    )
    embedder = _network(bundle, examples_ND)
    centres_CD = bundle.centres_CD
    new = replace(
        bundle,
        embedder=embedder,
        config={**bundle.config, "model": embedder.spec.model_dump(mode="json")},
        classes=[*bundle.classes, label],
        splits=pd.concat([bundle.splits, rows], ignore_index=True).fillna(""),
        metrics={"temperature": _temperatures(bundle, embedder)},
        centres_CD=None if centres_CD is None else torch.cat([centres_CD, centre_1D]),
        gallery=_gallery(bundle, examples_ND),
        subclasses=_subclasses(bundle, centre_1D, len(rows)),
        scope=None,
        model_id="",
    )
    return replace(new, metrics=_metrics(bundle, new, len(rows)))


def _network(bundle: Bundle, examples_ND: Tensor) -> Embedder:
    """The network with one class more in its class layer, or without a class layer."""
    old, known = bundle.embedder, bundle.gallery
    if not old.num_classes:
        return old
    if wiring(old.spec).classifiers[CLASS] != EMBEDDING:
        bare = copy.deepcopy(old)
        bare.classifiers, bare.num_classes = build_classifiers(old.spec, old.num_features, 0), 0
        return bare
    if old.spec.class_layer == "cosine":
        grown = _grown(copy.deepcopy(old), examples_ND)
        if known is None or _taken(grown, known) <= MOST_TAKEN:
            return grown
    assert known is not None, "require_room"
    return _grown(_anew(bundle, known), examples_ND)


def _grown(embedder: Embedder, examples_ND: Tensor) -> Embedder:
    """The same network, its layer of cosines with a class more."""
    layer, number = _layer(embedder), embedder.num_classes
    layer.grow(1)
    layer.imprint(examples_ND, torch.full((len(examples_ND),), number))
    embedder.num_classes = number + 1
    return embedder.eval()


def _anew(bundle: Bundle, known: Gallery) -> Embedder:
    """A copy of the network with a layer of cosines, the vectors of its classes imprinted."""
    embedder = copy.deepcopy(bundle.embedder)
    embedder.spec = embedder.spec.model_copy(update={"class_layer": "cosine"})
    embedder.classifiers = build_classifiers(
        embedder.spec, embedder.num_features, embedder.num_classes
    )
    layer = _layer(embedder)
    layer.imprint(known.embeddings_MD, known.labels_M)
    with torch.no_grad():
        layer.scale.fill_(_scale(bundle, float(layer.scale)))
    return embedder


def _taken(embedder: Embedder, known: Gallery) -> float:
    """The share of the known training images that are taken for the class behind all others."""
    with torch.no_grad():
        found_M = _layer(embedder)(known.embeddings_MD).argmax(1)
    return float((found_M == embedder.num_classes - 1).float().mean())


def _layer(embedder: Embedder) -> CosineClassifier:
    """The class layer, which may have dropout before it."""
    parts = embedder.classifiers[CLASS].modules()
    return next(part for part in parts if isinstance(part, CosineClassifier))


def _scale(bundle: Bundle, otherwise: float) -> float:
    """1 / the temperature of the cosines to class centres, where one was fitted."""
    known = _recorded(bundle).get("nearest_centre") if bundle.space == "cosine" else None
    return 1.0 / float(known) if known else otherwise


def _recorded(bundle: Bundle) -> dict[str, Any]:
    recorded = bundle.metrics.get("temperature")
    return dict(recorded) if isinstance(recorded, Mapping) else {}


def _temperatures(bundle: Bundle, embedder: Embedder) -> dict[str, Any]:
    """Those of before; a layer that was imprinted anew has them in its scale."""
    known = _recorded(bundle)
    return known | {"softmax": 1.0} if vectors_of(bundle, embedder) == "imprinted" else known


def vectors_of(old: Bundle, embedder: Embedder) -> Literal["trained", "imprinted", "none"]:
    """What the class vectors of the known classes are in a model made of `old`."""
    if not embedder.num_classes:
        return "none"
    if old.embedder.spec.class_layer != "cosine":
        return "imprinted"
    before, now = _layer(old.embedder).bank.weight, _layer(embedder).bank.weight
    return "trained" if torch.equal(now[: len(before)], before) else "imprinted"


def _metrics(old: Bundle, new: Bundle, images: int) -> dict[str, Any]:
    known = old.gallery
    taken = None
    if known is not None:
        logits_MC = known.embeddings_MD[:, :0]
        if new.embedder.num_classes:
            with torch.no_grad():
                logits_MC = _layer(new.embedder)(known.embeddings_MD)
        reader = reader_of(new)
        assert reader is not None, "there is a gallery"
        said_M = reader(known.embeddings_MD.numpy(), logits_MC.numpy()).labels_N
        taken = float((said_M == len(old.classes)).mean())
    vectors = vectors_of(old, new.embedder)
    one = {"label": new.classes[-1], "images": images, "vectors": vectors, "taken": taken}
    added = [*old.metrics.get(ADDED, ()), one]
    if old.centres_CD is None and known is None:
        return {**old.metrics, ADDED: added}
    return {**new.metrics, ADDED: added, BEFORE: old.metrics.get(BEFORE, old.metrics)}


def _gallery(bundle: Bundle, examples_ND: Tensor) -> Gallery | None:
    known = bundle.gallery
    if known is None:
        return None
    count, number = len(examples_ND), len(bundle.classes)
    labels = known.labels_M.new_full((count,), number)
    rows = None
    if known.rows_M is not None:
        rows = torch.cat([known.rows_M, len(bundle.splits) + torch.arange(count)])
    embeddings = torch.cat([known.embeddings_MD, examples_ND.to(known.embeddings_MD)])
    return Gallery(embeddings, torch.cat([known.labels_M, labels]), rows)


def _subclasses(bundle: Bundle, centre_1D: Tensor, images: int) -> SubclassRecord | None:
    """The class as one variant of itself: nobody looked for others."""
    known = bundle.subclasses
    if known is None:
        return None
    more = {"classes_K": len(bundle.classes), "slots_K": 0, "sizes_K": images}
    columns = {
        name: torch.cat([getattr(known, name), torch.tensor([value])])
        for name, value in more.items()
    }
    return replace(known, means_KD=torch.cat([known.means_KD, centre_1D]), **columns)
