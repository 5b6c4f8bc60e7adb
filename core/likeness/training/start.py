"""A run that starts from the whole network of another: backbone, embedding and class layers.

`model.weights` takes the backbone only. Nothing of the other run's optimiser, schedule or losses
(their centres, say) comes along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from likeness.bundle import Bundle, load_bundle
from likeness.data.transforms import Preprocessing
from likeness.errors import UserError
from likeness.models import Embedder, ModelSpec
from likeness.models.pretrained import first_difference

# What decides which weights there are, and what they mean.
_SAME = (
    *("backbone", "stem", "last_stride", "bands", "pooling", "embedding_dim", "attention"),
    "two_heads",
)
_CLASSIFIERS = "classifiers."


@dataclass(frozen=True, eq=False)
class Start:
    """A model to start from, read and verified.

    Attributes:
        bundle: the model.
        given: the path as the person wrote it.
    """

    bundle: Bundle
    given: str

    @property
    def model_id(self) -> str:
        """For the provenance of what comes of it."""
        return self.bundle.model_id

    def normalisation(self, *, scale: float, standardised: bool) -> tuple[list[float], list[float]]:
        """Mean and std of each band that the weights are used to.

        Args:
            scale: what the run's pixels are divided by.
            standardised: whether the run standardises each image by itself.

        Raises:
            UserError: if the model was made for pixels of another scale or standardised otherwise.
        """
        known: Preprocessing = self.bundle.preprocessing
        if known.scale != scale:
            raise UserError(
                f"start must be a model of images whose pixels are divided by {scale:g}, as these, "
                f"got {self.given} with {known.scale:g}"
            )
        if known.per_image_standardisation != standardised:
            raise UserError(
                "start must be a model whose data.per_image_standardisation is "
                f"{standardised}, as this run's, got {self.given}"
            )
        return list(known.mean), list(known.std)


def load_start(path: str, spec: ModelSpec) -> Start:
    """Read the model of a run or model directory, and see whether a run can start from it.

    Args:
        path: the directory.
        spec: the network of the run; image size, space and dropout may differ.

    Raises:
        UserError: in one sentence, if there is no such model, it was changed since it was written,
            or its network is another one.
    """
    bundle = load_bundle(path)
    found = bundle.embedder.spec
    names = (*_SAME, "attention_options") if spec.attention != "none" else _SAME
    names = (*names, "half_way_heads") if spec.backbone == "inception_bn" else names
    names = (*names, "class_layer") if bundle.embedder.num_classes else names
    for name in names:
        wanted, got = getattr(spec, name), getattr(found, name)
        if got != wanted:
            raise UserError(
                f"start must be a model whose model.{name} is {wanted!r}, as this run's, got "
                f"{path} with {got!r}"
            )
    return Start(bundle, path)


def take_weights(
    embedder: Embedder, start: Start, classes: Sequence[str], *, multilabel: bool = False
) -> bool:
    """Fill `embedder` with the weights of the model, in place.

    Class layers are taken where the model has them for the same classes, in whatever order;
    otherwise they keep their random weights.

    Args:
        embedder: made from the spec that `load_start` was given.
        start: the model.
        classes: names in the order of the run's logits.
        multilabel: whether an image of the run may have several classes.

    Returns:
        Whether the class layers were taken; also True where the run has none.

    Raises:
        UserError: if a weight does not fit (of a network that is made for one size of image, say).
    """
    bundle = start.bundle
    theirs, own = bundle.embedder.state_dict(), embedder.state_dict()
    same = sorted(bundle.classes) == sorted(classes) and bundle.multilabel == multilabel
    agree = same and bundle.embedder.num_classes > 0
    state = {key: value for key, value in theirs.items() if not key.startswith(_CLASSIFIERS)}
    state |= {key: value for key, value in own.items() if key.startswith(_CLASSIFIERS)}
    if agree:
        order_C = torch.tensor([bundle.classes.index(name) for name in classes])
        layers = {_part(key): theirs[key] for key in theirs if key.startswith(_CLASSIFIERS)}
        for key in (key for key in own if key.startswith(_CLASSIFIERS)):
            part = layers[_part(key)]
            state[key] = part[order_C] if part.ndim else part  # a scale is of all classes
    difference = first_difference(own, state)
    if difference is not None:
        raise UserError(
            f"start must hold weights that fit this run's model, got {start.given}: {difference}"
        )
    embedder.load_state_dict(state)
    return agree or embedder.num_classes == 0


def _part(key: str) -> tuple[str, str]:
    """Layer and parameter of a class layer's key: dropout puts a number between them."""
    _, layer, *_, parameter = key.split(".")
    return layer, parameter
