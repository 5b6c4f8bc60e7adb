"""From a picture to the faces in it, each ready for the model: the step that all commands share.

Legend: H, W height and width of a picture, C bands, P pixels of a patch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image

from likeness.data.decode import DecodeError
from likeness.errors import require
from likeness.inference.blocks import Failure, Model, attempt
from likeness_apps.facial_expression.faces.cascade import CascadeDetector
from likeness_apps.facial_expression.faces.crop import PATCH, crop_face, patch_of
from likeness_apps.facial_expression.faces.detector import Detector, Face, described, faces_in


class Found(NamedTuple):
    """A face in a picture.

    Attributes:
        face: where it is.
        patch_P: what it looks like, to be known again.
        prepared: the model's input, or a `blocks.Failure`.
    """

    face: Face
    patch_P: Float[np.ndarray, " P"]
    prepared: Any


@dataclass(frozen=True, eq=False)
class Finder:
    """How faces are found and cut out for a model.

    Attributes:
        model: whose input they become.
        detector: see `detector.Detector`.
        margin: see `crop.crop_face`.
        align: see `crop.crop_face`.
        grey: whether colours are taken away, for a model that was trained on grey pictures.
    """

    model: Model
    detector: Detector
    margin: float
    align: bool
    grey: bool

    @property
    def settings(self) -> dict[str, Any]:
        """What changes the answers, beside the model's own settings; plain data."""
        cut = {"margin": self.margin, "aligned_by_eyes": self.align, "made_grey": self.grey}
        return {**described(self.detector), **cut}

    def __call__(self, image_HW3: UInt8[np.ndarray, "H W 3"]) -> list[Found]:
        """The faces from left to right.

        Raises:
            UserError: if the detector returns no faces. What it raises is passed on.
        """
        return [self._found(image_HW3, face) for face in faces_in(image_HW3, self.detector)]

    def _found(self, image_HW3: np.ndarray, face: Face) -> Found:
        cut = partial(crop_face, image_HW3, margin=self.margin, align=self.align)
        cut_SS3 = attempt(cut, face)
        if isinstance(cut_SS3, Failure):
            return Found(face, np.zeros(PATCH**2), cut_SS3)
        image = Image.fromarray(cut_SS3).convert("L" if self.grey else "RGB")
        return Found(face, patch_of(cut_SS3), attempt(self.model.prepare, as_file(image)))


def finder_of(
    model: Model,
    detector: Detector | None = None,
    *,
    margin: float = 0.0,
    align: bool = False,
    grey: bool | None = None,
) -> Finder:
    """A Finder with its defaults.

    Args:
        model: who is asked.
        detector: None takes the cascade.
        margin: see `crop.crop_face`.
        align: see `crop.crop_face`.
        grey: None: whether the model was trained on grey pictures, as far as it shows.

    Raises:
        UserError: if the margin is out of range.
    """
    require(0 <= margin <= 1, "margin", "in [0, 1]", margin)
    grey = trained_on_grey(model) if grey is None else grey
    return Finder(model, detector or CascadeDetector(), margin, align, grey)


def trained_on_grey(model: Model) -> bool:
    """Whether a model takes one band, or three with the same statistics: grey repeated."""
    members = getattr(model, "members", [model])
    prepared = getattr(members[0], "preprocessing", None)
    if prepared is None:
        return False
    return prepared.bands == 1 or len(set(prepared.mean)) == len(set(prepared.std)) == 1


def as_file(image: Image.Image) -> bytes:
    """A picture as the bytes of a PPM or PGM file.

    What a model is asked goes one way, files: the checks and steps are then the same for a face
    out of a photograph and for a picture of a face.
    """
    sign = "P5" if image.mode == "L" else "P6"
    return f"{sign} {image.width} {image.height} 255\n".encode("ascii") + image.tobytes()


def as_photograph(image_HWC: Shaped[np.ndarray, "H W C"]) -> UInt8[np.ndarray, "H W 3"]:
    """A decoded picture as RGB.

    Raises:
        DecodeError: if it is not of 8 bits, grey or RGB.
    """
    bands = image_HWC.shape[2]
    if image_HWC.dtype != np.uint8 or bands not in (1, 3):
        raise DecodeError(f"{bands} bands of {image_HWC.dtype} where a photograph has 8-bit RGB")
    return image_HWC if bands == 3 else np.repeat(image_HWC, 3, axis=2)
