"""Does a map depend on what the network has learned? The parameter-randomisation check.

Adebayo et al. 2018 ("Sanity checks for saliency maps", cascading randomisation): the layers are
made random one after the other, from the class layer down. A map that stays as it was shows the
image (its edges, its middle), not the network's reasons.

Shapes: N = images, C = bands, H, W = pixels, h, w = cells of a map, P = cells in all.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import rankdata
from torch import Tensor, nn

from likeness.errors import require
from likeness.models.embedder import Embedder
from likeness.models.explain import grad_cam

LIMIT = 0.3  # a rank correlation below this is called none: our choice, the paper names no number


class Stage(NamedTuple):
    """The maps of a network whose upper layers are random, beside those of the trained one.

    Attributes:
        name: the layer that was made random last; all above it are random, too.
        correlation: mean rank correlation of the two maps of an image, in [-1, 1]; nan if no pair
            of maps varies.
        maps: pairs that count: a map that is the same everywhere has no ranks.
    """

    name: str
    correlation: float
    maps: int


@dataclass(frozen=True)
class RandomisationCheck:
    """The whole cascade.

    Attributes:
        stages: from the class layer down to the first convolution.
        between_images: mean rank correlation of the trained network's maps of different images:
            what the place alone explains, where objects lie in the middle; nan for one image.
        images: N.
        seeds: how often everything was drawn.
    """

    stages: list[Stage]
    between_images: float
    images: int
    seeds: int

    @property
    def passed(self) -> bool:
        """Whether nothing of the maps is left in the random network: below `LIMIT` either way."""
        last = self.stages[-1].correlation
        return not math.isnan(last) and abs(last) < LIMIT


def randomisation_check(
    embedder: Embedder,
    images_NCHW: Float[Tensor, "N C H W"],
    class_index: int | Int[Tensor, " N"],
    *,
    seeds: Sequence[int] = (0, 1),
) -> RandomisationCheck:
    """Rank correlations of Grad-CAM maps, stage by stage of the cascade.

    Layers are drawn as torch draws them by default, running statistics included; single numbers
    outside of layers (the gates of attention, the exponent of GeM) stay as they are. The network
    and torch's generator are left alone.

    Args:
        embedder: in evaluation mode, convolutional, with a class layer.
        images_NCHW: normalised images; some dozen tell more than one.
        class_index: the class that is explained, one for all images or one for each.
        seeds: of the draws.

    Raises:
        UserError: as `grad_cam`, or without a seed.
    """
    require(len(seeds) > 0, "seeds", "at least one", 0)
    trained_NP = _rows(grad_cam(embedder, images_NCHW, class_index))
    names = [name for name, _ in _cascade(embedder)]
    found: list[list[np.ndarray]] = [[] for _ in names]
    for seed in seeds:
        random = copy.deepcopy(embedder)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for place, (_, part) in enumerate(_cascade(random)):
                _reset(part)
                maps_NP = _rows(grad_cam(random, images_NCHW, class_index))
                found[place].append(rank_correlations(trained_NP, maps_NP))
    stages = [
        Stage(name, *_mean(np.concatenate(parts))) for name, parts in zip(names, found, strict=True)
    ]
    between, _ = _mean(rank_correlations(trained_NP[1:], trained_NP[:-1]))
    return RandomisationCheck(stages, between, len(images_NCHW), len(seeds))


def rank_correlations(
    maps_NP: Float[np.ndarray, "N P"], others_NP: Float[np.ndarray, "N P"]
) -> Float[np.ndarray, " N"]:
    """Spearman's rank correlation of each pair of maps; nan where one of them does not vary."""
    centred = []
    for values_NP in (maps_NP, others_NP):
        ranks_NP = rankdata(values_NP, axis=1)
        centred.append(ranks_NP - ranks_NP.mean(axis=1, keepdims=True))
    product_N = (centred[0] * centred[1]).sum(axis=1)
    scale_N = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    undefined_N = np.full(len(maps_NP), np.nan)
    return np.asarray(np.divide(product_N, scale_N, out=undefined_N, where=scale_N > 0))


def _cascade(embedder: Embedder) -> list[tuple[str, nn.Module]]:
    """The layers with parameters, the last first: class layer, embedding, stages of the backbone.

    Stages are torchvision's: `layer4` of a ResNet, the entries of `features` of others.
    """
    net: nn.Module = embedder.backbone.net
    stages = _with_parameters(net)
    if len(stages) == 1:
        stages = _with_parameters(stages[0][1])
    top = [("class layer", embedder.classifiers), ("embedding", embedder.heads)]
    return [(name, part) for name, part in top if list(part.parameters())] + stages[::-1]


def _with_parameters(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, part) for name, part in module.named_children() if list(part.parameters())]


def _reset(module: nn.Module) -> None:
    for part in module.modules():
        if callable(draw := getattr(part, "reset_parameters", None)):
            draw()


def _rows(maps_Nhw: Tensor) -> np.ndarray:
    return maps_Nhw.flatten(1).double().cpu().numpy()


def _mean(values: np.ndarray) -> tuple[float, int]:
    kept = values[~np.isnan(values)]
    return (float(kept.mean()) if len(kept) else math.nan), len(kept)
