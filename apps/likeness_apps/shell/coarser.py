"""Sets and answers in other classes than they came with: benign or malignant, say.

Shapes: N = items, C = classes, K = coarser classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from likeness.data.findings import Finding
from likeness.data.manifest import Manifest
from likeness.errors import UserError, require
from likeness_apps.shell.domain import Coarser


def labelled_by(
    manifest: Manifest,
    labels: Callable[[pd.DataFrame], Sequence[str] | None] | None,
    coarser: Coarser | None,
) -> Manifest:
    """The set with the labels of a protocol; warnings count what it leaves out.

    Args:
        manifest: with labels of its own.
        labels: see `Protocol`; None keeps those of the set.
        coarser: what they become; None leaves them.

    Raises:
        UserError: if a protocol leaves out all images, see also `coarsened`.
    """
    said = None if labels is None else labels(manifest.table)
    if said is not None:
        given = pd.Series(list(said), index=manifest.table.index, dtype=str)
        require((given != "").any(), "data", "a set with labels by the protocol", "none")
        lost = int(((given == "") & (manifest.table["label"] != "")).sum())
        told = f"{lost} labelled images are left out: they have no label by the protocol"
        warning = Finding("warning", "no-label-by-protocol", "", told, "nothing, if that is meant")
        manifest = manifest.with_table(manifest.table.assign(label=given))
        manifest = manifest.with_findings(*([warning] if lost else []))
    return manifest if coarser is None else coarsened(manifest, coarser)


def only_shared(manifest: Manifest, classes: Sequence[str]) -> tuple[Manifest, dict[str, Any]]:
    """The set without the labels that a model does not know, matched by name.

    Answers stay as they are: one of a class without images is wrong.

    Returns:
        The set, and `classes` that both have, `left_out` (images by label that the model does not
        know) and `without_images` (classes of the model that the set lacks).

    Raises:
        UserError: if they have no class in common.
    """
    known = set(classes)
    counts = Counter(manifest.table["label"])
    left_out = {label: counts[label] for label in manifest.classes if label not in known}
    shared = [label for label in manifest.classes if label in known]
    rule = f"such that the model's {len(known)} classes hold one of them"
    require(shared, "labels", rule, manifest.classes[:5])
    labels = manifest.table["label"].where(manifest.table["label"].isin(known), "")
    facts = {
        "classes": shared,
        "left_out": left_out,
        "without_images": sorted(known - set(shared)),
    }
    return manifest.with_table(manifest.table.assign(label=labels)), facts


def coarsened(manifest: Manifest, coarser: Coarser) -> Manifest:
    """The set with coarser labels.

    Images of classes that belong to none have no label any more; a warning for each such class
    counts them.

    Raises:
        UserError: if the images have several labels, or nobody knows a label.
    """
    require(not manifest.multilabel, "data", "labelled with one class per image", "several labels")
    said = {label: coarser.of(label) for label in manifest.classes}
    into, unknown = _told_apart(said)
    kinds = ", ".join(coarser.classes)
    if unknown:
        raise UserError(f"labels must be known to be one of {kinds}, got {unknown[:5]}")
    counts = Counter(manifest.table["label"])
    left_out = [
        Finding(
            "warning",
            "class-left-out",
            "",
            f"{counts[label]} images of the class {label!r} are left out: it is none of {kinds}",
            "nothing, if that is meant",
        )
        for label, kind in into.items()
        if not kind
    ]
    labels = manifest.table["label"].map(lambda label: into.get(label, ""))
    return manifest.with_table(manifest.table.assign(label=labels)).with_findings(*left_out)


def coarser_classes(classes: Sequence[str], coarser: Coarser) -> dict[str, str]:
    """Which coarser class each class of a model belongs to.

    Raises:
        UserError: if a class belongs to none, or nobody knows it.
    """
    into, unknown = _told_apart({name: coarser.of(name) for name in classes})
    homeless = [*unknown, *(name for name, kind in into.items() if not kind)]
    kinds = ", ".join(coarser.classes)
    rule = f"a model whose classes are each one of {kinds}"
    require(not homeless, "model", rule, homeless[:5])
    return into


def brought_to(
    coarser: Coarser,
    classes: Sequence[str],
    readouts: Mapping[str, Int[np.ndarray, " N"]],
    probabilities_NC: Float[np.ndarray, "N C"],
) -> tuple[dict[str, Int[np.ndarray, " N"]], Float[np.ndarray, "N K"]]:
    """A model's answers in coarser classes.

    A coarser class has the summed probability of its classes, and the headline read-out names the
    most probable: of three classes the first may be benign, and malignant more probable still. The
    other read-outs name the coarser class of what they said.

    Args:
        coarser: the classes to come to.
        classes: those of the model.
        readouts: name -> class numbers; the first is the headline, whose the probabilities are.
        probabilities_NC: in the order of `classes`.

    Returns:
        The read-outs and the probabilities, in the order of `coarser.classes`.

    Raises:
        UserError: see `coarser_classes`.
    """
    into, kinds = coarser_classes(classes, coarser), list(coarser.classes)
    number_C = np.array([kinds.index(into[name]) for name in classes])
    member_CK = np.eye(len(kinds), dtype=probabilities_NC.dtype)[number_C]
    summed_NK: np.ndarray = probabilities_NC @ member_CK
    found = {name: number_C[said_N] for name, said_N in readouts.items()}
    return found | {next(iter(found)): summed_NK.argmax(axis=1)}, summed_NK


def _told_apart(said: Mapping[str, str | None]) -> tuple[dict[str, str], list[str]]:
    """What is known, and the names of which nobody knows anything."""
    known = {name: kind for name, kind in said.items() if kind is not None}
    return known, [name for name, kind in said.items() if kind is None]
