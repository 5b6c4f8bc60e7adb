"""The sub-classes of a model: where its training pictures lie, and how they are divided.

A model keeps the embeddings of its training pictures and the means of its sub-classes. The mixtures
are fitted once more, as at the end of its training: so the numbers are those of the model, and the
BIC of every number of components is known.

Legend: N = training pictures, C = classes, D = embedding dimension, K = sub-classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from likeness.bundle import Bundle, load_bundle
from likeness.config import parse
from likeness.errors import require
from likeness.search.space import prepared
from likeness.subclasses import Subclasses, SubclassSpec, discover, subclass_name

# Where no model was trained with sub-classes, they are looked for with these.
LOOKED_FOR = SubclassSpec(epochs_per_round=1)


@dataclass(frozen=True, eq=False)
class Divided:
    """The training pictures of a model and their sub-classes.

    Attributes:
        bundle: the model.
        pictures: of each: path, label, sha256, as the model keeps them.
        embeddings_ND: raw embeddings.
        labels_N: class numbers.
        found: the sub-classes.
        spec: how they were looked for.
        trained: whether the model was trained with sub-classes.
        as_kept: whether sizes are those that the model keeps; True for one that keeps none.
    """

    bundle: Bundle
    pictures: pd.DataFrame
    embeddings_ND: Float[np.ndarray, "N D"]
    labels_N: Int[np.ndarray, " N"]
    found: Subclasses
    spec: SubclassSpec
    trained: bool
    as_kept: bool

    @property
    def classes(self) -> list[str]:
        """The classes of the model."""
        return self.bundle.classes

    @property
    def rows_ND(self) -> Float[np.ndarray, "N D"]:
        """The embeddings as the model's space compares them."""
        return prepared(self.embeddings_ND, self.bundle.space, "embeddings")

    @property
    def names(self) -> list[str]:
        """The name of every number that a sub-class may have."""
        slots = self.found.slots
        return [subclass_name(name, slot) for name in self.classes for slot in range(slots)]

    @property
    def started_from(self) -> str:
        """The id of the model that its training started from; "" for none."""
        return str(self.bundle.provenance.get("started_from") or "")


def divided(model: Path, looked_for: SubclassSpec = LOOKED_FOR) -> Divided:
    """Read a model and divide the classes of its training pictures.

    Args:
        model: a bundle or a run.
        looked_for: how sub-classes are looked for if it was trained without any.

    Raises:
        UserError: if it is no such model, or keeps no training pictures.
    """
    bundle = load_bundle(model)
    require(not bundle.multilabel, "model", "one with one class per picture", str(model))
    pictures = bundle.gallery_rows()
    rule = "one that keeps the embeddings of its training pictures"
    require(pictures is not None and len(pictures), "model", rule, str(model))
    assert pictures is not None
    assert bundle.gallery is not None
    embeddings_ND = bundle.gallery.embeddings_MD.float().numpy()
    labels_N = bundle.gallery.labels_M.numpy().astype(np.int64)
    spec, components = _options(bundle, looked_for)
    found = discover(
        embeddings_ND,
        labels_N,
        num_classes=len(bundle.classes),
        space=bundle.space,
        components=components,
        slots=spec.most,
        kind=spec.kind,
        min_images=spec.min_images,
        before_N=_kept(bundle, embeddings_ND, labels_N, spec.most),
        seed=int(bundle.config.get("seed", 0)),
    )
    kept = bundle.subclasses
    as_kept = kept is None or kept.sizes_K.tolist() == found.sizes_K.tolist()
    columns = pictures[["path", "label", "sha256"]].reset_index(drop=True)
    return Divided(bundle, columns, embeddings_ND, labels_N, found, spec, kept is not None, as_kept)


def _options(bundle: Bundle, looked_for: SubclassSpec) -> tuple[SubclassSpec, int]:
    """The options of sub-classes, and how many a class may have."""
    options = bundle.config.get("subclasses")
    if bundle.subclasses is None or not options:
        return looked_for, looked_for.most
    spec = parse(SubclassSpec, options, f"{bundle.path}: subclasses")
    epochs = int(bundle.config.get("epochs", spec.epochs_per_round))
    return spec, max(spec.first, spec.components(epochs))


def _kept(
    bundle: Bundle, embeddings_ND: np.ndarray, labels_N: np.ndarray, slots: int
) -> np.ndarray | None:
    """The sub-class that the model keeps nearest to each picture, of the picture's class."""
    record = bundle.subclasses
    if record is None:
        return None
    rows_ND = prepared(embeddings_ND, bundle.space, "embeddings")
    before_N = labels_N * slots
    means_KD = record.means_KD.numpy()
    for label in np.unique(labels_N).tolist():
        own_N, own_K = labels_N == label, (record.classes_K == label).numpy()
        if own_K.any():
            gap_MK = np.linalg.norm(rows_ND[own_N][:, None] - means_KD[own_K], axis=2)
            before_N[own_N] += record.slots_K.numpy()[own_K][gap_MK.argmin(axis=1)]
    return before_N


def subclass_table(one: Divided) -> pd.DataFrame:
    """One row per sub-class.

    Columns: class, subclass, pictures, share of the class, spread (root mean squared distance to
    its mean), certainty (mean probability of its pictures to be of it), and `bic_<M>` of its class
    with M components, relative to the lowest: 0 is the best, nan was not tried.
    """
    found, rows_ND = one.found, one.rows_ND.astype(np.float64)
    gap_N = np.zeros(len(rows_ND))
    for place, number in enumerate(found.numbers_K):
        own_N = found.assigned_N == number
        gap_N[own_N] = np.linalg.norm(rows_ND[own_N] - found.means_KD[place], axis=1)
    size_C = np.bincount(one.labels_N, minlength=len(one.classes))
    rows = []
    for number, size in zip(found.numbers_K.tolist(), found.sizes_K.tolist(), strict=True):
        own_N, label = found.assigned_N == number, number // found.slots
        bic_M = found.bic_CM[label]
        lowest = np.nanmin(bic_M) if np.isfinite(bic_M).any() else np.nan
        rows.append(
            {
                "class": one.classes[label],
                "subclass": one.names[number],
                "pictures": size,
                "share": size / int(size_C[label]),
                "spread": float(np.sqrt(np.square(gap_N[own_N]).mean())),
                "certainty": float(found.certainty_N[own_N].mean()),
                **{f"bic_{count}": bic - lowest for count, bic in enumerate(bic_M, start=1)},
            }
        )
    return pd.DataFrame(rows)
