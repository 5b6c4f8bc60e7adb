"""Where a network looks: its own spatial attention, and Grad-CAM.

A map is an observation of the network and no proof of a cause: it says where evidence was
weighted, not that the evidence is a lesion, a face or a roof. Compare it with something, such as
the share of the mask (`mask_overlap`) or the map of a network with random last layers.

Shapes: N = images, C = bands, H, W = pixels or cells of a map, F = features, h, w = cells of the
feature map, K = classes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from likeness.errors import UserError, require
from likeness.models.attention import MixedAttention
from likeness.models.embedder import Embedder
from likeness.models.heads import CLASS


class Overlap(NamedTuple):
    """How a map lies on a mask; NaN where the map is 0 everywhere or the mask is empty.

    Attributes:
        energy_inside: share of the map's sum that lies inside the mask, in [0, 1].
        pointing: whether the map's maximum lies inside (Zhang et al. 2018, "pointing game",
            without its tolerance of 15 pixels): 1 or 0; of several equal maxima the share inside.
        mask_share: share of the pixels that are inside: what an even map reaches in
            `energy_inside`, and a random place in `pointing`.
    """

    energy_inside: float
    pointing: float
    mask_share: float


def attention_maps(
    embedder: Embedder, images_NCHW: Float[Tensor, "N C H W"], *, block: int = -1
) -> Float[Tensor, "N h w"]:
    """The spatial attention of one residual block: the sigmoid of its logits of places.

    For the order `sum`, whose sigmoid stands over channels and places together, this is the part of
    the places alone. With the gate `residual` its effect is scaled by the block's alpha: below 0
    the map says where the block damps, and at 0, as in a network that was not trained, nothing.

    Args:
        embedder: in evaluation mode, with attention.
        images_NCHW: normalised images.
        block: which residual block, counted as in a list; the last has the coarsest map.

    Returns:
        One map for each image, in (0, 1), of the block's own size.

    Raises:
        UserError: if the network has no attention or no such block, or is being trained.
    """
    _check_mode(embedder)
    places = [part.places for part in _attention(embedder)]
    rule = "parallel, sequential or sum for attention maps"
    require(bool(places), "model.attention", rule, embedder.spec.attention)
    count = len(places)
    require(-count <= block < count, "block", f"in [{-count}, {count - 1}]", block)
    seen: list[Tensor] = []
    handle = places[block].register_forward_hook(lambda _, __, logits: seen.append(logits))
    try:
        with torch.no_grad():
            embedder.feature_map(images_NCHW)
    finally:
        handle.remove()
    return seen[0][:, 0].sigmoid()


def attention_gates(embedder: Embedder) -> list[float | None]:
    """What scales the attention of each block of `attention_maps`, in their order.

    The block's alpha with the gate `residual`: above 0 high attention amplifies, below 0 it damps,
    and at 0 nothing of it reaches the block's output. None with the gate `multiply`, which keeps
    what the attention leaves. Empty without attention.
    """
    return [None if part.alpha is None else part.alpha.item() for part in _attention(embedder)]


def grad_cam(
    embedder: Embedder,
    images_NCHW: Float[Tensor, "N C H W"],
    class_index: int | Int[Tensor, " N"],
) -> Float[Tensor, "N h w"]:
    """Gradient-weighted class activation maps (Selvaraju et al. 2017, equations 1 and 2).

    With y the logit of the class and A_k the channels of the backbone's feature map,

        weight_k = mean over the cells of dy/dA_k,   map = relu(sum_k weight_k A_k)

    each map divided by its largest value; one without evidence for the class is 0 everywhere. The
    gradient is taken from the logit to the feature map only: parameters and their gradients are
    left alone. Works inside `torch.no_grad` and `torch.inference_mode` too.

    Args:
        embedder: in evaluation mode, convolutional, with a class layer.
        images_NCHW: normalised images.
        class_index: the class to explain, one for all images or one for each.

    Returns:
        Maps in [0, 1], of the feature map's size; `upsample` brings them to the image's.

    Raises:
        UserError: if the network is being trained, has no class layer or is a transformer, or there
            is no such class.
    """
    _check_mode(embedder)
    backbone = embedder.spec.backbone
    rule = "a convolutional network for Grad-CAM"
    require(backbone != "vit_b_16", "model.backbone", rule, backbone)
    class_N = _classes(class_index, len(images_NCHW), embedder.num_classes).to(images_NCHW.device)
    with torch.inference_mode(False), torch.enable_grad():
        with torch.no_grad():
            seen = embedder.see(images_NCHW)
        map_NFhw = seen.map_NFhw.requires_grad_()
        logits_NK = embedder.read(seen).logits[CLASS]
        score = logits_NK.gather(1, class_N[:, None]).sum()  # an image's logit knows no other image
        (slope_NFhw,) = torch.autograd.grad(score, map_NFhw)
    weight_NF = slope_NFhw.mean(dim=(2, 3))
    cam_Nhw = torch.einsum("nf,nfhw->nhw", weight_NF, map_NFhw.detach()).relu()
    largest_N11 = cam_Nhw.amax(dim=(1, 2), keepdim=True)
    return cam_Nhw / largest_N11.clamp_min(torch.finfo(cam_Nhw.dtype).tiny)


def upsample(maps_Nhw: Float[Tensor, "N h w"], height: int, width: int) -> Float[Tensor, "N H W"]:
    """Maps at the size of the image, bilinear between the centres of the cells."""
    size = (height, width)
    return functional.interpolate(maps_Nhw[:, None], size=size, mode="bilinear")[:, 0]


def mask_overlap(map_HW: Float[Tensor, "H W"], mask_HW: Bool[Tensor, "H W"]) -> Overlap:
    """How much of a map lies inside a mask, beside what chance would give.

    Args:
        map_HW: >= 0, at the size of the mask.
        mask_HW: where the object is.

    Raises:
        UserError: if the sizes differ or the map has values below 0.
    """
    size = tuple(map_HW.shape)
    require(size == tuple(mask_HW.shape), "mask_HW", f"of shape {size}", tuple(mask_HW.shape))
    require(bool((map_HW >= 0).all()), "map_HW", ">= 0", float(map_HW.min()))
    share = float(mask_HW.double().mean())
    total = map_HW.double().sum()
    if not share or not total:
        return Overlap(math.nan, math.nan, share)
    inside = torch.where(mask_HW, map_HW, 0.0).double().sum()
    is_maximum_HW = map_HW == map_HW.max()
    return Overlap(float(inside / total), float(mask_HW[is_maximum_HW].double().mean()), share)


def _attention(embedder: Embedder) -> list[MixedAttention]:
    return [part for part in embedder.modules() if isinstance(part, MixedAttention)]


def _check_mode(embedder: nn.Module) -> None:
    if embedder.training:
        raise UserError("embedder must be in evaluation mode to be explained, got training mode")


def _classes(class_index: int | Tensor, images: int, classes: int) -> Tensor:
    require(classes > 0, "embedder", "a model with a class layer for Grad-CAM", "none")
    given = torch.as_tensor(class_index)
    require(given.shape in ((), (images,)), "class_index", f"one or {images}", tuple(given.shape))
    bad = given[(given < 0) | (given >= classes)]
    require(not len(bad), "class_index", f"in [0, {classes - 1}]", bad.tolist())
    return given.expand(images)
