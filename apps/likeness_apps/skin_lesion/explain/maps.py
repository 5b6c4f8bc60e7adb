"""Where the network looked, for one image: its own attention, Grad-CAM, and what each of them says.

Legend: C bands, Y, X height and width of the network's input, h, w cells of a map, H, W of the
picture that people see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likeness.models.embedder import Embedder
from likeness.models.explain import (
    attention_gates,
    attention_maps,
    grad_cam,
    mask_overlap,
    upsample,
)
from likeness.models.explain_checks import rank_correlations
from likeness_apps.skin_lesion.binary import MALIGNANT, malignancy, tidy
from likeness_apps.skin_lesion.clinical.tasks import MELANOMA_LABELS
from likeness_apps.skin_lesion.diagnoses import names_of

LEAST_CELLS = 6  # a side; the attention of the last block with at least so many is shown
ATTENTION = "attention"


@dataclass(frozen=True, eq=False)
class SeenMap:
    """One map over the picture.

    Attributes:
        name: `attention`, or `grad_cam <class>`.
        title: for people.
        about: what its brightness means.
        map_HW: in [0, 1], 0 the lowest and 1 the highest value, at the size of the picture.
        cells_hw: as the network has it.
        low: the lowest value of `cells_hw`.
        high: the highest.
        overlap: with the lesion's mask; None without one.
    """

    name: str
    title: str
    about: str
    map_HW: Float[np.ndarray, "H W"]
    cells_hw: Float[np.ndarray, "h w"]
    low: float
    high: float
    overlap: dict[str, float] | None = None

    def facts(self) -> dict[str, Any]:
        """Plain data, without the map."""
        shape = {"cells": list(self.cells_hw.shape), "low": self.low, "high": self.high}
        words = {"name": self.name, "title": self.title, "about": self.about}
        return words | shape | {"mask_overlap": self.overlap}


@dataclass(frozen=True, eq=False)
class Seen:
    """All maps of an image.

    Attributes:
        maps: those that there are.
        missing: what there is not, and why, in sentences.
        agreement: rank correlation of the attention with Grad-CAM of the predicted class; None
            where one of them is missing or does not vary.
    """

    maps: list[SeenMap]
    missing: list[str]
    agreement: float | None


def maps_of(
    embedder: Embedder,
    image_CYX: Float[Tensor, "C Y X"],
    classes: Sequence[str],
    explained: Sequence[int],
    size: tuple[int, int],
    mask_HW: Bool[np.ndarray, "H W"] | None = None,
) -> Seen:
    """The network's own attention, then Grad-CAM for each class to be explained.

    Args:
        embedder: in evaluation mode.
        image_CYX: normalised, on the network's device.
        classes: class names.
        explained: class numbers; the first is the predicted one.
        size: height and width of the picture.
        mask_HW: where the lesion is, at that size.
    """
    image_NCYX = image_CYX[None]
    maps: list[SeenMap] = []
    missing: list[str] = []
    if attention_gates(embedder):
        maps.append(_attention(embedder, image_NCYX, size))
    else:
        missing.append("The network has no spatial attention of its own to be shown.")
    if reason := _no_class_map(embedder):
        missing.append(reason)
    else:
        maps += [_class_map(embedder, image_NCYX, classes[n], n, size) for n in explained]
    agreement = _agreement(maps)
    if mask_HW is not None:
        maps = [replace(seen, overlap=_overlap(seen.cells_hw, mask_HW)) for seen in maps]
    return Seen(maps, missing, agreement)


def classes_to_explain(
    classes: Sequence[str], probabilities_C: Float[np.ndarray, " C"], predicted: int
) -> list[int]:
    """The predicted class and, if it is another, the one that must not be missed.

    That is melanoma, else `malignant`, else the likeliest class that means a malignant lesion.
    """
    dangerous = [n for n, label in enumerate(classes) if malignancy(label) == MALIGNANT]
    if not dangerous:
        return [predicted]
    first = [n for n in dangerous if tidy(classes[n]) in (*MELANOMA_LABELS, MALIGNANT)]
    feared = first[0] if first else max(dangerous, key=lambda n: probabilities_C[n])
    return list(dict.fromkeys((predicted, feared)))


def _attention(embedder: Embedder, image_NCYX: Tensor, size: tuple[int, int]) -> SeenMap:
    """Of the last block whose map is fine enough to be looked at; of the first if none is."""
    gates = attention_gates(embedder)
    block = len(gates) - 1
    cells_Nhw = attention_maps(embedder, image_NCYX, block=block)
    while block > 0 and min(cells_Nhw.shape[1:]) < LEAST_CELLS:
        block -= 1
        cells_Nhw = attention_maps(embedder, image_NCYX, block=block)
    about = f"Block {block + 1} of {len(gates)}. {gate_sentence(gates[block])}"
    return _shown(ATTENTION, "The network's own attention", about, cells_Nhw, size)


def gate_sentence(gate: float | None) -> str:
    """What bright means in an attention map whose block has this gate; see `attention_gates`."""
    if gate is None:
        return "Bright: the block keeps what it sees there; dark: it lets less of it through."
    if gate == 0:
        return "The block's gate is 0: nothing of this attention reaches the answer."
    most = f"{abs(gate):.1%} at most"  # both sigmoids are below 1
    if gate > 0:
        return f"Bright: the block amplifies what it sees there, by {most}."
    return (
        f"Bright: the block damps what it sees there, by {most}, as its gate is below 0: dark "
        "places count for more."
    )


def _class_map(
    embedder: Embedder, image_NCYX: Tensor, label: str, number: int, size: tuple[int, int]
) -> SeenMap:
    cells_Nhw = grad_cam(embedder, image_NCYX, number)
    diagnosis = names_of([label])[0]
    about = f"Bright: features that raised the score of {diagnosis} were found there."
    if not bool(cells_Nhw.any()):
        about = f"Nothing in the last feature map raised the score of {diagnosis}: 0 everywhere."
    return _shown(f"grad_cam {label}", f"Grad-CAM: {diagnosis}", about, cells_Nhw, size)


def _no_class_map(embedder: Embedder) -> str:
    if embedder.num_classes == 0:
        return (
            "The network has no class layer (its answers come from embeddings), so there is no "
            "score whose origin Grad-CAM could show."
        )
    if embedder.spec.backbone == "vit_b_16":
        return "The network is a transformer, for which Grad-CAM is not defined."
    return ""


def _shown(name: str, title: str, about: str, cells_Nhw: Tensor, size: tuple[int, int]) -> SeenMap:
    map_HW = upsample(cells_Nhw, *size)[0].double().cpu().numpy()
    cells_hw = cells_Nhw[0].double().cpu().numpy()
    low, high = float(cells_hw.min()), float(cells_hw.max())
    if name == ATTENTION:  # a class map has a 0 that means something, attention has none
        map_HW = (map_HW - low) / max(high - low, 1e-12)
    return SeenMap(name, title, about, map_HW.clip(0.0, 1.0), cells_hw, low, high)


def _overlap(cells_hw: np.ndarray, mask_HW: np.ndarray) -> dict[str, float]:
    """Of the map's own values, which the colours on the picture may stretch."""
    map_NHW = upsample(torch.from_numpy(cells_hw)[None], *mask_HW.shape)
    return mask_overlap(map_NHW[0], torch.from_numpy(mask_HW))._asdict()


def _agreement(maps: Sequence[SeenMap]) -> float | None:
    """Of the first class map with the attention, at the finer of both grids."""
    if len(maps) < 2 or maps[0].name != ATTENTION:
        return None
    height, width = np.maximum(maps[0].cells_hw.shape, maps[1].cells_hw.shape).tolist()
    flat = []
    for seen in maps[:2]:
        cells = torch.from_numpy(seen.cells_hw)[None]
        flat.append(upsample(cells, height, width).flatten(1).numpy())
    found = float(rank_correlations(flat[0], flat[1])[0])
    return None if np.isnan(found) else found
